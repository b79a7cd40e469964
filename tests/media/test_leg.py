"""One leg on loopback: what it plays, what cuts it short, what it counts, what it refuses."""

import asyncio
from itertools import pairwise

import pytest

from hub.audio import tone
from hub.g711 import Codec
from media.errors import ProtocolError
from media.leg import DIGITS, FLOOD, AudioLeg, LegClosedError
from media.prompts import BEEP
from media.relay import BuiltinRelay
from media.rtp import FRAME, Packet, ahead
from media.sound import SILENCE, Sound, pause
from tests.media.farend import EVENT, FarEnd, far_end, relay, settled
from tests.media.kept import Kept

PROMPT = Sound.of(tone(440, seconds=0.4))


async def leg_to(engine: BuiltinRelay, phone: FarEnd, event_type: int | None = EVENT) -> AudioLeg:
    leg = await engine.allocate()
    leg.connect(phone.address, phone.codec, event_type)
    return leg


@pytest.mark.parametrize("codec", list(Codec))
async def test_a_prompt_is_heard_whole_and_in_time(codec: Codec) -> None:
    async with relay() as engine, far_end(codec) as phone:
        leg = await leg_to(engine, phone)
        late, began = Kept(), asyncio.get_running_loop().time()
        assert await leg.play(PROMPT)
        took = asyncio.get_running_loop().time() - began
        assert 0.38 <= took < 2 + late.seconds
        await phone.hear(leg.stats.sent)
        voiced = [packet for packet in phone.heard if packet.payload != SILENCE[codec]]
        assert len(voiced) == 20
        assert phone.hz() == [440]


async def test_what_is_sent_is_one_stream_without_holes() -> None:
    async with relay() as engine, far_end() as phone:
        leg = await leg_to(engine, phone)
        await leg.play(pause(0.06))
        await leg.play(PROMPT)
        heard = phone.heard
        assert len({packet.ssrc for packet in heard}) == 1
        assert all(ahead(b.sequence, a.sequence) == 1 for a, b in pairwise(heard))
        assert all(ahead(b.timestamp, a.timestamp, 32) % FRAME == 0 for a, b in pairwise(heard))
        assert heard[0].marker


async def test_silence_is_sent_while_nothing_is_played() -> None:
    async with relay() as engine, far_end() as phone:
        await leg_to(engine, phone)
        heard = await phone.hear(5)
        assert {packet.payload for packet in heard} == {SILENCE[Codec.PCMU]}


async def test_music_goes_round_and_a_prompt_interrupts_it() -> None:
    music = Sound.of(tone(620, seconds=0.11))
    async with relay(music) as engine, far_end() as phone:
        leg = await leg_to(engine, phone)
        leg.hold_music()
        await phone.hear(20)
        before = leg.stats.sent
        assert phone.hz() == [620]
        await leg.play(PROMPT)
        await phone.hear(leg.stats.sent)
        prompt = phone.heard[before + 2 : before + 18]
        assert b"".join(packet.payload for packet in prompt) in PROMPT.ulaw
        phone.heard.clear()
        await phone.hear(15)
        assert phone.hz() == [620]


def test_a_loop_has_no_seam() -> None:
    sound = Sound(bytes(range(200)))
    frames = [sound.looped(at, Codec.PCMU) for at in range(0, 8 * FRAME, FRAME)]
    assert b"".join(frames) == (sound.ulaw * 7)[: 8 * FRAME]
    assert Sound(b"\1\2").looped(3, Codec.PCMU) == b"\2\1" * 80


def test_pieces_of_sound_are_put_together() -> None:
    assert (Sound(b"\1") + Sound(b"\2")).ulaw == b"\1\2"
    assert pause(0.5).seconds == 0.5
    assert Sound(b"\1\2").frame(0, Codec.PCMU) == b"\1\2" + b"\xff" * 158
    assert BEEP.seconds == 0.4


async def test_prompts_wait_for_each_other() -> None:
    async with relay() as engine, far_end() as phone:
        leg = await leg_to(engine, phone)
        ended: list[str] = []

        async def play(what: str, hz: int) -> None:
            await leg.play(Sound.of(tone(hz, seconds=0.2)))
            ended.append(what)

        async with asyncio.TaskGroup() as group:
            group.create_task(play("first", 440))
            group.create_task(play("second", 880))
        assert ended == ["first", "second"]
        await phone.hear(leg.stats.sent)
        assert phone.hz() == [440, 880]


async def test_a_cancelled_prompt_is_silent_at_once() -> None:
    async with relay() as engine, far_end() as phone:
        leg = await leg_to(engine, phone)
        playing = asyncio.create_task(leg.play(Sound.of(tone(440, seconds=5))))
        await phone.hear(10)
        playing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await playing
        await phone.hear(leg.stats.sent)
        phone.heard.clear()
        await phone.hear(3)
        assert {packet.payload for packet in phone.heard} == {SILENCE[Codec.PCMU]}


async def test_a_key_cuts_a_prompt_short_that_allows_it_and_no_other() -> None:
    async with relay() as engine, far_end() as phone:
        leg = await leg_to(engine, phone)
        menu = asyncio.create_task(leg.play(Sound.of(tone(440, seconds=5)), barge_in=True))
        await phone.hear(3)
        await phone.press(leg.local, "2")
        assert await menu is False
        assert leg.digits.get_nowait() == "2"
        notice = asyncio.create_task(leg.play(PROMPT))
        await phone.hear(len(phone.heard) + 3)
        await phone.press(leg.local, "3")
        assert await notice is True
        # The key waits to be read, so a menu that may be cut short is not even begun.
        assert await leg.play(Sound.of(tone(440, seconds=5)), barge_in=True) is False
        assert leg.digits.get_nowait() == "3"


async def test_each_key_is_read_once_in_order() -> None:
    async with relay() as engine, far_end() as phone:
        leg = await leg_to(engine, phone)
        await phone.press(leg.local, "159#")
        assert [await leg.digits.get() for _ in range(4)] == list("159#")
        assert leg.digits.empty()


async def test_events_come_under_the_type_that_the_far_end_was_told() -> None:
    async with relay() as engine, far_end() as phone:
        leg = await engine.allocate()
        leg.connect(phone.address, Codec.PCMU, 96, event_type_in=EVENT)
        await phone.press(leg.local, "7")
        assert await leg.digits.get() == "7"
        await leg.press("8")
        await phone.hear(leg.stats.sent)
        assert 96 in {packet.payload_type for packet in phone.heard}


async def test_of_keys_that_nobody_reads_the_oldest_are_forgotten() -> None:
    async with relay() as engine, far_end() as phone:
        leg = await leg_to(engine, phone)
        for number in range(DIGITS + 6):
            phone.timestamp += 1600
            phone.send(leg.local, bytes((number % 10, 0x8A, 3, 0x20)), payload_type=EVENT)
        await settled(leg, phone)
        assert leg.digits.qsize() == DIGITS
        assert leg.digits.get_nowait() == "6"


async def test_keys_are_pressed_for_the_far_end() -> None:
    async with relay() as engine, far_end() as phone:
        leg = await leg_to(engine, phone)
        await leg.press("42#")
        await phone.hear(leg.stats.sent)
        assert phone.keys() == "42#"
        events = [packet for packet in phone.heard if packet.payload_type == EVENT]
        assert [packet.marker for packet in events] == ([True] + [False] * 6) * 3
        assert len({packet.timestamp for packet in events}) == 3
        assert all(ahead(b.sequence, a.sequence) == 1 for a, b in pairwise(phone.heard))


async def test_a_far_end_without_events_hears_silence_for_keys() -> None:
    async with relay() as engine, far_end() as phone:
        leg = await leg_to(engine, phone, event_type=None)
        await leg.press("4")
        assert {packet.payload_type for packet in phone.heard} == {0}
        with pytest.raises(ProtocolError):
            await leg.press("x")


async def test_on_hold_a_prompt_runs_out_and_nothing_is_sent() -> None:
    async with relay() as engine, far_end() as phone:
        leg = await leg_to(engine, phone)
        await phone.hear(2)
        leg.connect(("0.0.0.0", phone.address[1]), Codec.PCMU, EVENT)
        assert leg.remote is None
        await phone.hear(leg.stats.sent)
        phone.heard.clear()
        assert await leg.play(PROMPT)
        assert phone.heard == []
        leg.connect(phone.address, Codec.PCMU, EVENT)
        resumed = await phone.hear(2)
        assert resumed[0].marker


@pytest.mark.parametrize("remote", [("host.example.org", 4000), ("127.0.0.1", 70_000), ("127.0.0.1", -1)])
async def test_an_address_that_is_none_is_refused(remote: tuple[str, int]) -> None:
    async with relay() as engine:
        leg = await engine.allocate()
        with pytest.raises(ProtocolError):
            leg.connect(remote, Codec.PCMU, None)


async def test_packets_go_where_the_far_end_really_is() -> None:
    async with relay() as engine, far_end() as phone:
        leg = await engine.allocate()
        leg.connect(("127.0.0.1", 9), Codec.PCMU, EVENT)
        phone.send(leg.local, b"\xff" * FRAME)
        await phone.hear(3)
        assert leg.remote == phone.address


async def test_a_stranger_is_neither_heard_nor_answered() -> None:
    async with (
        relay() as engine,
        far_end() as phone,
        far_end(ssrc=0x666, host="127.0.0.2") as stranger,
    ):
        leg = await leg_to(engine, phone)
        for _ in range(5):
            phone.send(leg.local, b"\xff" * FRAME)
        for _ in range(50):
            stranger.send(leg.local, b"\x00" * FRAME)
            stranger.send(leg.local, b"\x05\x8a\x03\x20", payload_type=EVENT)
        await settled(leg, phone)
        assert (leg.stats.packets, leg.stats.refused) == (6, 100)
        assert leg.digits.empty()
        assert leg.remote == phone.address
        assert stranger.heard == []


async def test_a_flood_of_one_leg_is_cut_off_and_a_stranger_cannot_use_up_its_share() -> None:
    async with relay() as engine, far_end() as phone, far_end(ssrc=0x666, host="127.0.0.2") as stranger:
        leg = await leg_to(engine, phone)
        phone.send(leg.local, b"\xff" * FRAME)
        for _ in range(100):
            stranger.send(leg.local, b"\x00" * FRAME)
        await settled(leg, phone)
        assert (leg.stats.packets, leg.stats.refused) == (2, 100)
        sent = 2
        while leg.stats.refused == 100:
            assert sent < 4 * FLOOD
            for _ in range(50):
                phone.send(leg.local, b"\xff" * FRAME)
            sent += 50
            while leg.stats.packets + leg.stats.refused < sent + 100:  # noqa: ASYNC110 - at once: its share is by time
                await asyncio.sleep(0)
        assert leg.stats.packets >= FLOOD


async def test_two_ends_that_echo_do_not_spin_for_ever() -> None:
    async with relay() as engine:
        legs = await engine.allocate(), await engine.allocate()
        for leg, other in (legs, legs[::-1]):
            leg.connect(other.local, Codec.PCMU, None)
        engine.bridge(*legs)
        began = asyncio.get_running_loop().time()
        async with far_end() as spark:
            spark.send(legs[0].local, b"\x11" * FRAME)
        await legs[0].play(pause(0.3))
        seconds = int(asyncio.get_running_loop().time() - began)
        assert max(leg.stats.packets for leg in legs) <= (2 + seconds) * FLOOD


async def test_what_is_not_rtp_or_not_agreed_on_is_counted_and_dropped() -> None:
    async with relay() as engine, far_end() as phone:
        leg = await leg_to(engine, phone)
        strange = [
            b"\x80",
            b"not RTP at all, sir",
            b"\x80\xc8\0\x06" + bytes(24),
            bytes(Packet(111, False, 1, 1, 1, b"opus")),
            b"\x9f" + bytes(20),
            b"\xb0\0" + bytes(12) + b"\xff\xff",
            bytes(Packet(0, False, 1, 1, 1, bytes(1900))),
            bytes(Packet(0, False, 1, 1, 1, bytes(4000))),
        ]
        for data in strange:
            phone.send_raw(leg.local, data)
        await settled(leg, phone)
        assert (leg.stats.packets, leg.stats.strange) == (1, len(strange))
        phone.send(leg.local, b"\x10\x8a\x03\x20", payload_type=EVENT)
        await settled(leg, phone)
        assert (leg.stats.packets, leg.stats.strange, leg.digits.empty()) == (3, len(strange) + 1, True)


async def test_loss_and_jitter_are_counted() -> None:
    async with relay() as engine, far_end() as phone:
        leg = await leg_to(engine, phone)
        for number in range(20):
            if number % 5 == 4:
                phone.sequence += 1
            phone.send(leg.local, b"\xff" * FRAME)
        await settled(leg, phone)
        stats = leg.stats
        assert (stats.packets, stats.lost) == (21, 4)
        assert stats.loss == pytest.approx(4 / 25)
        # Twenty packets at once that should have come 20 ms apart.
        assert stats.jitter_ms > 5
        assert stats.protection == "rtp"
        assert leg.heard_at is not None


async def test_a_closed_leg_ends_what_it_was_playing() -> None:
    async with relay() as engine, far_end() as phone:
        leg = await leg_to(engine, phone)
        playing = asyncio.create_task(leg.play(Sound.of(tone(440, seconds=5))))
        await phone.hear(2)
        leg.close()
        leg.close()
        with pytest.raises(LegClosedError):
            await playing
        with pytest.raises(LegClosedError):
            await leg.play(PROMPT)
        leg.hold_music()
        assert len(engine) == 0

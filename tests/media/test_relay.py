"""Two legs bridged over loopback, measured at the far ends; and the ports that legs get."""

import asyncio
import gc
import socket
import subprocess
import sys
from itertools import pairwise

import pytest

from hub.audio import tone
from hub.demo.ports import free_media_port
from hub.g711 import RATE, Codec
from media.leg import AudioLeg
from media.ports import NoPortError, Ports
from media.relay import BuiltinRelay, RelayEngine
from media.rtp import FRAME, Packet, ahead
from media.sound import Sound
from tests.media.farend import EVENT, Ear, FarEnd, far_end, relay
from tests.media.kept import Kept

LAWS = [(Codec.PCMU, Codec.PCMU), (Codec.PCMU, Codec.PCMA), (Codec.PCMA, Codec.PCMU), (Codec.PCMA, Codec.PCMA)]


async def bridged(engine: BuiltinRelay, a: FarEnd, b: FarEnd) -> tuple[AudioLeg, AudioLeg]:
    legs = await engine.allocate(), await engine.allocate()
    for leg, phone in zip(legs, (a, b), strict=True):
        leg.connect(phone.address, phone.codec, EVENT)
    engine.bridge(*legs)
    return legs


@pytest.mark.parametrize(("one", "other"), LAWS)
async def test_each_hears_the_other_and_only_the_other(one: Codec, other: Codec) -> None:
    async with relay() as engine, far_end(one, 1) as caller, far_end(other, 2) as agent:
        to_caller, to_agent = await bridged(engine, caller, agent)
        await asyncio.gather(
            caller.say(to_caller.local, tone(440, seconds=0.4)), agent.say(to_agent.local, tone(620, seconds=0.4))
        )
        await asyncio.gather(caller.hear(20), agent.hear(20))
        assert (caller.hz(), agent.hz()) == ([620], [440])
        assert to_caller.stats.packets == to_agent.stats.packets == 20
        assert to_caller.stats.lost == to_agent.stats.lost == 0


async def test_a_leg_that_is_over_leaves_nothing_for_the_collector() -> None:
    gc.collect()
    before = [each for each in gc.get_objects() if isinstance(each, AudioLeg)]  # of a test that failed
    gc.disable()
    try:
        async with relay() as engine, far_end() as caller, far_end() as agent:
            legs = await bridged(engine, caller, agent)
            for leg in legs:
                leg.on_gone = leg.on_lost = leg.close
                leg.close()
            del legs, leg
            assert not any(isinstance(each, AudioLeg) and each not in before for each in gc.get_objects())
    finally:
        gc.enable()


async def test_one_law_is_passed_on_byte_for_byte() -> None:
    async with relay() as engine, far_end() as caller, far_end() as agent:
        leg, _ = await bridged(engine, caller, agent)
        payload = bytes(range(160))
        caller.send(leg.local, payload)
        assert (await agent.hear(1))[-1].payload == payload


async def test_extensions_and_sources_are_not_passed_on() -> None:
    async with relay() as engine, far_end() as caller, far_end() as agent:
        leg, _ = await bridged(engine, caller, agent)
        packet = Packet(0, False, 7, 7, 9, b"\x11" * FRAME, csrcs=(1, 2), extension=(0xBEDE, b"\x10\xff\0\0"))
        caller.send_raw(leg.local, bytes(packet))
        (heard,) = await agent.hear(1)
        assert (heard.payload, heard.csrcs, heard.extension) == (b"\x11" * FRAME, (), None)
        assert heard.ssrc != 9


async def test_the_far_end_hears_one_stream_through_music_bridge_prompt_and_bridge() -> None:
    music = Sound.of(tone(350, seconds=0.2))
    async with relay(music) as engine, far_end(ssrc=1) as caller, far_end(ssrc=2) as agent:
        to_caller, to_agent = await engine.allocate(), await engine.allocate()
        to_caller.connect(caller.address, Codec.PCMU, EVENT)
        to_agent.connect(agent.address, Codec.PCMU, EVENT)
        late = Kept()
        to_caller.hold_music()
        await caller.hear(5)
        engine.bridge(to_caller, to_agent)
        await agent.say(to_agent.local, tone(620, seconds=0.1))
        speaking = asyncio.create_task(agent.say(to_agent.local, tone(620, seconds=0.3)))
        await to_caller.play(Sound.of(tone(1000, seconds=0.1)))
        await speaking
        engine.unbridge(to_agent)
        await caller.hear(len(caller.heard) + 3)
        heard = caller.heard
        assert len({packet.ssrc for packet in heard}) == 1
        assert all(ahead(b.sequence, a.sequence) == 1 for a, b in pairwise(heard))
        longest = 5 * FRAME + late.seconds * RATE
        assert all(0 < ahead(b.timestamp, a.timestamp, 32) <= longest for a, b in pairwise(heard))
        assert to_caller.peer is None


async def test_keys_reach_the_other_leg_as_events_and_are_read_here_too() -> None:
    async with relay() as engine, far_end() as caller, far_end(Codec.PCMA) as agent:
        leg, _ = await bridged(engine, caller, agent)
        await caller.say(leg.local, tone(440, seconds=0.06))
        await caller.press(leg.local, "12")
        await agent.hear(3 + 2 * 5)
        assert agent.keys() == "12"
        assert [leg.digits.get_nowait() for _ in range(2)] == ["1", "2"]


async def test_keys_are_kept_from_a_leg_that_agreed_on_none() -> None:
    async with relay() as engine, far_end() as caller, far_end() as agent:
        to_caller, to_agent = await bridged(engine, caller, agent)
        to_agent.connect(agent.address, Codec.PCMU, None)
        await caller.press(to_caller.local, "1")
        caller.send(to_caller.local, b"\x22" * FRAME)
        heard = await agent.hear(1)
        assert [packet.payload_type for packet in heard] == [0]


async def test_loss_order_and_repetition_are_left_to_the_far_end() -> None:
    async with relay() as engine, far_end() as caller, far_end() as agent:
        leg, _ = await bridged(engine, caller, agent)
        numbers = [0, 1, 4, 3, 3, 6, 5]
        for number in numbers:
            packet = Packet(0, False, 65_534 + number & 0xFFFF, number * FRAME, 5, bytes([number]) * FRAME)
            caller.send_raw(leg.local, bytes(packet))
        heard = await agent.hear(len(numbers))
        assert [packet.payload[0] for packet in heard] == numbers
        assert [ahead(packet.sequence, heard[0].sequence) for packet in heard] == numbers
        assert [ahead(packet.timestamp, heard[0].timestamp, 32) // FRAME for packet in heard] == numbers
        assert (leg.stats.packets, leg.stats.lost) == (7, 0)


async def test_a_tap_hears_its_leg_in_its_own_law() -> None:
    async with relay() as engine, far_end(Codec.PCMA) as caller, far_end() as agent:
        to_caller, to_agent = await bridged(engine, caller, agent)
        ears = Ear(), Ear()
        to_caller.tap(ears[0])
        to_agent.tap(ears[1])
        caller.send(to_caller.local, b"\x2a" * FRAME)
        agent.send(to_agent.local, b"\x33" * FRAME)
        await asyncio.gather(agent.hear(1), caller.hear(1))
        assert (ears[0].payloads, ears[1].payloads) == ([b"\x2a" * FRAME], [b"\x33" * FRAME])
        to_caller.tap(None)
        caller.send(to_caller.local, b"\x2a" * FRAME)
        await agent.hear(2)
        assert len(ears[0].payloads) == 1


async def test_a_bridged_leg_that_closes_leaves_the_other_in_silence() -> None:
    async with relay() as engine, far_end() as caller, far_end() as agent:
        to_caller, to_agent = await bridged(engine, caller, agent)
        to_agent.close()
        assert to_caller.peer is None
        await caller.hear(3)
        assert len(engine) == 1
        engine.bridge(to_caller, to_agent)
        assert to_caller.peer is None


async def test_a_third_leg_takes_the_place_of_the_second() -> None:
    async with relay() as engine, far_end() as caller, far_end() as agent, far_end() as nurse:
        to_caller, to_agent = await bridged(engine, caller, agent)
        to_nurse = await engine.allocate()
        to_nurse.connect(nurse.address, Codec.PCMU, EVENT)
        engine.bridge(to_caller, to_nurse)
        engine.bridge(to_caller, to_caller)
        assert (to_caller.peer, to_nurse.peer, to_agent.peer) == (to_nurse, to_caller, None)
        caller.send(to_caller.local, b"\x44" * FRAME)
        heard = await nurse.hear(1)
        assert heard[-1].payload == b"\x44" * FRAME


async def test_the_built_in_driver_is_a_relay_engine() -> None:
    async with relay() as driver:
        engine: RelayEngine[AudioLeg] = driver
        leg = await engine.allocate()
        assert leg.local[1] % 2 == 0


async def test_legs_get_even_ports_in_the_range_and_give_them_back() -> None:
    low = free_media_port()
    ports = Ports("127.0.0.1", low - 1, low + 7)
    engine = BuiltinRelay(ports, Sound(b"\xff" * FRAME))
    assert len(ports) == 4
    legs = [await engine.allocate() for _ in range(4)]
    with pytest.raises(NoPortError):
        await engine.allocate()
    used = [leg.local[1] for leg in legs]
    assert set(used) <= set(range(low, low + 8, 2))
    await engine.close()
    assert len(ports) == 4
    again = await engine.allocate()
    assert again.local[1] in range(low, low + 8, 2)
    await engine.close()


@pytest.mark.parametrize("taken", [0, 1])
def test_a_port_that_somebody_has_is_passed_over(taken: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as somebody:
        low = free_media_port()
        somebody.bind(("127.0.0.1", low + taken))
        ports = Ports("127.0.0.1", low, low + 1)
        with pytest.raises(NoPortError, match="in use"):
            ports.take()
        assert len(ports) == 1
    pair = ports.take()
    pair.close()
    pair.close()
    assert len(ports) == 1


def test_an_empty_range_or_another_machines_address_is_refused() -> None:
    with pytest.raises(NoPortError):
        Ports("127.0.0.1", 20_001, 20_001)
    with pytest.raises(NoPortError, match="not one of this machine"):
        Ports("192.0.2.1", 20_000, 20_009).take()


NO_DESCRIPTORS = """
import asyncio, resource
from media.ports import NoPortError, Ports
from media.relay import BuiltinRelay
from media.sound import Sound
async def main():
    engine = BuiltinRelay(Ports("127.0.0.1", 20000, 29999), Sound(b"\\xff" * 160))
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    legs = []
    try:
        while True:
            legs.append(await engine.allocate())
    except NoPortError as error:
        print(error, error.status, error.retry)
    legs.pop().close()
    print(len(engine) + 1 == len(legs) + 1, (await engine.allocate()).local[1] % 2)
    await engine.close()
asyncio.run(main())
"""


def test_no_descriptors_left_is_a_clean_refusal_and_passes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_DESCRIPTORS], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.splitlines() == ["this process may open no more sockets 503 True", "True 0"]


async def test_ipv6_carries_sound_too() -> None:
    try:
        ports = Ports("::1", 20_000, 29_999)
        ports.take().close()
    except NoPortError:
        pytest.skip("this machine has no IPv6 loopback")
    engine = BuiltinRelay(ports, Sound(b"\xff" * FRAME))
    async with far_end(host="::1") as phone:
        leg = await engine.allocate()
        leg.connect(phone.address, Codec.PCMU, None)
        phone.send(leg.local, b"\xff" * FRAME)
        await phone.hear(3)
        assert leg.remote == phone.address
        await engine.close()


def test_a_settled_socket_hears_one_place_alone_and_shares_its_port_with_nobody_else() -> None:
    pair = Ports("127.0.0.1", 20_000, 29_999).take()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as third,
    ):
        far.bind(("127.0.0.1", 0))
        settled = pair.settle(far.getsockname())
        assert settled is not None
        far.sendto(b"far", pair.local)
        stranger.sendto(b"stranger", pair.local)
        assert (settled.recv(99), pair.rtp.recv(99)) == (b"far", b"stranger")
        settled.send(b"back")
        assert far.recvfrom(99) == (b"back", pair.local)
        third.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            third.bind(pair.local)
        pair.unsettle()
        far.sendto(b"again", pair.local)
        assert pair.rtp.recv(99) == b"again"
    assert pair.settle(("192.0.2.300", 1)) is None
    pair.close()

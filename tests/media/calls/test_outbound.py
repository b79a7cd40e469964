"""Calls that phones of the practice make, through the gateway, to a carrier and to colleagues on loopback."""

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlmodel import Session, select

from hub.cli import setup
from hub.cli.instance import opened
from hub.instance import Instance
from hub.record import agent, call, staff, task
from hub.record.agent import Presence
from hub.record.call import CallLeg
from hub.settings import Paths
from media.offer import answer_audio, offer_audio
from media.sdp import Direction
from media.sdp import Session as Sdp
from media.sip.hop import Hop
from media.sip.incoming import Incoming
from media.sip.message import Response
from media.sip.status import Cause
from tests.media.office import ACCESS, Office, policy, port_of, rtp
from tests.media.sip.peer import Peer, answering, peer, saying, silent, speaking_early

pytestmark = pytest.mark.xdist_group("gateway")


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    root = tmp_path_factory.mktemp("outbound") / "i"
    setup.make(Paths(root), policy())
    with opened(root) as instance:
        yield instance


async def test_a_phone_just_added_calls_a_number_outside_and_both_hear_each_other(office: Office) -> None:
    before = await office.count()
    async with peer(answering, office.carrier_port) as carrier, office.phone("101") as phone:
        far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        far.bind(("127.0.0.1", 0))
        far.setblocking(False)
        carrier.rtp = far.getsockname()[1]
        heard: list[int] = []
        dialled = phone.dial("2125550123")
        dialled.on_progress = lambda status, _: heard.append(status)
        session = await dialled.answered
        assert 180 in heard
        (invite,) = carrier.of("INVITE")
        assert invite.uri == "sip:+12125550123@carrier.example;user=phone"
        assert invite.headers["P-Asserted-Identity"] == ["<sip:+12125550100@carrier.example;user=phone>"]
        assert not any("101" in invite.headers[name][0] for name in ("From", "To", "P-Asserted-Identity"))
        theirs = port_of(Sdp.parse(invite.body))
        far.sendto(rtp(b"\x11" * 160), ("127.0.0.1", theirs))
        assert await phone.hears(b"\x11" * 160)
        phone.sound.sendto(rtp(b"\x22" * 160), ("127.0.0.1", port_of(session)))
        async with asyncio.timeout(20):
            while (await asyncio.get_running_loop().sock_recv(far, 2048))[12:] != b"\x22" * 160:
                pass
        dialled.bye()
        await carrier.until(1, "BYE")
        far.close()
    row = await office.ended(before)
    assert (row.direction, row.path, row.cause) == ("out", call.ANSWERED, "agent")
    assert (row.did, row.trunk) == ("+12125550100", "line")


async def test_the_row_is_sealed_and_about_the_number_that_was_dialled(office: Office) -> None:
    before = await office.count()
    async with peer(answering, office.carrier_port) as carrier, office.phone("101") as phone:
        dialled = phone.dial("+12125550144")
        await dialled.answered
        carrier.requests.clear()
        dialled.bye()
        await carrier.until(1, "BYE")
    row = await office.ended(before)
    assert row.caller_key == office.instance.index.phone("+12125550144")
    assert b"2125550144" not in row.sealed

    def look(db: Session) -> tuple[list[dict[str, Any]], list[CallLeg]]:
        legs = list(db.exec(select(CallLeg).where(CallLeg.call_id == row.id)))
        return office.instance.opener.open(db, ACCESS, [call.sealed_of(row)]), legs

    (said,), legs = await office.instance.db.run(look, write=True)
    assert said["number"] == "+12125550144"
    assert {(leg.role, leg.protection) for leg in legs} == {("agent", "rtp"), ("far-end", "rtp")}


async def test_early_words_of_the_carrier_are_heard_and_the_answer_follows(office: Office) -> None:
    async with peer(speaking_early, office.carrier_port) as carrier, office.phone("101") as phone:
        early: asyncio.Future[Sdp] = asyncio.get_running_loop().create_future()
        dialled = phone.dial("+12125550123")
        dialled.on_progress = lambda status, session: early.set_result(session) if session and status == 183 else None
        async with asyncio.timeout(20):
            session = await early
        (invite,) = carrier.of("INVITE")
        assert not dialled.answered.done()
        carrier.say(answering(carrier, invite)[2])
        assert port_of(await dialled.answered) == port_of(session)
        dialled.bye()
        await carrier.until(1, "BYE")


async def test_a_person_presses_keys_by_info_and_holds_the_far_end_with_music(office: Office) -> None:
    async with peer(answering, office.carrier_port) as carrier, office.phone("101") as phone:
        far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        far.bind(("127.0.0.1", 0))
        far.setblocking(False)
        carrier.rtp = far.getsockname()[1]
        dialled = phone.dial("+12125550123")
        await dialled.answered
        dialog = dialled._dialog
        assert dialog is not None
        hop = Hop("127.0.0.1", office.port)
        info = dialog.request("INFO", phone.endpoint._stack.via_for(hop))
        info.headers["Content-Type"] = ["application/dtmf-relay"]
        info.body = b"Signal=5\r\nDuration=160\r\n"
        phone.endpoint.transactions.request(info, hop, lambda _: None)

        async def until(holds: Any) -> None:
            async with asyncio.timeout(20):
                while not holds(await asyncio.get_running_loop().sock_recv(far, 2048)):
                    pass

        await until(lambda packet: packet[1] & 0x7F == 101 and packet[12] == 5)
        held = offer_audio(phone.sound.getsockname(), origin=phone.offer().origin, direction=Direction.SENDONLY)
        await dialled.reinvite(held)
        await until(lambda packet: len(packet) == 172 and len(set(packet[12:])) > 8)
        dialled.bye()
        await carrier.until(1, "BYE")
        far.close()


@pytest.mark.parametrize(
    ("status", "heard", "cause"),
    [(486, 486, Cause.BUSY), (404, 404, Cause.UNREACHABLE), (603, 603, Cause.REFUSED), (407, 503, Cause.FAILED)],
)
async def test_a_refusal_reaches_the_phone(office: Office, status: int, heard: int, cause: Cause) -> None:
    before = await office.count()
    async with peer(saying(status), office.carrier_port), office.phone("101") as phone:
        dialled = phone.dial("+12125550123")
        assert await dialled.ended is cause
        assert dialled.status == heard
    row = await office.ended(before)
    assert (row.path, row.cause) == (call.UNANSWERED, str(heard))


async def test_a_person_who_hangs_up_stops_the_ringing(office: Office) -> None:
    def rings(served: Peer, request: Any) -> list[Response]:
        return answering(served, request)[:2] if request.method == "INVITE" else answering(served, request)

    before = await office.count()
    async with peer(rings, office.carrier_port) as carrier, office.phone("101") as phone:
        rung = asyncio.Event()
        dialled = phone.dial("+12125550123")
        dialled.on_progress = lambda status, _: rung.set() if status == 180 else None
        async with asyncio.timeout(20):
            await rung.wait()
        dialled.cancel()
        await carrier.until(1, "CANCEL")
        carrier.say(carrier.of("INVITE")[0].respond(487, to_tag="peer"))
    row = await office.ended(before)
    assert (row.path, row.cause) == (call.UNANSWERED, "agent")


async def test_the_far_end_hangs_up_and_the_phone_hears_of_it(office: Office) -> None:
    before = await office.count()
    async with peer(answering, office.carrier_port) as carrier, office.phone("101") as phone:
        dialled = phone.dial("+12125550123")
        await dialled.answered
        ack = (await carrier.until(1, "ACK"))[0]
        invite = carrier.of("INVITE")[0]
        bye = invite.respond(200)  # for its headers only
        text = (
            f"BYE {invite.contacts[0].uri} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{office.carrier_port};branch=z9hG4bKbye\r\n"
            f"From: {ack.headers['To'][0]}\r\nTo: {bye.headers['From'][0]}\r\nCall-ID: {invite.call_id}\r\n"
            "CSeq: 1 BYE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        )
        carrier._transport.sendto(text.encode(), ("127.0.0.1", office.port))
        assert await dialled.ended is Cause.HANGUP
    row = await office.ended(before)
    assert (row.path, row.cause) == (call.ANSWERED, "far-end")


@pytest.mark.parametrize(("number", "status"), [("+19005550123", 403), ("+442079460958", 403), ("nobody", 404)])
async def test_what_is_not_allowed_is_refused_without_a_row(office: Office, number: str, status: int) -> None:
    before = await office.count()
    async with peer(silent, office.carrier_port) as carrier, office.phone("101") as phone:
        dialled = phone.dial(number)
        await dialled.ended
        assert dialled.status == status
        assert carrier.requests == []
    assert await office.count() == before


async def test_a_second_call_waits_until_the_first_is_over_and_each_costs(office: Office) -> None:
    async with peer(answering, office.carrier_port) as carrier, office.phone("101") as phone:
        spent = office.gateway._outside.meter.spent
        first = phone.dial("+12125550123")
        await first.answered
        second = phone.dial("+12125550124")
        await second.ended
        assert second.status == 403
        first.bye()
        await carrier.until(1, "BYE")
        assert float(office.gateway._outside.meter.spent - spent) == 0.5


async def test_who_dials_many_numbers_in_one_moment_has_one_call(office: Office) -> None:
    take, there, all_there = office.gateway._take, [], asyncio.Event()

    async def hold(incoming: Incoming) -> None:
        there.append(incoming)
        if len(there) == 10:
            all_there.set()
        await all_there.wait()
        await take(incoming)

    async with peer(answering, office.carrier_port) as carrier, office.phone("101") as phone:
        office.gateway.endpoint.on_invite = hold
        dialled = [phone.dial(f"+121255501{number}") for number in range(20, 30)]
        await asyncio.gather(*[each.answered for each in dialled])
        assert sorted(each.status for each in dialled) == [200] + [403] * 9
        assert len(carrier.of("INVITE")) == 1
        next(each for each in dialled if each.status == 200).bye()
        await carrier.until(1, "BYE")


async def test_help_is_called_with_where_the_phone_stands_and_the_desk_is_told(office: Office) -> None:
    before = await office.count()
    async with peer(answering, office.carrier_port) as carrier, office.phone("101") as phone:
        dialled = phone.dial("9911")
        await dialled.answered
        (invite,) = carrier.of("INVITE")
        assert invite.uri == "sip:911@carrier.example"
        (located,) = invite.headers["Geolocation"]
        assert located[5:-1].encode() in invite.body
        for element in (b"<ca:A1>NY</ca:A1>", b"<ca:RD>Main &amp; Front</ca:RD>", b"<ca:HNO>12</ca:HNO>"):
            assert element in invite.body
        dialled.bye()
        await carrier.until(1, "BYE")
    row = await office.ended(before)

    def look(db: Session) -> tuple[str, dict[str, Any]]:
        (kept,) = [one for one in task.open_tasks(db, kind="emergency") if one.call_id == row.id]
        sealed = task.sealed_of(kept)
        assert sealed is not None
        return kept.reason, office.instance.opener.open(db, ACCESS, [sealed])[0]

    reason, note = await office.instance.db.run(look, write=True)
    assert reason == "emergency-call"
    assert note["note"] == "911 dialled at extension 101, main, 3"


async def test_help_is_called_without_a_location_where_the_carrier_takes_none(office: Office) -> None:
    def plain(served: Peer, request: Any) -> list[Response]:
        if request.method == "INVITE" and request.content_type != "application/sdp":
            return [request.respond(415, to_tag="peer")]
        return answering(served, request)

    async with peer(plain, office.carrier_port) as carrier, office.phone("101") as phone:
        dialled = phone.dial("911")
        assert await dialled.answered is not None
        assert [invite.content_type for invite in carrier.of("INVITE")] == ["multipart/mixed", "application/sdp"]
        assert "Geolocation" not in carrier.of("INVITE")[1].headers
        dialled.bye()
        await carrier.until(1, "BYE")


async def test_a_colleague_is_rung_and_both_talk(office: Office) -> None:
    before = await office.count()
    async with office.phone("101") as ana, office.phone("102") as ben:
        await ben.register()
        dialled = ana.dial("102")
        async with asyncio.timeout(20):
            rung = await ben.rung.get()
        assert rung.from_number == "101"
        assert rung.offer is not None
        rung.answer(answer_audio(rung.offer, ben.sound.getsockname())[0])
        session = await dialled.answered
        ana.sound.sendto(rtp(b"\x33" * 160), ("127.0.0.1", port_of(session)))
        assert await ben.hears(b"\x33" * 160)
        dialled.bye()
        assert await rung.ended is Cause.HANGUP
        await ben.register(0)
    assert await office.count() == before


async def test_a_phone_that_holds_as_soon_as_it_is_acknowledged_is_heard(office: Office) -> None:
    async with office.phone("101") as ana, office.phone("102") as ben:
        await ben.register()
        for _ in range(5):
            dialled = ana.dial("102")
            async with asyncio.timeout(20):
                rung = await ben.rung.get()
                assert rung.offer is not None
                answer, _ = answer_audio(rung.offer, ben.sound.getsockname())
                rung.answer(answer)
                assert await rung.acked
                media = replace(answer.media[0], direction=Direction.SENDONLY)
                await rung.reinvite(replace(answer, origin=answer.origin.next(), media=(media,)))
                dialled.bye()
                await rung.ended
        await ben.register(0)


async def test_a_colleague_without_a_phone_is_away(office: Office) -> None:
    async with office.phone("101") as ana:
        dialled = ana.dial("102")
        await dialled.ended
        assert dialled.status == 480


async def test_who_dials_is_busy_meanwhile_and_free_again(office: Office) -> None:
    person = office.gateway.line.directory.owners

    def presence(db: Session, to: Presence | None = None) -> Presence:
        found = staff.find(db, "ana@cove.example")
        assert found is not None
        if to is not None:
            agent.presence(db, found.id, to, datetime.now(UTC))
        return agent.get(db, found.id, datetime.now(UTC)).presence

    assert person is not None
    before = await office.count()
    await office.instance.db.run(lambda db: presence(db, Presence.AVAILABLE), write=True)
    async with peer(answering, office.carrier_port) as carrier, office.phone("101") as phone:
        dialled = phone.dial("+12125550123")
        await dialled.answered
        await office.rows(lambda rows: len(rows) > before and rows[-1].bridged_at is not None)
        assert await office.instance.db.run(presence, write=True) is Presence.BUSY
        dialled.bye()
        await carrier.until(1, "BYE")
    await office.ended(before)
    assert await office.instance.db.run(presence, write=True) is Presence.AVAILABLE

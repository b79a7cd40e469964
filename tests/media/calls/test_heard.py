"""What callers' sound itself does to a call: keys in it, a message that ends with silence, a fax machine that calls."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from sqlmodel import Session as Db
from sqlmodel import col, select

from hub.audio import frequencies, tone
from hub.cli import setup
from hub.cli.instance import opened
from hub.g711 import RATE, Codec, decode
from hub.instance import Instance
from hub.record import call
from hub.record.call import Call
from hub.record.voicemail import Voicemail
from hub.settings import Paths
from media.calls.inbound import InboundCall
from media.hearing.calling import CNG_HZ
from media.latch import Address as Place
from media.offer import offer_audio
from media.rtp import FRAME, Packet, ahead
from media.sdp import PCMU, Session
from media.sip.endpoint import Endpoint
from media.sip.outgoing import Outgoing
from media.sip.uri import Address, Uri
from media.sound import SILENCE
from tests.media.farend import FarEnd, far_end
from tests.media.hearing.test_attention import speech
from tests.media.hearing.test_inband import pressed, quiet
from tests.media.office import Office, policy, port_of

pytestmark = pytest.mark.xdist_group("gateway")

MORE = """
[recording]
calls = false

[fax]
extension = "102"

[[number]]
did = "+12125550101"
menu = "main"
voicemail = "desk"

[[menu]]
name = "main"
say.en = "Nine for a message."
choices = { 9 = { voicemail = "quick" } }

[[voicemail]]
name = "quick"
roles = ["front-desk"]
silence_seconds = 3
"""
DESK, MENU = "+12125550100", "+12125550101"
GREETING_S = 3.0
"The stock greeting of a voicemail lasts longer."

SILENCE_S = 3.0
"That ends a message in the box of the menu."

PIECE = 8
"Packets of which the tones are looked for; the beep has 20."


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    root = tmp_path_factory.mktemp("heard") / "i"
    setup.make(Paths(root), policy(MORE))
    for name in ("authority.pem", "carrier.pem"):
        (root / name).write_text("of nobody")
    with opened(root) as instance:
        yield instance


def without_events(place: Place) -> Session:
    """Offer mu-law alone: keys can only be tones."""
    offer = offer_audio(place, codecs=(PCMU,))
    return replace(offer, media=(replace(offer.media[0], codecs=(PCMU,)),))


async def called(carrier: Endpoint, office: Office, number: str, phone: FarEnd) -> tuple[Outgoing, Place]:
    """Let the carrier call a number; return the call, and where its sound goes."""
    uri = Uri.parse(f"sip:{number}@127.0.0.1:{office.port}")
    own = Address(Uri.parse("sip:+12125550123@127.0.0.9"))
    sent = carrier.call(uri, without_events(phone.address), from_=own)
    async with asyncio.timeout(20):
        answer = await sent.answered
    return sent, ("127.0.0.1", port_of(answer))


async def ended(office: Office, before: int) -> Call:
    rows = await office.rows(lambda rows: len(rows) > before and rows[-1].ended_at is not None, call.IN)
    return rows[-1]


async def beeped(office: Office, phone: FarEnd) -> int:
    """Wait until the beep is heard, and until what is said is kept; return how many packets came up to the beep."""
    at = 0
    async with asyncio.timeout(40):
        while not _is_beep((await phone.hear(at + PIECE))[at : at + PIECE]):
            at += PIECE
        (current,) = office.gateway.calls.values()
        assert isinstance(current, InboundCall)
        while current.tape is None:  # noqa: ASYNC110 - the gateway tells nobody
            await asyncio.sleep(0.01)
    return at


def _is_beep(packets: list[Packet]) -> bool:
    peaks = frequencies(decode(Codec.PCMU, b"".join(packet.payload for packet in packets)))
    return [round(peak.hz / 10) for peak in peaks] == [100]


def goodbye_after(phone: FarEnd, beep: int) -> float:
    """Return the seconds from the end of the beep to what is said next, by the clock of who says it."""
    said = [place for place in range(beep, len(phone.heard)) if phone.heard[place].payload != SILENCE[Codec.PCMU]]
    pause = next(n for n, (one, other) in enumerate(pairwise(said)) if other > one + PIECE)
    ended, again = phone.heard[said[pause]], phone.heard[said[pause + 1]]
    return ahead(again.timestamp, ended.timestamp, 32) / RATE


def _last_message(db: Db) -> Voicemail:
    return db.exec(select(Voicemail).order_by(col(Voicemail.started_at).desc()).limit(1)).one()


async def test_a_key_that_is_only_a_tone_chooses_and_silence_ends_the_message(
    office: Office, carrier: Endpoint
) -> None:
    before = len(await office.rows(lambda _: True, call.IN))
    async with far_end(host="127.0.0.9") as phone:
        sent, place = await called(carrier, office, MENU, phone)
        await phone.hear(5)
        await phone.say(place, np.concatenate((quiet(0.04), pressed("9", seconds=0.1), quiet(0.1))))
        beep = await beeped(office, phone)
        await phone.say(place, np.concatenate((quiet(0.5), speech(2.0), quiet(1.5))))
        async with asyncio.timeout(40):
            await sent.ended
        after = goodbye_after(phone, beep)
    row = await ended(office, before)
    assert (row.path, row.cause) == (call.VOICEMAIL, "system")
    message = await office.instance.db.run(_last_message)
    assert message.box == "quick"
    # Neither the silence that ended it nor the goodbye belongs to the message.
    assert 1.8 < message.seconds < after - SILENCE_S + 0.4


async def test_a_key_skips_the_greeting_and_ends_no_message(office: Office, carrier: Endpoint) -> None:
    before = len(await office.rows(lambda _: True, call.IN))
    async with far_end(host="127.0.0.9") as phone:
        sent, place = await called(carrier, office, DESK, phone)
        await phone.hear(5)
        await phone.say(place, np.concatenate((quiet(0.04), pressed("#"), quiet(0.1), pressed("#"), quiet(0.1))))
        assert await beeped(office, phone) * FRAME / RATE < GREETING_S
        await phone.say(place, np.concatenate((quiet(0.3), speech(2.0))))
        sent.bye()
        await sent.gone
    row = await ended(office, before)
    assert (row.path, row.cause) == (call.VOICEMAIL, "caller")
    assert (await office.instance.db.run(_last_message)).seconds > 1.8


async def test_a_fax_machine_that_is_heard_goes_to_the_practices_machine(office: Office, carrier: Endpoint) -> None:
    before = len(await office.rows(lambda _: True, call.IN))
    async with office.phone("102") as machine, far_end(host="127.0.0.9") as phone:
        await machine.register()
        sent, place = await called(carrier, office, DESK, phone)
        await phone.say(place, np.concatenate((quiet(0.3), tone(CNG_HZ, seconds=0.5), quiet(0.1))))
        async with asyncio.timeout(20):
            taken = await machine.rung.get()
        taken.answer(machine.offer())
        await taken.acked
        page = b"a page".ljust(FRAME)
        hearing = asyncio.create_task(machine.hears(page))
        while not hearing.done():  # until the two are bridged, nobody hears it
            phone.send(place, page)
            await asyncio.wait([hearing], timeout=0.02)
        assert await hearing
        sent.bye()
        await taken.ended
        await machine.register(0)
    row = await ended(office, before)
    assert row.path == call.FAX
    assert (row.cause, row.queue) == ("caller", None)

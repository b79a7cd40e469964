"""Calls that are faxes, from a trunk to the practice's fax machine; both are sockets on loopback."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from hub.cli import setup
from hub.cli.instance import opened
from hub.instance import Instance
from hub.record import call
from hub.record.call import Call
from hub.settings import Paths
from media.calls.fax import is_fax
from media.offer import offer_audio
from media.sdp import Direction, Media, Origin, Session
from media.sip.endpoint import Endpoint
from media.sip.outgoing import Outgoing
from media.sip.status import Cause
from media.sip.uri import Address, Uri
from tests.media.office import Office, policy

pytestmark = pytest.mark.xdist_group("gateway")

T38 = Media("image", 30_000, "udptl", "127.0.0.9", (), formats=("t38",), attributes=("T38FaxVersion:0",))
FAX = Session(Origin("7", "1", "127.0.0.9"), (T38,), "fax")
VOICE = offer_audio(("127.0.0.9", 40_002))


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        (FAX, True),
        (VOICE, False),
        (None, False),
        (replace(VOICE, media=(*VOICE.media, T38)), False),
        (replace(VOICE, media=(replace(VOICE.media[0], port=0), T38)), True),
        (replace(FAX, media=(replace(T38, port=0),)), False),
        (replace(FAX, media=(replace(T38, formats=("other",)),)), False),
    ],
)
def test_a_fax_offers_t38_and_no_sound(offer: Session | None, answer: bool) -> None:
    assert is_fax(offer) is answer


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    root = tmp_path_factory.mktemp("fax") / "i"
    setup.make(Paths(root), policy('[fax]\nextension = "102"\n'))
    for name in ("authority.pem", "carrier.pem"):
        (root / name).write_text("of nobody")
    with opened(root) as instance:
        yield instance


def send(carrier: Endpoint, office: Office, name: bytes = b"") -> Outgoing:
    number = Uri.parse(f"sip:+12125550100@127.0.0.1:{office.port}")
    display = name.decode("utf-8", "surrogateescape")
    return carrier.call(number, FAX, from_=Address(Uri.parse("sip:+12125550123@127.0.0.9"), display))


async def last(office: Office, before: int) -> Call:
    rows = await office.rows(lambda rows: len(rows) > before and rows[-1].ended_at is not None, call.IN)
    return rows[-1]


async def test_a_fax_goes_to_the_machine_as_it_is(office: Office, carrier: Endpoint) -> None:
    before = len(await office.rows(lambda _: True, call.IN))
    async with office.phone("102") as machine:
        await machine.register()
        sent = send(carrier, office)
        async with asyncio.timeout(20):
            taken = await machine.rung.get()
        assert taken.offer == FAX
        assert taken.from_number == "+12125550123"
        theirs = replace(FAX, origin=Origin("8", "1", "127.0.0.1"), media=(replace(T38, port=31_000),))
        taken.answer(theirs)
        assert await sent.answered == theirs
        again = replace(FAX, origin=Origin("7", "2", "127.0.0.9"), media=(replace(T38, port=30_002),))

        async def follow(offer: Session) -> Session:
            assert offer == again
            return replace(theirs, origin=Origin("8", "2", "127.0.0.1"))

        taken.on_offer = follow
        assert (await sent.reinvite(again)).origin.version == "2"
        sent.bye()
        assert await taken.ended is Cause.HANGUP
        await machine.register(0)
    row = await last(office, before)
    assert (row.path, row.cause, row.did) == (call.FAX, "caller", "+12125550100")


async def test_a_fax_without_a_machine_is_told_so(office: Office, carrier: Endpoint) -> None:
    before = len(await office.rows(lambda _: True, call.IN))
    sent = send(carrier, office, b"Cl\xednica")
    await sent.ended
    assert sent.status == 480
    row = await last(office, before)
    assert (row.path, row.cause) == (call.FAX, "480")


async def test_a_machine_that_takes_no_fax_says_so_to_the_sender(office: Office, carrier: Endpoint) -> None:
    async with office.phone("102") as machine:
        await machine.register()
        sent = send(carrier, office)
        async with asyncio.timeout(20):
            taken = await machine.rung.get()
        taken.reject(488)
        assert await sent.ended is Cause.UNACCEPTABLE
        await machine.register(0)


def test_a_description_of_a_fax_comes_back_as_it_was() -> None:
    assert Session.parse(bytes(FAX)) == FAX
    assert T38.direction is Direction.SENDRECV

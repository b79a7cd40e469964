"""SIP: whatever datagrams come, each is read or refused, answered to nobody but its sender, and forgotten in the end.

An input is several datagrams, `SEPARATOR` between them; a minute passes after the last. Every other one comes from a
trunk, the others from where phones are.
"""

import asyncio

import structlog.testing

from media.errors import ProtocolError, UnacceptableError
from media.offer import answer_audio
from media.sip.hop import Hop
from media.sip.incoming import Incoming
from media.sip.message import Request, parse
from tests.media.sip.line import PHONE, TRUNK, Line

SEPARATOR = b"\n\0\n"
MOST = 12
"Datagrams of one input."

LONG_S = 40.0
"By then every transaction has ended that nobody answers: 64 times T1, and a little (RFC 3261 section 17)."

HERE = ("192.0.2.1", 20000)


def one(data: bytes) -> None:
    """Have `data` arrive."""
    asyncio.run(_arrive(data.split(SEPARATOR)[:MOST]))


async def _arrive(datagrams: list[bytes]) -> None:
    with structlog.testing.capture_logs() as logs:
        line = Line()
        line.endpoint.on_invite = _take
        for number, datagram in enumerate(datagrams):
            _read(datagram)
            _put(line, datagram, TRUNK if number % 2 == 0 else PHONE)
            await line.settle()
        for leg in list(line.endpoint._stack.legs.values()):
            leg.bye()
        line.passes(LONG_S)
        await line.settle()
        line.passes(LONG_S)
    assert [entry for entry in logs if entry["event"].endswith("-fault")] == []
    assert line.endpoint.calls == 0
    assert not line.endpoint.transactions.servers
    assert not line.endpoint.transactions.clients


def _put(line: Line, datagram: bytes, source: Hop) -> None:
    """Have one datagram arrive; what goes out is SIP, and an answer goes to where the request came from."""
    line.endpoint.receive(datagram, source)
    sent, line.wire.sent = line.wire.sent, []
    for message, place in sent:
        if not isinstance(parse(message), Request):
            assert place.host in (TRUNK.host, PHONE.host)


async def _take(call: Incoming) -> None:
    """Ring, and take the call or not, by its offer."""
    call.ring()
    try:
        if call.offer is not None:
            call.answer(answer_audio(call.offer, HERE)[0])
        else:
            call.reject(480)
    except UnacceptableError:
        call.reject(488)


def _read(datagram: bytes) -> None:
    """Ask for every part of a message; written again, it is the same."""
    try:
        message = parse(datagram)
        if isinstance(message, Request):
            message.check()
        assert parse(bytes(message)) == message
        _ = (message.via, message.sequence, message.from_tag, message.to_tag, message.contacts, message.content_type)
        if isinstance(message, Request):
            target = message.target
            assert type(target).parse(str(target)).hop == target.hop
            _ = target.number
    except ProtocolError:
        return

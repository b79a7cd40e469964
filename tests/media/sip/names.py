"""A name server on loopback that says what a test tells it to (RFC 1035)."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset


class Names(asyncio.DatagramProtocol):
    """Answers from `zone`: `(name, type)` to the texts of its records; what is not there does not exist."""

    def __init__(self, zone: Mapping[tuple[str, str], Sequence[str]]) -> None:
        self.zone = dict(zone)
        self.asked: list[tuple[str, str]] = []
        self.silent = False
        self.mute: set[str] = set()
        "Names that it is silent of."
        self.address = ("", 0)
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.address = transport.get_extra_info("sockname")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if self.silent or name in self.mute:
            return
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        texts = self.zone.get((name, kind))
        if texts:
            reply.answer.append(dns.rrset.from_text_list(question.name, 300, "IN", kind, texts))
        elif not any(known == name for known, _ in self.zone):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        self._transport.sendto(reply.to_wire(), addr)


@asynccontextmanager
async def serving(zone: Mapping[tuple[str, str], Sequence[str]]) -> AsyncIterator[Names]:
    """Serve a zone on a free port of the loopback interface."""
    names = Names(zone)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: names, local_addr=("127.0.0.1", 0))
    try:
        yield names
    finally:
        transport.close()

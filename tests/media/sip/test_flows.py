"""Phones that are reached over the connection they opened: WebSocket, TLS and TCP (RFC 5626, RFC 7118)."""

import asyncio

import pytest

from media.sip import Address, Cause, Hop, Login, Uri
from media.sip.message import Request, Response, parse
from media.sip.registrar import Binding
from tests.media.sip.line import Line, Wire, answer, follow, invite, offer, proven, reply, request, statuses

PAGE = "df7jal23ls0d.invalid"
INSTANCE = '"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>"'
CALLER = Address(Uri("sip", "x", "192.0.2.1"))


class Pipe(Wire):
    """A transport for pages that were let in elsewhere."""

    def __init__(self, transport: str = "ws") -> None:
        super().__init__()
        self.transport = transport
        self.owners: dict[int, str] = {}

    @property
    def local(self) -> Hop:
        return Hop("192.0.2.1", 8080, self.transport)

    def owner(self, flow: int) -> str:
        return self.owners.get(flow, "")


class Pages(Line):
    """A line with two pages of extension 101 and 102 at flows 11 and 12, and a connection that is nobody's at 13."""

    def __init__(self, transport: str = "ws") -> None:
        self.pipe = Pipe(transport)
        super().__init__()
        self.endpoint.wires.add(self.pipe)
        self.pipe.owners = {11: "101", 12: "102", 14: "101"}

    def at(self, flow: int) -> Hop:
        return Hop("203.0.113.9", 40000 + flow, self.pipe.transport, flow)

    def say(self, message: Request | Response, flow: int) -> list[Request | Response]:
        self.endpoint.receive(bytes(message), self.at(flow))
        sent, self.pipe.sent = self.pipe.sent, []
        self.last = [hop for _, hop in sent]
        self.wire.sent += sent
        return self.take()

    def said(self) -> list[Request | Response]:
        sent, self.pipe.sent = self.pipe.sent, []
        self.last = [hop for _, hop in sent]
        self.wire.sent += sent
        return self.take()

    def contacts(self, extension: str = "101") -> list[Binding]:
        return self.endpoint.registrar.contacts(extension)


def register(
    user: str = "101", *, sequence: int = 1, call_id: str = "reg-1", contact: str = "", via: str = ""
) -> Request:
    return request(
        "REGISTER",
        uri="sip:192.0.2.1",
        from_=f"<sip:{user}@192.0.2.1>;tag=far",
        to=f"<sip:{user}@192.0.2.1>",
        via=via or f"SIP/2.0/WSS {PAGE}",
        contact=contact or f"<sip:abc@{PAGE};transport=ws>;+sip.instance={INSTANCE};reg-id=1",
        sequence=sequence,
        call_id=call_id,
        branch=f"z9hG4bKreg{sequence}{call_id}",
        headers={"Expires": "300"},
    )


@pytest.fixture
def pages() -> Pages:
    return Pages()


def test_a_page_that_was_let_in_registers_without_a_password(pages: Pages) -> None:
    assert statuses(pages.say(register(), 11)) == [200]
    assert pages.last == [Hop("203.0.113.9", 80, "ws", 11)]
    (binding,) = pages.contacts()
    assert binding.hop().flow == 11
    assert pages.registered == [("101", 300)]


def test_a_page_speaks_for_its_own_extension_only(pages: Pages) -> None:
    assert statuses(pages.say(register("102"), 11)) == [403]
    assert pages.contacts("102") == []


def test_a_connection_that_is_nobody_s_needs_the_password(pages: Pages) -> None:
    (refusal,) = pages.say(register(), 13)
    assert isinstance(refusal, Response)
    assert refusal.status == 401
    assert statuses(pages.say(proven(register(), refusal, Login("101", "secret of 101")), 13)) == [200]


async def test_a_call_from_a_page_is_its_extension_s_whatever_it_says(pages: Pages) -> None:
    message = invite(via=f"SIP/2.0/WSS {PAGE}", contact=f"<sip:abc@{PAGE};transport=ws;ob>")
    assert statuses(pages.say(message, 12)) == [100]
    await pages.settle()
    (call,) = pages.calls
    assert (call.extension, call.trunk, call.from_number) == ("102", "", "102")
    call.answer(answer())
    (ok,) = pages.said()
    assert ok.contacts[0].uri.transport == "ws"
    assert pages.last[0].flow == 12
    pages.say(follow(message, ok, "ACK"), 12)  # type: ignore[arg-type]
    call.bye()
    assert statuses(pages.said()) == ["BYE"]
    assert pages.last[0].flow == 12


async def test_a_page_is_rung_over_its_connection_and_its_name_never_looked_up(pages: Pages) -> None:
    pages.say(register(), 11)
    leg = pages.endpoint.call(pages.contacts()[0], offer(), from_=CALLER)
    (message,) = pages.said()
    assert isinstance(message, Request)
    assert (message.method, message.uri, pages.last) == ("INVITE", f"sip:abc@{PAGE};transport=ws", [pages.at(11)])
    assert message.via.transport == "WS"
    assert message.contacts[0].uri.transport == "ws"
    pages.say(reply(message, 200, contact=f"<sip:abc@{PAGE};transport=ws>", body=bytes(answer())), 11)
    assert await leg.answered is not None


async def test_a_page_whose_connection_is_gone_is_not_rung_until_it_comes_back(pages: Pages) -> None:
    pages.say(register(), 11)
    pages.endpoint.closed(11)
    assert pages.contacts() == []
    assert pages.registered[-1] == ("101", 0)
    assert len(pages.endpoint.registrar.bindings("101")) == 1
    pages.endpoint.closed(11)
    assert len(pages.registered) == 2
    assert statuses(pages.say(register(sequence=2, call_id="reg-2"), 14)) == [200]
    assert [binding.hop().flow for binding in pages.contacts()] == [14]
    assert pages.registered[-1] == ("101", 300)
    assert len(pages.endpoint.registrar.bindings("101")) == 1


def test_another_phone_of_the_same_extension_rings_on(pages: Pages) -> None:
    pages.say(register(), 11)
    pages.say(register(contact=f"<sip:two@{PAGE};transport=ws>", call_id="reg-2"), 14)
    pages.endpoint.closed(11)
    assert [binding.contact.user for binding in pages.contacts()] == ["two"]
    assert pages.registered[-1] == ("101", 300)


async def test_a_call_goes_on_over_the_connection_that_its_page_has_now(pages: Pages) -> None:
    pages.say(register(), 11)
    leg = pages.endpoint.call(pages.contacts()[0], offer(), from_=CALLER)
    (message,) = pages.said()
    assert isinstance(message, Request)
    pages.say(reply(message, 200, contact=f"<sip:abc@{PAGE};transport=ws>", body=bytes(answer())), 11)
    pages.endpoint.closed(11)
    pages.say(register(sequence=2, call_id="reg-2"), 14)
    leg.bye()
    assert statuses(pages.said()) == ["BYE"]
    assert pages.last[0].flow == 14


def test_connections_that_follow_each_other_lead_to_the_last(pages: Pages) -> None:
    registrar = pages.endpoint.registrar
    for number, flow in enumerate((11, 14, 11, 14), start=1):
        pages.say(register(sequence=number, call_id=f"reg-{number}"), flow)
    assert registrar.current(pages.at(11)).flow == 14
    assert registrar.current(pages.at(14)).flow == 14
    assert registrar.current(pages.at(12)).flow == 12


def test_a_page_of_a_predecessor_is_rung_when_it_is_back(pages: Pages) -> None:
    pages.say(register(), 11)
    ((key, binding),) = pages.endpoint.registrar.bindings("101").items()
    after = Pages()
    after.endpoint.registrar.restore("101", key, 50.0, binding)
    assert after.contacts() == []
    assert statuses(after.say(register(sequence=2, call_id="reg-2"), 14)) == [200]
    assert [found.hop().flow for found in after.contacts()] == [14]


# TLS and TCP


def test_a_phone_over_tls_is_called_over_its_connection_and_nowhere_else() -> None:
    line = Pages("tls")
    message = register(via="SIP/2.0/TLS 203.0.113.9:40011", contact="<sip:abc@203.0.113.9:40011;transport=TLS>")
    assert statuses(line.say(message, 11)) == [200]
    assert line.contacts()[0].hop() == Hop("203.0.113.9", 40011, "tls", 11)
    line.endpoint.closed(11)
    assert line.contacts() == []


def test_a_phone_over_tcp_is_called_over_its_connection_and_then_at_its_address() -> None:
    line = Pages("tcp")
    message = register(via="SIP/2.0/TCP 203.0.113.9:5060", contact="<sip:abc@203.0.113.9:5060;transport=tcp>")
    assert statuses(line.say(message, 11)) == [200]
    assert line.contacts()[0].hop() == Hop("203.0.113.9", 5060, "tcp", 11)
    line.endpoint.closed(11)
    assert line.contacts()[0].hop() == Hop("203.0.113.9", 5060, "tcp", 11)


def test_a_phone_over_tcp_behind_nat_is_called_over_its_connection_only() -> None:
    line = Pages("tcp")
    message = register(via="SIP/2.0/TCP 10.0.0.5:5060", contact="<sip:abc@10.0.0.5:5060;transport=tcp>")
    assert statuses(line.say(message, 11)) == [200]
    assert line.contacts()[0].hop() == line.at(11)
    line.endpoint.closed(11)
    assert line.contacts() == []


async def test_an_answer_is_repeated_over_tcp_as_well_until_its_ack() -> None:
    line = Pages("tcp")
    message = invite(via="SIP/2.0/TCP 203.0.113.9:5060", contact="<sip:ada@203.0.113.9:5060>")
    line.pipe.owners[13] = "101"
    line.say(message, 13)
    await line.settle()
    line.calls[0].answer(answer())
    (ok,) = line.said()
    line.passes(0.6)
    assert [parse(data) for data, _ in line.pipe.sent] == [ok]  # RFC 3261 section 13.3.1.4
    line.pipe.sent.clear()
    line.say(follow(message, ok, "ACK"), 13)  # type: ignore[arg-type]
    line.passes(5)
    line.calls[0].bye()
    assert statuses(line.said()) == ["BYE"]  # over the connection, though its Contact names no transport
    assert line.last[0].flow == 13


@pytest.mark.parametrize(
    ("uri", "contact"),
    [
        ("sips:101@192.0.2.1", "<sips:192.0.2.1:8080>"),
        ("SIPS:101@192.0.2.1", "<sips:192.0.2.1:8080>"),
        ("sip:101@192.0.2.1;transport=tls", "<sip:192.0.2.1:8080;transport=tls>"),
    ],
)
async def test_who_called_a_sips_uri_gets_one_to_call_back(uri: str, contact: str) -> None:
    line = Pages("tls")
    line.pipe.owners[13] = "102"
    message = invite(uri=uri, via="SIP/2.0/TLS 203.0.113.9:5061", contact="<sips:ada@203.0.113.9:5061>")
    line.say(message, 13)
    await line.settle()
    line.calls[0].answer(answer())
    (ok,) = line.said()
    assert ok.headers["Contact"] == [contact]


@pytest.mark.parametrize("scheme", ["sip", "sips"])
async def test_calling_a_sips_uri_offers_one_in_return(scheme: str) -> None:
    line = Pages("tls")
    line.endpoint.call(Uri.parse(f"{scheme}:101@203.0.113.9;transport=tls"), offer(), from_=CALLER)
    (message,) = line.said()
    assert message.contacts[0].uri.scheme == scheme
    assert message.contacts[0].uri.transport == "tls"


async def test_a_transport_that_is_not_spoken_reaches_nobody() -> None:
    line = Line()
    for uri in ("sips:101@203.0.113.9", "sip:101@203.0.113.9;transport=sctp", "sip:101@203.0.113.9;transport=tcp"):
        leg = line.endpoint.call(Uri.parse(uri), offer(), from_=CALLER)
        line.passes(0)
        assert leg.ended.result() is Cause.UNREACHABLE
        await asyncio.sleep(0)
    assert line.endpoint.calls == 0

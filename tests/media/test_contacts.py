"""Where phones are, as a media process that died left it to the next."""

import pytest

from media.contacts import Contacts
from media.ledger import Ledger
from media.line import Line
from media.sip.hop import Hop
from media.sip.message import Request
from tests.media.cove import add_phone
from tests.media.sip.line import statuses
from tests.media.sip.test_flows import PAGE, Pages, register


async def restarted(line: Line, transport: str, message: Request) -> Pages:
    """Have a phone register from 203.0.113.9:40011; return what the process after this one knows of it."""
    await add_phone(line, "101")
    before, after, ledger = Pages(transport), Pages(transport), Ledger(line.instance.db)
    assert statuses(before.say(message, 11)) == [200]
    Contacts(line, ledger, before.endpoint.registrar).changed("101")
    ledger.close()
    contacts = Contacts(line, ledger, after.endpoint.registrar)
    contacts.restore(await contacts.kept())
    return after


def at(contact: str, transport: str, via: str = "203.0.113.9:40011") -> Request:
    return register(via=f"SIP/2.0/{transport} {via}", contact=contact)


@pytest.mark.parametrize(
    ("transport", "message"),
    [
        ("tls", at("<sip:abc@203.0.113.9:40011>", "TLS")),
        ("tls", at("<sip:abc@203.0.113.9:40011;transport=tls>", "TLS")),
        ("tls", at("<sip:abc@10.0.0.5:5061>", "TLS", "10.0.0.5:5061")),
        ("tcp", at("<sip:abc@10.0.0.5:5060>", "TCP", "10.0.0.5:5060")),
        ("tcp", at("<sip:abc@203.0.113.9:5060>", "TCP")),
        ("ws", at(f"<sip:abc@{PAGE};transport=ws>", "WSS", PAGE)),
    ],
)
async def test_a_phone_that_only_its_connection_led_to_is_not_called_until_it_is_back(
    line: Line, transport: str, message: Request
) -> None:
    after = await restarted(line, transport, message)
    assert len(after.endpoint.registrar.bindings("101")) == 1
    assert after.contacts() == []
    message.headers["CSeq"] = ["2 REGISTER"]
    assert statuses(after.say(message, 11)) == [200]
    assert [(found.hop().transport, found.hop().flow) for found in after.contacts()] == [(transport, 11)]


async def test_a_phone_that_is_back_before_it_is_restored_stays_where_it_is(line: Line) -> None:
    await add_phone(line, "101")
    before, after, ledger = Pages("tls"), Pages("tls"), Ledger(line.instance.db)
    message = at("<sip:abc@10.0.0.5:5061>", "TLS", "10.0.0.5:5061")
    assert statuses(before.say(message, 11)) == [200]
    Contacts(line, ledger, before.endpoint.registrar).changed("101")
    ledger.close()
    contacts = Contacts(line, ledger, after.endpoint.registrar)
    kept = await contacts.kept()
    message.headers["CSeq"] = ["2 REGISTER"]
    assert statuses(after.say(message, 14)) == [200]
    contacts.restore(kept)
    assert [found.hop().flow for found in after.contacts()] == [14]


@pytest.mark.parametrize(
    ("contact", "hop"),
    [
        ("<sip:abc@203.0.113.9:5060;transport=tcp>", Hop("203.0.113.9", 5060, "tcp")),
        ("<sip:abc@203.0.113.9:40011>", Hop("203.0.113.9", 40011, "tcp")),
        ("<sip:abc@203.0.113.9:5060;transport=udp>", Hop("203.0.113.9", 5060, "udp")),
    ],
)
async def test_a_phone_over_tcp_is_called_at_the_address_that_it_named(line: Line, contact: str, hop: Hop) -> None:
    after = await restarted(line, "tcp", at(contact, "TCP"))
    assert [found.hop() for found in after.contacts()] == [hop]


async def test_a_phone_whose_ids_are_no_utf_8_is_kept_like_any_other(line: Line) -> None:
    message = register(
        call_id="caf\udce9",
        via="SIP/2.0/TCP 203.0.113.9:5060",
        contact='<sip:abc@203.0.113.9:5060;transport=tcp>;+sip.instance="\udce9";reg-id=1',
    )
    after = await restarted(line, "tcp", message)
    assert list(after.endpoint.registrar.bindings("101")) == ['"é";1']
    message.headers["CSeq"] = ["2 REGISTER"]
    assert statuses(after.say(message, 11)) == [200]
    assert list(after.endpoint.registrar.bindings("101")) == ['"é";1']

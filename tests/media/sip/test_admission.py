"""Which addresses are trunks, and who may call."""

import pytest

from media.sip.admission import TrunkTable
from media.sip.digest import Login
from media.sip.hop import Hop
from tests.media.sip.line import PHONE, TRUNK, Line, invite, proven, request, statuses

LOGIN = Login("101", "secret of 101")


def test_trunks_are_known_by_address_and_by_network_the_narrowest_first() -> None:
    trunks = TrunkTable({"wide": ["198.51.100.0/24", "2001:db8::/32"], "narrow": ["198.51.100.7"]})
    assert trunks("198.51.100.7") == "narrow"
    assert trunks("198.51.100.8") == "wide"
    assert trunks("2001:db8::99") == "wide"
    assert trunks("203.0.113.1") is None
    assert trunks("not an address") is None


def test_a_host_that_is_no_address_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="carrier"):
        TrunkTable({"carrier": ["sip.carrier.example"]})


async def test_a_trunk_calls_without_a_password() -> None:
    line = Line()
    assert statuses(line.put(invite())) == [100]
    await line.settle()
    assert (line.calls[0].trunk, line.calls[0].extension) == ("carrier", "")
    assert line.calls[0].from_number == "+12125550123"


async def test_a_stranger_is_challenged_and_leaves_nothing_behind() -> None:
    line = Line()
    (refusal,) = line.put(invite(), PHONE)
    assert refusal.status == 401
    assert line.put(request("ACK", to=refusal.headers["To"][0]), PHONE) == []
    (second,) = line.put(invite(), PHONE)
    assert second.to_tag == refusal.to_tag  # RFC 3261 section 8.2.7
    await line.settle()
    assert line.calls == []
    assert line.endpoint.transactions.servers == {}
    assert line.passes(60) == []


async def test_an_extension_calls_with_its_password_and_under_its_own_name() -> None:
    line = Line()
    (refusal,) = line.put(invite(), PHONE)
    assert statuses(line.put(proven(invite(), refusal, LOGIN), PHONE)) == [100]
    await line.settle()
    (call,) = line.calls
    assert (call.trunk, call.extension, call.from_number, call.display_name) == ("", "101", "101", "")


@pytest.mark.parametrize("login", [Login("101", "wrong"), Login("nobody", "x")])
async def test_a_wrong_password_is_forbidden(login: Login) -> None:
    line = Line()
    (refusal,) = line.put(invite(), PHONE)
    assert statuses(line.put(proven(invite(), refusal, login), PHONE)) == [403]
    await line.settle()
    assert line.calls == []


async def test_a_phone_on_the_trunk_s_address_is_told_apart_by_where_it_registered_from() -> None:
    line = Line()
    there = Hop(TRUNK.host, 5099)
    register = request("REGISTER", to="<sip:101@192.0.2.1>", branch="z9hG4bKr", headers={"Expires": "120"})
    (refusal,) = line.put(register, there)
    assert statuses(line.put(proven(register, refusal, LOGIN), there)) == [200]
    assert statuses(line.put(invite(branch="z9hG4bKphone"), there)) == [401]
    assert statuses(line.put(invite(branch="z9hG4bKtrunk"), TRUNK)) == [100]
    await line.settle()
    assert [call.trunk for call in line.calls] == ["carrier"]


async def test_a_phone_on_the_trunk_s_address_may_prove_itself_at_once() -> None:
    line = Line()
    (refusal,) = line.put(invite(branch="z9hG4bKa"), PHONE)
    assert statuses(line.put(proven(invite(), refusal, LOGIN), TRUNK)) == [100]
    await line.settle()
    assert (line.calls[0].trunk, line.calls[0].extension) == ("", "101")


async def test_credentials_for_another_realm_do_not_lock_a_trunk_out() -> None:
    line = Line()
    message = invite(
        headers={"Authorization": 'Digest realm="carrier", username="u", nonce="n", uri="sip:x", response="0"'}
    )
    assert statuses(line.put(message)) == [100]
    await line.settle()
    assert line.calls[0].trunk == "carrier"


@pytest.mark.parametrize(
    ("headers", "number", "display"),
    [
        ({}, "+12125550123", "Ada"),
        ({"P-Asserted-Identity": '"Ada L" <sip:+12125550188@a>'}, "+12125550188", "Ada L"),
        ({"P-Asserted-Identity": "<tel:+12125550188>"}, "+12125550188", "Ada"),
        ({"P-Asserted-Identity": "<sip:ada@a>, <tel:+12125550188>"}, "+12125550188", "Ada"),
        ({"P-Asserted-Identity": "<tel:+12125550188>", "Privacy": "id"}, "", "Anonymous"),
    ],
)
async def test_who_calls_over_a_trunk(headers: dict[str, str], number: str, display: str) -> None:
    line = Line()
    hidden = '"Anonymous" <sip:anonymous@anonymous.invalid>;tag=far'
    line.put(invite(headers=headers, **({"from_": hidden} if "Privacy" in headers else {})))
    await line.settle()
    assert (line.calls[0].from_number, line.calls[0].display_name) == (number, display)


async def test_no_number_shows_in_a_caller_s_representation() -> None:
    line = Line()
    line.put(invite())
    await line.settle()
    assert "2125550" not in repr(line.calls[0])


@pytest.mark.parametrize(
    ("uri", "to", "number"),
    [
        ("sip:+12125550100@192.0.2.1", "<sip:x@y>", "+12125550100"),
        ("tel:+1-212-555-0100", "<sip:x@y>", "+12125550100"),
        ("sip:front@192.0.2.1", "<sip:x@y>", "front"),
        ("sip:192.0.2.1", "<sip:102@192.0.2.1>", "102"),
    ],
)
async def test_what_was_dialled(uri: str, to: str, number: str) -> None:
    line = Line()
    line.put(invite(uri=uri, to=to))
    await line.settle()
    assert line.calls[0].to_number == number

"""REGISTER: who may, where phones are, and when they are gone."""

import pytest

from media.sip.digest import Login
from media.sip.hop import Hop
from media.sip.message import Request, Response
from tests.media.sip.line import PHONE, TRUNK, Line, proven, request

LOGIN = Login("101", "secret of 101")
CONTACT = "<sip:101@203.0.113.9:5062>"


def register(contact: str = CONTACT, *, expires: str = "120", sequence: int = 1, **changes: str) -> Request:
    return request(
        "REGISTER",
        uri="sip:192.0.2.1",
        from_="<sip:101@192.0.2.1>;tag=far",
        to=changes.pop("to", "<sip:101@192.0.2.1>"),
        via=changes.pop("via", "SIP/2.0/UDP 203.0.113.9:5062"),
        contact=contact,
        sequence=sequence,
        branch=f"z9hG4bKreg{sequence}{changes.get('call_id', '')}",
        headers={"Expires": expires},
        call_id=changes.pop("call_id", "reg-1"),
    )


class Phones(Line):
    """A line that REGISTERs arrive on."""

    def __init__(self) -> None:
        super().__init__()
        self.sequence = 0

    def register(
        self, contact: str = "<sip:101@203.0.113.9:5062>", *, login: Login = LOGIN, **changes: str
    ) -> Response:
        """Register as a phone does: ask, be challenged, ask again."""
        self.sequence += 2
        source = Hop(PHONE.host, int(changes.pop("port", PHONE.port)))
        message = register(contact, sequence=self.sequence, **changes)
        (refusal,) = self.put(message, source)
        assert refusal.status == 401
        (response,) = self.put(proven(message, refusal, login, branch=f"z9hG4bKp{self.sequence}"), source)
        assert isinstance(response, Response)
        return response

    def contacts(self) -> list[str]:
        return [str(binding.contact) for binding in self.endpoint.registrar.contacts("101")]


@pytest.fixture
def line() -> Phones:
    return Phones()


def test_a_phone_that_knows_its_password_is_found(line: Phones) -> None:
    response = line.register()
    assert response.status == 200
    assert response.headers["Contact"] == ["<sip:101@203.0.113.9:5062>;expires=120"]
    assert response.to_tag
    assert line.contacts() == ["sip:101@203.0.113.9:5062"]
    assert line.registered == [("101", 120)]
    (binding,) = line.endpoint.registrar.contacts("101")
    assert binding.hop() == PHONE


@pytest.mark.parametrize("login", [Login("101", "wrong"), Login("nobody", "secret of 101")])
def test_a_wrong_password_and_an_unknown_name_are_refused_alike(line: Phones, login: Login) -> None:
    response = line.register(login=login)
    assert (response.status, response.reason) == (403, "Forbidden")
    assert line.contacts() == []
    assert line.registered == []


def test_a_phone_cannot_register_for_another_extension(line: Phones) -> None:
    assert line.register(to="<sip:102@192.0.2.1>").status == 403
    assert line.endpoint.registrar.contacts("102") == []


def test_a_trunk_s_address_does_not_replace_the_password(line: Phones) -> None:
    (response,) = line.put(register(), TRUNK)
    assert response.status == 401


def test_a_repeated_register_is_answered_from_the_cache_though_its_nonce_is_spent(line: Phones) -> None:
    message = register(sequence=1)
    (refusal,) = line.put(message, PHONE)
    again = proven(message, refusal, LOGIN)
    (first,) = line.put(again, PHONE)
    (second,) = line.put(again, PHONE)
    assert first == second
    assert first.status == 200
    replayed = proven(message, refusal, LOGIN, branch="z9hG4bKreplayed")
    replayed.headers["CSeq"] = ["9 REGISTER"]
    replayed.headers["Authorization"] = again.headers["Authorization"]
    (third,) = line.put(replayed, PHONE)
    assert third.status == 401
    assert all("stale=true" in value for value in third.headers["WWW-Authenticate"])


def test_a_registration_ends_by_itself(line: Phones) -> None:
    line.register()
    line.passes(119)
    assert line.contacts() != []
    line.passes(2)
    assert line.contacts() == []
    assert line.registered == [("101", 120), ("101", 0)]


def test_a_registration_that_is_renewed_does_not_end(line: Phones) -> None:
    line.register()
    line.passes(100)
    line.register()
    line.passes(100)
    assert line.contacts() != []
    assert line.registered == [("101", 120), ("101", 120)]


def test_a_phone_takes_itself_out(line: Phones) -> None:
    line.register()
    response = line.register(expires="0")
    assert response.status == 200
    assert "Contact" not in response.headers
    assert line.contacts() == []
    assert line.registered[-1] == ("101", 0)
    line.passes(500)
    assert line.registered[-1] == ("101", 0)
    assert len(line.registered) == 2


def test_a_star_takes_all_out(line: Phones) -> None:
    line.register()
    line.register("<sip:101@203.0.113.10:5060>", call_id="reg-2")
    assert line.register("*", expires="0").status == 200
    assert line.contacts() == []


@pytest.mark.parametrize(("contact", "expires"), [("*", "60"), ("*, <sip:101@203.0.113.9>", "0")])
def test_a_star_with_anything_else_is_a_bad_request(line: Phones, contact: str, expires: str) -> None:
    line.register()
    assert line.register(contact, expires=expires).status == 400
    assert len(line.contacts()) == 1


def test_several_phones_of_one_extension_the_preferred_and_the_latest_first(line: Phones) -> None:
    line.register("<sip:101@203.0.113.9:1>;q=0.5", call_id="reg-1")
    line.register("<sip:101@203.0.113.9:2>;q=0.5", call_id="reg-2", expires="180")
    line.register("<sip:101@203.0.113.9:3>;q=0.9, <sip:101@203.0.113.9:4>;q=nan;expires=60", call_id="reg-3")
    assert [uri[-1] for uri in line.contacts()] == ["4", "3", "2", "1"]


def test_a_query_lists_the_phones_and_changes_nothing(line: Phones) -> None:
    line.register()
    line.passes(20)
    response = line.register("")
    assert response.headers["Contact"] == ["<sip:101@203.0.113.9:5062>;expires=100"]
    assert line.registered == [("101", 120)]


def test_too_short_is_told_the_least_and_changes_nothing(line: Phones) -> None:
    response = line.register("<sip:101@203.0.113.9:1>, <sip:101@203.0.113.9:2>;expires=30")
    assert response.status == 423
    assert response.get("Min-Expires") == "60"
    assert line.contacts() == []


@pytest.mark.parametrize("expires", ["soon", "-1", "99999999999999", "٣"])
def test_a_time_that_cannot_be_read_is_an_hour(line: Phones, expires: str) -> None:
    assert line.register(expires=expires).headers["Contact"][0].endswith("expires=3600")


def test_an_older_register_that_comes_late_changes_nothing(line: Phones) -> None:
    line.sequence = 10
    line.register()
    line.sequence = 0
    assert line.register(expires="0").status == 400
    assert line.register("*", expires="0").status == 400
    assert line.contacts() != []


def test_a_phone_that_restarts_keeps_its_place(line: Phones) -> None:
    instance = '"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>"'
    line.register(f"<sip:101@203.0.113.9:1>;+sip.instance={instance};reg-id=1", call_id="reg-1")
    line.register(f"<sip:101@203.0.113.9:2>;+sip.instance={instance};reg-id=1", call_id="reg-2")
    assert line.contacts() == ["sip:101@203.0.113.9:2"]


def test_one_extension_has_room_for_ten_phones(line: Phones) -> None:
    for number in range(10):
        assert line.register(f"<sip:101@203.0.113.9:{5000 + number}>", call_id=f"reg-{number}").status == 200
    assert line.register("<sip:101@203.0.113.9:6000>", call_id="reg-x").status == 403
    assert line.register("<sip:101@203.0.113.9:5003>", call_id="reg-y").status == 200
    assert len(line.contacts()) == 10


def test_a_page_that_is_loaded_anew_many_times_finds_room_each_time(line: Phones) -> None:
    registrar = line.endpoint.registrar

    def loaded(number: int) -> int:
        page = register(f"<sip:p{number}@p{number}.invalid;transport=ws>", call_id=f"page-{number}")
        return registrar.register(page, "101", Hop(PHONE.host, 0, "ws", flow=100 + number)).status

    for number in range(25):
        assert loaded(number) == 200
        registrar.lost(100 + number)
    assert [loaded(number) for number in range(100, 110)] == [200] * 10
    assert loaded(110) == 403
    assert len(line.contacts()) == 10


def test_a_phone_behind_nat_is_called_where_it_came_from(line: Phones) -> None:
    response = line.register("<sip:101@10.0.0.5:5060>", via="SIP/2.0/UDP 10.0.0.5:5060;rport")
    assert response.headers["Contact"][0].startswith("<sip:101@10.0.0.5:5060>")
    (binding,) = line.endpoint.registrar.contacts("101")
    assert binding.hidden
    assert binding.hop() == PHONE


def test_a_contact_with_a_host_name_is_called_where_it_came_from(line: Phones) -> None:
    line.register("<sip:101@phone.example>")
    assert line.endpoint.registrar.contacts("101")[0].hop() == PHONE


def test_a_contact_that_is_no_sip_uri_is_a_bad_request(line: Phones) -> None:
    assert line.register("<mailto:ada@example.org>").status == 400
    assert line.register('"open <sip:101@203.0.113.9>').status == 400
    assert line.contacts() == []


def test_a_phone_does_not_send_its_calls_to_the_carrier(line: Phones) -> None:
    response = line.register(f"<sip:+19005550100@{TRUNK.host}>")
    assert (response.status, line.contacts()) == (403, [])
    assert line.register(f"<sip:101@203.0.113.9:1>, <sip:+19005550100@{TRUNK.host}:5099>").status == 403
    assert line.contacts() == []
    assert line.register(f"<sip:+19005550100@{TRUNK.host}>", expires="0").status == 200


@pytest.mark.parametrize("written", ["198.51.100.50", "198.51.100.50:5099", "192.0.2.9;maddr=198.51.100.50"])
def test_a_phone_does_not_send_its_calls_to_a_server_that_calls_outside_go_to(line: Phones, written: str) -> None:
    line.endpoint.registrar.servers = {"198.51.100.50"}.__contains__
    response = line.register(f"<sip:+19005550100@{written}>")
    assert (response.status, response.reason, line.contacts()) == (403, "Not Your Address", [])


def test_an_ipv6_address_is_the_same_however_it_is_written(line: Phones) -> None:
    line.endpoint.registrar.servers = {"198.51.100.50", "2001:db8::50"}.__contains__
    for written in ("[::ffff:198.51.100.50]", "[::FFFF:c633:6432]", "[2001:DB8:0:0::50]"):
        assert line.register(f"<sip:+19005550100@{written}>").status == 403


def test_a_phone_at_what_became_a_carrier_s_address_is_not_called(line: Phones) -> None:
    line.register("<sip:+19005550100@198.51.100.50>, <sip:101@203.0.113.9:5062>")
    assert len(line.contacts()) == 2
    line.endpoint.registrar.servers = {"198.51.100.50", PHONE.host}.__contains__
    assert line.contacts() == ["sip:101@203.0.113.9:5062"]  # it came from there itself
    line.endpoint.registrar.servers = lambda _host: False
    assert len(line.contacts()) == 2


def test_who_lost_the_right_is_gone_at_once(line: Phones) -> None:
    line.register()
    line.endpoint.registrar.drop("101")
    assert line.contacts() == []
    assert line.registered[-1] == ("101", 0)
    assert not line.endpoint.registrar.holds(PHONE)


def test_an_address_is_known_as_a_phone_s_as_long_as_one_is_registered_from_it(line: Phones) -> None:
    registrar = line.endpoint.registrar
    line.register("<sip:101@203.0.113.9:1>", call_id="reg-1")
    line.register("<sip:101@203.0.113.9:2>", call_id="reg-2")
    line.register("<sip:101@203.0.113.9:1>", call_id="reg-1", expires="0")
    assert registrar.holds(PHONE)
    assert not registrar.holds(Hop(PHONE.host, 1))
    line.passes(200)
    assert not registrar.holds(PHONE)


def test_a_phone_of_a_predecessor_is_rung_and_renews_and_its_old_words_are_refused(line: Phones) -> None:
    line.register()
    ((key, binding),) = line.endpoint.registrar.bindings("101").items()
    assert line.endpoint.registrar.left(binding) == 120
    after = Phones()
    after.endpoint.registrar.restore("101", key, 50.0, binding)
    assert after.contacts() == line.contacts()
    assert after.endpoint.registrar.holds(PHONE)
    assert after.registered == []
    assert after.register().status == 400
    after.sequence = 10
    assert after.register().status == 200
    assert len(after.contacts()) == 1


def test_a_phone_of_a_predecessor_is_gone_when_its_time_is_over(line: Phones) -> None:
    line.register()
    ((key, binding),) = line.endpoint.registrar.bindings("101").items()
    after = Phones()
    after.endpoint.registrar.restore("101", key, 50.0, binding)
    after.clock.now += 51
    after.endpoint.timers.run()
    assert after.contacts() == []
    assert after.registered == [("101", 0)]

"""RFC 4475: each of its messages is answered as its section 3 says, or read as it says."""

import hashlib
from dataclasses import dataclass

import pytest
import structlog.testing

from media.sdp import Session
from media.sip.digest import Credentials, Login
from media.sip.header import Via
from media.sip.message import MalformedError, Request, Response, parse
from media.sip.uri import Address
from tests.media.sip.line import PHONE, REALM, TRUNK, Line, proven, statuses
from tests.media.sip.torture import messages, sections

MESSAGES = messages()

DIGEST = "093cf17b4d44144551291dc0027ee7e1464d3f3c01092f972665f3d2ddbcebef"
"SHA-256 of all messages one after the other, as Appendix A has them."


@dataclass(frozen=True)
class Answer:
    """What comes back over a trunk, and why that is right."""

    statuses: list[int]
    why: str
    calls: int = 0


NOTHING: list[int] = []

ANSWERS = {
    "wsinv": Answer([481], "well-formed; its To has a tag, and nobody here knows that dialog"),
    "intmeth": Answer([405], "well-formed; the method is not one of ours"),
    "esc01": Answer([100], "well-formed: a call", calls=1),
    "escnull": Answer([401], "well-formed: a phone that is to say who it is"),
    "esc02": Answer([405], "RE%47IST%45R is another method than REGISTER"),
    "lwsdisp": Answer([200], "no space is needed before an angle bracket"),
    "longreq": Answer([100], "well-formed, however long: a call", calls=1),
    "dblreq": Answer([401], "one REGISTER; the octets behind it are not looked at"),
    "semiuri": Answer([200], "well-formed"),
    "transports": Answer([200], "only the topmost Via is ours to use"),
    "mpart01": Answer([405], "well-formed; MESSAGE is not one of ours"),
    "unreason": Answer(NOTHING, "a response that belongs to no request of ours"),
    "noreason": Answer(NOTHING, "a response that belongs to no request of ours"),
    "badinv01": Answer([400], "empty parameters in Via"),
    "clerr": Answer([400], "over UDP; the body is shorter than it says"),
    "ncl": Answer([400], "over UDP; the length is below zero"),
    "scalar02": Answer([400], "CSeq and more are too large"),
    "scalarlg": Answer(NOTHING, "a response whose CSeq is too large is dropped"),
    "quotbal": Answer([400], "a quote is not closed"),
    "ltgtruri": Answer([400], "no URI begins with an angle bracket"),
    "lwsruri": Answer([400], "a space in the Request-URI"),
    "lwsstart": Answer([400], "two spaces"),
    "trws": Answer([400], "spaces at the end"),
    "escruri": Answer([100], "taken; the header in the URI is not obeyed", calls=1),
    "baddate": Answer([100], "taken; nobody here reads Date", calls=1),
    "regbadct": Answer([401], "who it is comes first"),
    "badaspec": Answer([200], "taken; the spaces are ignored"),
    "baddn": Answer([200], "taken; the quotes are inferred"),
    "badvers": Answer([505], "another version"),
    "mismatch01": Answer([400], "CSeq names another method"),
    "mismatch02": Answer([400], "CSeq names another method; 501 would do as well"),
    "bigcode": Answer(NOTHING, "dropped: no status has ten digits"),
    "badbranch": Answer([200], "taken for a transaction as RFC 2543 has it"),
    "insuf": Answer([400], "no Call-ID, From or To"),
    "unkscm": Answer([416], "nobody knows that scheme"),
    "novelsc": Answer([416], "not a scheme that calls go to"),
    "unksm2": Answer([401], "who it is comes first"),
    "bext01": Answer([420], "extensions that nobody supports"),
    "invut": Answer([415], "no such type of body"),
    "regaut01": Answer([401], "credentials of an unknown scheme are none"),
    "multi01": Answer([400], "fields that may stand once stand twice"),
    "mcl01": Answer([400], "two lengths"),
    "bcast": Answer(NOTHING, "a response with another's Via below ours is dropped"),
    "zeromf": Answer([200], "who answers need not forward"),
    "cparam01": Answer([401], "who it is comes first"),
    "cparam02": Answer([401], "who it is comes first"),
    "regescrt": Answer([401], "who it is comes first"),
    "sdp01": Answer([406], "the answer would be a type that the caller does not take"),
    "inv2543": Answer([100], "as RFC 2543 had it, without branch, tag, Max-Forwards and Contact", calls=1),
}


def read(name: str) -> Request:
    message = parse(MESSAGES[name])
    assert isinstance(message, Request)
    message.check()
    return message


def test_the_messages_are_those_of_the_rfc() -> None:
    assert hashlib.sha256(b"".join(MESSAGES.values())).hexdigest() == DIGEST
    assert list(sections().values())[:: len(MESSAGES) - 1] == ["3.1.1.1", "3.3.16"]
    assert set(MESSAGES) == set(ANSWERS)
    assert len(MESSAGES) == 49


@pytest.mark.parametrize("name", MESSAGES)
async def test_each_message_is_answered_as_the_rfc_says(name: str) -> None:
    line = Line()
    with structlog.testing.capture_logs() as logs:
        answers = line.put(MESSAGES[name])
        await line.settle()
    assert statuses(answers) == ANSWERS[name].statuses, ANSWERS[name].why
    assert len(line.calls) == ANSWERS[name].calls
    assert [entry for entry in logs if entry["event"] == "sip-fault"] == []
    for call in line.calls:
        call.bye()


@pytest.mark.parametrize("name", MESSAGES)
async def test_no_truncation_is_a_fault_of_ours(name: str) -> None:
    line = Line()
    with structlog.testing.capture_logs() as logs:
        for end in range(len(MESSAGES[name])):
            line.endpoint.receive(MESSAGES[name][:end], TRUNK)
        await line.settle()
        for call in line.calls:
            call.bye()
    assert [entry for entry in logs if entry["event"].endswith("-fault")] == []


def test_no_answer_goes_anywhere_but_back() -> None:
    line = Line()
    for data in MESSAGES.values():
        if not data.startswith(b"INVITE"):
            line.endpoint.receive(data, PHONE)
    assert {place.host for _, place in line.wire.sent} == {PHONE.host}


# 3.1.1 Valid messages


def test_a_short_tortuous_invite() -> None:
    message = read("wsinv")
    assert (message.max_forwards, message.sequence, message.sequence_method) == (68, 9, "INVITE")
    assert (message.from_tag, message.to_tag) == ("98asjd8", "1918181833n")
    assert Address.parse(message.headers["From"][0]).display == 'J Rosenberg \\"'
    assert message.get("Newfangledheader") == "newfangled value continued newfangled value"
    assert message.get("Unknownheaderwithunusualvalue") == ";;,,;;,;"
    assert message.get("Subject") == ""
    assert [(via.transport, via.host, via.branch) for via in map(Via.parse, message.all("Via"))] == [
        ("UDP", "192.0.2.2", "390skdjuw"),
        ("TCP", "spindle.example.com", "z9hG4bK9ikj8"),
        ("UDP", "192.168.255.111", "z9hG4bK30239"),
    ]
    (contact,) = message.contacts
    assert contact.display == 'Quoted string ""'
    assert contact.params == {"newparam": "newvalue", "secondparam": None, "q": "0.33"}
    assert Address.parse(message.all("Route")[0]).uri.params["unknown-no-value"] is None
    assert message.target.params == {"unknownparam": None}


def test_a_wide_range_of_valid_characters() -> None:
    message = read("intmeth")
    assert message.method == message.sequence_method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert Address.parse(message.headers["To"][0]).display == "BEL:\x07 NUL:\x00 DEL:\x7f"
    assert message.from_tag == "_token~1'+`*%!-."
    assert message.call_id == "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"
    assert message.target.user == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert message.target.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert message.get("Extensionheader-!.%*+_`'~") == "\ufeff\u5927\u505c\u96fb"


def test_a_percent_that_escapes_and_one_that_does_not() -> None:
    message = read("esc01")
    assert message.target.user == "sips:user@example.com"
    assert Address.parse(message.headers["To"][0]).uri.user == "user"
    assert Address.parse(message.headers["From"][0]).uri.user == "I have spaces"
    assert message.contacts[0].uri.user == "caller"
    assert [contact.uri.user for contact in read("escnull").contacts] == ["\0", "\0\0"]
    other = read("esc02")
    assert Address.parse(other.headers["To"][0]).display == "%Z%45"
    assert [contact.uri.user for contact in other.contacts] == ["alias1", "alias3"]


def test_names_without_space_long_values_and_semicolons() -> None:
    assert Address.parse(read("lwsdisp").headers["From"][0]).display == "caller"
    long = read("longreq")
    assert len(long.all("Via")) == 34
    assert Address.parse(long.headers["To"][0]).uri.port == 6000
    assert len(long.from_tag) == 155
    assert read("semiuri").target.user == "user;par=u@example.net"


def test_what_lies_behind_a_message_is_not_read() -> None:
    message = read("dblreq")
    assert (message.method, message.body) == ("REGISTER", b"")


def test_every_transport_may_stand_in_via() -> None:
    vias = [Via.parse(value).transport for value in read("transports").all("Via")]
    assert vias == ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]


def test_a_body_of_octets_stays_as_it_is() -> None:
    message = read("mpart01")
    assert message.content_type == "multipart/mixed"
    assert hashlib.sha256(message.body).hexdigest() == hashlib.sha256(MESSAGES["mpart01"][-553:]).hexdigest()


def test_a_reason_may_be_anything_or_nothing() -> None:
    strange, empty = parse(MESSAGES["unreason"]), parse(MESSAGES["noreason"])
    assert isinstance(strange, Response)
    assert isinstance(empty, Response)
    assert (strange.status, strange.reason[:15]) == (200, "= 2**3 * 5**2 н")
    assert (empty.status, empty.reason) == (100, "")


@pytest.mark.parametrize("name", ["wsinv", "esc01", "longreq", "escruri", "baddate", "inv2543"])
def test_an_encoding_that_cannot_be_read_does_not_spoil_the_others(name: str) -> None:
    session = Session.parse(parse(MESSAGES[name]).body)
    assert session.audio is not None
    assert session.audio.codecs[0].name == "PCMU"


# 3.1.2 to 3.3 What must be refused, and how


@pytest.mark.parametrize("name", [name for name, answer in ANSWERS.items() if 400 in answer.statuses])
def test_a_refusal_goes_back_whole_to_who_sent_it(name: str) -> None:
    line = Line()
    (answer,) = line.put(MESSAGES[name])
    sent = parse(MESSAGES[name]) if name not in BROKEN else None
    assert isinstance(answer, Response)
    assert answer.headers["Via"]
    if sent is not None:
        assert answer.call_id == sent.call_id
        assert answer.get("CSeq") == sent.get("CSeq")


BROKEN = {"clerr", "ncl", "lwsruri", "lwsstart", "trws", "mcl01", "badvers"}
"Those of which `parse` itself says what is wrong."


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_what_cannot_be_parsed_says_what_it_was(name: str) -> None:
    with pytest.raises(MalformedError) as refused:
        parse(MESSAGES[name])
    assert isinstance(refused.value.message, Request)


def test_a_refusal_says_what_would_have_done() -> None:
    (extensions,) = Line().put(MESSAGES["bext01"])
    assert extensions.all("Unsupported") == ["nothingSupportsThis", "nothingSupportsThisEither"]
    (kind,) = Line().put(MESSAGES["invut"])
    assert kind.all("Accept") == ["application/sdp"]
    assert "Allow" in Line().put(MESSAGES["intmeth"])[0].headers


def test_a_branch_without_an_id_tells_no_two_requests_apart() -> None:
    line = Line()
    again = MESSAGES["badbranch"].replace(b"badbranch.", b"another.").replace(b"OPTIONS", b"BYE")
    first, second = line.put(MESSAGES["badbranch"]), line.put(again)
    assert [first[0].call_id[:9], second[0].call_id[:9]] == ["badbranch", "another.s"]


# Registrations, once the phone has said who it is


def registered(name: str, user: str) -> tuple[Line, Response]:
    secrets = {user: Credentials.of(user, REALM, "secret")}
    line = Line(credentials=secrets.get)
    (refusal,) = line.put(MESSAGES[name], PHONE)
    (answer,) = line.put(proven(read(name), refusal, Login(user, "secret")), PHONE)
    return line, answer


def test_a_parameter_belongs_to_the_contact_or_to_its_uri() -> None:
    bare, answer = registered("cparam01", "watson")
    assert answer.status == 200
    assert bare.endpoint.registrar.contacts("watson")[0].contact.params == {}
    bracketed, _ = registered("cparam02", "watson")
    assert bracketed.endpoint.registrar.contacts("watson")[0].contact.params == {"unknownparam": None}


@pytest.mark.parametrize("name", ["regbadct", "regescrt"])
def test_a_header_in_a_contact_is_kept_and_not_obeyed(name: str) -> None:
    line, answer = registered(name, "user")
    assert answer.contacts[0].uri.headers == "Route=%3Csip:sip.example.com%3E"
    (binding,) = line.endpoint.registrar.contacts("user")
    assert binding.contact.headers == "Route=%3Csip:sip.example.com%3E"


def test_an_address_to_register_is_a_sip_uri() -> None:
    assert registered("unksm2", "2983792873")[1].status == 400

"""The messages after RFC 4475: each is answered as its section 3 says of the case, or read as it says."""

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

CASES = [f"3.1.1.{number}" for number in range(1, 14)] + [f"3.1.2.{number}" for number in range(1, 20)]
CASES += ["3.2.1"] + [f"3.3.{number}" for number in range(1, 17)]
"The sections of RFC 4475 that describe a message."


@dataclass(frozen=True)
class Answer:
    """What comes back over a trunk, and why that is right."""

    statuses: list[int]
    why: str
    calls: int = 0


NOTHING: list[int] = []

ANSWERS = {
    "wsinv": Answer([481], "well-formed; its To has a tag, and nobody here knows that dialog"),
    "wsinv_tab": Answer([481], "a tab is white space too; else as wsinv"),
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
    "badinv01_via": Answer([400], "one empty parameter in Via"),
    "clerr": Answer([400], "over UDP; the body is shorter than it says"),
    "clerr_bodiless": Answer([400], "over UDP; there is no body"),
    "ncl": Answer([400], "over UDP; the length is below zero"),
    "ncl_plus": Answer([400], "a length is digits"),
    "ncl_word": Answer([400], "a length is decimal digits"),
    "scalar02": Answer([400], "CSeq and more are too large"),
    "scalar02_cseq": Answer([400], "CSeq lies below 2**31"),
    "scalar02_hops": Answer([400], "Max-Forwards ends at 255"),
    "scalar02_expires": Answer([401], "as long as we let anybody stay; but who it is comes first"),
    "scalarlg": Answer(NOTHING, "a response whose CSeq is too large is dropped"),
    "quotbal": Answer([400], "a quote is not closed"),
    "quotbal_from": Answer([400], "an escaped quote closes nothing"),
    "ltgtruri": Answer([400], "no URI begins with an angle bracket"),
    "lwsruri": Answer([400], "a space in the Request-URI"),
    "lwsruri_tab": Answer([400], "a tab in the Request-URI"),
    "lwsstart": Answer([400], "two spaces"),
    "lwsstart_second": Answer([400], "two spaces"),
    "trws": Answer([400], "spaces at the end"),
    "escruri": Answer([100], "taken; the header in the URI is not obeyed", calls=1),
    "baddate": Answer([100], "taken; nobody here reads Date", calls=1),
    "regbadct": Answer([401], "who it is comes first"),
    "badaspec": Answer([200], "taken; the spaces are ignored"),
    "baddn": Answer([200], "taken; the quotes are inferred"),
    "badvers": Answer([505], "another version"),
    "badvers_old": Answer([505], "another version"),
    "mismatch01": Answer([400], "CSeq names another method"),
    "mismatch02": Answer([400], "CSeq names another method; 501 would do as well"),
    "bigcode": Answer(NOTHING, "dropped: no status has ten digits"),
    "bigcode_short": Answer(NOTHING, "dropped: no status has five digits"),
    "badbranch": Answer([200], "taken for a transaction as RFC 2543 has it"),
    "insuf": Answer([400], "no Call-ID, From or To"),
    "insuf_callid": Answer([400], "no Call-ID"),
    "insuf_from": Answer([400], "no From"),
    "insuf_to": Answer([400], "no To"),
    "insuf_cseq": Answer([400], "no CSeq"),
    "insuf_via": Answer(NOTHING, "nobody says where an answer would go"),
    "unkscm": Answer([416], "nobody knows that scheme"),
    "novelsc": Answer([416], "not a scheme that calls go to"),
    "unksm2": Answer([401], "who it is comes first"),
    "bext01": Answer([420], "extensions that nobody supports"),
    "bext01_proxy": Answer([200], "we are no proxy"),
    "invut": Answer([415], "no such type of body"),
    "regaut01": Answer([401], "credentials of an unknown scheme are none"),
    "multi01": Answer([400], "fields that may stand once stand twice"),
    "multi01_callid": Answer([400], "two Call-IDs"),
    "multi01_cseq": Answer([400], "two CSeqs"),
    "multi01_from": Answer([400], "two Froms"),
    "multi01_to": Answer([400], "two Tos"),
    "multi01_hops": Answer([400], "two Max-Forwards"),
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


def test_every_case_of_the_rfc_has_a_message() -> None:
    assert list(dict.fromkeys(sections().values())) == CASES
    assert len({name.partition("_")[0] for name in MESSAGES}) == len(CASES) == 49
    assert set(MESSAGES) == set(ANSWERS)


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


def test_white_space_folds_case_and_compact_names() -> None:
    message = read("wsinv")
    assert (message.max_forwards, message.sequence, message.sequence_method) == (41, 70, "INVITE")
    assert (message.from_tag, message.to_tag) == ("early-bird", "late-arrival-3")
    assert Address.parse(message.headers["From"][0]).display == 'Quill "Bo" ' + "\\"
    assert message.get("X-Ward-Note") == "the first half of a note and the other half"
    assert message.get("X-Marks") == ",=;,;,,="
    assert message.get("Subject") == ""
    assert [(via.transport, via.host, via.branch) for via in map(Via.parse, message.all("Via"))] == [
        ("TLS", "trunk.clinic.example", "ward-east-7"),
        ("UDP", "203.0.113.41", "z9hG4bKsecond.hop"),
        ("SCTP", "203.0.113.42", "z9hG4bKthird.hop"),
    ]
    assert message.via.port == 5071
    (contact,) = message.contacts
    assert contact.display == 'the "" desk'
    assert contact.params == {"q": "0.25", "mood": "calm", "awake": None}
    assert Address.parse(message.all("Route")[0]).uri.params["plain"] is None
    assert message.target.params == {"floor": None}


def test_a_tab_is_white_space() -> None:
    message = read("wsinv_tab")
    assert (message.sequence, message.from_tag, message.to_tag) == (71, "tabbed", "untold")
    assert (message.via.transport, message.via.sent_by) == ("UDP", "203.0.113.40:5062")
    assert message.via.branch == "z9hG4bKtabs"


def test_a_wide_range_of_valid_characters() -> None:
    message = read("intmeth")
    assert message.method == message.sequence_method == "~Odd!Verb'`_+*.%-5081"
    assert Address.parse(message.headers["To"][0]).display == "zero \x00, vt \x0b, esc \x1b, rub-out \x7f"
    caller = Address.parse(message.headers["From"][0])
    assert caller.display == "one'~* two`_% three.!+-"
    assert caller.params == {"p~a'r`a*m+!._%-": '"νερό ☕ æø"', "tag": "~t'a`g*_+.!%-"}
    assert message.from_tag == "~t'a`g*_+.!%-"
    assert message.call_id == "a%b~c`d'e!f*g-h_i.j+k(l)m<n>o@p:q\\r\"s/t[u]v?w{x}y"
    assert message.target.user == "3-in_1.Guest~(who!)&his*cat's=ok+or$not,/?;;"
    assert message.target.password == "4$ure&(no'one)=knows_it,*at~all!+.-"
    assert message.get("X~Field'Name`*+_.!%-9") == "\ufeffлист 紙"  # noqa: RUF001 - another script is the point


def test_a_percent_that_escapes_and_one_that_does_not() -> None:
    message = read("esc01")
    assert message.target.user == "sips:ward-four@clinic.example"
    assert Address.parse(message.headers["To"][0]).uri.user == "desk"
    assert Address.parse(message.headers["From"][0]).uri.user == "night shift two"
    assert message.contacts[0].uri.user == "room9"
    assert [contact.uri.user for contact in read("escnull").contacts] == ["\0\0\0", "\0"]
    other = read("esc02")
    assert other.method == "R%45GISTE%52"
    assert other.via.branch == "z9hG4bK63%gone"
    assert [Address.parse(other.headers[name][0]).display for name in ("From", "To")] == ["100%25 %sure", "%Mi%72a"]
    assert [contact.uri.user for contact in other.contacts] == ["mira.one", "mira.four"]


def test_names_without_space_long_values_and_semicolons() -> None:
    assert Address.parse(read("lwsdisp").headers["From"][0]).display == "Tove"
    assert Address.parse(read("lwsdisp").headers["To"][0]).display == "Front Desk"
    long = read("longreq")
    assert [Via.parse(value).host for value in long.all("Via")] == [
        *(f"edge-{number}.transit.example" for number in range(36, 1, -1)),
        "phone-1.ward.example",
    ]
    assert Address.parse(long.headers["To"][0]).uri.port == 5777
    assert (len(long.from_tag), len(long.call_id)) == (161, 134)
    assert read("semiuri").target.user == "room12;ext=7@north.clinic.example;lr"


def test_what_lies_behind_a_message_is_not_read() -> None:
    message = read("dblreq")
    assert (message.method, message.call_id, message.body) == ("REGISTER", "leading.66", b"")


def test_every_transport_may_stand_in_via() -> None:
    vias = [Via.parse(value).transport for value in read("transports").all("Via")]
    assert vias == ["UDP", "PIGEON", "TLS-SCTP", "TCP", "SCTP", "TLS"]


def test_a_body_of_octets_stays_as_it_is() -> None:
    message = read("mpart01")
    assert message.content_type == "multipart/mixed"
    assert message.body == MESSAGES["mpart01"].partition(b"\r\n\r\n")[2]
    assert bytes(range(256)) in message.body


def test_a_reason_may_be_anything_or_nothing() -> None:
    strange, empty = parse(MESSAGES["unreason"]), parse(MESSAGES["noreason"])
    assert isinstance(strange, Response)
    assert isinstance(empty, Response)
    assert (strange.status, strange.reason) == (200, "7/2 = 3.5 & so on, ok? (πάντα ῥεῖ); 50%25 @ $5 + ~tip*!")
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


BROKEN = {"clerr", "clerr_bodiless", "ncl", "ncl_plus", "ncl_word", "lwsruri", "lwsstart", "lwsstart_second", "trws"}
BROKEN |= {"mcl01", "badvers", "badvers_old"}
"Those of which `parse` itself says what is wrong."


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_what_cannot_be_parsed_says_what_it_was(name: str) -> None:
    with pytest.raises(MalformedError) as refused:
        parse(MESSAGES[name])
    assert isinstance(refused.value.message, Request)


def test_a_refusal_says_what_would_have_done() -> None:
    (extensions,) = Line().put(MESSAGES["bext01"])
    assert extensions.all("Unsupported") == ["telepathy", "second-sight"]
    (kind,) = Line().put(MESSAGES["invut"])
    assert kind.all("Accept") == ["application/sdp"]
    assert "Allow" in Line().put(MESSAGES["intmeth"])[0].headers


def test_a_branch_without_an_id_tells_no_two_requests_apart() -> None:
    line = Line()
    again = MESSAGES["badbranch"].replace(b"bare-cookie.", b"another.").replace(b"OPTIONS", b"BYE")
    first, second = line.put(MESSAGES["badbranch"]), line.put(again)
    assert [first[0].call_id, second[0].call_id] == ["bare-cookie.104", "another.104"]


# Registrations, once the phone has said who it is


def registered(name: str, user: str) -> tuple[Line, Response]:
    secrets = {user: Credentials.of(user, REALM, "secret")}
    line = Line(credentials=secrets.get)
    (refusal,) = line.put(MESSAGES[name], PHONE)
    (answer,) = line.put(proven(read(name), refusal, Login(user, "secret")), PHONE)
    return line, answer


def test_a_parameter_belongs_to_the_contact_or_to_its_uri() -> None:
    bare, answer = registered("cparam01", "frontdesk")
    assert answer.status == 200
    assert bare.endpoint.registrar.contacts("frontdesk")[0].contact.params == {}
    bracketed, _ = registered("cparam02", "frontdesk")
    assert bracketed.endpoint.registrar.contacts("frontdesk")[0].contact.params == {"nightbell": None}


@pytest.mark.parametrize(
    ("name", "user", "headers"),
    [
        ("regbadct", "kaja", "Replaces=one%3Bto-tag%3Dtwo"),
        ("regescrt", "lone", "Subject=soup&Route=%3Csip:198.51.100.200%3Blr%3E"),
    ],
)
def test_a_header_in_a_contact_is_kept_and_not_obeyed(name: str, user: str, headers: str) -> None:
    line, answer = registered(name, user)
    assert answer.contacts[0].uri.headers == headers
    (binding,) = line.endpoint.registrar.contacts(user)
    assert binding.contact.headers == headers


def test_an_address_to_register_is_a_sip_uri() -> None:
    assert registered("unksm2", "5550-0142")[1].status == 400

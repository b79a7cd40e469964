"""Who is banned, who never is, and what a flood costs."""

import gc
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from media.sip.digest import Algorithm, Authority, Credentials, Login, Outcome
from media.sip.guard import BAN_S, BANS, BESIEGED, FAILURES, HOMES, LONGEST_BAN_S, SOURCES, WINDOW_S, Guard, network_of
from media.sip.hop import Hop
from media.sip.message import Request, Response
from tests.media.sip.line import PHONE, REALM, Clock, Line, answer, follow, invite, proven, request, statuses
from tests.media.sip.test_flows import PAGE, Pages, register

CONTACT = "<sip:101@203.0.113.9:5062>"
STRANGER = "203.0.113.66"
TRUNK = "198.51.100.7"
SIGNED_IN = 7
"A connection whose phone is known."


def at(host: str, flow: int = 0) -> Hop:
    return Hop(host, 5060, "tls" if flow else "udp", flow)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guard(clock: Clock) -> Guard:
    return Guard(clock, lambda host: host == TRUNK, lambda source: source.flow == SIGNED_IN)


def guess(guard: Guard, times: int, host: str = STRANGER) -> None:
    for turn in range(times):
        guard.failed(host, f"10{turn}")


def asking(line: Line, extension: str = "101", source: Hop = PHONE, **more: Any) -> tuple[Request, Response]:
    """Have a phone register; return what it sent, and how it is asked for its password."""
    usual = {"to": f"<sip:{extension}@192.0.2.1>", "contact": CONTACT, "headers": {"Expires": "120"}}
    asked = request("REGISTER", **(usual | more))
    (refusal,) = line.put(asked, source)
    return asked, refusal


def guesses(line: Line, asked: Request, refusal: Response, times: int, source: Hop = PHONE) -> list[list[int | str]]:
    """Have somebody guess a password; return what is said to each guess."""
    wrong = [proven(asked, refusal, Login("101", "wrong"), branch=f"z9hG4bK{turn}") for turn in range(times)]
    return [statuses(line.put(each, source)) for each in wrong]


def test_the_fifth_wrong_password_in_a_minute_bans_the_source(guard: Guard) -> None:
    guess(guard, FAILURES - 1)
    assert not guard.bars(at(STRANGER))
    guess(guard, 1)
    assert guard.bars(at(STRANGER))
    assert not guard.bars(at("203.0.113.67"))


def test_wrong_passwords_that_come_slowly_ban_nobody(guard: Guard, clock: Clock) -> None:
    for _ in range(20):
        guess(guard, 1)
        clock.now += WINDOW_S / (FAILURES - 1) + 0.01
        assert not guard.bars(at(STRANGER))


def test_each_ban_is_twice_as_long_as_the_one_before_up_to_a_day(guard: Guard, clock: Clock) -> None:
    lengths = []
    for _ in range(14):
        guess(guard, FAILURES)
        began = clock.now
        while guard.bars(at(STRANGER)):
            clock.now += BAN_S / 2
        lengths.append(clock.now - began)
    assert lengths[:4] == [BAN_S, 2 * BAN_S, 4 * BAN_S, 8 * BAN_S]
    assert lengths[-1] == LONGEST_BAN_S


def test_a_source_that_behaves_for_a_day_begins_anew(guard: Guard, clock: Clock) -> None:
    guess(guard, FAILURES)
    clock.now += BAN_S + LONGEST_BAN_S + 1
    guess(guard, FAILURES)
    clock.now += BAN_S
    assert not guard.bars(at(STRANGER))


def test_an_address_where_a_phone_proved_itself_is_never_banned(guard: Guard) -> None:
    guard.proved(STRANGER, "101")
    guess(guard, 50)
    assert not guard.bars(at(STRANGER))


def test_a_phone_that_proves_itself_frees_its_address(guard: Guard) -> None:
    guess(guard, FAILURES - 1)
    guard.proved(STRANGER, "101")
    guess(guard, FAILURES)
    assert not guard.bars(at(STRANGER))


def test_who_is_known_by_its_connection_is_heard_from_a_banned_address(guard: Guard) -> None:
    guess(guard, FAILURES)
    assert guard.bars(at(STRANGER))
    assert guard.bars(at(STRANGER, flow=8))
    assert not guard.bars(at(STRANGER, SIGNED_IN))
    assert guard.dropped == 2


def test_old_addresses_of_an_account_may_be_banned_again(guard: Guard) -> None:
    for last in range(HOMES + 1):
        guard.proved(f"203.0.113.{last}", "101")
    guess(guard, FAILURES, "203.0.113.0")
    guess(guard, FAILURES, "203.0.113.1")
    assert guard.bars(at("203.0.113.0"))
    assert not guard.bars(at("203.0.113.1"))


def test_a_trunk_is_never_banned(guard: Guard) -> None:
    guess(guard, 50, TRUNK)
    assert not guard.bars(at(TRUNK))


def test_one_account_under_fire_from_everywhere_leaves_each_source_one_try(guard: Guard) -> None:
    guard.proved("192.0.2.50", "101")
    for last in range(BESIEGED - 1):
        guard.failed(f"198.18.0.{last}", "101")
    assert not any(guard.bars(at(f"198.18.0.{last}")) for last in range(BESIEGED - 1))
    guard.failed("198.18.1.1", "101")
    assert guard.bars(at("198.18.1.1"))
    guard.failed("198.18.1.2", "102")
    assert not guard.bars(at("198.18.1.2"))
    guard.failed("192.0.2.50", "101")
    assert not guard.bars(at("192.0.2.50"))


def test_one_owner_of_ipv6_addresses_is_one_source(guard: Guard) -> None:
    for last in range(FAILURES):
        guard.failed(f"2001:db8::{last:x}", "101")
    assert guard.bars(at("2001:db8::ffff"))
    assert not guard.bars(at("2001:db8:0:1::1"))
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert network_of("not:an:address") == "not:an:address"


@pytest.mark.parametrize(
    "agent", ["friendly-scanner", "sipcli/v1.8", "pplsip", "VaxSIPUserAgent/3.1", "sundayddr", "SIPVicious"]
)
def test_scanners_are_known_by_what_they_call_themselves(guard: Guard, agent: str) -> None:
    message = request("OPTIONS", headers={"User-Agent": agent})
    assert guard.ignores(message, STRANGER)
    assert not guard.ignores(message, TRUNK)
    for _ in range(FAILURES):
        guard.ignores(message, STRANGER)
    assert guard.bars(at(STRANGER))


@pytest.mark.parametrize("from_", ['"sipvicious" <sip:100@1.1.1.1>;tag=a', "<sip:100@1.1.1.1>;tag=a"])
def test_scanners_are_known_by_what_their_requests_have_in_common(guard: Guard, from_: str) -> None:
    assert guard.ignores(request("REGISTER", from_=from_, headers={"User-Agent": "Yealink"}), STRANGER)


@pytest.mark.parametrize("agent", ["JsSIP 3.10.1", "baresip v1.0.0", "Yealink SIP-T46S", "Z 5.6.1 Zoiper", ""])
def test_phones_are_no_scanners(guard: Guard, agent: str) -> None:
    message = request("REGISTER", from_="<sip:101@1.1.1.12>;tag=a", headers={"User-Agent": agent} if agent else {})
    assert not guard.ignores(message, STRANGER)


def test_a_flood_from_made_up_sources_leaves_memory_bounded(guard: Guard) -> None:
    for turn in range(BANS + 100):
        guess(guard, FAILURES, f"10.0.{turn >> 8}.{turn & 255}")
    assert len(guard._sources) == SOURCES
    assert len(guard._accounts) <= SOURCES
    assert len(guard._banned) == BANS
    assert not guard.bars(at("10.0.0.0"))
    assert guard.bars(at(f"10.0.{BANS >> 8}.99"))


def test_one_made_up_account_after_the_other_leaves_memory_bounded(guard: Guard) -> None:
    for turn in range(SOURCES + 100):
        guard.failed(TRUNK, f"{turn}" * 50)
    assert len(guard._accounts) == SOURCES
    assert max(map(len, guard._accounts)) <= 64


def called(work: Any) -> Iterator[str]:
    """Yield each function, Python's and C's, that `work` calls."""
    seen: list[str] = []

    def note(frame: Any, event: str, arg: Any) -> None:
        if event == "call":
            seen.append(frame.f_code.co_qualname)
        elif event == "c_call":
            seen.append(arg.__qualname__)

    gc.disable()  # whoever listens to the collector is called, too
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    yield from seen[: seen.index("setprofile")]


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_an_unknown_name_costs_what_a_wrong_password_costs_call_by_call(algorithm: Algorithm) -> None:
    known = {f"1{n:02}": Credentials.of(f"1{n:02}", REALM, "right") for n in range(50)}
    authority = Authority(REALM, known.get, Clock(), [algorithm])
    asked = request("REGISTER")
    refusal = asked.respond(401, headers={"WWW-Authenticate": authority.challenges(asked)})
    work: dict[bool, Counter[tuple[str, ...]]] = {True: Counter(), False: Counter()}
    for number in range(100):
        name = f"{100 + number}"
        message = proven(asked, refusal, Login(name, "wrong"))
        steps = tuple(called(partial(authority.judge, message)))
        assert authority.judge(message).outcome is Outcome.REFUSED
        assert sum(step == "Algorithm.digest" for step in steps) == 2
        work[name in known][steps] += 1
    assert work[True].total() == work[False].total() == 50
    # Every refusal is the same sequence of calls, so nothing about time or answer tells the two apart.
    assert set(work[True]) == set(work[False])
    assert len(work[True]) == 1


async def test_five_wrong_passwords_leave_the_door_shut_for_that_source_alone() -> None:
    line = Line()
    asked, refusal = asking(line)
    assert guesses(line, asked, refusal, FAILURES) == [[403]] * FAILURES
    right = proven(asked, refusal, Login("101", "secret of 101"), branch="z9hG4bKright")
    assert line.put(right, PHONE) == []
    assert line.put(request("OPTIONS", branch="z9hG4bKoptions"), PHONE) == []
    assert statuses(line.put(right, PHONE._replace(host="203.0.113.10"))) == [200]
    line.passes(BAN_S)
    assert statuses(line.put(right, PHONE)) == [401]  # its nonce was used meanwhile


async def test_a_phone_that_registered_is_served_while_its_address_guesses() -> None:
    line = Line()
    asked, refusal = asking(line)
    right = proven(asked, refusal, Login("101", "secret of 101"), branch="z9hG4bKright")
    assert statuses(line.put(right, PHONE)) == [200]
    guesses(line, asked, refusal, 3 * FAILURES, PHONE._replace(port=6000))
    assert statuses(line.put(invite(branch="z9hG4bKcall"), PHONE)) == [401]


def scanned(line: Line, host: str) -> None:
    """Have packets of a scanner come that name an office's address as theirs, as anybody can over UDP."""
    for turn in range(FAILURES):
        scan = request("OPTIONS", branch=f"z9hG4bKscan{turn}", headers={"User-Agent": "friendly-scanner"})
        assert line.put(scan, Hop(host, 5060)) == []


def test_pages_of_an_office_are_heard_whoever_sends_in_its_name() -> None:
    pages = Pages()
    assert statuses(pages.say(register(), 11)) == [200]
    scanned(pages, pages.at(11).host)
    assert pages.put(request("OPTIONS", branch="z9hG4bKudp"), PHONE) == []
    assert statuses(pages.say(register(sequence=2), 11)) == [200]
    assert statuses(pages.say(register("102", call_id="reg-2"), 12)) == [200], "also one that is opened just now"
    assert pages.say(request("OPTIONS", branch="z9hG4bKother"), 13) == [], "but no connection that is nobody's"


async def test_a_page_talks_on_whoever_sends_in_the_name_of_its_office() -> None:
    pages = Pages()
    call = invite(uri="sip:+12125550100@192.0.2.1", contact=f"<sip:abc@{PAGE};transport=ws>")
    pages.say(call, 11)
    await pages.settle()
    pages.calls[0].answer(answer())
    (ok,) = pages.said()
    assert isinstance(ok, Response)
    scanned(pages, pages.at(11).host)
    assert pages.say(follow(call, ok, "ACK"), 11) == []
    assert pages.calls[0].acked.result() is True
    assert statuses(pages.say(follow(call, ok, "BYE", sequence=2), 11)) == [200]


async def test_each_phone_that_is_registered_is_heard_however_many_an_extension_has() -> None:
    line = Line()
    for last in range(HOMES + 1):
        source = PHONE._replace(host=f"203.0.113.{last}")
        contact = f"<sip:101@203.0.113.{last}:5062>"
        asked, refusal = asking(line, source=source, contact=contact, branch=f"z9hG4bKask{last}", call_id=f"reg-{last}")
        right = proven(asked, refusal, Login("101", "secret of 101"), branch=f"z9hG4bKright{last}")
        assert statuses(line.put(right, source)) == [200]
    scanned(line, "203.0.113.0")
    assert statuses(line.put(invite(branch="z9hG4bKcall"), PHONE._replace(host="203.0.113.0"))) == [401]


def test_a_server_that_calls_outside_go_to_is_heard_whoever_sends_in_its_name() -> None:
    line = Line()
    line.endpoint.registrar.servers = lambda host: host == STRANGER
    scanned(line, STRANGER)
    assert statuses(line.put(request("OPTIONS", branch="z9hG4bKasks"), Hop(STRANGER, 5060))) == [200]
    line.endpoint.registrar.servers = lambda _host: False
    assert line.put(request("OPTIONS", branch="z9hG4bKlater"), Hop(STRANGER, 5060)) == []


async def test_a_scanner_gets_no_answer() -> None:
    line = Line()
    assert line.put(request("OPTIONS", headers={"User-Agent": "friendly-scanner"}), PHONE) == []
    assert statuses(line.put(request("OPTIONS", headers={"User-Agent": "JsSIP 3.10.1"}), PHONE)) == [200]


class Added(Line):
    """A line whose record knows a phone, 103, that the endpoint has yet to hear of."""

    def __init__(self) -> None:
        known: dict[str, Credentials] = {}
        super().__init__(credentials=known.get)
        self.asks = 0
        "So often the record was asked."

        async def look() -> bool:
            self.asks += 1
            known["103"] = Credentials.of("103", REALM, "new")
            return True

        self.endpoint.door.on_doubt = look


async def test_a_phone_just_added_is_served_at_once_and_a_flood_asks_the_record_rarely() -> None:
    line = Added()
    asked, refusal = asking(line, "103")
    assert line.put(proven(asked, refusal, Login("103", "new")), PHONE) == []
    await line.settle()
    assert statuses(line.take()) == [200]
    answers = []
    for turn in range(50):
        again = request("REGISTER", to="<sip:104@192.0.2.1>", call_id=f"guess-{turn}", branch=f"z9hG4bK{turn}")
        guessed = proven(again, refusal, Login("104", "guessed"), branch=f"z9hG4bKguess{turn}")
        answers += line.put(guessed, PHONE._replace(host=f"203.0.113.{turn}"))
        await line.settle()
        answers += line.take()
    assert statuses(answers) == [403] * 50
    assert line.asks <= 2


async def test_a_phone_just_added_is_served_whatever_it_asks_in_one_moment() -> None:
    line = Added()
    for turn in range(10):
        asked, refusal = asking(line, "103", call_id=f"moment-{turn}", branch=f"z9hG4bKfirst{turn}")
        again = proven(asked, refusal, Login("103", "new"), branch=f"z9hG4bKsecond{turn}")
        assert line.put(again, PHONE) == []
        assert line.put(again, PHONE) == []  # sent again before there was an answer
    await line.settle()
    assert statuses(line.take()) == [200] * 10
    assert line.asks == 1
    assert not line.endpoint.guard.bars(at(PHONE.host))


async def test_a_record_that_cannot_be_asked_leaves_nobody_without_an_answer() -> None:
    line = Line()

    async def look() -> bool:
        raise OSError

    line.endpoint.door.on_doubt = look
    asked, refusal = asking(line)
    line.put(proven(asked, refusal, Login("101", "wrong")), PHONE)
    await line.settle()
    assert statuses(line.take()) == [403]


@pytest.mark.parametrize("login", [Login("101", "wrong"), Login("nobody", "x")])
async def test_a_refusal_is_the_same_for_all_after_the_record_was_asked(login: Login) -> None:
    line = Line()

    async def look() -> bool:
        return False

    line.endpoint.door.on_doubt = look
    asked, refusal = asking(line)
    assert line.put(proven(asked, refusal, login), PHONE) == []
    await line.settle()
    assert statuses(line.take()) == [403]

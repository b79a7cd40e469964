"""Transfers in calls: REFER and NOTIFY both ways, INVITE with Replaces, digits by INFO (RFC 3515, RFC 3891)."""

import asyncio
from typing import Any

import pytest

from media.errors import CallOverError
from media.sip.incoming import Incoming
from media.sip.keypress import PLAIN_TYPE, RELAY_TYPE
from media.sip.message import Request, Response
from media.sip.referral import Replaces, fragment, parse_fragment
from media.sip.transfer import Refer
from media.sip.uri import Address, Uri
from tests.media.sip.calling import PHONE_URI, calling
from tests.media.sip.calling import talking as called
from tests.media.sip.line import PHONE, Line, answer, follow, invite, reply, request, statuses
from tests.media.sip.test_incoming import ringing, talking
from tests.media.sip.test_offering import turns

COLLEAGUE = Uri.parse("sip:102@192.0.2.1")


def asked(ok: Response, method: str, sequence: int, body: bytes = b"", **fields: str) -> Request:
    """Return a request of the caller inside the call."""
    made = follow(invite(), ok, method, sequence=sequence)
    made.headers |= {name.replace("_", "-"): [value] for name, value in fields.items()}
    made.body = body
    return made


def refer(ok: Response, sequence: int = 2, to: str = "<sip:102@192.0.2.1>", **fields: str) -> Request:
    return asked(ok, "REFER", sequence, b"", Refer_To=to, **fields)


async def willing(line: Line) -> tuple[Incoming, Response, list[Refer], asyncio.Event]:
    """Return a call whose transfers are noted, and what lets them end."""
    call, ok = await talking(line)
    refers: list[Refer] = []
    done = asyncio.Event()

    async def carry_out(wish: Refer) -> None:
        refers.append(wish)
        await done.wait()

    call.on_refer = carry_out
    return call, ok, refers, done


def told(notify: Any) -> tuple[int, str, str]:
    """Return what a NOTIFY tells."""
    assert (notify.method, notify.content_type) == ("NOTIFY", "message/sipfrag")
    return parse_fragment(notify.body), notify.get("Subscription-State"), notify.get("Event")


# The peer transfers


async def test_a_transfer_is_taken_told_of_as_it_goes_and_told_its_end() -> None:
    line = Line()
    call, ok, refers, done = await willing(line)
    response, notify = line.put(refer(ok, Referred_By='"Ada" <sip:ada@198.51.100.7>;x=y'))
    assert (response.status, response.contacts[0].uri.host) == (202, "192.0.2.1")
    assert told(notify) == (100, "active;expires=60", "refer")
    await turns()
    (wish,) = refers
    assert (wish.target, wish.replaces) == (COLLEAGUE, None)
    assert wish.referred_by == '"Ada" <sip:ada@198.51.100.7>;x=y'
    wish.progress(180)
    wish.progress(200)
    wish.progress(486)
    ringing_now, over = line.take()
    assert told(ringing_now) == (180, "active;expires=60", "refer")
    assert told(over) == (200, "terminated;reason=noresource", "refer")
    done.set()
    await line.settle()
    assert line.take() == []
    assert not call.ended.done()


async def test_an_attended_transfer_names_the_call_to_replace() -> None:
    line = Line()
    _, ok, refers, done = await willing(line)
    line.put(refer(ok, to="<sip:102@192.0.2.1?Replaces=a%40b%3Bto-tag%3Dx%3Bfrom-tag%3Dy>"))
    await turns()
    assert refers[0].replaces == Replaces("a@b", "x", "y")
    done.set()
    await line.settle()


async def test_what_the_owner_leaves_untold_is_told_as_failed() -> None:
    line = Line()
    call, ok = await talking(line)

    async def fails(_wish: Refer) -> None:
        raise ZeroDivisionError

    call.on_refer = fails
    line.put(refer(ok))
    await line.settle()
    (notify,) = line.take()
    assert told(notify)[:2] == (500, "terminated;reason=noresource")


@pytest.mark.parametrize("to", ["", "<sip:open", "<sip:a@b>, <sip:c@d>", "<sip:a@b?Replaces=x>"])
async def test_a_wish_that_cannot_be_read_is_refused(to: str) -> None:
    line = Line()
    _, ok, refers, _ = await willing(line)
    assert statuses(line.put(refer(ok, to=to))) == [400]
    assert refers == []


async def test_transfers_are_declined_where_nobody_carries_them_out() -> None:
    line = Line()
    call, ok = await talking(line)
    assert statuses(line.put(refer(ok))) == [603]
    call.bye()
    line.take()
    assert statuses(line.put(refer(ok, 3))) == [481]
    call = await ringing(line, invite(branch="z9hG4bKtwo", call_id="call-2"))
    progress = line.take()[-1]
    early = follow(invite(call_id="call-2"), progress, "REFER", sequence=2, branch="early")
    early.headers["Refer-To"] = ["<sip:102@192.0.2.1>"]
    assert statuses(line.put(early)) == [403]


async def test_another_method_than_invite_is_declined_and_one_transfer_goes_at_a_time() -> None:
    line = Line()
    _, ok, refers, done = await willing(line)
    assert statuses(line.put(refer(ok, to="<sip:102@192.0.2.1;method=BYE>"))) == [603]
    line.put(refer(ok, 3))
    assert statuses(line.put(refer(ok, 4))) == [491]
    await turns()
    refers[0].progress(486)
    done.set()
    await line.settle()
    line.take()
    response, notify = line.put(refer(ok, 5))
    assert (response.status, told(notify)[2]) == (202, "refer;id=5")
    await line.settle()


async def test_who_wants_to_hear_nothing_hears_nothing() -> None:
    line = Line()
    _, ok, refers, done = await willing(line)
    (response,) = line.put(refer(ok, Refer_Sub="false", Supported="norefersub"))
    assert (response.status, response.get("Refer-Sub")) == (202, "false")
    await turns()
    refers[0].progress(200)
    done.set()
    await line.settle()
    assert line.take() == []


async def test_a_transfer_that_goes_on_is_told_its_end_before_our_bye() -> None:
    line = Line()
    call, ok, _, done = await willing(line)
    line.put(refer(ok))
    call.bye()
    notify, bye = line.take()
    assert (told(notify)[0], bye.method, bye.sequence) == (503, "BYE", notify.sequence + 1)
    done.set()
    await line.settle()
    assert line.take() == []


async def test_a_peer_that_hung_up_after_its_wish_is_told_until_it_no_longer_knows() -> None:
    line = Line()
    _, ok, refers, done = await willing(line)
    _, trying = line.put(refer(ok))
    await turns()
    assert statuses(line.put(follow(invite(), ok, "BYE", sequence=3))) == [200]
    line.put(trying.respond(200))
    refers[0].progress(180)
    (notify,) = line.take()
    line.put(notify.respond(481))
    refers[0].progress(200)
    assert line.take() == []
    assert line.endpoint.calls == 0
    done.set()
    await line.settle()


async def test_a_subscription_can_be_asked_for_anew_and_ended() -> None:
    line = Line()
    _, ok, refers, done = await willing(line)
    assert statuses(line.put(asked(ok, "SUBSCRIBE", 2, Event="refer"))) == [481]
    line.put(refer(ok, 3))
    await turns()
    response, notify = line.put(asked(ok, "SUBSCRIBE", 4, Event="refer"))
    assert (response.status, response.get("Expires"), told(notify)[0]) == (200, "60", 100)
    response, notify = line.put(asked(ok, "SUBSCRIBE", 5, Event="refer", Expires="0"))
    assert (response.get("Expires"), told(notify)[1]) == ("0", "terminated;reason=timeout")
    assert statuses(line.put(asked(ok, "SUBSCRIBE", 6, Event="presence"))) == [489]
    refers[0].progress(200)
    assert line.take() == []
    done.set()
    await line.settle()


# We transfer


def notify(ok: Response, sequence: int, status: int, state: str = "active;expires=60", event: str = "refer") -> Request:
    fields = {"Event": event, "Subscription_State": state, "Content_Type": "message/sipfrag"}
    return asked(ok, "NOTIFY", sequence, fragment(status), **fields)


async def referring(line: Line, **options: Any) -> tuple[Incoming, Response, "asyncio.Task[int]", Request]:
    call, ok = await talking(line)
    task = asyncio.ensure_future(call.refer(COLLEAGUE, **options))
    await turns()
    (sent,) = line.take()
    return call, ok, task, sent


async def test_we_transfer_and_hear_how_it_went() -> None:
    line = Line()
    by = Address.parse("<sip:101@192.0.2.1>")
    call, ok, task, sent = await referring(line, replaces=Replaces("a@b", "x", "y"), referred_by=by)
    assert sent.get("Refer-To") == "<sip:102@192.0.2.1?Replaces=a%40b%3Bto-tag%3Dx%3Bfrom-tag%3Dy>"
    assert sent.get("Referred-By") == "<sip:101@192.0.2.1>"
    assert statuses(line.put(notify(ok, 2, 100))) == [200]  # it may overtake the response
    line.put(sent.respond(202))
    assert statuses(line.put(notify(ok, 3, 180, event=f"refer;id={sent.sequence}"))) == [200]
    assert not task.done()
    assert statuses(line.put(notify(ok, 4, 200, "terminated;reason=noresource"))) == [200]
    assert await task == 200
    assert statuses(line.put(notify(ok, 5, 200))) == [481]
    assert not call.ended.done()


@pytest.mark.parametrize("status", [403, 603])
async def test_a_transfer_that_the_peer_declines(status: int) -> None:
    line = Line()
    _, _, task, sent = await referring(line)
    line.put(sent.respond(status))
    assert await task == status


async def test_a_transfer_that_fails_is_told_so() -> None:
    line = Line()
    _, ok, task, sent = await referring(line)
    line.put(sent.respond(202))
    line.put(notify(ok, 2, 486, "terminated"))
    assert await task == 486


async def test_a_peer_that_tells_nothing_is_not_waited_for_longer_than_a_minute() -> None:
    line = Line()
    _, _, task, sent = await referring(line)
    line.put(sent.respond(202))
    line.passes(61)
    assert await task == 408


async def test_a_peer_that_will_not_tell_is_not_waited_for() -> None:
    line = Line()
    _, _, task, sent = await referring(line)
    line.put(sent.respond(202, headers={"Refer-Sub": ["false"]}))
    assert await task == 202


async def test_a_call_that_ends_ends_its_transfer() -> None:
    line = Line()
    call, ok, task, sent = await referring(line)
    line.put(sent.respond(202))
    line.put(follow(invite(), ok, "BYE", sequence=2))
    with pytest.raises(CallOverError):
        await task
    with pytest.raises(CallOverError):
        await call.refer(COLLEAGUE)


@pytest.mark.parametrize(
    ("event", "body", "status"),
    [("refer;id=99", b"", 481), ("presence", b"", 489), ("", b"", 400), ("refer", b"not a fragment", 400)],
)
async def test_what_is_told_of_nothing_is_refused(event: str, body: bytes, status: int) -> None:
    line = Line()
    _, ok, task, sent = await referring(line)
    line.put(sent.respond(202))
    fields = {"Event": event, "Subscription_State": "active", "Content_Type": "message/sipfrag"}
    assert statuses(line.put(asked(ok, "NOTIFY", 2, body, **fields))) == [status]
    line.put(notify(ok, 3, 200))
    assert await task == 200


# Replaces (RFC 3891)


async def test_an_invite_may_take_the_place_of_a_call() -> None:
    line = Line()
    call, ok = await talking(line)
    value = f"call-1;to-tag={ok.to_tag};from-tag=far"
    headers = {"Replaces": value, "Require": "replaces"}
    line.put(invite(call_id="call-2", branch="z9hG4bKtwo", headers=headers))
    await line.settle()
    assert line.calls[-1].replaces is call
    assert line.endpoint.find_leg(Replaces.parse(value)) is call


@pytest.mark.parametrize(
    ("suffix", "status"),
    [("", 100), (";early-only", 486), ("x", 481)],
)
async def test_only_a_call_that_is_there_can_be_replaced(suffix: str, status: int) -> None:
    line = Line()
    _, ok = await talking(line)
    value = f"call-1;to-tag={ok.to_tag};from-tag=far{suffix}"
    (response,) = line.put(invite(call_id="call-2", branch="z9hG4bKtwo", headers={"Replaces": value}))
    assert response.status == status
    await line.settle()


async def test_a_call_that_rings_here_is_not_replaced_and_one_that_is_over_neither() -> None:
    line = Line()
    call = await ringing(line)
    progress = line.take()[-1]
    value = f"call-1;to-tag={progress.to_tag};from-tag=far"
    assert statuses(line.put(invite(call_id="c2", branch="z9hG4bK2", headers={"Replaces": value}))) == [481]
    call.answer(answer())
    ok = line.take()[-1]
    line.put(follow(invite(), ok, "ACK"))
    call.bye()
    line.take()
    assert statuses(line.put(invite(call_id="c3", branch="z9hG4bK3", headers={"Replaces": value}))) == [603]


async def test_a_phone_that_we_ring_can_be_answered_from_another() -> None:
    line = Line()
    leg, message = calling(line)
    line.put(reply(message, 180), PHONE)
    value = f"{message.call_id};to-tag={message.from_tag};from-tag=peer;early-only"
    line.put(invite(headers={"Replaces": value}))
    await line.settle()
    assert line.calls[-1].replaces is leg


@pytest.mark.parametrize("values", [["a"], ["a;to-tag=1;from-tag=2", "b;to-tag=1;from-tag=2"]])
async def test_a_replaces_that_cannot_be_read_is_refused(values: list[str]) -> None:
    line = Line()
    message = invite()
    message.headers["Replaces"] = values
    assert statuses(line.put(message)) == [400]


async def test_we_take_the_place_of_a_call_at_a_phone() -> None:
    line = Line()
    first, message = called(line)
    replaces = first.replacement
    assert replaces == Replaces(message.call_id, "peer", message.from_tag)
    line.take()
    _, second = calling(line, PHONE_URI, replaces=replaces)
    assert (second.get("Replaces"), second.get("Require")) == (str(replaces), "replaces")


# Digits by INFO


@pytest.mark.parametrize(("kind", "body"), [(RELAY_TYPE, b"Signal=5\r\nDuration=160\r\n"), (PLAIN_TYPE, b"5")])
async def test_a_key_may_come_as_info(kind: str, body: bytes) -> None:
    line = Line()
    call, ok = await talking(line)
    keys: list[str] = []
    call.on_digit = keys.append
    assert statuses(line.put(asked(ok, "INFO", 2, body, Content_Type=kind))) == [200]
    assert statuses(line.put(asked(ok, "INFO", 3, b"Signal=hf", Content_Type=RELAY_TYPE))) == [200]
    assert keys == ["5"]


async def test_other_info_is_refused_and_none_at_all_is_a_sign_of_life() -> None:
    line = Line()
    _, ok = await talking(line)
    assert statuses(line.put(asked(ok, "INFO", 2))) == [200]
    (response,) = line.put(asked(ok, "INFO", 3, b"x", Content_Type="text/plain"))
    assert (response.status, response.get("Accept")) == (415, f"{RELAY_TYPE}, {PLAIN_TYPE}")
    assert statuses(line.put(asked(ok, "INFO", 4, b"Duration=1", Content_Type=RELAY_TYPE))) == [400]
    assert statuses(line.put(asked(ok, "INFO", 5, b"x", Info_Package="conference"))) == [469]


def test_nothing_is_told_outside_a_call() -> None:
    line = Line()
    assert statuses(line.put(request("INFO"))) == [481]
    assert statuses(line.put(request("UPDATE", branch="z9hG4bKtwo"))) == [481]
    assert statuses(line.put(request("PRACK", branch="z9hG4bKthree"))) == [481]

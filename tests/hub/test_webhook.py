import asyncio
import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import httpx
import orjson
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from connectors.kit.virtual import play
from hub.webhook import LIVE_AT_S, Letter, Outcome, Taken, WebhookSecretError, body_of, post, post_live

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
BODY = b'{"type":"call.offered"}'
LETTER = Letter("https://crm.example.org/pops", SECRET, "0198-event", BODY)


def now() -> datetime:
    return datetime.now(UTC)


def always() -> bool:
    return True


class Receiver:
    """Somebody's webhook endpoint: answers with the given statuses in turn, the last for ever."""

    def __init__(self, *statuses: int, headers: dict[str, str] | None = None) -> None:
        self.seen: list[httpx.Request] = []
        self._statuses = list(statuses)
        self._headers = headers or {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        return httpx.Response(status, headers=self._headers)

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self))


async def test_the_receiver_can_verify_the_signature_with_the_standard_library() -> None:
    receiver = Receiver(204)
    outcome = await post(receiver.client(), LETTER, now())
    assert outcome.taken is Taken.DELIVERED
    (request,) = receiver.seen
    assert Webhook(SECRET).verify(request.content, dict(request.headers)) == {"type": "call.offered"}
    assert request.headers["webhook-id"] == "0198-event"


async def test_a_changed_body_does_not_verify() -> None:
    headers = LETTER.headers(now())
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(BODY + b" ", headers)


@pytest.mark.parametrize("zone_hours", [-5, 0, 9])
async def test_the_time_of_the_signature_is_the_instant_whatever_its_zone(zone_hours: int) -> None:
    at = now()
    elsewhere = at.astimezone(timezone(timedelta(hours=zone_hours)))
    assert LETTER.headers(elsewhere) == LETTER.headers(at)
    Webhook(SECRET).verify(BODY, LETTER.headers(elsewhere))


@pytest.mark.parametrize("secret", ["", "whsec_", "not base64!", base64.b64encode(b"short").decode()])
def test_a_weak_or_broken_secret_is_refused(secret: str) -> None:
    with pytest.raises(WebhookSecretError) as caught:
        Letter(LETTER.url, secret, "e", BODY).headers(now())
    assert len(secret) < 7 or secret not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "taken"),
    [
        (200, Taken.DELIVERED),
        (299, Taken.DELIVERED),
        (301, Taken.LATER),
        (404, Taken.LATER),
        (410, Taken.GONE),
        (429, Taken.LATER),
        (500, Taken.LATER),
    ],
)
async def test_what_an_answer_means(status: int, taken: Taken) -> None:
    outcome = await post(Receiver(status).client(), LETTER, now())
    assert (outcome.taken, outcome.status) == (taken, status)


async def test_a_redirect_is_not_followed() -> None:
    receiver = Receiver(302, headers={"location": "https://elsewhere.example.org/"})
    assert (await post(receiver.client(), LETTER, now())).taken is Taken.LATER
    assert [str(request.url) for request in receiver.seen] == [LETTER.url]


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("120", 120.0),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2026 07:00:00 GMT", 0.0),
        ("99999999", 86_400.0),
        ("soon", None),
        (None, None),
    ],
)
async def test_retry_after_is_read_as_seconds_or_as_a_date(asked: str | None, seconds: float | None) -> None:
    at = datetime(2026, 10, 21, 7, 28, tzinfo=UTC)
    receiver = Receiver(503, headers={"retry-after": asked} if asked else {})
    assert (await post(receiver.client(), LETTER, at)).retry_after == seconds


async def test_no_answer_means_later() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(refuse)) as http:
        outcome = await post(http, LETTER, now())
    assert (outcome.taken, outcome.status) == (Taken.LATER, None)


def live(receiver: Receiver, still: Callable[[], bool] = always) -> Outcome:
    """Let the live lane try, in virtual time: an answer comes at once, however busy the machine is."""
    return play(post_live(receiver.client(), LETTER, now, still))


def test_the_live_lane_stops_at_the_first_good_answer() -> None:
    receiver = Receiver(500, 500, 200)
    outcome = live(receiver)
    assert outcome.taken is Taken.DELIVERED
    assert len(receiver.seen) == 3
    assert {request.headers["webhook-id"] for request in receiver.seen} == {LETTER.event_id}


def test_the_live_lane_gives_up_after_its_last_try() -> None:
    receiver = Receiver(503)
    outcome = live(receiver)
    assert (outcome.taken, outcome.status) == (Taken.LATER, 503)
    assert len(receiver.seen) == len(LIVE_AT_S)


def test_the_live_lane_does_not_ask_again_after_gone() -> None:
    receiver = Receiver(410)
    assert live(receiver).taken is Taken.GONE
    assert len(receiver.seen) == 1


def test_the_live_lane_is_dropped_once_the_call_has_moved_on() -> None:
    receiver = Receiver(500)
    outcome = live(receiver, lambda: len(receiver.seen) < 2)
    assert outcome.taken is Taken.DROPPED
    assert len(receiver.seen) == 2


def test_a_try_that_hangs_does_not_hold_back_the_next() -> None:
    tries = 0

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal tries
        tries += 1
        if tries == 1:
            await asyncio.Event().wait()
        return httpx.Response(200, request=request)

    async def main() -> float:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            assert (await post_live(http, LETTER, now, always)).taken is Taken.DELIVERED
        return asyncio.get_running_loop().time()

    assert play(main()) == pytest.approx(LIVE_AT_S[1])
    assert tries == 2


def test_a_slow_first_answer_still_counts_while_later_tries_fail() -> None:
    slow = asyncio.Event()
    tries = 0

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal tries
        tries += 1
        if tries == 1:
            await slow.wait()
            return httpx.Response(200, request=request)
        slow.set()
        return httpx.Response(500, request=request)

    async def main() -> Outcome:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            return await post_live(http, LETTER, now, always)

    assert play(main()).taken is Taken.DELIVERED


def test_a_body_starts_with_type_id_and_instant() -> None:
    at = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
    said = orjson.loads(body_of("call.offered", "e1", at, {"call": "c1", "match": "one"}))
    assert list(said) == ["type", "id", "at", "call", "match"]
    assert said["at"] == "2026-03-01T12:00:00.250Z"

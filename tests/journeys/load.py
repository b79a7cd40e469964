"""A morning's load, and what each sender was told: messages acknowledged, callbacks taken, calls made.

Everything that came back as an acknowledgment is kept, for the books to be balanced against the record.
"""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Self

import httpx
import orjson

from connectors.sandbox.sms import signature
from hub.demo.phone import Caller, Ended
from tests.journeys.house import DID, House, clock
from tests.journeys.mllp import Sender
from tests.journeys.people import Patient, Scribe, Visit, patients
from tests.journeys.stand import until

MESSAGES_EVERY_S = 0.33
CALLBACKS_EVERY_S = 1.0

AHEAD = timedelta(seconds=40)
"A visit whose reminder is nearer is not changed any more: a process that is being started again would be late."

STAY_S = 30.0
"How long a caller waits to be served and hung up."

PATIENTS_EACH = 20
"Patients with a visit days ahead, which changes all the time."


class Feed:
    """A scheduling system: what it has booked, and what was answered with AA."""

    def __init__(self, house: House, seed: int, count: int, *, first: timedelta, every: timedelta) -> None:
        """Have `count` visits whose reminders fall due one by one, `every` after the other, and some days ahead."""
        self._chance = random.Random(seed)
        self._scribe = Scribe(house.zone)
        self._sender = Sender(house.mllp)
        self.people: list[Patient] = patients(seed, count + PATIENTS_EACH)
        began = clock() + timedelta(days=1) + first
        due = [(began + n * every).replace(microsecond=0) for n in range(count)]  # HL7 tells seconds
        self.due = [Visit(f"D{n}", who, at) for n, (who, at) in enumerate(zip(self.people[:count], due, strict=True))]
        ahead = clock().replace(microsecond=0) + timedelta(days=5)
        self.busy = [Visit(f"B{n}", who, ahead + timedelta(minutes=n)) for n, who in enumerate(self.people[count:])]
        self.acknowledged: dict[str, bytes] = {}
        "By control id."

    async def book(self) -> None:
        """Tell of every visit; return once all is acknowledged."""
        for visit in [*self.due, *self.busy]:
            await self._tell("S12", visit)

    async def run(self) -> None:
        """Tell one change after the other until cancelled: visits are moved, modified and cancelled."""
        while True:
            far = clock() + timedelta(days=1) + AHEAD
            due = [visit for visit in self.due if visit.starts_at > far and visit.status == "booked"]
            busy = [visit for visit in self.busy if visit.status == "booked"]
            visit = self._chance.choice(due if due and self._chance.random() < 0.2 else busy)
            event = self._chance.choices(("S14", "S13", "S15"), (6, 3, int(visit in due or len(busy) > 5)))[0]
            if event == "S13":
                visit.starts_at += timedelta(seconds=5) if visit in due else timedelta(hours=1)
            elif event == "S15":
                visit.status = "cancelled"
            await self._tell(event, visit)
            await asyncio.sleep(MESSAGES_EVERY_S)

    async def _tell(self, event: str, visit: Visit) -> None:
        control_id, raw = self._scribe.tell(event, visit, clock())
        telling = asyncio.ensure_future(self._sender.send(raw, patience=3.0))
        try:
            await asyncio.shield(telling)
        finally:  # a message that is under way is still brought to its end
            code = await telling
            assert code == "AA", f"{control_id} was answered with {code}"
            self.acknowledged[control_id] = raw

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._sender.close()


class Strangers:
    """People whom the practice does not know send texts; the carrier brings each until it is answered with 204."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._began = clock()
        self.taken: dict[str, str] = {}
        "By the callback's id: the carrier's id of the text in it."

    async def run(self) -> None:
        """Bring one text after the other until cancelled, each until it is taken."""
        for number in itertools.count(1):
            text = f"mo-load-{number}"
            await until(partial(self.bring, text, f"+1332555{number % 10_000:04d}"), seconds=60, every=0.1)
            await asyncio.sleep(CALLBACKS_EVERY_S)

    async def bring(self, text: str, number: str) -> bool:
        """Bring one text, the same each time it is tried; return whether it was answered with 204."""
        own = f"cb-{text}"
        at = self._began.isoformat()
        said = {"id": own, "type": "reply", "message": text, "at": at, "from": number, "to": DID}
        body = orjson.dumps(said | {"text": "When do you open on Friday?"})
        stamp = str(int(time.time()))
        headers = {"Sandbox-Timestamp": stamp, "Sandbox-Signature": signature(self._house.carrier.secret, stamp, body)}
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
                url = f"{self._house.http}/carriers/carrier/replies"
                answer = await http.post(url, content=body, headers=headers)
        except httpx.HTTPError:
            return False
        if answer.status_code != httpx.codes.NO_CONTENT:
            return False
        self.taken[own] = text
        return True


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call as its caller saw it."""

    number: str
    began: float
    "Monotonic seconds, as `over`."

    over: float
    ended: Ended | None
    "None where the test took the phone away, with the process that it spoke to."


@dataclass(slots=True)
class Callers:
    """People who call, wait for an agent, talk and are hung up; a call each at a time."""

    house: House
    numbers: Sequence[str]
    hasty: bool
    "Whether they call on while nobody can answer: by then their phones repeat themselves only every few seconds."

    attempts: list[Attempt] = field(default_factory=list)
    _ringing: set[asyncio.Task[Ended]] = field(default_factory=set)
    _line: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Call again and again until cancelled; the call under way is brought to its end."""
        self.line_is_back()
        for number in itertools.cycle(self.numbers):
            await self._line.wait()
            await self.call(number)

    async def call(self, number: str) -> Attempt:
        """Make one call."""
        began = time.monotonic()
        phone = asyncio.create_task(self.house.phones.call(Caller(number, DID, STAY_S, waits=True)))
        self._ringing.add(phone)
        try:
            await asyncio.wait({phone})
        except asyncio.CancelledError:
            await asyncio.wait({phone})
            raise
        finally:
            self._ringing.discard(phone)
            ended = None if phone.cancelled() else phone.result()
            attempt = Attempt(number, began, time.monotonic(), ended)
            self.attempts.append(attempt)
        return attempt

    @property
    def busy(self) -> bool:
        """Whether a call is under way."""
        return bool(self._ringing)

    def cut(self) -> None:
        """Take the phones away whose calls were lost with the process that had them."""
        if not self.hasty:
            self._line.clear()
        for phone in self._ringing:
            phone.cancel()

    def line_is_back(self) -> None:
        """Let those call again who waited for that."""
        self._line.set()


@asynccontextmanager
async def going(*work: asyncio.Task[None]) -> AsyncIterator[None]:
    """Keep the senders going for the block; a sender that fails fails the block at its end."""
    try:
        yield
    finally:
        done = await ended(*work)
    for fault in done:
        if isinstance(fault, Exception):
            raise fault


async def ended(*work: asyncio.Task[None]) -> list[BaseException | None]:
    """Cancel what still goes on, and return how each ended once all have."""
    for task in work:
        task.cancel()
    return await asyncio.gather(*work, return_exceptions=True)


def numbers_of(feed: Feed, count: int) -> list[str]:
    """Return numbers of callers: patients with a visit, and strangers."""
    known = [visit.patient.phone for visit in feed.busy[:count]]
    return [
        number for pair in zip(known, (f"+1929555{n:04d}" for n in range(100, 200)), strict=False) for number in pair
    ]

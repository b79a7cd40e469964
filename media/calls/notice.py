"""Tells the practice's systems what happens on a call: at once in the live lane, and for certain in the record lane."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
import structlog
from sqlmodel import Session

from hub import webhook
from hub.errors import ChartlineError
from hub.record import event
from hub.record.event import Delivery, DeliveryState, Event, Lane
from hub.security.egress import Egress
from hub.temporal import Reach, TemporalUnavailableError, deliver
from hub.webhook import Taken
from media.ledger import Ledger
from media.line import Line

log = structlog.get_logger()

Emitted = tuple[Event, list[Delivery]]
"An event that stands in the rows, and whom to tell."

FIRST_S = 5.0
"How long the first try of the record lane may take here."

_LIVE = {Taken.DELIVERED: DeliveryState.DONE, Taken.DROPPED: DeliveryState.DROPPED}


class Notices:
    """Writes events beside the calls they are about, and posts them."""

    def __init__(self, line: Line, ledger: Ledger, reach: Reach) -> None:
        self._line = line
        self._ledger = ledger
        self._reach = reach
        self._clients: dict[tuple[int, str], httpx.AsyncClient] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(
        self,
        kind: str,
        call_id: UUID,
        payload: Mapping[str, str],
        *,
        along: Callable[[Session], object] = lambda _: None,
        still: Callable[[], bool] = lambda: True,
        soon: bool = False,
    ) -> None:
        """Tell an event of INTERFACE's list, and write `along` in the same transaction, before it; returns at once.

        The live lane is dropped when `still` is no longer so; `soon` says that somebody waits for it.
        """
        at = self._line.now()

        def change(db: Session) -> list[Emitted]:
            along(db)
            return [self.emit(db, kind, call_id, payload, at)]

        self.follow(self._ledger.note(change, soon=soon), still=still)

    def emit(self, db: Session, kind: str, call_id: UUID, payload: Mapping[str, str], at: datetime) -> Emitted:
        """Write an event within a change of the caller's; hand what comes back to `follow`."""
        said = {"call": str(call_id), **payload}
        return event.emit(db, self._line.practice, kind, said, now=at, call_id=call_id)

    def follow(self, written: "Future[list[Emitted]]", *, still: Callable[[], bool] = lambda: True) -> None:
        """Tell what a change emits, once it is committed; returns at once."""
        self._spawn(self._follow(written, still))

    def follow_now(self, told: list[Emitted]) -> None:
        """Tell what is committed already; returns at once."""
        self._spawn(self._tell(told, lambda: True))

    async def close(self) -> None:
        """Wait for what is under way to be written; what is not posted then stays in the record lane."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self._clients.values():
            await client.aclose()

    async def _follow(self, written: "Future[list[Emitted]]", still: Callable[[], bool]) -> None:
        await self._tell(await asyncio.wrap_future(written), still)

    async def _tell(self, emitted: list[Emitted], still: Callable[[], bool]) -> None:
        for told, deliveries in emitted:
            hooks: dict[str, dict[Lane, Delivery]] = {}
            for delivery in deliveries:
                hooks.setdefault(delivery.webhook, {})[delivery.lane] = delivery
            for lanes in hooks.values():
                self._spawn(self._tell_one(told, lanes, still))

    async def _tell_one(self, told: Event, lanes: Mapping[Lane, Delivery], still: Callable[[], bool]) -> None:
        """Tell one webhook at once. Most take it, and a workflow is begun only for what nobody took."""
        record = lanes[Lane.RECORD]
        taken = await self._tried(told, record.webhook, live=Lane.LIVE in lanes, still=still)
        at = self._line.now()

        def settle(db: Session) -> None:
            if Lane.LIVE in lanes:
                event.settle(db, lanes[Lane.LIVE].id, _LIVE.get(taken, DeliveryState.FAILED), at)
            if taken is Taken.DELIVERED:
                event.settle(db, record.id, DeliveryState.DONE, at)

        self._ledger.note(settle)
        if taken is Taken.DELIVERED:
            return
        try:
            await deliver(await self._reach.client(), str(told.id), [str(record.id)])
        except TemporalUnavailableError:
            log.warning("record lane not started", notice=str(told.id))  # upkeep starts it from the rows

    async def _tried(self, told: Event, hook: str, *, live: bool, still: Callable[[], bool]) -> Taken:
        line = self._line
        try:
            letter = webhook.letter_of(told, hook, line.practice, line.instance)
            if letter is None:
                return Taken.DROPPED
            http = await self._http(letter.url)
        except ChartlineError as error:
            log.warning("webhook not reached", notice=str(told.id), code=error.code)
            return Taken.LATER
        if live:
            return (await webhook.post_live(http, letter, line.now, still)).taken
        return (await webhook.post(http, letter, line.now(), within=FIRST_S)).taken

    async def _http(self, url: str) -> httpx.AsyncClient:
        """Return the client for a webhook of the policy in force; one for as long as that policy holds."""
        line = self._line
        key = (line.version, url)
        if key not in self._clients:
            for old in [each for each in self._clients if each[0] != line.version]:
                await self._clients.pop(old).aclose()
            egress = Egress(line.practice, line.instance.db, line.now, actor="system:media")
            self._clients[key] = await egress.webhook(url, "operations")
        return self._clients[key]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("event not told", kind=type(task.exception()).__name__)

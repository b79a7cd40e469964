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
from temporalio.client import Client

from hub import webhook
from hub.record import event
from hub.record.event import Delivery, DeliveryState, Event, Lane
from hub.temporal import TemporalUnavailableError, deliver
from media.ledger import Ledger
from media.line import Line

log = structlog.get_logger()

Emitted = tuple[Event, list[Delivery]]
"An event that stands in the rows, and whom to tell."


class Notices:
    """Writes events beside the calls they are about, and posts them."""

    def __init__(self, line: Line, ledger: Ledger, client: Client, http: httpx.AsyncClient) -> None:
        self._line = line
        self._ledger = ledger
        self._client = client
        self._http = http
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(
        self,
        kind: str,
        call_id: UUID,
        payload: Mapping[str, str],
        *,
        along: Callable[[Session], object] = lambda _: None,
        still: Callable[[], bool] = lambda: True,
    ) -> None:
        """Tell an event of INTERFACE's list, and write `along` in the same transaction, before it; returns at once.

        The live lane is dropped when `still` is no longer so.
        """
        at = self._line.now()

        def change(db: Session) -> list[Emitted]:
            along(db)
            return [self.emit(db, kind, call_id, payload, at)]

        self.follow(self._ledger.note(change), still=still)

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

    async def _follow(self, written: "Future[list[Emitted]]", still: Callable[[], bool]) -> None:
        await self._tell(await asyncio.wrap_future(written), still)

    async def _tell(self, emitted: list[Emitted], still: Callable[[], bool]) -> None:
        for told, deliveries in emitted:
            for delivery in deliveries:
                if delivery.lane is Lane.LIVE:
                    self._spawn(self._post(told, delivery, still))
            record = [str(delivery.id) for delivery in deliveries if delivery.lane is Lane.RECORD]
            if record:
                try:
                    await deliver(self._client, str(told.id), record)
                except TemporalUnavailableError:
                    log.warning("record lane not started", notice=str(told.id))  # upkeep starts it from the rows

    async def _post(self, told: Event, delivery: Delivery, still: Callable[[], bool]) -> None:
        letter = webhook.letter_of(told, delivery.webhook, self._line.practice, self._line.instance)
        if letter is None:
            return
        outcome = await webhook.post_live(self._http, letter, self._line.now, still)
        state = {
            webhook.Taken.DELIVERED: DeliveryState.DONE,
            webhook.Taken.DROPPED: DeliveryState.DROPPED,
        }.get(outcome.taken, DeliveryState.FAILED)
        at = self._line.now()
        self._ledger.note(lambda db: event.settle(db, delivery.id, state, at, code=str(outcome.status or "")))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("event not told", kind=type(task.exception()).__name__)

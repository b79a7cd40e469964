"""Commit what arrives, many messages at a time: one thread takes all that waits into one transaction.

While one commit is on its way to the disk, the next batch gathers; so the more senders there are, the more messages
share the price of one commit, and a lone sender waits for its own only.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import OperationalError

from connectors.api import TransientError
from hub.db import Clock, Database
from hub.errors import ChartlineError
from hub.record import inbox
from hub.record.inbox import Arrival
from hub.security.index import BlindIndex
from hub.security.sealed import Sealer

log = structlog.get_logger()

BATCH_ROWS = 512
BATCH_BYTES = 16 << 20
"Of one transaction; a single larger message still is one."

GATHER_S = 0.0001
"""Between the first message and the commit, while several senders are busy: those just answered are about to send
again, and would otherwise take turns in two half batches. A sender by itself is not kept waiting."""


class NotStoredError(TransientError):
    """The message is not stored; whoever sent it must send it again."""

    code = "not-stored"


@dataclass(frozen=True, slots=True)
class _Waiting:
    arrival: Arrival
    done: asyncio.Future[None]


class Writer:
    """The one writer of raw messages in a process; `store` belongs to the loop that made it."""

    def __init__(
        self,
        database: Database,
        *,
        seal: Sealer,
        index: BlindIndex,
        clock: Clock,
        stored: Callable[[set[str]], None],
        by: str = "system:feeds",
    ) -> None:
        """Begin to write; `stored` is called in the loop with the connections that have new rows."""
        self._database = database
        self._seal = seal
        self._index = index
        self._clock = clock
        self._stored = stored
        self._by = by
        self._loop = asyncio.get_running_loop()
        self._turn = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._closing = False
        self._busy = False
        "The last batch held several messages."

        self._thread = threading.Thread(target=self._run, name="inbox-writer", daemon=True)
        self._thread.start()

    async def store(self, arrival: Arrival) -> None:
        """Return once `arrival` is committed, or was before.

        Arrivals are stored in the order of these calls.

        Raises:
            NotStoredError: it is not.
        """
        done: asyncio.Future[None] = self._loop.create_future()
        with self._turn:
            if self._closing:
                raise NotStoredError("the inbox is closing")
            self._waiting.append(_Waiting(arrival, done))
            self._turn.notify()
        await done

    async def close(self) -> None:
        """Commit what waits, and end."""
        with self._turn:
            self._closing = True
            self._turn.notify()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while batch := self._next():
            self._write(batch)

    def _next(self) -> list[_Waiting]:
        """Return all that waits, up to the limits; nothing once closed."""
        with self._turn:
            while not self._waiting and not self._closing:
                self._turn.wait()
        if self._busy:
            time.sleep(GATHER_S)
        batch: list[_Waiting] = []
        size = 0
        with self._turn:
            while self._waiting and len(batch) < BATCH_ROWS:
                size += len(self._waiting[0].arrival.raw)
                if batch and size > BATCH_BYTES:
                    break
                batch.append(self._waiting.popleft())
        self._busy = len(batch) > 1
        return batch

    def _write(self, batch: Sequence[_Waiting]) -> None:
        try:
            fresh = self._commit(batch)
        except (OperationalError, OSError) as error:  # the file or the disk: it would hit each of them alike
            self._failed(batch, error)
        except ChartlineError as error:
            self._failed(batch, error)
        except Exception as error:
            # A defect that one of them brings out: the others must not wait for ever behind it.
            if len(batch) == 1:
                self._failed(batch, error)
                return
            for one in batch:
                self._write([one])
        else:
            self._tell(batch, None, fresh)

    def _commit(self, batch: Sequence[_Waiting]) -> set[str]:
        arrivals = [one.arrival for one in batch]
        with self._database.write() as db:
            fresh = inbox.store(db, arrivals, seal=self._seal, index=self._index, now=self._clock(), by=self._by)
        return {arrival.connection for arrival, new in zip(arrivals, fresh, strict=True) if new}

    def _failed(self, batch: Sequence[_Waiting], error: Exception) -> None:
        code = error.code if isinstance(error, ChartlineError) else type(error).__name__
        log.error("messages not stored", count=len(batch), code=code)
        self._tell(batch, code, set())

    def _tell(self, batch: Sequence[_Waiting], failed: str | None, fresh: set[str]) -> None:
        def tell() -> None:
            for one in batch:
                if one.done.done():  # whoever asked has gone
                    continue
                if failed is None:
                    one.done.set_result(None)
                else:
                    one.done.set_exception(NotStoredError(failed))
            if fresh:
                self._stored(fresh)

        self._loop.call_soon_threadsafe(tell)

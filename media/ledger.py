"""Writes what happens on calls to the record, in order, off the answer path.

One thread owns the database for the media process. Whatever waits goes into one transaction, each change under a
savepoint of its own, so that fifty calls that arrive in a second share a few commits and one faulty change spoils no
other. A change that was noted is kept until it is written: when the database is locked or the disk is full, the thread
tries again.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from hub.db import Database

log = structlog.get_logger()

T = TypeVar("T")

BATCH = 64
"Changes in one transaction; other writers of the file wait for so many at most."

GATHER_S = 0.05
"How long what nobody waits for may wait to share a transaction: fifty calls in a second cost twenty commits, not more."

RETRY_S = 0.25


@dataclass(slots=True)
class _Entry(Generic[T]):
    change: Callable[[Session], T]
    written: "Future[T]"
    "Resolves once the change is committed."

    kept: bool
    "Noted, so tried again until it is written; otherwise its caller hears of the failure."

    soon: bool
    "Somebody waits for it."


class Ledger:
    """The record's writer for one media process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._entries: queue.SimpleQueue[_Entry[Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="ledger", daemon=True)
        self._thread.start()

    def note(self, change: Callable[[Session], T], *, soon: bool = False) -> "Future[T]":
        """Write `change` in order, however long that takes; returns at once.

        The future resolves once it is committed; nobody needs to look at it, and nobody can cancel it. Without `soon`
        it may wait for others (`GATHER_S`).
        """
        return self._put(change, kept=True, soon=soon)

    async def do(self, change: Callable[[Session], T]) -> T:
        """Write `change` after everything noted before it, and return what it returns once it is committed.

        A caller who is cancelled meanwhile does not call it back: it is written all the same.

        Raises:
            Exception: what `change` raised, or what hindered the commit; nothing of it is written then.
        """
        return await asyncio.wrap_future(self._put(change, kept=False, soon=True))

    def _put(self, change: Callable[[Session], T], *, kept: bool, soon: bool) -> "Future[T]":
        entry: _Entry[T] = _Entry(change, Future(), kept, soon)
        entry.written.set_running_or_notify_cancel()  # from here on nobody can cancel it
        self._entries.put(entry)
        return entry.written

    def close(self) -> None:
        """Write what is left, then end the thread."""
        self._entries.put(None)
        self._thread.join()

    def _write_all(self) -> None:
        ending = False
        left: list[_Entry[Any]] = []
        while not ending or left:
            ending = self._gather(left) or ending
            left = self._write(left) if left else left

    def _gather(self, left: list[_Entry[Any]]) -> bool:
        """Add what is to be written next to what is left; return whether that was the last.

        What was left has waited long enough.
        """
        until = time.monotonic() if left else None
        while len(left) < BATCH:
            try:
                entry = self._entries.get(timeout=None if until is None else max(until - time.monotonic(), 0.0))
            except queue.Empty:
                return False
            if entry is None:
                return True
            left.append(entry)
            if until is None or entry.soon:
                until = time.monotonic() + (0.0 if entry.soon else GATHER_S)
        return False

    def _write(self, batch: list[_Entry[Any]]) -> list[_Entry[Any]]:
        """Write a batch and return what must be tried again."""
        done: list[tuple[_Entry[Any], Any]] = []
        try:
            with self._database.write() as db:
                for entry in batch:
                    answer = _try(db, entry)
                    if answer is not None:
                        done.append((entry, answer[0]))
        except Exception as error:
            log.error("commit failed", kind=type(error).__name__, changes=len(batch))
            for entry in batch:
                if not entry.kept and not entry.written.done():
                    entry.written.set_exception(error)
            threading.Event().wait(RETRY_S)
            return [entry for entry in batch if entry.kept and not entry.written.done()]
        for entry, value in done:
            entry.written.set_result(value)
        return []


def _try(db: Session, entry: _Entry[T]) -> tuple[T] | None:
    """Run one change under its own savepoint; return what it returned, or None if it failed and its caller knows."""
    try:
        with db.begin_nested():
            return (entry.change(db),)
    except DBAPIError:
        raise  # the file's fault, not the change's: the whole batch is tried again
    except Exception as error:
        log.error("change refused", kind=type(error).__name__, code=getattr(error, "code", ""))
        entry.written.set_exception(error)
        return None

"""The thread that decodes and encodes for all legs of one event loop: a frame costs too long for the loop itself."""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog

log = structlog.get_logger()

Job = tuple[Callable[[Any], Any], Any, Callable[[Any], None]]

BACKLOG = 2000
"Frames that may wait; beyond that the machine does not keep up, and sound is left out rather than late."


class Bench:
    """Works in the order of asking, so frames of one leg stay in theirs. Begins its thread with the first."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._asked: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.left_out = 0
        "Frames that were not worked on."

    def ask(self, work: Callable[[Any], Any], what: Any, done: Callable[[Any], None]) -> None:
        """Let the thread do `work` with `what`; `done` hears the outcome on the loop."""
        if self._asked.qsize() > BACKLOG:
            self.left_out += 1
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="bench", daemon=True)
            self._thread.start()
        self._asked.put((work, what, done))

    async def close(self) -> None:
        """Wait for the thread."""
        if self._thread is not None:
            self._asked.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    def _run(self) -> None:
        while (asked := self._asked.get()) is not None:
            # All that waits is done in one go, and told in one call: waking the loop costs more than telling.
            finished: list[tuple[Callable[[Any], None], Any]] = []
            while asked is not None:
                work, what, done = asked
                try:
                    finished.append((done, work(what)))
                except Exception as error:
                    log.error("frame not coded", kind=type(error).__name__)
                try:
                    asked = self._asked.get_nowait()
                except queue.Empty:
                    break
            with suppress(RuntimeError):  # the loop may be gone when the process ends
                self._loop.call_soon_threadsafe(_tell, finished)
            if asked is None:
                return


def _tell(finished: list[tuple[Callable[[Any], None], Any]]) -> None:
    for done, outcome in finished:
        done(outcome)

"""Recordings: what each leg says, frame by frame, into a sealed container; the disk is a thread's business.

Frames are gathered on the media loop, which never touches a file; once a second they go to the one writing thread, each
recording at a time of its own, so that no packet waits behind all of them. A disk that is full or stands still ends the
recording, and the call goes on.
"""

import asyncio
import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from hub.errors import ChartlineError
from hub.g711 import RATE, Codec
from hub.security.container import Writer
from hub.tape import HEAD, LONGEST_SECONDS, frame_of
from media.rtp import ahead

SUFFIX = ".clm"
"Of container files."

FLUSH_SECONDS = 1.0
"What a crash of this process can cost."

DURABLE_FLUSHES = 10
"Of so many flushes, one is made durable: what a loss of power can cost, in seconds."

BACKLOG = 1 << 20
"Bytes of one recording that may wait for the disk: a minute of two legs."

_APART = (5**0.5 - 1) / 2
"Of the seconds between two flushes: so far apart are the turns of recordings that begin together; never in step."

_DRIFT = RATE // 2
"Samples by which a leg's timestamps may stray from the clock before they are put right."

State = Literal["recording", "sealed", "failed"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """How a recording ended."""

    state: State
    "`sealed`, or `failed`: what was written before is an authentic prefix."

    seconds: float
    "From its beginning to the last sound that was heard."

    reason: str = ""
    "Why it failed; says nothing of the call."


@dataclass(frozen=True, slots=True)
class Place:
    """Where a recording goes, and under which key."""

    path: Path
    key: bytes = field(repr=False)
    "The object key, 32 bytes."

    aad: bytes
    "`container.binding_of` its object."

    lane_id: bytes


class Track:
    """The tap of one leg: puts each packet's sound in its place in time."""

    def __init__(self, recording: "Recording", leg: int, began_at: float) -> None:
        self._recording = recording
        self._leg = leg
        self._began_at = began_at
        self._ssrc: int | None = None
        self._timestamp = self._position = 0

    def heard(self, codec: Codec, ssrc: int, timestamp: int, payload: bytes, now: float) -> None:
        """Take one packet's sound; its timestamp places it, as long as that agrees with the clock."""
        by_clock = int((now - self._began_at) * RATE)
        position = self._position + ahead(timestamp, self._timestamp, 32)
        if ssrc != self._ssrc or abs(position - by_clock) > _DRIFT:
            self._ssrc, self._timestamp, self._position = ssrc, timestamp, by_clock
            position = by_clock
        if position >= 0:
            self._recording.add(frame_of(self._leg, codec, position, payload), position + len(payload))


class Recording:
    """One recording that is being made; from `Recorder.record`."""

    def __init__(self, recorder: "Recorder", place: Place) -> None:
        self.path = place.path
        self.ended: asyncio.Future[Recorded] = recorder.loop.create_future()
        "Set once, when it is sealed or has failed; a failure sets it at once."
        self.written = 0
        "Bytes of sound and its places that outlive this process."
        self._recorder = recorder
        self._began_at = recorder.loop.time()
        self._gathered = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._samples = 0
        self._waiting = 0
        self.paused = False
        self._stopping = False

    def track(self, leg: int) -> Track:
        """Return the tap for a leg: `tape.CALLER` or `tape.AGENT`."""
        return Track(self, leg, self._began_at)

    @property
    def state(self) -> State:
        """What has become of it so far."""
        return self.ended.result().state if self.ended.done() else "recording"

    async def stop(self) -> Recorded:
        """Seal it, and return once it is durable, or say that it failed; stopping twice is once."""
        self.seal()
        return await asyncio.shield(self.ended)

    def seal(self) -> None:
        """Do what `stop` does, and do not wait."""
        if not self._stopping and not self.ended.done():
            self._stopping = True
            self._rest()
            self.hand_over()
            self._recorder.tell(_Told(self, "seal"))

    def pause(self) -> None:
        """Keep nothing of what is heard from now on; pausing twice is once."""
        self.paused = True

    def resume(self) -> None:
        """Go on; what comes stands where the clock says, behind a gap in which nobody is heard."""
        self.paused = False

    def add(self, frame: bytes, end: int) -> None:
        """Gather a frame whose sound ends at sample `end`; for `Track`."""
        if self.paused or self._stopping or self.ended.done() or end > LONGEST_SECONDS * RATE:
            return
        self._gathered += frame
        self._samples = max(self._samples, end)

    def tick(self, first: float, every: float) -> None:
        """Hand over in `first` seconds and then every so many, until it has ended; for the recorder."""
        self._timer = self._recorder.loop.call_later(first, self._turn, every)

    def _turn(self, every: float) -> None:
        self.hand_over()
        if not self._stopping and not self.ended.done():
            self.tick(every, every)

    def hand_over(self) -> None:
        """Give what was gathered to the writing thread."""
        if not self._gathered or self.ended.done():
            return
        frames, self._gathered = self._gathered, bytearray()
        if self._waiting + len(frames) > BACKLOG:
            self.fail("the disk does not keep up")
            return
        self._waiting += len(frames)
        self._recorder.tell(_Told(self, "write", frames))

    def wrote(self, size: int) -> None:
        """Count what is on the disk; for the recorder."""
        self._waiting -= size
        self.written += size

    def fail(self, reason: str) -> None:
        """Give the recording up; what the thread still gets of it is dropped."""
        if not self.ended.done():
            self._gathered.clear()
            self._recorder.tell(_Told(self, "abandon"))
            self.end("failed", reason)

    def end(self, state: State, reason: str = "") -> None:
        """Set how it ended; for the recorder."""
        self._rest()
        if not self.ended.done():
            self.ended.set_result(Recorded(state, self._samples / RATE, reason))
        self._recorder.forget(self)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class _Told(NamedTuple):
    """What the writing thread is told."""

    recording: Recording
    what: Literal["write", "seal", "abandon"]
    frames: bytes | bytearray = b""
    place: Place | None = None
    "With the first write."


class Recorder:
    """Makes all recordings of this process, on the running loop and one thread."""

    def __init__(self, flush_seconds: float = FLUSH_SECONDS) -> None:
        self.loop = asyncio.get_running_loop()
        self._flush_seconds = flush_seconds
        self._recordings: set[Recording] = set()
        self._turn = 0.0
        self._told: queue.SimpleQueue[_Told | None] = queue.SimpleQueue()
        # A daemon: a disk that hangs must not keep the process from ending. `close` waits for it.
        self._thread = threading.Thread(target=self._write_all, name="recorder", daemon=True)
        self._thread.start()

    def record(self, place: Place) -> Recording:
        """Begin a recording; whether the disk takes it is told by `ended`."""
        recording = Recording(self, place)
        self._recordings.add(recording)
        self.tell(_Told(recording, "write", HEAD, place))
        self._turn = (self._turn + _APART) % 1.0
        recording.tick(self._turn * self._flush_seconds, self._flush_seconds)
        return recording

    async def close(self) -> None:
        """Seal what is being recorded, and wait for the thread."""
        await asyncio.gather(*[recording.stop() for recording in list(self._recordings)])
        self._told.put(None)
        await asyncio.to_thread(self._thread.join)

    def tell(self, told: _Told) -> None:
        """Tell the writing thread; for recordings."""
        self._told.put(told)

    def forget(self, recording: Recording) -> None:
        """Wait for it no more; for recordings."""
        self._recordings.discard(recording)

    # On the writing thread

    def _write_all(self) -> None:
        writers: dict[Recording, tuple[Writer, Iterator[bool]]] = {}
        while (told := self._told.get()) is not None:
            try:
                self._write(writers, told)
            except Exception as error:
                # Whatever is wrong with one recording, the thread goes on for the others.
                if told.recording in writers:
                    writers.pop(told.recording)[0].abandon()
                self._report(told.recording.fail, _reason_of(error))
        for writer, _ in writers.values():
            writer.abandon()

    def _write(self, writers: "dict[Recording, tuple[Writer, Iterator[bool]]]", told: _Told) -> None:
        recording, what, frames, place = told
        if place is not None:
            place.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            writer = Writer(place.path, place.key, place.aad, lane_id=place.lane_id)
            writers[recording] = writer, _every(DURABLE_FLUSHES)
        if recording not in writers:
            return
        writer, durable = writers[recording]
        if what == "write":
            writer.write(frames)
            writer.flush(durable=next(durable))
            self._report(recording.wrote, len(frames) if place is None else 0)
            return
        del writers[recording]
        if what == "abandon":
            writer.abandon()
        else:
            writer.close()
            self._report(recording.end, "sealed")

    def _report(self, what: Callable[..., None], *said: object) -> None:
        # The loop may be gone when the process ends; then nobody waits for the answer.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(partial(what, *said))


def _reason_of(error: Exception) -> str:
    if isinstance(error, OSError):
        return os.strerror(error.errno or 0)
    return str(error) if isinstance(error, ChartlineError) else type(error).__name__


def _every(count: int) -> Iterator[bool]:
    while True:
        yield from [False] * (count - 1)
        yield True

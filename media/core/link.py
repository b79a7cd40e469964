"""One end of the Unix stream socket between the signalling process and a media core process."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from media.core import wire
from media.errors import ProtocolError

BACKLOG = 128 << 20
"Bytes that may wait for the other side to read them; one that lets so much wait is given up."

IDLE_S = 0.02
"How long what nobody waits for may wait for something else to go with: each write wakes the other process."


class Link(asyncio.Protocol):
    """One end of the socket."""

    def __init__(self, kinds: Any, heard: Callable[[Any], None], ended: Callable[[], None]) -> None:
        """Give each message of `kinds` to `heard`; call `ended` once, when the other side is gone or talks nonsense."""
        self._unpacker = wire.Unpacker(kinds)
        self._heard = heard
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._out = bytearray()
        self._flushing = self._idling = False
        self.heard_at = self._loop.time()
        "When the other side last said anything, in the loop's time."

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; for the loop."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._transport.set_write_buffer_limits(BACKLOG)

    def data_received(self, data: bytes) -> None:
        """Read; for the loop."""
        self.heard_at = self._loop.time()
        try:
            messages = self._unpacker.messages(data)
        except ProtocolError:
            self.close()
            return
        for message in messages:
            self._heard(message)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Note that the other side is gone; for the loop."""
        self._transport = None
        self._ended()

    def say(self, message: wire.Command | wire.Report) -> None:
        """Say it, together with all else of this turn of the loop; nothing where the other side is gone."""
        if self._transport is None:
            return
        self._out += wire.packed(message)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self.flush)

    def mention(self, message: wire.Command | wire.Report) -> None:
        """Say it with the next thing that is said, or soon; in the order in which all is said."""
        if self._transport is None:
            return
        self._out += wire.packed(message)
        if not (self._flushing or self._idling):
            self._idling = True
            self._loop.call_later(IDLE_S, self._idle_over)

    def _idle_over(self) -> None:
        self._idling = False
        if not self._flushing:
            self.flush()

    def flush(self) -> None:
        """Write what was said so far."""
        self._flushing = False
        if self._transport is None or not self._out:
            return
        if self._transport.get_write_buffer_size() + len(self._out) > BACKLOG:
            self._transport.abort()
            return
        out, self._out = self._out, bytearray()
        self._transport.write(out)

    def close(self) -> None:
        """Close it behind what was said."""
        self.flush()
        if self._transport is not None:
            self._transport.close()

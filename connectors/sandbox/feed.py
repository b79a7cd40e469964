"""The sandbox EHR tells a listener what happens, over MLLP, as a real interface engine does.

One message at a time: the next goes out when this one is answered. No answer, a broken connection or AE mean the same
message again, with the same control id; AR means never (HL7 v2.5.1 section 2.9.2 and table 0008).
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from connectors.sandbox.resource import Resource
from connectors.sandbox.siu import Message, Writer, acknowledged
from connectors.sandbox.store import Store

START, END = b"\x0b", b"\x1c\r"
"MLLP block (HL7 v2.5.1 appendix C)."

Pause = Callable[[float], Awaitable[None]]


@dataclass(slots=True)
class Tally:
    """What became of the messages."""

    accepted: int = 0
    rejected: int = 0
    again: int = 0
    "Sendings beyond the first."


class Sender:
    """Sends to one listener, over one connection that it opens again when it breaks."""

    def __init__(
        self, host: str, port: int, *, patience: float = 5.0, rest: float = 0.2, pause: Pause = asyncio.sleep
    ) -> None:
        self._to = host, port
        self._patience = patience
        self._rest = rest
        self._pause = pause
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.tally = Tally()

    async def send(self, message: Message) -> str:
        """Send until it is answered with AA or AR, and return which."""
        tries = 0
        while True:
            code = await self._once(message)
            if code in {"AA", "CA"}:
                self.tally.accepted += 1
                return "AA"
            if code in {"AR", "CR"}:
                self.tally.rejected += 1
                return "AR"
            tries += 1
            self.tally.again += 1
            await self._pause(min(self._rest * tries, 2.0))

    async def _once(self, message: Message) -> str | None:
        """Send once; return the code, or None where there was no answer to this message."""
        try:
            async with asyncio.timeout(self._patience):
                if self._open is None:
                    self._open = await asyncio.open_connection(*self._to)
                reader, writer = self._open
                writer.write(START + message.raw + END)
                await writer.drain()
                while True:
                    block = await reader.readuntil(END)
                    for code, control_id in acknowledged(block.removeprefix(START).removesuffix(END)):
                        if control_id == message.control_id:
                            return code
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await self.aclose()
            return None

    async def aclose(self) -> None:
        """Close the connection."""
        if self._open is not None:
            _, writer = self._open
            self._open = None
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


class Feed:
    """Turns the changes of a store into messages, and sends them in order."""

    def __init__(self, store: Store, zone: ZoneInfo, clock: Callable[[], datetime], *, prefix: str = "SB") -> None:
        self._writer = Writer(zone, store.get, prefix=prefix)
        self._clock = clock
        self.waiting: asyncio.Queue[Message] = asyncio.Queue()
        for kind in ("Patient", "Appointment"):
            for _, resource in store.all(kind):
                self._note(None, resource)
        store.watches.append(self._note)

    async def run(self, sender: Sender, *, rate: float | None = None, pause: Pause = asyncio.sleep) -> None:
        """Send what waits and what comes, at most `rate` a second, until cancelled."""
        try:
            while True:
                message = await self.waiting.get()
                await sender.send(message)
                self.waiting.task_done()
                if rate:
                    await pause(1 / rate)
        finally:
            await sender.aclose()

    def _note(self, was: Resource | None, now: Resource) -> None:
        message: Message | None = None
        if now["resourceType"] == "Patient":
            message = self._writer.patient(was, now, self._clock())
        elif now["resourceType"] == "Appointment":
            message = self._writer.appointment(was, now, self._clock())
        if message is not None:
            self.waiting.put_nowait(message)

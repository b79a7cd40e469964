"""An MLLP sender of the tests' own: one message at a time over one connection, the answer read as bytes."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress

START, END = b"\x0b", b"\x1c\r"


class Sender:
    """One connection, opened again when it breaks."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, raw: bytes, *, patience: float = 10.0) -> str:
        """Send until it is answered; return MSA-1. AE and no answer mean: again, the same bytes."""
        async with asyncio.timeout(60):
            while True:
                code = await self._once(raw, patience)
                if code in {"AA", "AR"}:
                    return code
                await asyncio.sleep(0.05)

    async def _once(self, raw: bytes, patience: float) -> str:
        try:
            async with asyncio.timeout(patience):
                if self._open is None:
                    self._open = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 24)
                reader, writer = self._open
                writer.write(START + raw + END)
                await writer.drain()
                answer = await reader.readuntil(END)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            await self.close()
            return ""
        return answer.split(b"\rMSA")[1][1:3].decode()  # with whatever separator the message has

    async def close(self) -> None:
        """Close the connection."""
        opened, self._open = self._open, None
        if opened is not None:
            opened[1].close()
            with suppress(OSError):
                await opened[1].wait_closed()


async def send_all(port: int, messages: Sequence[bytes], *, connections: int = 4) -> list[str]:
    """Send every message over a few connections and return the answers in the order of the messages."""
    senders = [Sender(port) for _ in range(connections)]

    async def run(sender: Sender, mine: Iterable[int]) -> list[tuple[int, str]]:
        return [(index, await sender.send(messages[index])) for index in mine]

    shares = [range(first, len(messages), connections) for first in range(connections)]
    try:
        async with asyncio.TaskGroup() as group:  # when one fails, none of the others opens its connection again
            told = [group.create_task(run(*each)) for each in zip(senders, shares, strict=True)]
    finally:
        for sender in senders:
            await sender.close()
    return [code for _, code in sorted(pair for one in told for pair in one.result())]


def frames(stream: bytes) -> list[bytes]:
    """Return the messages of an MLLP byte stream."""
    return [frame.split(END)[0] for frame in stream.split(START)[1:]]

"""The ng protocol of rtpengine: one UDP datagram a command, a cookie before it, and the same cookie before its answer.

A command whose answer is late is sent again under its cookie, and rtpengine, which has done it, says again what it
said; so nothing is done twice.
"""

import asyncio
import itertools
import secrets
from collections.abc import Awaitable, Callable

import structlog

from media.errors import MediaError, ProtocolError
from media.latch import Address
from media.rtpengine.bencode import Value, decode, encode

log = structlog.get_logger()

AGAIN_S = (0.1, 0.2, 0.4, 0.5)
"How long each sending of a command waits for its answer; after the last, rtpengine is taken to be gone."

LOOK_S = 0.5
"How often somebody looks whether it is there."

Fields = dict[str, Value]


class EngineLostError(MediaError):
    """An rtpengine does not answer."""

    code = "rtpengine-lost"
    status = 503
    retry = True


class EngineRefusedError(MediaError):
    """An rtpengine refused a command."""

    code = "rtpengine-refused"
    status = 500


def request(cookie: bytes, fields: Fields) -> bytes:
    """Return the datagram of a command."""
    return cookie + b" " + encode(fields)


def answer_in(datagram: bytes) -> tuple[bytes, Fields]:
    """Return the cookie and the dictionary of an answer.

    Raises:
        ProtocolError: it is none.
    """
    cookie, space, body = datagram.partition(b" ")
    value = decode(body) if space else b""
    if not cookie or not isinstance(value, dict):
        raise ProtocolError("no answer of the ng protocol")
    return cookie, value


class Engine(asyncio.DatagramProtocol):
    """One rtpengine, as it is reached by its ng port. For one event loop."""

    def __init__(self, place: Address) -> None:
        self.place = place
        self.up = False
        "Whether it answered when it was last asked something."

        self.on_lost: Callable[[], None] | None = None
        "Told when it answers no more."

        self.look: Callable[[], Awaitable[None]] = self.ping
        "What is asked of it every `LOOK_S`; it raises `EngineLostError` where nothing is answered."

        self._transport: asyncio.DatagramTransport | None = None
        self._waiting: dict[bytes, asyncio.Future[Fields]] = {}
        # A cookie must be new to rtpengine also where another process asked it before.
        self._name = secrets.token_hex(6)
        self._numbers = itertools.count(1)
        self._looking: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Ask it whether it is there, and go on asking.

        Raises:
            OSError: its name has no address.
        """
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=self.place)
        await self._look()
        self._looking = asyncio.create_task(self._keep_looking())

    async def ask(self, command: str, fields: Fields) -> Fields:
        """Have a command done and return the answer.

        Raises:
            EngineLostError: none came.
            EngineRefusedError: it was refused; the reason may repeat what was said, so it is not in the text.
        """
        cookie = f"{self._name}_{next(self._numbers)}".encode()
        datagram = request(cookie, {"command": command, **fields})
        future: asyncio.Future[Fields] = asyncio.get_running_loop().create_future()
        self._waiting[cookie] = future
        try:
            answer = await self._answer(datagram, future)
        finally:
            del self._waiting[cookie]
        self.up = True
        if answer.get("result") not in (b"ok", b"pong"):
            raise EngineRefusedError(f"rtpengine refused: {command}")
        return answer

    async def ping(self) -> None:
        """Ask it whether it is there.

        Raises:
            EngineLostError: no answer.
        """
        await self.ask("ping", {})

    def close(self) -> None:
        """Ask no more."""
        if self._looking is not None:
            self._looking.cancel()
        if self._transport is not None:
            self._transport.close()
        self._fail()

    async def _answer(self, datagram: bytes, future: asyncio.Future[Fields]) -> Fields:
        for patience in AGAIN_S:
            if self._transport is None or self._transport.is_closing():
                break
            self._transport.sendto(datagram)
            done, _ = await asyncio.wait([future], timeout=patience)
            if done:
                return future.result()
        self._lose()
        raise EngineLostError("an rtpengine does not answer")

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await self._look()

    async def _look(self) -> None:
        was = self.up
        try:
            await (self.look() if was else self.ping())
        except EngineLostError:
            return
        except MediaError as error:
            log.error("rtpengine answers strangely", code=error.code)
        if not was:
            log.info("rtpengine is there", host=self.place[0], port=self.place[1])

    def _lose(self) -> None:
        was, self.up = self.up, False
        self._fail()
        if was:
            log.error("rtpengine lost", host=self.place[0], port=self.place[1])
            if self.on_lost is not None:
                self.on_lost()

    def _fail(self) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(EngineLostError("an rtpengine does not answer"))
                future.exception()  # whoever waits hears it; who is gone need not

    # What the loop calls

    def datagram_received(self, data: bytes, addr: Address) -> None:  # noqa: ARG002 - asyncio's signature
        """Take an answer; one that came before, or that nobody waits for, says nothing."""
        try:
            cookie, answer = answer_in(data)
        except ProtocolError as error:
            log.warning("rtpengine answers strangely", code=error.code)
            return
        future = self._waiting.get(cookie)
        if future is not None and not future.done():
            future.set_result(answer)

    def error_received(self, exc: Exception) -> None:  # noqa: ARG002 - asyncio's signature
        """Take it that nobody listens there: the system says so at once."""
        self._lose()

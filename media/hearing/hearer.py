"""The half of a leg that understands its far end: taps, keys, silence, and codecs that are none of G.711."""

import asyncio
from abc import abstractmethod

from media.codec.bench import Bench
from media.codec.coder import MADE
from media.dtmf import Presses
from media.hearing.attention import Attention, Tap
from media.hearing.interpreter import Interpreter
from media.hearing.machine import Finding
from media.pacer import Pacer
from media.passing import Mouth, Party
from media.player import LegClosedError, Player
from media.rtp import HEADER, PLAIN
from media.sound import Sound

_HEAD = HEADER.size


class Hearer(Player):
    """What is given what it hears costs nothing where nobody wants to know; see `leg.AudioLeg`."""

    __slots__ = (
        "_attention",
        "_event_in",
        "_interpreter",
        "_loop",
        "_peer",
        "_presses",
        "_taken",
        "_tap",
        "bench",
        "encoding",
    )

    def __init__(self, pacer: Pacer, buffer: bytearray, music: Sound) -> None:
        """Take what a `Player` takes."""
        super().__init__(pacer, buffer, music)
        self.bench: Bench | None = None
        "Where codecs beyond G.711 are decoded and encoded; without one they are only passed on."
        self.encoding = "PCMU/8000"
        self._loop = asyncio.get_running_loop()
        self._peer: Party | None = None
        self._event_in: int | None = None
        # What the packets go to: what was given, or what listens before it.
        self._tap: Tap | None = None
        self._taken: Tap | None = None
        self._attention: Attention | None = None
        self._interpreter: Interpreter | None = None
        self._presses = Presses()

    def tap(self, tap: Tap | None) -> None:
        """Give each packet of sound that is heard to `tap` as well, or to nobody."""
        self._taken = tap
        self._listen()

    async def silence(self, seconds: float) -> None:
        """Return once the far end has not spoken for `seconds`, counted from now at the earliest.

        Raises:
            LegClosedError: the leg was closed meanwhile.
            SealedError: it cannot be understood.
        """
        await self._attend().silence(seconds)

    async def fax(self) -> None:
        """Return once a fax machine is heard calling (ITU-T T.30).

        Raises:
            LegClosedError: the leg was closed meanwhile.
            SealedError: it cannot be understood.
        """
        await self._attend().fax()

    async def picked_up(self) -> Finding:
        """Return who picked up, by what is heard from now on.

        Raises:
            LegClosedError: the leg was closed meanwhile.
            SealedError: it cannot be understood.
        """
        return await self._attend().picked_up()

    async def beep(self) -> None:
        """Return once the beep of a machine that takes messages is over.

        Raises:
            LegClosedError: the leg was closed meanwhile.
            SealedError: it cannot be understood.
        """
        await self._attend().beep()

    def pressed(self, key: str) -> None:
        """Take a key that the far end's signalling told of (INFO) like one that is heard; of both, it counts once."""
        self._press(key, signalled=True)

    def understand(self) -> None:
        """Do nothing where what it hears can be understood.

        Raises:
            SealedError: it is for the far end of another leg alone.
        """

    def _attend(self) -> Attention:
        if self.closed:
            raise LegClosedError("the leg is closed")
        if self._attention is None:
            self._attention = Attention(self._press, self._listen)
        return self._attention

    def _listen(self) -> None:
        """Look anew who is given what is heard; listening costs, so it is done only where somebody wants it."""
        if self.closed:
            return
        keys = self._event_in is None and self.mouth is not None and self._peer is None
        if keys:
            self._attend().hear_keys(True)
        elif self._attention is not None:
            self._attention.hear_keys(False)
        attention = self._attention if self._attention is not None and self._attention.wanted else None
        if attention is not None:
            attention.behind = self._taken
        self._tap = attention or self._taken
        if self._law is None:
            interpreter, tap, self._tap = self._interpreter, self._tap, None
            if interpreter is not None:
                interpreter.behind = tap
                self._tap = interpreter if interpreter.wanted else None

    def _press(self, key: str, *, signalled: bool = False) -> None:
        if self._presses.fresh(key, signalled=signalled, now=self._loop.time()):
            if self.digits.full():
                self.digits.get_nowait()
            self.digits.put_nowait(key)
            self._cut_short()

    @property
    def mouth(self) -> Mouth | None:
        """What takes G.711 for it: itself or its interpreter; None where its codec can only be passed on."""
        return self._own_mouth() if self._law is not None else self._interpreter

    def _interpret(self, clock: int) -> None:
        """Have an interpreter for a far end that speaks no G.711, and for no other."""
        if self._interpreter is not None:
            self._interpreter.close()
            self._interpreter = None
        if self.bench is not None and self.encoding in MADE:
            self._interpreter = Interpreter(
                self.encoding, clock, self.bench, self._pacer, self._buffer, self._say_made, self.hush, self._admits
            )

    def _admits(self) -> bool:
        """Tell whether a peer's sound is sent now: what is played comes before it, and noise ends with it."""
        if not self._sends or self._foreground:
            return False
        if self._noisy:
            self._behind(None)
        return True

    def _voice(self, ulaw: bytes, now: float) -> None:
        if self._interpreter is not None:
            self._interpreter.speak(ulaw, now)

    def _say_made(self, packet: bytes, now: float) -> None:
        """Send a packet in the far end's codec that was made here."""
        if not self._sends or self.closed:
            return
        marker, sequence, timestamp = self._outbound.next(now)
        HEADER.pack_into(self._buffer, 0, PLAIN, marker | self._type_out, sequence, timestamp, self._outbound.ssrc)
        end = _HEAD + len(packet)
        self._buffer[_HEAD:end] = packet
        self._outbound.octets += len(packet)
        self._transmit(0, end)

    @abstractmethod
    def _own_mouth(self) -> Mouth: ...

    def _end_hearing(self) -> None:
        self._tap = self._taken = None
        if self._attention is not None:
            self._attention.end(LegClosedError("the leg was closed"))
            self._attention = None
        if self._interpreter is not None:
            self._interpreter.close()

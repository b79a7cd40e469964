"""Inside a media core process: does what the signalling process says, with the built-in relay, and tells what comes."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog

from media.core import wire
from media.core.link import Link
from media.errors import MediaError
from media.leg import AudioLeg, LegClosedError
from media.phone import PhoneLeg
from media.ports import Ports
from media.recorder import Place, Recorded, Recording
from media.relay import BuiltinRelay, Wanted
from media.sound import Sound

log = structlog.get_logger()

FIGURES_S = 5.0
"How often the figures of all legs are told without being asked for."


class Digits(asyncio.Queue[str]):
    """Hands keys on instead of keeping them: they wait in the signalling process, and never here."""

    def __init__(self, heard: Callable[[str], None]) -> None:
        super().__init__()
        self._heard = heard

    def put_nowait(self, item: str) -> None:
        """Tell it."""
        self._heard(item)


class Core:
    """One media core process; `link` is to be given to the socket."""

    def __init__(self, ended: Callable[[], None]) -> None:
        """Call `ended` once, when the signalling process is gone."""
        self.link = Link(wire.Command, self._obey, ended)
        self._loop = asyncio.get_running_loop()
        self._relay: BuiltinRelay | None = None
        self._legs: dict[int, AudioLeg] = {}
        self._numbers: dict[AudioLeg, int] = {}
        self._sounds: dict[int, Sound] = {}
        self._recordings: dict[int, Recording] = {}
        self._asked: dict[int, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._orders: dict[type[Any], Callable[[Any], object]] = {
            wire.Begin: self._begin,
            wire.Place: self._place,
            wire.Learn: lambda it: self._sounds.__setitem__(it.sound, Sound(it.ulaw)),
            wire.Forget: lambda it: self._sounds.pop(it.sound, None),
            wire.Withdraw: self._withdraw,
            wire.Loop: lambda it: self._leg(it.leg).loop(self._sounds[it.sound]),
            wire.Music: lambda it: self._leg(it.leg).hold_music(),
            wire.Quiet: lambda it: self._leg(it.leg).quiet(),
            wire.Bridge: lambda it: self._open.bridge(self._leg(it.leg), self._leg(it.other)),
            wire.Unbridge: lambda it: self._open.unbridge(self._leg(it.leg)),
            wire.Record: self._record,
            wire.Seal: self._seal,
            wire.Pause: self._pause,
            wire.Close: lambda it: self._leg(it.leg).close(),
            wire.Ping: lambda it: self.link.say(wire.Done(it.request)),
        }
        self._requests: dict[type[Any], Callable[[Any], Coroutine[Any, Any, wire.Report]]] = {
            wire.Allocate: self._allocate,
            wire.Offer: self._offer,
            wire.Answer: self._answer,
            wire.Settle: self._settle,
            wire.Play: self._play,
            wire.Press: self._press,
            wire.Look: self._look,
            wire.Listen: self._listen,
        }

    async def close(self) -> None:
        """Give all legs up, and seal what is being recorded."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)
        if self._relay is not None:
            await self._relay.close()

    @property
    def _open(self) -> BuiltinRelay:
        if self._relay is None:
            raise MediaError("this media core process was not begun")
        return self._relay

    def _leg(self, number: int) -> AudioLeg:
        leg = self._legs.get(number)
        if leg is None:
            raise LegClosedError("the leg is closed")
        return leg

    def _obey(self, order: Any) -> None:
        work = self._requests.get(type(order))
        if work is not None and self._waits_for_nothing(order):
            _at_once(self._report(work, order))
            return
        if work is not None:
            task = self._loop.create_task(self._report(work, order))
            self._asked[order.request] = task
            task.add_done_callback(lambda _: self._asked.pop(order.request, None))
            return
        try:
            self._orders[type(order)](order)
        except LegClosedError:
            pass  # it left by itself, which was told, while somebody still spoke to it
        except Exception as error:
            log.error("order not obeyed", order=type(order).__name__, kind=type(error).__name__)

    def _waits_for_nothing(self, order: Any) -> bool:
        """Tell whether a request is answered in one go: most are, and a task would cost more than what it does."""
        if isinstance(order, wire.Allocate):
            return order.wanted.kind == "sip"
        negotiates = isinstance(order, wire.Offer | wire.Answer | wire.Settle)
        return negotiates and isinstance(self._legs.get(order.leg), PhoneLeg | None)

    async def _report(self, work: Callable[[Any], Coroutine[Any, Any, wire.Report]], order: Any) -> None:
        try:
            report = await work(order)
        except MediaError as error:
            report = wire.Refused(order.request, error.code, str(error))
        except Exception as error:
            log.error("request failed", order=type(order).__name__, kind=type(error).__name__)
            report = wire.Refused(order.request, MediaError.code, type(error).__name__)
        self.link.say(report)

    # What is asked for

    def _begin(self, begin: wire.Begin) -> None:
        self._relay = BuiltinRelay(Ports(begin.address, begin.first, begin.last), Sound(begin.music))
        self._relay.on_gone = self._gone
        self._timer = self._loop.call_later(FIGURES_S, self._tell_figures)

    async def _allocate(self, asked: wire.Allocate) -> wire.Report:
        await self._make(asked.leg, asked.wanted)
        return wire.Done(asked.request)

    def _place(self, order: wire.Place) -> None:
        try:
            _at_once(self._make(order.leg, order.wanted))
        except MediaError as error:
            self.link.say(wire.Unplaced(order.leg, error.code, str(error)))
        except Exception as error:
            log.error("leg not placed", kind=type(error).__name__)
            self.link.say(wire.Unplaced(order.leg, MediaError.code, type(error).__name__))

    async def _make(self, number: int, wanted: Wanted) -> None:
        leg = await self._open.allocate(wanted)
        leg.on_gone = leg.close  # which is told
        leg.on_lost = lambda: self._lost(leg)
        leg.digits = Digits(lambda key: self.link.say(wire.Digit(number, key)))
        self._legs[number], self._numbers[leg] = leg, number

    async def _offer(self, asked: wire.Offer) -> wire.Report:
        leg = self._leg(asked.leg)
        session = await leg.offer(asked.direction)
        return wire.Described(asked.request, wire.said(session), leg.protection)

    async def _answer(self, asked: wire.Answer) -> wire.Report:
        leg = self._leg(asked.leg)
        session = await leg.answer(wire.session_of(asked.offer), via=asked.via)
        return wire.Described(asked.request, wire.said(session), leg.protection)

    async def _settle(self, asked: wire.Settle) -> wire.Report:
        leg = self._leg(asked.leg)
        await leg.settle(wire.session_of(asked.answer), via=asked.via)
        return wire.Settled(asked.request, leg.protection)

    async def _play(self, asked: wire.Play) -> wire.Report:
        whole = await self._leg(asked.leg).play(self._sounds[asked.sound], barge_in=asked.barge_in)
        return wire.Done(asked.request, whole)

    async def _press(self, asked: wire.Press) -> wire.Report:
        await self._leg(asked.leg).press(asked.keys)
        return wire.Done(asked.request)

    async def _listen(self, asked: wire.Listen) -> wire.Report:
        leg = self._leg(asked.leg)
        if asked.what == "picked-up":
            return wire.Done(asked.request, finding=await leg.picked_up())
        if asked.what == "silence":
            await leg.silence(asked.seconds)
        else:
            await (leg.fax() if asked.what == "fax" else leg.beep())
        return wire.Done(asked.request)

    async def _look(self, asked: wire.Look) -> wire.Report:
        return wire.Seen(asked.request, self._leg(asked.leg).stats)

    def _withdraw(self, order: wire.Withdraw) -> None:
        task = self._asked.get(order.request)
        if task is not None:
            task.cancel()

    def _record(self, order: wire.Record) -> None:
        place = Place(Path(order.path), order.key, order.aad, order.lane_id)
        legs = [self._legs[number] for number in order.legs if number in self._legs]
        try:
            recording = self._open.record(place, legs)
        except MediaError as error:
            self.link.say(wire.Ended(order.recording, Recorded("failed", 0.0, error.code)))
            return
        self._recordings[order.recording] = recording
        recording.ended.add_done_callback(lambda ended: self._recorded(order.recording, ended))

    def _seal(self, order: wire.Seal) -> None:
        recording = self._recordings.get(order.recording)
        if recording is not None:
            recording.seal()

    def _pause(self, order: wire.Pause) -> None:
        recording = self._recordings.get(order.recording)
        if recording is not None:
            (recording.pause if order.paused else recording.resume)()

    # What is told

    def _recorded(self, number: int, ended: "asyncio.Future[Any]") -> None:
        del self._recordings[number]
        self.link.say(wire.Ended(number, ended.result()))

    def _gone(self, leg: AudioLeg, *, lost: bool = False) -> None:
        number = self._numbers.pop(leg, None)
        if number is not None:
            del self._legs[number]
            self.link.mention(wire.Gone(number, leg.stats, lost))

    def _lost(self, leg: AudioLeg) -> None:
        self._gone(leg, lost=True)
        leg.close()

    def _tell_figures(self) -> None:
        self._timer = self._loop.call_later(FIGURES_S, self._tell_figures)
        if self._legs:
            self.link.say(wire.Figures([(number, leg.stats) for number, leg in self._legs.items()]))


def _at_once(work: Coroutine[Any, Any, None]) -> None:
    """Run what waits for nothing to its end.

    Raises:
        RuntimeError: it waits all the same, and is not done.
    """
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()
    raise RuntimeError("this was to wait for nothing")

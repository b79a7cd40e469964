"""The relay that carries sound in media core processes: which leg is in which, and what happens when one dies."""

import asyncio
import itertools
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from hub.settings.practice import Sip
from media.core import wire
from media.core.leg import RemoteLeg
from media.core.pool import Pool, Slot, shares
from media.core.process import CoreLostError, Process, error_of
from media.core.recording import RemoteRecording
from media.errors import MediaError
from media.leg import LegClosedError, LegStats
from media.ports import Ports
from media.recorder import Place, Recorded
from media.relay import PLAIN, BuiltinRelay, Relay, Wanted
from media.rtpengine.relay import RtpengineRelay
from media.sound import Sound

log = structlog.get_logger()

PATIENCE_S = 4.0
"How long a new leg may wait for a core; a caller who waits longer hears busy."

SPARE_PAIRS = 16
"With fewer pairs of ports left, a core is asked for each: other programs may hold some."

SOUNDS = 64 << 20
"Bytes of sound that the cores keep; of more, what was used longest ago is forgotten."

CLOSING_S = 5.0
"How long recordings may take to be sealed at the end."


def relay_for(sip: Sip, music: Sound, run: Path) -> Relay:
    """Return what carries sound as practice.toml says: media core processes, or with 0 of them this process.

    Where it names an rtpengine, that stands between them and the far ends.

    Raises:
        NoPortError: there is no whole pair of ports.
    """
    address, ports = sip.udp.host, sip.rtp_ports
    cores = sip.cores if sip.cores is not None else cores_of(len(os.sched_getaffinity(0)))
    relay: Relay
    if cores == 0:
        relay = BuiltinRelay(Ports(address, ports.first, ports.last), music)
    else:
        relay = CoreRelay(address, ports.first, ports.last, music, cores=cores, run=run)
    return RtpengineRelay(relay, sip.rtpengine) if sip.rtpengine else relay


def cores_of(cpus: int) -> int:
    """Return how many media core processes a machine with so many CPU cores runs: one of two is the signalling's."""
    return 1 if cpus <= 2 else cpus


def _allocation(leg: RemoteLeg, request: int) -> wire.Command:
    return wire.Allocate(request, leg.number, leg.wanted)


class CoreRelay:
    """A `RelayEngine`; each leg is in one of several media core processes, and moves when that one dies."""

    def __init__(
        self, address: str, first: int, last: int, music: Sound, *, cores: int, run: Path | None = None
    ) -> None:
        """Take the IP address and the ports for RTP, which the cores divide; pid files go to `run`.

        Raises:
            NoPortError: there is no whole pair of ports in that range.
        """
        self._pool = Pool(address, shares(first, last, cores), music, run)
        self._pool.on_lost = self._core_lost
        self._pool.on_told = self._told
        self._numbers = itertools.count(1)
        self._legs: set[RemoteLeg] = set()
        self._sounds: OrderedDict[Sound, int] = OrderedDict()
        self._sound_bytes = 0

    async def start(self) -> None:
        """Return once every core listens."""
        await self._pool.start()

    async def steady(self) -> None:
        """Return once a core stands by to take the place of one that dies."""
        await self._pool.steady()

    async def allocate(self, wanted: Wanted = PLAIN, beside: RemoteLeg | None = None) -> RemoteLeg:
        """Return a new leg, in the core of `beside` or the one with the fewest.

        Raises:
            NoPortError: none can be had.
            CoreLostError: no core has come to life in time.
        """
        leg = RemoteLeg(next(self._numbers), wanted, self._name_of, self._pool.spawn, self._closed)
        leg.family = beside.family if beside is not None else leg.number
        slot = self._slot_of(beside.core) if beside is not None and not beside.closed else self._pool.roomiest_now()
        if slot is not None and slot.process is not None and not slot.process.lost and self._take_in(leg, slot):
            self._legs.add(leg)
            return leg
        leg.moving = True
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._settle_in([leg], beside)
        except TimeoutError:
            leg.close()
            raise CoreLostError("no media core process answers") from None
        except BaseException:
            leg.close()
            raise
        leg.moving = False
        self._legs.add(leg)
        return leg

    def bridge(self, a: RemoteLeg, b: RemoteLeg) -> None:
        """Let two legs hear each other; what was looped to them ends. Of two cores, one leg moves to the other's."""
        if a is b or a.closed or b.closed or a.peer is b:
            return
        for leg in (a, b):
            self.unbridge(leg)
        a.join(b)
        b.join(a)
        if a.family != b.family:
            for leg in [leg for leg in self._legs if leg.family == b.family]:
                leg.family = a.family
        if a.core is b.core:
            self._link(a)
        elif not a.moving and not b.moving:
            self._fetch(b, a)

    def unbridge(self, leg: RemoteLeg) -> None:
        """Part a leg from its peer; both hear silence from then on."""
        peer = leg.peer
        if peer is None:
            return
        if leg.core is not None:
            leg.core.tell(wire.Unbridge(leg.number))
        leg.part()
        peer.part()

    def record(self, place: Place, legs: Sequence[RemoteLeg]) -> RemoteRecording:
        """Record what legs say, the caller's first; legs that move are recorded once they are there."""
        recording = RemoteRecording(next(self._numbers), place, legs)
        slot = self._slot_of(legs[0].core) if self._gather(legs) else None
        if slot is not None:
            self._begin(slot, recording, place)
        else:
            self._pool.spawn(self._begin_later(recording, place))
        return recording

    def watch(self, leg: RemoteLeg, moved: Callable[[], Awaitable[None]]) -> None:
        """Call `moved` whenever the leg has moved to another core: its far end is to be made a new offer."""
        leg.watch(moved)

    async def last_stats(self, leg: RemoteLeg) -> LegStats:
        """Return what is known of a leg's sound up to this moment, or up to its end."""
        core = leg.core
        try:
            if leg.closed:
                return await asyncio.shield(leg.final)
            if core is not None:
                leg.figures((await core.ask(lambda request: wire.Look(request, leg.number))).stats)
        except MediaError:
            pass  # it is gone: what was known before is what is known
        return leg.stats

    def __len__(self) -> int:
        return len(self._legs)

    async def close(self) -> None:
        """Close all legs, seal what is being recorded, and end the cores."""
        for leg in list(self._legs):
            leg.close()
        recordings = [each for slot in self._pool.slots for each in slot.recordings.values()]
        try:
            async with asyncio.timeout(CLOSING_S):
                await asyncio.gather(*(recording.stop() for recording in recordings))
        except TimeoutError:
            log.error("recordings not sealed in time")
        await self._pool.close()
        for slot in self._pool.slots:
            for leg in slot.legs.values():
                leg.over()

    # Which leg is where

    def _slot_of(self, core: Process | None) -> Slot | None:
        return next((slot for slot in self._pool.slots if core is not None and slot.process is core), None)

    async def _settle_in(self, legs: Sequence[RemoteLeg], beside: RemoteLeg | None = None) -> None:
        """Give legs that are in no core a place in one, all in the same.

        Raises:
            NoPortError: none can be had.
        """
        while waiting := [leg for leg in legs if leg.core is None and not leg.closed]:
            there = next((leg.core for leg in legs if leg.core is not None), None)
            if there is None and beside is not None and not beside.closed:
                with suppress(LegClosedError):
                    there = await beside.home()
            slot = self._slot_of(there) or await self._pool.roomiest()
            with suppress(CoreLostError):
                for leg in waiting:
                    await self._place(leg, slot)

    async def _place(self, leg: RemoteLeg, slot: Slot) -> None:
        core = slot.process
        if core is None:
            raise CoreLostError("the media core process is gone")
        if self._take_in(leg, slot):
            return
        slot.legs[leg.number] = leg
        try:
            await core.ask(partial(_allocation, leg))
        except BaseException:
            slot.legs.pop(leg.number, None)
            core.tell(wire.Close(leg.number))
            raise
        if core.lost:
            raise CoreLostError("the media core process is gone")
        leg.arrive(core)

    def _take_in(self, leg: RemoteLeg, slot: Slot) -> bool:
        """Give a leg a place where there is room for certain; return whether there is.

        The core's word is not waited for, and what the leg is asked next goes with this.
        """
        core = slot.process
        if core is None or leg.wanted.kind != "sip" or len(slot.legs) >= slot.pairs - SPARE_PAIRS:
            return False
        slot.legs[leg.number] = leg
        core.tell(wire.Place(leg.number, leg.wanted))
        leg.arrive(core)
        return True

    async def _move(self, legs: Sequence[RemoteLeg], beside: RemoteLeg | None = None) -> None:
        """Give legs another place, and let those hear each other that did."""
        try:
            await self._settle_in(legs, beside)
        except MediaError as error:
            log.error("legs lost", legs=len(legs), code=error.code)
            for leg in legs:
                leg.strand(error)
            return
        finally:
            for leg in legs:
                leg.moving = False
        for leg in legs:
            peer = leg.peer
            if peer is None:
                continue
            if peer.core is leg.core:
                self._link(leg)
            elif not peer.moving and not peer.closed:
                self._fetch(leg, peer)

    def _link(self, leg: RemoteLeg) -> None:
        if leg.core is not None and leg.peer is not None:
            leg.core.tell(wire.Bridge(leg.number, leg.peer.number))

    def _fetch(self, leg: RemoteLeg, beside: RemoteLeg) -> None:
        """Bring a leg to the core of another, or the other to it where only the first is recorded.

        A recording whose leg has to move all the same is sealed; whoever makes it begins another.
        """
        if self._tapes_of(leg) and not self._tapes_of(beside):
            leg, beside = beside, leg
        for tape in self._tapes_of(leg):
            tape.part()
        slot = self._slot_of(leg.core)
        if slot is not None and slot.process is not None:
            del slot.legs[leg.number]
            slot.process.tell(wire.Close(leg.number))
            leg.number = next(self._numbers)  # it may come back before that core has told of its end
        leg.moving = True
        leg.displace()
        self._pool.spawn(self._move([leg], beside))

    def _tapes_of(self, leg: RemoteLeg) -> list[RemoteRecording]:
        return [tape for slot in self._pool.slots for tape in slot.recordings.values() if leg in tape.legs]

    def _gather(self, legs: Sequence[RemoteLeg]) -> bool:
        """Bring legs together; return whether they are."""
        there = [leg for leg in legs if not leg.closed]
        for leg in there[1:]:
            if not (leg.core is there[0].core or leg.moving or there[0].moving):
                self._fetch(leg, there[0])
        return bool(there) and there[0] is legs[0] and all(leg.core is there[0].core is not None for leg in there)

    def _closed(self, leg: RemoteLeg) -> None:
        self._legs.discard(leg)
        if leg.peer is not None:
            leg.peer.part()
            leg.part()

    # What cores tell, and their death

    def _told(self, slot: Slot, report: Any) -> None:
        if isinstance(report, wire.Digit):
            if report.leg in slot.legs:
                slot.legs[report.leg].pressed(report.key, signalled=False)
        elif isinstance(report, wire.Gone):
            leg = slot.legs.pop(report.leg, None)
            if leg is not None:
                leg.figures(report.stats)
                leg.leave(lost=report.lost)
                leg.over()
        elif isinstance(report, wire.Unplaced):
            leg = slot.legs.pop(report.leg, None)
            if leg is not None:
                leg.strand(error_of(report))
                leg.over()
        elif isinstance(report, wire.Figures):
            for number, stats in report.legs:
                if number in slot.legs:
                    slot.legs[number].figures(stats)
        elif isinstance(report, wire.Ended) and report.recording in slot.recordings:
            slot.recordings.pop(report.recording).end(report.recorded)

    def _core_lost(self, slot: Slot) -> None:
        legs, recordings = list(slot.legs.values()), list(slot.recordings.values())
        slot.legs, slot.recordings = {}, {}
        families: dict[int, list[RemoteLeg]] = {}
        for leg in legs:
            if leg.closed:
                leg.over()
                continue
            if leg.core is not None:
                leg.displace()
            if not leg.moving:
                leg.moving = True
                families.setdefault(leg.family, []).append(leg)
        for recording in recordings:
            recording.lose()
        for family in families.values():
            self._pool.spawn(self._move(family))

    # Recordings and sounds

    def _begin(self, slot: Slot, recording: RemoteRecording, place: Place) -> None:
        if slot.process is not None:
            slot.recordings[recording.number] = recording
            numbers = [leg.number for leg in recording.legs]
            order = wire.Record(recording.number, str(place.path), place.key, place.aad, place.lane_id, numbers)
            recording.begin(slot.process, order)

    async def _begin_later(self, recording: RemoteRecording, place: Place) -> None:
        if not recording.legs:
            self._begin(await self._pool.roomiest(), recording, place)
            return
        first, *others = recording.legs
        try:
            while (slot := self._slot_of(first.core) if self._gather(recording.legs) else None) is None:
                await first.home()
                for leg in others:
                    with suppress(MediaError):
                        await leg.home()
                await asyncio.sleep(0)
        except MediaError:
            recording.end(Recorded("failed", 0.0, "the leg was closed"))
            return
        self._begin(slot, recording, place)

    def _name_of(self, core: Process, sound: Sound) -> int:
        """Return the number of a sound, which the core is told where it does not know it."""
        number = self._sounds.get(sound)
        if number is None:
            number = self._sounds[sound] = next(self._numbers)
            self._sound_bytes += len(sound.ulaw)
        self._sounds.move_to_end(sound)
        while self._sound_bytes > SOUNDS and len(self._sounds) > 1:
            self._forget(*self._sounds.popitem(last=False))
        if number not in core.sounds:
            core.sounds.add(number)
            core.tell(wire.Learn(number, sound.ulaw))
        return number

    def _forget(self, sound: Sound, number: int) -> None:
        self._sound_bytes -= len(sound.ulaw)
        for slot in self._pool.slots:
            if slot.process is not None and number in slot.process.sounds:
                slot.process.sounds.discard(number)
                slot.process.tell(wire.Forget(number))

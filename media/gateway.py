"""The media process put together: it listens for calls and phones, and gives each call what it needs."""

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from uuid import UUID

import structlog
from sqlmodel import Session

from hub.instance import Instance
from hub.record import event, outbound, voice
from hub.record.call import DROPPED, close_orphans
from hub.settings import secret
from hub.temporal import Reach
from media.calls.fax import FaxCall, is_fax
from media.calls.floor import Floor
from media.calls.house import House
from media.calls.inbound import InboundCall
from media.calls.notice import Emitted, Notices
from media.calls.outbound import OutboundCall, Outside
from media.calls.plan import Planner
from media.calls.reminding import Reminding
from media.calls.switchboard import Switchboard
from media.calls.taping import Taping
from media.contacts import Contacts
from media.core.relay import relay_for
from media.ledger import Ledger
from media.line import Line
from media.listening import identity_of, listeners_of
from media.prompts import Prompts
from media.sip.endpoint import Endpoint
from media.sip.incoming import Incoming
from media.sip.transport.websocket import WebSocketTransport
from media.trunk.carrier import TrunkState
from media.trunk.meter import Meter, cost_of
from media.trunk.trunks import Trunks

log = structlog.get_logger()

REALM = "chartline"
"What phones' passwords are bound to (RFC 7616 section 3.3)."


ENDING_S = 5.0
"How long calls that were hung up may take, when the process ends, to write how they went."


class Gateway:
    """Everything between the trunk and the agents' phones, for one process."""

    def __init__(self, instance: Instance, reach: Reach, host: str, env: Mapping[str, str]) -> None:
        self._instance = instance
        self.line = Line(instance, host)
        sip = self.line.practice.sip
        self.endpoint = Endpoint(
            listeners_of(sip),
            identity=identity_of(sip, instance.paths.root),
            credentials=self.line.credentials,
            trunks=self.line.trunk,
            realm=REALM,
            session_seconds=sip.session_seconds,
        )
        self._ledger = Ledger(instance.db)
        self._prompts = Prompts.load(instance.paths.root)
        self._relay = relay_for(sip, self._prompts.music, instance.paths.run)
        self._floor = Floor(self.line, self._ledger, self.endpoint, self._relay)
        self._contacts = Contacts(self.line, self._ledger, self.endpoint.registrar)
        self._notices = Notices(self.line, self._ledger, reach)
        self._house = House(
            line=self.line,
            ledger=self._ledger,
            relay=self._relay,
            floor=self._floor,
            planner=Planner(self.line, reach),
            notices=self._notices,
            prompts=self._prompts,
            taping=Taping(instance, self._ledger, self._relay),
            board=Switchboard(self.line, self.endpoint, self._relay),
        )
        self.trunks = Trunks(
            self.endpoint,
            lambda: self.line.practice,
            lambda reference: secret(reference, env=env, root=instance.paths.root),
        )
        self._outside = Outside(self.endpoint, self.trunks, Meter(self.line.now, lambda: self.line.practice))
        self._reminding = Reminding(self._house, self._outside)
        self._tasks: list[asyncio.Task[None]] = []
        self.calls: dict[UUID, InboundCall | OutboundCall | FaxCall] = {}
        "Those that go on now."
        self._running: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, instance: Instance, env: Mapping[str, str], host: str) -> "Gateway":
        """Return a gateway for the policy in force; Temporal is reached at the first call that needs it."""
        return cls(instance, Reach(instance.paths, instance.keys, env), host, env)

    async def start(self) -> None:
        """Close what a process that died has left, then listen.

        Raises:
            OSError: the SIP address is taken; nothing that was begun goes on.
        """
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise

    async def _start(self) -> None:
        await self._relay.start()
        lost = await self._close_orphans()
        tapes = await self._house.taping.left()
        await self.line.load()
        phones = await self._contacts.kept()
        await self._say_all()
        await self._restore_spent()
        self.line.on_policy += [self._say_again, self.trunks.follow]
        self.trunks.on_state = self._trunk_changed
        self.trunks.on_look = self._write_trunks
        self.endpoint.on_invite = self._take
        self.endpoint.on_registered = self._registered
        self.endpoint.door.on_doubt = self.line.refresh
        await self.endpoint.start()
        self.endpoint.wires.add(await WebSocketTransport.open(self._instance.paths.phone_socket, self.endpoint))
        self.trunks.follow()
        self._contacts.restore(phones)
        for phone in phones:
            self.endpoint.guard.proved(phone.source_host, phone.extension)
        work = (
            *(self.line.watch(), self._floor.run(), self._house.planner.warm()),
            *(self._house.taping.recover(tapes), self._tell_ends(lost), self._reminding.run()),
        )
        self._tasks += [asyncio.create_task(each) for each in work]

    async def _close_orphans(self) -> list[UUID]:
        """End the calls that a dead process of this host had, tell webhooks so, and return them."""
        now, host, notices = self._instance.clock(), self.line.host, self._house.notices

        def change(db: Session) -> tuple[list[UUID], list[Emitted]]:
            lost = close_orphans(db, host, now)
            voice.lost(db, host, now)
            return lost, [notices.emit(db, "call.ended", each, {"status": DROPPED}, now) for each in lost]

        lost, told = await self._ledger.do(change)
        notices.follow_now(told)
        if lost:
            log.warning("calls of a dead process closed", calls=len(lost))
        return lost

    async def _tell_ends(self, calls: Sequence[UUID]) -> None:
        """Let the flows of calls that were lost wind up what is left of them."""
        for call_id in calls:
            await self._house.planner.ended(call_id)

    async def _say_all(self) -> None:
        """Render what callers will hear, as far as this machine can speak."""
        choices = await asyncio.to_thread(self._prompts.prepare, self.line.practice)
        for choice in choices:
            if choice.source == "pieces":
                log.warning("said in stock pieces", where=choice.where, language=choice.language)

    def _say_again(self) -> None:
        self._tasks.append(asyncio.create_task(self._say_all()))

    async def close(self) -> None:
        """Hang up, write everything that is left, and stop."""
        await self._reminding.close()
        await self.trunks.close()
        await self.endpoint.close()
        await self._end_calls()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._house.planner.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await self._notices.close()
        await self._house.taping.close()
        await self._relay.close()
        await asyncio.to_thread(self._ledger.close)

    async def _end_calls(self) -> None:
        """Let the calls that were hung up write how they went."""
        if not self._running:
            return
        _, late = await asyncio.wait(self._running, timeout=ENDING_S)
        for each in late:
            each.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _registered(self, extension: str, seconds: int) -> None:
        self._contacts.changed(extension)
        self._floor.registered(extension, seconds)
        self._house.board.registered()

    async def _restore_spent(self) -> None:
        """Count what today's calls to the outside have cost before this process was there."""
        meter, now = self._outside.meter, self.line.now()
        began = meter.day_began_at()
        talks = await self._instance.db.run(lambda db: list(outbound.talks(db, began, now)))
        meter.restore(sum((cost_of(price, lasted) for price, lasted in talks), Decimal(0)))

    def _write_trunks(self) -> None:
        """Put how the trunks are where `chartline status` finds it."""
        path = self._instance.paths.trunks
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps([asdict(state) for state in self.trunks.states]))
        fresh.replace(path)

    def _trunk_changed(self, state: TrunkState) -> None:
        """Tell webhooks that a trunk went down or came up."""
        kind, at = f"connection.{'up' if state.up else 'down'}", self.line.now()
        said = {"connection": state.name, "status": state.code}

        def change(db: Session) -> list[Emitted]:
            return [event.emit(db, self.line.practice, kind, said, now=at)]

        self._notices.follow(self._ledger.note(change))

    async def _take(self, incoming: Incoming) -> None:
        incoming.to_number = self.line.called(incoming)
        incoming.attestation = self.line.attested(incoming)
        if await self._house.board.replace(incoming):
            return
        taken: InboundCall | OutboundCall | FaxCall = InboundCall(self._house, incoming)
        if incoming.extension and self.line.number_of(incoming.to_number) is None:
            taken = OutboundCall(self._house, self._outside, incoming)
        elif incoming.trunk and is_fax(incoming.offer):
            taken = FaxCall(self._house, self._outside, incoming)
        self.calls[taken.id] = taken
        running = asyncio.create_task(taken.run())
        self._running.add(running)

        def over(done: "asyncio.Task[None]") -> None:
            self._running.discard(done)
            del self.calls[taken.id]

        running.add_done_callback(over)
        await asyncio.shield(running)  # whoever stops listening leaves its end to `close`

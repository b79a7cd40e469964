"""Ask one connection for what changed, again and again; facts and cursor are committed in one transaction."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime

import structlog
from sqlmodel import Session

from connectors.api import AppointmentFacts, Checkpoint, Context, Feeds, ResetError, Verifies
from hub.db import Clock, Database
from hub.feeds.fact import arrival_of
from hub.record import inbox
from hub.record.absence import AbsenceFacts, missing
from hub.record.identity import keys_for
from hub.record.inbox import Arrival
from hub.security.index import BlindIndex
from hub.security.sealed import Sealer

log = structlog.get_logger()

EVERY_S = 15.0
"Between the end of one round and the next, where nothing is heard of changes before."

LOOK_S = 0.25
"Between looks whether a connection that can call back did so."

HELD = 500
"Facts that are held until a checkpoint; more are committed before it, and told again if the round breaks off."


Lend = Callable[[], AbstractAsyncContextManager[Context]]
"Opens the way out for one round."


class Poller:
    """Asks one connection."""

    def __init__(
        self,
        connection: str,
        connector: Feeds,
        database: Database,
        record: Database,
        *,
        seal: Sealer,
        index: BlindIndex,
        clock: Clock,
        stored: Callable[[set[str]], None],
        every_s: float = EVERY_S,
        look_s: float = LOOK_S,
    ) -> None:
        """Store what `connector` tells in `database`, inbox.db, and compare it with `record`, chartline.db."""
        self._connection = connection
        self._connector = connector
        self._database = database
        self._record = record
        self._seal = seal
        self._index = index
        self._clock = clock
        self._stored = stored
        self._every_s = every_s
        self._look_s = look_s
        self._hints = 0
        "As many as were made before the last round began: what came since is not answered yet."

    async def run(self, lend: Lend) -> None:
        """Ask until cancelled, each round through a way out of its own: agreements end, and policies change.

        Raises:
            ConnectorError: the other side could not be asked; what it told before that is committed.
            EgressDeniedError: no agreement covers it any longer.
        """
        while True:
            async with lend() as ctx:
                try:
                    await self.round(ctx)
                except ResetError:
                    log.warning("feed begins anew", connection=self._connection)
                    await self._commit([], None, forget=True)
                    await self.round(ctx)
            await self._rest()

    async def _rest(self) -> None:
        """Return when the next round is due: after a while, or soon after a hint."""
        if not isinstance(self._connector, Verifies):
            await asyncio.sleep(self._every_s)
            return
        clock = asyncio.get_running_loop().time
        until = clock() + self._every_s
        while (left := until - clock()) > 0:
            await asyncio.sleep(min(self._look_s, left))
            if await self._heard() != self._hints:
                return

    async def _heard(self) -> int:
        return await self._database.run(lambda db: inbox.hints(db, self._connection))

    async def round(self, ctx: Context) -> None:
        """Ask once, from the cursor on.

        Raises:
            ConnectorError: see `run`.
        """
        self._hints = await self._heard()
        cursor = await self._database.run(lambda db: inbox.cursor_of(db, self._connection))
        held: list[Arrival] = []
        told: set[bytes] | None = set() if cursor is None else None
        async for change in self._connector.changes(ctx, cursor):
            if isinstance(change, Checkpoint):
                if change.whole is not None and told is not None:
                    held += await self._absent(told, *change.whole)
                await self._commit(held, change.cursor)
                held = []
                continue
            if isinstance(change, AppointmentFacts) and told is not None:
                told.update(key for _, key in keys_for(change.ids, self._connection, self._index))
            held.append(arrival_of(self._connection, change, self._index))
            if len(held) >= HELD:
                await self._commit(held, None)
                held = []
        if held:
            await self._commit(held, None)

    async def _absent(self, told: set[bytes], since: datetime, until: datetime) -> list[Arrival]:
        """Return what to store of the visits that were known, and that a feed which told all did not tell."""
        found = await self._record.run(lambda db: missing(db, self._connection, told, since, until))
        if not found.plausible:
            log.error("too many visits gone", connection=self._connection, gone=len(found.visits), known=found.known)
            return []
        now = self._clock()
        return [
            arrival_of(self._connection, AbsenceFacts(appointment=visit, at=now), self._index) for visit in found.visits
        ]

    async def _commit(self, held: list[Arrival], cursor: bytes | None, *, forget: bool = False) -> None:
        """Store what is held, and the cursor where there is one; `forget` drops the cursor."""
        now: datetime = self._clock()

        def write(db: Session) -> bool:
            fresh = inbox.store(db, held, seal=self._seal, index=self._index, now=now, by="system:feeds")
            if cursor is not None or forget:
                inbox.keep_cursor(db, self._connection, cursor, now)
            return any(fresh)

        if await self._database.run(write, write=True):
            self._stored({self._connection})

"""Where a connector is tried: the host's context over the recorded server, on a clock that runs by itself."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

import httpx

from connectors import host
from connectors.api import (
    AnyConnector,
    Callback,
    Change,
    ChartFacts,
    Checkpoint,
    ConnectorError,
    Context,
    Fact,
    Feeds,
    Identifier,
    PatientRef,
    Section,
)
from connectors.kit.case import Case
from connectors.kit.error import Failed, Skipped
from connectors.kit.ledger import Ledger, name_of
from connectors.kit.server import Script, Server
from connectors.kit.watch import Watch
from connectors.scoping import within
from connectors.stream import Dial
from connectors.transport import origin_of, origins

T = TypeVar("T")

Told = list[Change | Checkpoint]


class StuckError(Exception):
    """A call that did not end."""


@dataclass(slots=True)
class Ended:
    """How a call ended: with a value, or with an error."""

    value: Any = None
    error: BaseException | None = None

    @property
    def kind(self) -> str:
        """What it ended with, by name alone: a text may hold what a record says."""
        if self.error is not None:
            reason = getattr(self.error, "reason", "")
            return f"{type(self.error).__name__}({reason})" if reason else type(self.error).__name__
        return "no error"


@dataclass(slots=True)
class Stage:
    """One connector, its context, and the server that it talks to."""

    connector: Any
    ctx: Context
    server: Server


@dataclass(slots=True)
class Round:
    """What a feed said from one cursor to its end."""

    told: Told = field(default_factory=list)

    @property
    def changes(self) -> list[Change]:
        """Everything but the checkpoints."""
        return [one for one in self.told if not isinstance(one, Checkpoint)]

    @property
    def cursor(self) -> bytes | None:
        """Where it ended."""
        return next((one.cursor for one in reversed(self.told) if isinstance(one, Checkpoint)), None)


class Bench:
    """Tries one connector by one case, and remembers what was seen of it."""

    patience = 900.0
    "Seconds for one call of a method, on the loop's clock: nobody who still asks after that will ever end."

    def __init__(self, kind: type[AnyConnector], case: Case, watch: Watch) -> None:
        self.kind = kind
        self.case = case
        self.watch = watch
        self.failed: set[str] = set()
        "Names of the checks that failed so far."

        self._heard: set[Fact] = set()
        self.remembered: dict[str, Any] = {}
        "What checks found out for each other."

        self._loop = asyncio.get_running_loop()
        self._base: tuple[Round, Round, Server] | None = None
        self.sample = self.fresh()
        "What it can do, with these settings: a method may be there for some settings only."

        watch.secrets |= {str(case.plan.settings[name]) for name in self.secret_names if name in case.plan.settings}
        for one in case.plan.expect.find_patients:
            watch.number(one.phone)

    @property
    def secret_names(self) -> set[str]:
        """Settings that are declared secret."""
        return {
            name for name, given in self.kind.Settings.model_fields.items() if "SecretStr" in repr(given.annotation)
        }

    def clock(self, later: float = 0.0) -> Callable[[], datetime]:
        """Return a clock that stands now where the case's does, `later` seconds on, and runs with virtual time."""
        begun_at = self._loop.time() - later
        return lambda: self.case.plan.clock + timedelta(seconds=self._loop.time() - begun_at)

    def fresh(self, settings: Mapping[str, Any] | None = None) -> AnyConnector:
        """Return a new connector, as after a restart of the host."""
        written = self.case.plan.settings | dict(settings or {})
        try:
            return self.kind(self.kind.Settings.model_validate(written))
        except Exception as error:  # whatever it is: without a connector there is nothing to try
            raise Failed("settings-not-taken", type(error).__name__) from None

    def stage(
        self, script: Script | None = None, *, settings: Mapping[str, Any] | None = None, later: float = 0.0
    ) -> Stage:
        """Return a fresh connector before a fresh server, at the time of the case or so many seconds later."""
        return self.staged(self.fresh(settings), Server(self.case, self.clock(later), script))

    def staged(self, connector: AnyConnector, server: Server) -> Stage:
        """Return that connector before that server."""
        return self.before(connector, server, httpx.AsyncClient(transport=server, trust_env=False))

    def before(
        self, connector: AnyConnector, server: Server, http: httpx.AsyncClient, connect: Dial | None = None
    ) -> Stage:
        """Return that connector with a context over `http`; whatever it asks is noted."""
        zone, region = self.case.zone, self.case.plan.region
        ctx = host.context(
            connector, "kit", http=http, clock=server.clock, timezone=zone, region=region, connect=connect
        )
        allowed = origins(connector.settings.model_dump(mode="json"))

        async def note(request: httpx.Request) -> None:
            if origin_of(request.url) not in allowed:
                self.watch.strangers.add(f"{request.url.scheme}://{request.url.host}")

        ctx.http.event_hooks["request"].append(note)
        return Stage(connector, ctx, server)

    async def ended(self, call: Awaitable[Any]) -> Ended:
        """Make a call and return how it ended; its errors are kept for the checks of privacy."""
        try:
            async with asyncio.timeout(self.patience) as patience:
                return Ended(value=await call)
        except (Failed, Skipped):
            raise
        except TimeoutError as error:
            ended = Ended(error=StuckError("it does not end") if patience.expired() else error)
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            ended = Ended(error=error)
        if ended.error is not None and not isinstance(ended.error, StuckError):
            self.watch.errors.append(ended.error)
        return ended

    async def value(self, stage: Stage, call: Awaitable[T]) -> T:
        """Make a call that must succeed, of recorded requests only.

        Raises:
            Failed: it did not.
        """
        ended = await self.ended(call)
        if stage.server.unrecorded:
            raise Failed("not-recorded", stage.server.unrecorded[0])
        if ended.error is not None:
            raise Failed("raised", ended.kind)
        return ended.value  # type: ignore[no-any-return]

    def heard(self, fact: Fact) -> None:
        """Note what a connector returned: its personal parts, and what it did not declare."""
        if not isinstance(fact, ChartFacts):  # the only fact that cannot be in a set
            if fact in self._heard:
                return
            self._heard.add(fact)
        self.watch.personal(fact)
        kept = within(fact, self.kind.scopes)
        if kept != fact:
            self.watch.undeclared.add(name_of(fact) + _dropped(fact, kept))

    async def each(self, stage: Stage, cursor: bytes | None) -> AsyncGenerator[Change | Checkpoint, None]:
        """Yield what a feed says, and note it."""
        async with aclosing(stage.connector.changes(stage.ctx, cursor)) as feed:
            async for said in feed:
                if isinstance(said, Checkpoint):
                    self.watch.cursors.append(said.cursor)
                else:
                    self.heard(said)
                yield said

    async def drained(self, stage: Stage, cursor: bytes | None) -> Round:
        """Return one round of a feed."""
        return Round([said async for said in self.each(stage, cursor)])

    async def followed(self, stage: Stage, cursor: bytes | None, rounds: int = 2) -> list[Round]:
        """Return so many rounds, each from where the one before ended.

        Raises:
            Failed: a round gave no checkpoint.
        """
        found: list[Round] = []
        for _ in range(rounds):
            found.append(await self.drained(stage, cursor))
            cursor = found[-1].cursor
            if cursor is None:
                raise Failed("no-checkpoint")
        return found

    async def base(self) -> tuple[Round, Round, Server]:
        """Return what the feed says when nothing goes wrong: from no cursor, and from the last checkpoint of that.

        Raises:
            Skipped: it has no feed, or that does not work at all.
        """
        if not isinstance(self.sample, Feeds):
            raise Skipped("no-changes")
        if self._base is None:
            if "feed" in self.failed:
                raise Skipped("see-feed")
            stage = self.stage()
            first, second = await self.value(stage, self.followed(stage, None))
            self._base = first, second, stage.server
        return self._base

    async def record(self) -> Ledger:
        """Return the record after the rounds of `base`."""
        first, second, _ = await self.base()
        return Ledger(first.changes + second.changes)

    def understood(self, raw: bytes, connector: AnyConnector | None = None) -> Ended:
        """Let a connector, or a fresh one, read a message, and note what it says."""
        reader: Any = connector or self.fresh()
        try:
            said = list(reader.read(raw, timezone=self.case.zone, region=self.case.plan.region))
        except Exception as error:  # whatever it is: a check says what it thinks of it
            self.watch.errors.append(error)
            return Ended(error=error)
        for fact in said:
            self.heard(fact)
        return Ended(value=said)

    def verified(self, callback: Callback, settings: Mapping[str, Any] | None = None) -> Ended:
        """Let a fresh connector prove a callback."""
        reader: Any = self.fresh(settings)
        try:
            return Ended(value=reader.verify(callback))
        except Exception as error:  # as above
            self.watch.errors.append(error)
            return Ended(error=error)

    async def checked(self, stage: Stage) -> None:
        """Prove address and credentials."""
        await stage.connector.check(stage.ctx)

    async def charted(self, stage: Stage, ids: Sequence[Identifier], sections: frozenset[Section]) -> ChartFacts:
        """Read a chart, and note what came."""
        said: ChartFacts = await stage.connector.chart(stage.ctx, ids, sections)
        self.heard(said)
        return said

    async def found(self, stage: Stage, phone: str) -> Sequence[PatientRef]:
        """Look a number up, and note what came."""
        refs: list[PatientRef] = list(await stage.connector.find_patients(stage.ctx, phone))
        for ref in refs:
            self.heard(ref)
        return refs


def naive(ended: Ended) -> bool:
    """Whether a call ended with what is no error of the interface."""
    return ended.error is not None and not isinstance(ended.error, ConnectorError)


def _dropped(fact: Fact, kept: Fact | None) -> str:
    if kept is None:
        return ""
    changed = [name for name in type(fact).model_fields if getattr(fact, name) != getattr(kept, name)]
    return "." + ",".join(changed)


__all__ = ["Bench", "Ended", "Round", "Stage", "StuckError", "naive"]

"""The plan of a call: asked of the workflow with a deadline, otherwise the published one that media holds itself."""

import asyncio
import contextlib
from uuid import UUID

import structlog
from temporalio.service import RPCError

from hub.rules import routing
from hub.rules.matching import Match
from hub.rules.routing import Plan
from hub.temporal import CallStart, PlanUnavailableError, Reach, TemporalUnavailableError, call_ended, plan_call
from media.line import Line

log = structlog.get_logger()

LULL_S = 0.5
"Who rings goes first: the end of a call is told once nobody has asked for a plan for so long ..."

PATIENCE_S = 5.0
"... or has done so all this time, and then one by one:"

PACE_S = 0.5
"What a call leaves to do costs more than its plan did: told as fast as they come, ends would slow down those who ring."


class Lull:
    """Waits for a time in which nobody asks."""

    def __init__(self, quiet_s: float = LULL_S, patience_s: float = PATIENCE_S, pace_s: float = PACE_S) -> None:
        self._quiet_s = quiet_s
        self._patience_s = patience_s
        self._pace_s = pace_s
        self._asked_at = -quiet_s
        self._turn_at = 0.0

    def asked(self) -> None:
        """Note that somebody asks now."""
        self._asked_at = asyncio.get_running_loop().time()

    async def come(self) -> None:
        """Return once nobody has asked for `quiet_s`; or after `patience_s`, but not before it is one's turn."""
        clock = asyncio.get_running_loop().time
        if not await self._quiet(clock() + self._patience_s):
            self._turn_at = max(self._turn_at + self._pace_s, clock())
            await self._quiet(self._turn_at)

    async def _quiet(self, until: float) -> bool:
        """Wait for a lull at most until then, and return whether there was one."""
        clock = asyncio.get_running_loop().time
        while (left := min(self._asked_at + self._quiet_s, until) - clock()) > 0:  # noqa: ASYNC110 - each ask moves it
            await asyncio.sleep(left)
        return clock() >= self._asked_at + self._quiet_s


class Planner:
    """Asks Temporal; answers without it."""

    def __init__(self, line: Line, reach: Reach) -> None:
        self._line = line
        self._reach = reach
        self._lull = Lull()
        self._telling: set[asyncio.Task[None]] = set()

    async def plan(self, call_id: UUID, did: str, match: Match) -> Plan:
        """Return the plan of a call, within the deadline in any case."""
        self._lull.asked()
        start = CallStart(str(call_id), did, match.kind, tuple(str(each) for each in match.patients))
        try:
            return await plan_call(await self._reach.client(), start)
        except (PlanUnavailableError, TemporalUnavailableError):
            log.warning("published plan used", call=str(call_id))
            return routing.last_good(self._line.practice, self._line.version, did)

    async def warm(self) -> None:
        """Connect before the first call needs it; a server that is down is found by that call's deadline."""
        with contextlib.suppress(RPCError, RuntimeError, TemporalUnavailableError):
            await (await self._reach.client()).service_client.check_health()

    def tell_end(self, call_id: UUID) -> None:
        """Do what `ended` does, and do not wait."""
        telling = asyncio.get_running_loop().create_task(self.ended(call_id))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def close(self) -> None:
        """Tell nobody any more."""
        telling = list(self._telling)
        for each in telling:
            each.cancel()
        await asyncio.gather(*telling, return_exceptions=True)

    async def ended(self, call_id: UUID) -> None:
        """Tell the call's flow that its row says how it ended; upkeep finds the call where nobody can be told."""
        await self._lull.come()
        try:
            await call_ended(await self._reach.client(), str(call_id))
        except TemporalUnavailableError:
            log.warning("flow not told of the end", call=str(call_id))

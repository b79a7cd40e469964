"""Who is put through to whom: the order of the callers who wait, and the agent for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

Strategy = Literal["longest-idle", "top-down"]

PATIENCE: Final = timedelta(minutes=15)
"After this long a caller stands with the highest priority that a route can give, so that nobody starves."

PAUSE: Final = timedelta(seconds=10)
"An agent who did not take a call is not rung for the same call again before this has passed."

_AGED: Final = 100


@dataclass(frozen=True, slots=True)
class Waiting:
    """A caller who waits."""

    call_id: str
    queue: str
    entered_at: datetime
    priority: int = 0
    passed: Mapping[str, datetime] = field(default_factory=dict)
    "Agents who refused this call or did not answer it, with the instant of the last time."


@dataclass(frozen=True, slots=True)
class Idle:
    """An agent who is available."""

    agent_id: str
    queues: tuple[str, ...]
    since: datetime
    "When the last call ended, or when they became available."

    free_at: datetime | None = None
    "End of wrap-up; None where there is none."

    place: int = 0
    "Position in practice.toml, for `top-down`."


@dataclass(frozen=True, slots=True)
class Pairing:
    """Ring this agent for this call."""

    call_id: str
    agent_id: str


def pair(
    waiting: Sequence[Waiting],
    agents: Sequence[Idle],
    now: datetime,
    strategies: Mapping[str, Strategy] | None = None,
) -> list[Pairing]:
    """Return whom to ring for which call, in the order in which the callers are served.

    No agent and no call appears twice. As many callers are served as can be, and a caller goes without only where
    everyone who could take the call is taken by callers before them. `strategies` is by queue; longest-idle elsewhere.
    """
    free = [agent for agent in agents if agent.free_at is None or agent.free_at <= now]
    chosen: dict[str, Waiting] = {}
    order = sorted(waiting, key=lambda caller: rank(caller, now))
    for caller in order:
        _place(caller, free, chosen, set(), now, strategies or {})
    agent_of = {caller.call_id: agent_id for agent_id, caller in chosen.items()}
    return [Pairing(caller.call_id, agent_of[caller.call_id]) for caller in order if caller.call_id in agent_of]


def rank(caller: Waiting, now: datetime) -> tuple[int, datetime, str]:
    """Return the sort key of a caller: priority, then time of waiting."""
    aged = now - caller.entered_at >= PATIENCE
    return (-max(caller.priority, _AGED if aged else 0), caller.entered_at, caller.call_id)


def position(call_id: str, waiting: Sequence[Waiting], now: datetime) -> int | None:
    """Return a caller's place in their queue, 1 for the next; None where they do not wait."""
    mine = next((caller for caller in waiting if caller.call_id == call_id), None)
    if mine is None:
        return None
    ahead = [caller for caller in waiting if caller.queue == mine.queue and rank(caller, now) < rank(mine, now)]
    return len(ahead) + 1


def _place(
    caller: Waiting,
    free: Sequence[Idle],
    chosen: dict[str, Waiting],
    tried: set[str],
    now: datetime,
    strategies: Mapping[str, Strategy],
) -> bool:
    """Give `caller` an agent; one who is promised already may be swapped where that caller finds another (Kuhn)."""
    able = [
        agent
        for agent in free
        if caller.queue in agent.queues
        and agent.agent_id not in tried
        and now - caller.passed.get(agent.agent_id, now - PAUSE) >= PAUSE
    ]
    preferred = sorted(able, key=lambda agent: _preference(caller, agent, strategies))
    for agent in sorted(preferred, key=lambda agent: agent.agent_id in chosen):
        if agent.agent_id in tried:
            continue
        tried.add(agent.agent_id)
        holder = chosen.get(agent.agent_id)
        if holder is None or _place(holder, free, chosen, tried, now, strategies):
            chosen[agent.agent_id] = caller
            return True
    return False


def _preference(caller: Waiting, agent: Idle, strategies: Mapping[str, Strategy]) -> tuple[bool, int, datetime, str]:
    top_down = strategies.get(caller.queue, "longest-idle") == "top-down"
    return (agent.agent_id in caller.passed, agent.place if top_down else 0, agent.since, agent.agent_id)

"""What a check is."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.kit.bench import Bench
from connectors.kit.error import Skipped

Run = Callable[[Bench], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a connector must hold; named for the fault that it finds."""

    name: str
    run: Run
    "Returns where it holds; raises Failed or Skipped."

    after: tuple[str, ...] = ()
    "Checks whose failure leaves nothing for this one to say."

    judges: bool = False
    "Whether it looks at what all the others did."


def has(bench: Bench, capability: Any) -> bool:
    """Whether the connector has the methods of a Protocol of connectors.api."""
    return isinstance(bench.sample, capability)


def needs(bench: Bench, capability: Any, method: str) -> None:
    """End the check where the connector has no such method.

    Raises:
        Skipped: so it is.
    """
    if not has(bench, capability):
        raise Skipped(f"no-{method}".replace("_", "-"))


def chosen(checks: Sequence[Check], only: Collection[str]) -> Sequence[Check]:
    """Return what to run: a check that judges the others needs them all, any other those that it comes after."""
    if not only or any(check.judges and check.name in only for check in checks):
        return checks
    wanted = set(only)
    for check in reversed(checks):
        if check.name in wanted:
            wanted |= set(check.after)
    return [check for check in checks if check.name in wanted]

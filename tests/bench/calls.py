"""Calls: what setting one up costs, and how long its caller waits for the plan."""

from tests.bench.figure import Figure
from tests.bench.plans import invite_to_plan
from tests.bench.signalling import invite_to_200


def figures() -> list[Figure]:
    """Measure the area."""
    return [*invite_to_200(), *invite_to_plan()]

"""One measured figure, its floor and its peers from the same run; the table and build/bench.json."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.table import Table

BENCH_JSON = Path(__file__).resolve().parents[2] / "build" / "bench.json"


@dataclass(frozen=True, slots=True)
class Figure:
    """What one benchmark found."""

    name: str
    "Area, dot, what was measured: `hl7.normalise`."

    value: float
    unit: str

    floor: float | None = None
    "What the machine does at best in the same unit, measured between the rounds; None where there is none."

    peers: Mapping[str, float] = field(default_factory=dict)
    "The same work by other programs, in the same unit."

    goal: str = ""
    holds: bool | None = None
    "Whether the goal is met; None where there is no goal."

    @classmethod
    def over_floor(
        cls, name: str, value: float, unit: str, floor: float, times: float, *, peers: Mapping[str, float] | None = None
    ) -> Self:
        """Return a figure whose goal is at least `times` its floor."""
        return cls(name, value, unit, floor, peers or {}, f"{times:g} x floor", value >= times * floor)

    @classmethod
    def over_peers(
        cls,
        name: str,
        value: float,
        unit: str,
        peers: Mapping[str, float],
        times: Mapping[str, float],
        *,
        floor: float | None = None,
    ) -> Self:
        """Return a figure whose goal is at least `times[peer]` what each peer does."""
        goal = ", ".join(f"{least:g} x {peer}" for peer, least in times.items())
        holds = all(value >= least * peers[peer] for peer, least in times.items())
        return cls(name, value, unit, floor, peers, goal, holds)

    @classmethod
    def at_most(cls, name: str, value: float, unit: str, limit: float) -> Self:
        """Return a figure whose goal is `limit` or less: a latency, a share of a core."""
        return cls(name, value, unit, None, {}, f"at most {limit:g} {unit}", value <= limit)


def shown(value: float) -> str:
    """Return `value` with three significant digits, thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(figures: Sequence[Figure], console: Console) -> None:
    """Print `figures`, each with its ratio to the floor and to every peer."""
    lines = Table(title="Benchmarks", title_justify="left")
    for heading in ("figure", "value", "unit", "floor", "x floor", "peers", "goal", "holds"):
        right = heading in ("value", "floor", "x floor")
        lines.add_column(heading, justify="right" if right else "left", no_wrap=heading in ("figure", "value"))
    for figure in figures:
        ratio = f"{figure.value / figure.floor:.2f}" if figure.floor else ""
        peers = "\n".join(
            f"{name} {shown(value)} ({figure.value / value:.1f} x)" for name, value in figure.peers.items() if value
        )
        holds = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[figure.holds]
        floor = shown(figure.floor) if figure.floor else ""
        lines.add_row(figure.name, shown(figure.value), figure.unit, floor, ratio, peers, figure.goal, holds)
    console.print(lines)


def merge(figures: Sequence[Figure], path: Path = BENCH_JSON) -> None:
    """Write `figures` into `path` in place of those of the same name; the others stay."""
    kept = json.loads(path.read_text())["figures"] if path.exists() else []
    new = {figure.name: asdict(figure) for figure in figures}
    rows = sorted([row for row in kept if row["name"] not in new] + list(new.values()), key=lambda row: row["name"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"figures": rows}, indent=1) + "\n")

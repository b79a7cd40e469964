"""Run benchmark areas, print the table, merge into build/bench.json."""

import argparse
import importlib
import pkgutil
import sys
import traceback
from collections.abc import Callable, Sequence

from rich.console import Console

import tests.bench
from tests.bench.figure import Figure, merge, table

Measure = Callable[[], list[Figure]]


def area_of(name: str) -> Measure | None:
    """Return what measures the area `name`; None for a module that only helps another.

    Raises:
        ImportError: the module cannot be loaded.
    """
    measure: Measure | None = getattr(importlib.import_module(f"tests.bench.{name}"), "figures", None)
    return measure


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 when every area could be measured, whether or not it meets its goals; 2 when one is unknown."""
    modules = [module.name for module in pkgutil.iter_modules(tests.bench.__path__) if not module.name.startswith("_")]
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("area", nargs="*", help="such as audit; all when none is given")
    wanted = [area for area in parser.parse_args(argv).area if area != "all"]
    if unknown := [area for area in wanted if area not in modules]:
        parser.error(f"no such area: {', '.join(unknown)}")
    console = Console(width=None if sys.stdout.isatty() else 150)
    figures: list[Figure] = []
    failed = []
    for area in wanted or modules:
        try:
            measure = area_of(area)
            if measure is None:
                continue
            console.print(f"[dim]measuring {area} ...[/]")
            measured = measure()
        except Exception:
            traceback.print_exc()
            failed.append(area)
            continue
        figures += measured
        merge(measured)
    table(figures, console)
    if failed:
        console.print(f"[red]could not be measured: {', '.join(failed)}[/]")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Benchmarks: `python -m tests.bench [AREA ...]`; an area is a module here with `figures() -> list[Figure]`."""

from tests.bench.figure import Figure

__all__ = ["Figure"]

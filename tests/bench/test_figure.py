"""The frame of the benchmarks: goals, the table, and what stays in build/bench.json."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench.__main__ import main
from tests.bench.figure import Figure, merge, shown, table


def test_goal_over_a_floor_holds_from_there_on() -> None:
    assert Figure.over_floor("a", 40.0, "1/s", 100.0, 0.4).holds
    assert not Figure.over_floor("a", 39.9, "1/s", 100.0, 0.4).holds
    assert Figure.over_floor("a", 40.0, "1/s", 100.0, 0.4).goal == "0.4 x floor"


def test_goal_over_peers_needs_each_of_them() -> None:
    peers = {"slow": 1.0, "quick": 10.0}
    times = {"slow": 20.0, "quick": 3.0}
    assert Figure.over_peers("a", 30.0, "1/s", peers, times).holds
    assert not Figure.over_peers("a", 29.0, "1/s", peers, times).holds
    assert Figure.over_peers("a", 30.0, "1/s", peers, times).goal == "20 x slow, 3 x quick"


def test_limit_holds_up_to_there() -> None:
    assert Figure.at_most("a", 25.0, "ms", 25.0).holds
    assert not Figure.at_most("a", 25.1, "ms", 25.0).holds


def test_new_figures_replace_their_own_and_leave_the_others(tmp_path: Path) -> None:
    path = tmp_path / "build" / "bench.json"
    merge([Figure("b.x", 1.0, "1/s"), Figure("a.x", 1.0, "1/s")], path)
    merge([Figure("b.x", 2.0, "1/s", 4.0, {"peer": 1.0}, "0.5 x floor", True)], path)
    assert json.loads(path.read_text())["figures"] == [
        {"name": "a.x", "value": 1.0, "unit": "1/s", "floor": None, "peers": {}, "goal": "", "holds": None},
        {
            "name": "b.x",
            "value": 2.0,
            "unit": "1/s",
            "floor": 4.0,
            "peers": {"peer": 1.0},
            "goal": "0.5 x floor",
            "holds": True,
        },
    ]


def test_table_shows_ratios() -> None:
    out = io.StringIO()
    table([Figure("b.x", 2000.0, "1/s", 4000.0, {"peer": 500.0}, "1 x floor", False)], Console(file=out, width=150))
    line = next(line for line in out.getvalue().splitlines() if "b.x" in line)
    assert [part.strip() for part in line.strip("│").split("│")] == [
        "b.x",
        "2,000",
        "1/s",
        "4,000",
        "0.50",
        "peer 500 (4.0 x)",
        "1 x floor",
        "no",
    ]


def test_numbers_have_three_digits_that_say_something() -> None:
    assert [shown(value) for value in (12345.6, 123.4, 12.34, 0.01234)] == ["12,346", "123", "12.3", "0.0123"]


def test_unknown_area_is_wrong_usage() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["no-such-area"])
    assert ended.value.code == 2

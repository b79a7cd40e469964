"""What keys do: every caller ends somewhere, whatever they press."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.rules.menu import URGENT, Ask, Go, begin, press, ways_out
from hub.rules.routing import Plan
from hub.settings import Practice, load

TOML = """
[practice]
name = "Harbor Family Medicine"
timezone = "America/New_York"
languages = ["en", "es"]
[[menu]]
name = "main"
say = { en = "Welcome" }
urgent = "0"
[menu.choices]
1 = { queue = "desk" }
2 = { menu = "refills" }
8 = { menu = "main", language = "es" }
9 = { voicemail = "box" }
[[menu]]
name = "refills"
say = { en = "Refills" }
urgent = "7"
tries = 1
choices = { 7 = { queue = "nurse" }, "*" = { menu = "main" }, 1 = { voicemail = "box" } }
[[voicemail]]
name = "box"
roles = ["front-desk"]
[[queue]]
name = "first"
[[queue]]
name = "desk"
[[queue]]
name = "nurse"
[[staff]]
email = "a@example.org"
roles = ["front-desk"]
queues = ["first", "desk", "nurse"]
"""
PRACTICE = load(TOML)
ALONE = Plan(policy=1, language="en", menu="main", priority=10)
WITH_WAYS = ALONE.model_copy(update={"queue": "first", "voicemail": "box"})
MAIN = Ask("main", "en", 10)
REFILLS = Ask("refills", "en", 10)


def test_a_call_begins_with_the_menu_of_its_plan() -> None:
    assert begin(PRACTICE, WITH_WAYS) == MAIN


def test_a_plan_without_a_menu_goes_to_its_place() -> None:
    plan = Plan(policy=1, language="es", queue="desk", voicemail="box", priority=3)
    assert begin(PRACTICE, plan) == Go("desk", "box", "es", 3, "plan")


def test_a_menu_that_a_later_policy_dropped_is_passed_over() -> None:
    gone = WITH_WAYS.model_copy(update={"menu": "gone"})
    assert begin(PRACTICE, gone) == Go("first", "box", "en", 10, "plan")
    assert press(PRACTICE, WITH_WAYS, Ask("gone", "en", 10), "1") == Go("first", "box", "en", 10, "fallback")


@pytest.mark.parametrize(
    ("plan", "ask", "key", "expected"),
    [
        (WITH_WAYS, MAIN, "1", Go("desk", "box", "en", 10, "choice")),
        (ALONE, MAIN, "1", Go("desk", None, "en", 10, "choice")),
        (WITH_WAYS, MAIN, "9", Go(None, "box", "en", 10, "choice")),
        (WITH_WAYS, MAIN, "2", REFILLS),
        (WITH_WAYS, MAIN, "8", Ask("main", "es", 10)),
        (WITH_WAYS, Ask("main", "es", 10, misses=2, notice="invalid"), "2", Ask("refills", "es", 10)),
        (WITH_WAYS, REFILLS, "*", MAIN),
        # the urgent key: its own choice, else the number's queue, else the menu's nearest one
        (WITH_WAYS, REFILLS, "7", Go("nurse", "box", "en", URGENT, "urgent")),
        (WITH_WAYS, MAIN, "0", Go("first", "box", "en", URGENT, "urgent")),
        (ALONE, MAIN, "0", Go("desk", "box", "en", URGENT, "urgent")),
        # wrong keys and silence: said again, then the way out
        (WITH_WAYS, MAIN, "5", Ask("main", "en", 10, 1, "invalid")),
        (WITH_WAYS, MAIN, None, Ask("main", "en", 10, 1, "timeout")),
        (WITH_WAYS, Ask("main", "en", 10, 1, "invalid"), None, Ask("main", "en", 10, 2, "timeout")),
        (WITH_WAYS, Ask("main", "en", 10, 2, "timeout"), "5", Go("first", "box", "en", 10, "fallback")),
        (ALONE, Ask("main", "en", 10, 2, "timeout"), None, Go("desk", "box", "en", 10, "fallback")),
        (ALONE, REFILLS, None, Go("nurse", "box", "en", 10, "fallback")),
    ],
)
def test_each_key_has_one_meaning(plan: Plan, ask: Ask, key: str | None, expected: Ask | Go) -> None:
    assert press(PRACTICE, plan, ask, key) == expected


def test_misses_count_for_each_menu_anew() -> None:
    step = press(PRACTICE, ALONE, Ask("main", "en", 10, misses=2), "2")
    assert isinstance(step, Ask)
    assert step.misses == 0


def test_a_number_with_voicemail_only_falls_back_to_it() -> None:
    boxed = PRACTICE.model_copy(
        update={"menus": (PRACTICE.menus[0].model_copy(update={"choices": {"9": PRACTICE.menus[0].choices["9"]}}),)}
    )
    last = Ask("main", "en", 10, misses=2)
    assert press(boxed, ALONE, last, None) == Go(None, "box", "en", 10, "fallback")
    # but who presses the urgent key gets a person
    assert press(boxed, ALONE, last, "0") == Go("first", "box", "en", URGENT, "urgent")


def test_the_nearest_way_out_comes_first() -> None:
    assert ways_out(PRACTICE, "main") == (["desk", "nurse"], ["box"])
    assert ways_out(PRACTICE, "refills") == (["nurse", "desk"], ["box"])
    assert ways_out(PRACTICE, "gone") == ([], [])


@settings(deadline=None)
@given(
    st.sampled_from([ALONE, WITH_WAYS]),
    st.lists(st.one_of(st.none(), st.sampled_from("0123456789*#")), max_size=30),
)
def test_whatever_is_pressed_a_caller_who_stops_ends_somewhere(plan: Plan, keys: list[str | None]) -> None:
    step = begin(PRACTICE, plan)
    for key in [*keys, None, None, None]:
        if isinstance(step, Go):
            break
        step = press(PRACTICE, plan, step, key)
    assert isinstance(step, Go)
    assert step.queue or step.voicemail
    assert step.priority in {10, URGENT}


def test_a_practice_without_queues_still_answers() -> None:
    bare = Practice.model_validate({**PRACTICE.model_dump(by_alias=True), "queue": [], "menu": [], "voicemail": []})
    assert press(bare, ALONE, MAIN, "0") == Go(None, None, "en", 10, "fallback")

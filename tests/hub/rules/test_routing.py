"""Where calls go: which route decided, what it read, and that a call always has a place."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hub.errors import SettingsError
from hub.rules import routing
from hub.rules.routing import AppointmentContext, CallContext, PatientContext, Plan, RequestContext
from hub.settings import Practice, load

MONDAY = datetime(2026, 11, 23, 15, 30, tzinfo=UTC)  # 10:30 in New York
DID = "+12125550100"
TOML = """
[practice]
name = "Harbor Family Medicine"
timezone = "America/New_York"
languages = ["en", "es"]
[[number]]
did = "+12125550100"
menu = "main"
queue = "desk"
voicemail = "box"
[[number]]
did = "+12125550101"
voicemail = "box"
[[menu]]
name = "main"
say = { en = "Welcome" }
choices = { 1 = { queue = "desk" } }
[[menu]]
name = "night"
say = { en = "We are closed" }
choices = { 1 = { voicemail = "box" } }
[[voicemail]]
name = "box"
roles = ["front-desk"]
[[queue]]
name = "desk"
[[queue]]
name = "refills"
[[queue]]
name = "appointments"
[[staff]]
email = "a@example.org"
roles = ["front-desk"]
queues = ["desk", "refills", "appointments"]
"""
SOON = 'when = "patient.appointments.exists(a, a.hours_until < 24)"\nthen = { queue = "appointments", priority = 10 }'
REFILL = (
    "when = \"patient.requests.exists(r, r.kind == 'refill' && r.status == 'open')\"\nthen = { queue = \"refills\" }"
)
SPANISH = 'name = "spanish"\nwhen = "patient.language == \'es\'"\nthen = { language = "es" }'
CLOSED = 'name = "closed"\nwhen = "call.hour < 9 || call.hour >= 16.5"\nthen = { menu = "night" }'
URGENT = "when = \"call.match == 'many'\"\nthen = { priority = 50 }"
TO_BOX = 'name = "box"\nwhen = "call.weekday == \'sunday\'"\nthen = { voicemail = "box" }'
FAILS = 'name = "fails"\nwhen = "patient.appointments[0].confirmed"\nthen = { queue = "refills" }'


def practice(*routes: str) -> Practice:
    return load(TOML + "".join(f"[[route]]\n{route}\n" for route in routes))


def call(
    at: datetime = MONDAY, did: str = DID, match: Literal["none", "one", "many", "restricted"] = "one"
) -> CallContext:
    return CallContext(did, match, at)


def patient(language: str = "", hours: Sequence[float] = (), refill: str = "") -> PatientContext:
    return PatientContext(
        language=language,
        appointments=tuple(AppointmentContext(hours_until=each, status="booked") for each in hours),
        requests=(RequestContext(kind="refill", status=refill),) if refill else (),
    )


@pytest.mark.parametrize(
    ("routes", "who", "expected"),
    [
        ([], patient(), {"menu": "main", "queue": "desk", "voicemail": "box", "rule": "default", "fired": ()}),
        (
            [SOON],
            patient(hours=[3.0]),
            {
                "menu": None,
                "queue": "appointments",
                "voicemail": "box",
                "priority": 10,
                "rule": "route-1",
                "reads": ("patient.appointments.hours_until",),
            },
        ),
        ([SOON], patient(hours=[30.0]), {"menu": "main", "priority": 0, "rule": "default"}),
        ([SOON, REFILL], patient(hours=[3.0], refill="open"), {"queue": "appointments", "rule": "route-1"}),
        ([REFILL, SOON], patient(hours=[3.0], refill="open"), {"queue": "refills", "rule": "route-1", "priority": 10}),
        ([SOON, REFILL], patient(refill="open"), {"queue": "refills", "rule": "route-2"}),
        ([SOON, REFILL], patient(refill="done"), {"menu": "main", "rule": "default"}),
        (
            [SPANISH, SOON],
            patient("es", hours=[3.0]),
            {"language": "es", "queue": "appointments", "rule": "route-2", "fired": ("spanish", "route-2")},
        ),
        ([SPANISH], patient("es"), {"language": "es", "menu": "main", "rule": "spanish"}),
        ([SPANISH], patient("en"), {"language": "en", "rule": "default"}),
        ([FAILS, SPANISH], patient("es"), {"language": "es", "faults": ("fails",), "rule": "spanish"}),
        ([FAILS], patient(hours=[3.0]), {"faults": (), "rule": "default"}),
    ],
)
def test_the_first_route_that_sets_a_thing_decides_it(
    routes: list[str], who: PatientContext, expected: dict[str, Any]
) -> None:
    plan = routing.decide(practice(*routes), 7, call(), who)
    assert plan.policy == 7
    assert plan.source == "workflow"
    assert {key: getattr(plan, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("at", "menu"),
    [
        (datetime(2026, 11, 23, 13, 59, tzinfo=UTC), "night"),  # 08:59 in New York
        (datetime(2026, 11, 23, 14, 0, tzinfo=UTC), "main"),
        (datetime(2026, 11, 23, 21, 29, tzinfo=UTC), "main"),
        (datetime(2026, 11, 23, 21, 30, tzinfo=UTC), "night"),  # 16:30
        (datetime(2026, 7, 6, 13, 0, tzinfo=UTC), "main"),  # 09:00 in summer
    ],
)
def test_hours_are_read_on_the_clock_of_the_practice(at: datetime, menu: str) -> None:
    plan = routing.decide(practice(CLOSED), 1, call(at), None)
    assert (plan.menu, plan.queue, plan.voicemail) == (menu, "desk", "box")


def test_weekdays_are_read_on_the_clock_of_the_practice() -> None:
    late_sunday = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
    plan = routing.decide(practice(TO_BOX), 1, call(late_sunday), None)
    assert (plan.menu, plan.queue, plan.voicemail, plan.rule) == (None, None, "box", "box")


def test_routes_that_read_the_chart_are_not_asked_about_a_caller_whom_nobody_knows() -> None:
    plan = routing.decide(practice(SOON, SPANISH, FAILS, URGENT), 1, call(match="many"), None)
    assert plan.reads == plan.faults == ()
    assert plan.fired == ("route-4",)
    assert plan.priority == 50


def test_a_route_that_could_decide_nothing_any_more_reads_nothing() -> None:
    plan = routing.decide(practice(REFILL, FAILS, SPANISH), 1, call(), patient("es", refill="open"))
    assert plan.reads == ("patient.requests.kind", "patient.requests.status", "patient.language")
    assert plan.faults == ()


def test_the_last_good_plan_needs_no_chart() -> None:
    plan = routing.last_good(practice(SOON), 4, DID)
    assert plan == Plan(policy=4, language="en", menu="main", queue="desk", voicemail="box", source="last-good")


def test_each_number_has_its_own_plan() -> None:
    plan = routing.decide(practice(SOON), 1, call(did="+12125550101"), None)
    assert (plan.menu, plan.queue, plan.voicemail) == (None, None, "box")


def test_a_number_that_the_policy_does_not_know_is_answered_like_the_first() -> None:
    assert routing.last_good(practice(), 1, "+12125550199").menu == "main"


def test_a_practice_without_numbers_has_its_first_queue() -> None:
    text = TOML[: TOML.index("[[number]]")] + TOML[TOML.index("[[menu]]") :]
    assert routing.last_good(load(text), 1, DID).queue == "desk"
    assert routing.last_good(load(TOML[: TOML.index("[[number]]")]), 1, DID).queue is None


def test_a_policy_with_a_route_that_is_no_condition_does_not_compile() -> None:
    broken = practice(SOON).model_copy(
        update={"routes": (practice(SOON).routes[0].model_copy(update={"when": "patient.name == 'x'"}),)}
    )
    with pytest.raises(SettingsError):
        routing.compile(broken)


def test_a_compiled_policy_decides_like_one_that_is_not() -> None:
    policy = practice(SOON, SPANISH)
    who = patient("es", hours=[1.0])
    assert routing.compile(policy).decide(3, call(), who) == routing.decide(policy, 3, call(), who)


def test_a_plan_travels_as_json_and_cannot_be_changed() -> None:
    plan = routing.decide(practice(SOON, SPANISH), 3, call(), patient("es", hours=[1.0]))
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    with pytest.raises(ValidationError):
        plan.queue = "refills"  # type: ignore[misc]


@pytest.mark.parametrize("extra", [{"name": "Ana Ruiz"}, {"birth_date": "1990-01-01"}, {"problems": []}])
def test_nothing_but_the_least_reaches_a_route(extra: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PatientContext(**extra)


contexts = st.builds(
    PatientContext,
    language=st.sampled_from(["", "en", "es"]),
    appointments=st.lists(
        st.builds(
            AppointmentContext,
            hours_until=st.floats(-10, 100),
            status=st.just("booked"),
            confirmed=st.booleans(),
            type=st.just("visit"),
        ),
        max_size=3,
    ).map(tuple),
    requests=st.lists(
        st.builds(RequestContext, kind=st.sampled_from(["refill", "other"]), status=st.sampled_from(["open", "done"])),
        max_size=2,
    ).map(tuple),
)
every = st.lists(st.sampled_from([SOON, REFILL, SPANISH, CLOSED, URGENT, TO_BOX, FAILS]), unique=True, max_size=7)


@settings(deadline=None)
@given(every, st.one_of(st.none(), contexts), st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)))  # noqa: DTZ001
def test_every_call_has_a_place_and_a_reason(routes: list[str], who: PatientContext | None, at: datetime) -> None:
    policy = practice(*routes)
    plan = routing.decide(policy, 1, call(at.replace(tzinfo=UTC)), who)
    assert plan.menu or plan.queue or plan.voicemail
    assert plan.rule in {"default", *plan.fired}
    assert not set(plan.fired) & set(plan.faults)
    assert bool(plan.reads) <= (who is not None)
    assert plan == routing.decide(policy, 1, call(at.replace(tzinfo=UTC)), who)


def test_a_decision_costs_far_less_than_a_millisecond() -> None:
    router = routing.compile(practice(SOON, REFILL, SPANISH, CLOSED, URGENT, TO_BOX, FAILS))
    who = patient("en", hours=[30.0, 50.0, 70.0], refill="done")
    best = 1.0
    for _ in range(200):
        started = time.process_time()
        router.decide(1, call(), who)
        best = min(best, time.process_time() - started)
    assert best < 0.001

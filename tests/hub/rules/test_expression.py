"""Conditions of routes: what they read is known from the text, and what they may not read is refused."""

from typing import Any

import cel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.errors import SettingsError
from hub.rules.expression import FUNCTIONS, compile_expression, context_of

READS = [
    ("true", ()),
    ("call.hour >= 17 || call.hour < 8.5", ()),
    ("call.weekday in ['saturday', 'sunday'] && call.did == '+12125550100'", ()),
    ("patient.language == 'es'", ("patient.language",)),
    ("patient . language == 'es' // patient.requests", ("patient.language",)),
    ("has(patient.language) && patient.language.startsWith('e')", ("patient.language",)),
    ("'patient.requests' == patient.language", ("patient.language",)),
    ("r'\\d' == '''patient.requests''' || patient.language == \"\"", ("patient.language",)),
    ("patient.appointments.exists(a, a.hours_until < 24)", ("patient.appointments.hours_until",)),
    ("!patient.appointments.all(a, a.confirmed)", ("patient.appointments.confirmed",)),
    ("patient.appointments.exists_one(call, call.type == 'x')", ("patient.appointments.type",)),
    ("size(patient.appointments) > 1", ("patient.appointments",)),
    ("patient.appointments.size() > 1", ("patient.appointments",)),
    ("patient.appointments[0].status == 'booked'", ("patient.appointments.status",)),
    (
        "patient.requests.exists(r, r.kind == 'refill' && r.status == 'open')",
        ("patient.requests.kind", "patient.requests.status"),
    ),
    (
        "(patient.appointments.filter(a, a.confirmed)).exists(b, b.type == 'x')",
        ("patient.appointments.confirmed", "patient.appointments.type"),
    ),
    ("patient.appointments.map(a, a.type).exists(t, t == 'x')", ("patient.appointments.type",)),
    (
        "patient.appointments.map(a, a.confirmed, a.type).exists(t, t == 'x')",
        ("patient.appointments.confirmed", "patient.appointments.type"),
    ),
    ("patient.appointments.exists(a, true)", ("patient.appointments",)),
    ("{'a': patient.language}.a == 'es' || [patient.language][0] == 'es'", ("patient.language",)),
    ("true ? patient.language == 'x' : size(patient.requests) > 0", ("patient.language", "patient.requests")),
    (
        "patient.appointments.exists(a, patient.requests.exists(r, r.status == a.status))",
        ("patient.appointments.status", "patient.requests.status"),
    ),
    (r"r'\' == '' || patient.language == 'x'", ("patient.language",)),
    (r"'\'' == '' || patient.language == '\\'", ("patient.language",)),
    (r'''"""a\"""" == r"\" || patient.language == "x"''', ("patient.language",)),
    (r"'''a\'''' == r'''\''' || patient.language == 'x'", ("patient.language",)),
    ("-call.hour < 0 && 0x1F == 31 && 1e3 > .5 && 2u > 1u", ()),
]


@pytest.mark.parametrize(("source", "reads"), READS)
def test_the_fields_that_a_condition_reads_are_known(source: str, reads: tuple[str, ...]) -> None:
    expression = compile_expression(source)
    assert expression.reads == reads
    assert expression.needs_patient == bool(reads)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("patient.appointments.exists(a, a.x", "not CEL: column 35: missing ')' at '<EOF>'"),
        ("1 +", "not CEL: column 4: "),
        ("", "not CEL: column 1: "),
        ("patient.langage == 'es'", 'unknown field "langage" of patient; did you mean "language"?'),
        ("patient.name == 'x'", 'unknown field "name" of patient'),
        ("patient.language.upper == 'x'", 'unknown field "upper" of patient.language'),
        ("patient.appointments.exists(a, a.reason == 'x')", 'unknown field "reason" of patient.appointments'),
        ("caller.did == 'x'", 'unknown name "caller"; did you mean "call"?'),
        ("call.number == 'x'", 'unknown field "number" of call'),
        ("patient.appointments.exists(a, b.type == 'x')", 'unknown name "b"'),
        ("[1].exists(a, true) && a == 1", 'unknown name "a"'),
        ("patient == patient", "takes patient as a whole; name the field"),
        ("patient['language'] == 'es'", "takes patient as a whole; name the field"),
        ("patient.appointments.exists(a, a == a)", "takes patient.appointments as a whole; name the field"),
        ("[patient.appointments][0].size() > 0", "takes patient.appointments as a whole; name the field"),
        ("patient.appointments == []", "takes patient.appointments as a whole; name the field"),
        ("patient.language.exists(a, true)", "patient.language is not a list"),
        ("now() > 1", 'unknown function "now"'),
        ("patient.language.startWith('e')", 'unknown function "startWith"; did you mean "startsWith"?'),
        ("true || nofunc(1)", 'unknown function "nofunc"'),
        (".patient.language == 'x'", "is written so that nobody can say for sure what it reads"),
        ("(.patient.language == 'x')", "is written so that nobody can say for sure what it reads"),
        ("1 + 1", "gives neither true nor false"),
        ("patient.language", "gives neither true nor false"),
        ("patient.language < 3", "compares values of different kinds"),
        ("patient.language.matches('(')", "fails for an ordinary caller"),
    ],
)
def test_a_condition_that_cannot_hold_is_refused(source: str, problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        compile_expression(source)
    assert any(told.startswith(problem) for told in caught.value.problems), caught.value.problems


def test_a_problem_is_told_once() -> None:
    with pytest.raises(SettingsError) as caught:
        compile_expression("patient == patient || caller == caller")
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_exists(name: str) -> None:
    arguments = {"has": "call.did", "size": "'x'", "string": "1", "int": "'1'", "double": "'1'"}
    source = f"{name}({arguments[name]})" if name in arguments else f"'x'.{name}('x')"
    assert compile_expression(f"[{source}].size() == 1").holds(known()) is True


@pytest.mark.parametrize(
    "source",
    [
        "patient.appointments[0].type == 'x'",
        "1 / size(patient.appointments) > 0",
        "[1][size(patient.requests) + 1] == 1",
    ],
)
def test_a_condition_that_fails_for_one_caller_is_neither_true_nor_false(source: str) -> None:
    assert compile_expression(source).holds(known()) is None


def known(**patient: Any) -> cel.Context:
    values = {
        "patient": {"language": "", "appointments": [], "requests": [], **patient},
        "call": {"did": "+12125550100", "match": "one", "weekday": "monday", "hour": 9.0},
    }
    return context_of(values)


def test_a_condition_is_compiled_once() -> None:
    assert compile_expression("patient.language == 'es'") is compile_expression("patient.language == 'es'")


words = st.sampled_from(["", "es", "refill", "open", "booked", "visit"])
appointments = st.lists(
    st.fixed_dictionaries(
        {
            "hours_until": st.floats(0, 100),
            "status": words,
            "confirmed": st.booleans(),
            "type": words,
        }
    ),
    max_size=3,
)
requests = st.lists(st.fixed_dictionaries({"kind": words, "status": words}), max_size=3)
patients = st.fixed_dictionaries({"language": words, "appointments": appointments, "requests": requests})

of_appointment = st.sampled_from(["a.hours_until < 24", "a.status == 'booked'", "a.confirmed", "a.type == 'visit'"])
of_request = st.sampled_from(["r.kind == 'refill'", "r.status == 'open'", "r.status != patient.language"])
conditions = st.recursive(
    st.one_of(
        st.sampled_from(
            ["patient.language == 'es'", "size(patient.requests) > 1", "patient.appointments[0].confirmed"]
        ),
        of_appointment.map(lambda inner: f"patient.appointments.exists(a, {inner})"),
        of_appointment.map(lambda inner: f"patient.appointments.filter(a, {inner}).size() > 1"),
        of_appointment.map(lambda inner: f"patient.appointments.map(a, {inner}).exists(x, x)"),
        of_request.map(lambda inner: f"patient.requests.all(r, {inner})"),
        st.tuples(of_appointment, of_request).map(
            lambda both: f"patient.appointments.exists(a, patient.requests.exists(r, {both[0]} && {both[1]}))"
        ),
    ),
    lambda inner: st.one_of(
        inner.map(lambda one: f"!({one})"),
        st.tuples(inner, st.sampled_from(["&&", "||", "=="]), inner).map(
            lambda three: f"(({three[0]}) {three[1]} ({three[2]}))"
        ),
        st.tuples(inner, inner, inner).map(lambda three: f"(({three[0]}) ? ({three[1]}) : ({three[2]}))"),
    ),
    max_leaves=4,
)


@settings(deadline=None, max_examples=300)
@given(conditions, patients, patients)
def test_what_a_condition_does_not_read_makes_no_difference(source: str, one: Any, other: Any) -> None:
    expression = compile_expression(source)
    assert expression.holds(known(**one)) == expression.holds(known(**_mixed(expression.reads, one, other)))


def _mixed(reads: tuple[str, ...], one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return `other` with everything in it that is read taken from `one`."""
    mixed = dict(other)
    for name in mixed:
        fields = {read.split(".")[2] for read in reads if read.startswith(f"patient.{name}.")}
        if f"patient.{name}" in reads and name == "language":
            mixed[name] = one[name]
        elif fields or f"patient.{name}" in reads:
            spare = other[name] or one[name]
            mixed[name] = [
                {**spare[index % len(spare)], **{field: element[field] for field in fields}}
                for index, element in enumerate(one[name])
            ]
    return mixed

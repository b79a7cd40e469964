"""What a pop shows: before verification nobody, after it the least that the role needs, the date of birth never."""

import json
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.facts import Section
from hub.rules.matching import Kind
from hub.rules.pop import FIELDS, TRIES, Identity, Ringing, Typed, attempt, fields_of, full, identify, masked, verify
from hub.settings.practice import Role

ANA = Identity("Ana María", "Ruiz O'Neill", date(1980, 2, 29))
BORN = date(1980, 2, 29)
EVERYTHING: dict[str, Any] = {
    "name": "Ana Ruiz",
    "birth_date": "1980-02-29",
    "mrn": "12345",
    "language": "es",
    "appointments": ["soon"],
    "requests": ["refill"],
    "tasks": ["call back"],
    "contacts": ["called"],
    "allergies": ["penicillin"],
    "problems": ["asthma"],
    "medications": ["albuterol"],
    "care-team": ["Dr. Lee"],
    "coverage": ["plan"],
    "encounters": ["visit"],
    "referrals": ["cardiology"],
    "consents": ["treatment"],
    "messages": ["reminder"],
    "related": ["mother"],
    "links": ["https://ehr.test/1"],
}


def ringing(match: Kind) -> Ringing:
    return Ringing(
        "+12125550142",
        "+12125550100",
        "appointments",
        12,
        match,
        candidates=2,
        language="es",
        calls_before=1,
        open_tasks=3,
    )


@pytest.mark.parametrize("match", ["none", "one", "many", "restricted"])
def test_a_masked_pop_identifies_nobody(match: Kind) -> None:
    shown = masked(ringing(match))
    assert shown["stage"] == "masked"
    assert shown["match"] == match
    assert shown["why"]
    assert not set(shown) & {"name", "birth_date", "patient", "patients", "appointments", *map(str, Section)}
    json.dumps(shown)


def test_a_restricted_number_tells_no_more_than_an_unknown_one() -> None:
    told = [
        {key: value for key, value in masked(ringing(match)).items() if key not in {"match", "why"}}
        for match in ("none", "restricted")
    ]
    assert told[0] == told[1]
    assert told[0]["candidates"] == told[0]["open_tasks"] == 0
    assert told[0]["language"] == ""


def test_a_known_number_shows_what_helps_to_ask() -> None:
    shown = masked(ringing("many"))
    assert (shown["candidates"], shown["language"], shown["repeat_caller"], shown["open_tasks"]) == (2, "es", True, 3)


DESK = {"name", "language", "appointments", "requests", "tasks", "contacts", "related", "links"}
CLINICAL = {"allergies", "problems", "medications", "care-team", "encounters", "referrals", "consents", "messages"}


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("front-desk", DESK),
        ("nurse", DESK | CLINICAL),
        ("provider", DESK | CLINICAL | {"coverage"}),
        ("billing", {"name", "language", "coverage", "tasks", "contacts", "links"}),
        ("privacy-officer", set()),
        ("admin", set()),
    ],
)
def test_each_role_sees_its_fields_and_no_other(role: Role, expected: set[str]) -> None:
    shown = full([role], EVERYTHING)
    assert shown.pop("stage") == "full"
    assert set(shown) == expected == fields_of([role])


def test_roles_add_up() -> None:
    assert fields_of(["front-desk", "billing"]) == FIELDS["front-desk"] | {"coverage"}
    assert fields_of([]) == frozenset()


def test_no_role_sees_the_date_of_birth_or_an_identifier() -> None:
    assert not frozenset().union(*FIELDS.values()) & {"birth_date", "mrn", "ssn", "identifiers"}


def test_chart_fields_are_sections_that_can_be_asked_for() -> None:
    own = {"name", "language", "appointments", "tasks", "contacts", "links"}
    assert frozenset().union(*FIELDS.values()) - own == {str(section) for section in Section}


def test_what_is_not_known_is_not_shown() -> None:
    assert full(["front-desk"], {"name": "Ana Ruiz"}) == {"stage": "full", "name": "Ana Ruiz"}


@pytest.mark.parametrize(
    "name",
    [
        "Ana María Ruiz O'Neill",
        "ana maria ruiz oneill",
        "RUIZ O’NEILL, ANA MARÍA",  # noqa: RUF001
        "Ana Ruiz O'Neill",
        "Ana Ruiz",
        "Ruiz, Ana",
        "  ana   ruiz ",
        "Ana María Ruiz",
    ],
)
def test_a_name_may_be_typed_as_people_type_it(name: str) -> None:
    assert verify(ANA, Typed(name, BORN))


@pytest.mark.parametrize(
    "name",
    ["", "Ana", "Ruiz", "María Ruiz", "Anna Ruiz", "Ana Ruis", "Ana O'Neill", "Ana Ruiz Lopez", "Ana Ana Ruiz", "*"],
)
def test_another_name_is_not_right(name: str) -> None:
    assert not verify(ANA, Typed(name, BORN))


@pytest.mark.parametrize("born", [date(1980, 3, 1), date(1981, 2, 28), date(2080, 2, 29)])
def test_another_date_of_birth_is_not_right(born: date) -> None:
    assert not verify(ANA, Typed("Ana Ruiz", born))


@pytest.mark.parametrize(
    "stored",
    [Identity("Ana", "Ruiz", None), Identity("", "Ruiz", BORN), Identity("Ana", "", BORN), Identity("", "", None)],
)
def test_a_record_that_lacks_something_verifies_nobody(stored: Identity) -> None:
    assert not verify(stored, Typed("Ana Ruiz", BORN))
    assert not verify(stored, Typed(f"{stored.given} {stored.family}", BORN))


def test_names_in_other_letters_verify() -> None:
    assert verify(Identity("小明", "王", BORN), Typed("王 小明", BORN))
    assert verify(Identity("Søren", "Łoś", BORN), Typed("søren łoś", BORN))


def test_the_one_of_a_family_who_was_typed_is_found() -> None:
    family = [Identity("Ana", "Ruiz", BORN), Identity("Ben", "Ruiz", BORN), Identity("Ana", "Ruiz", date(2010, 1, 1))]
    assert identify(family, Typed("Ana Ruiz", BORN)) == 0
    assert identify(family, Typed("Ana Ruiz", date(2010, 1, 1))) == 2
    assert identify(family, Typed("Eva Ruiz", BORN)) is None


def test_two_who_cannot_be_told_apart_are_nobody() -> None:
    assert identify([ANA, ANA], Typed("Ana Ruiz", BORN)) is None


@pytest.mark.parametrize(
    ("misses", "right", "outcome"),
    [
        (0, True, "verified"),
        (2, True, "verified"),
        (0, False, "refused"),
        (1, False, "refused"),
        (2, False, "locked"),
        (3, False, "locked"),
        (3, True, "locked"),
    ],
)
def test_three_misses_lock(misses: int, right: bool, outcome: str) -> None:
    assert TRIES == 3
    assert attempt(misses, right=right) == outcome


names = st.text("abcdeéñ'- ", max_size=12)
births = st.dates(date(1900, 1, 1), date(2026, 1, 1))


@settings(deadline=None)
@given(names, names, births, names, births)
def test_who_is_verified_gave_a_name_and_a_date_on_file(
    given_: str, family: str, born: date, typed: str, said: date
) -> None:
    if verify(Identity(given_, family, born), Typed(typed, said)):
        assert said == born
        assert typed.strip(" '-")


@settings(deadline=None)
@given(names, names, births)
def test_the_name_on_file_verifies_in_either_order(given_: str, family: str, born: date) -> None:
    stored = Identity(given_, family, born)
    sound = all(part.strip(" '-") for part in (given_, family))
    assert verify(stored, Typed(f"{given_} {family}", born)) == sound
    assert verify(stored, Typed(f"{family}, {given_}", born)) == sound


def test_a_relations_number_says_so_and_for_nobody_in_particular() -> None:
    shown = masked(replace(ringing("none"), proxy=True))
    assert shown["proxy"] is True
    assert "may call for one" in shown["why"]
    assert masked(replace(ringing("one"), proxy=True))["proxy"] is False

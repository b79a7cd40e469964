"""Who may do and see what: the whole matrix, written out, and nothing beside it."""

import re
from itertools import product
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.rules import pop
from hub.rules.pop import Ringing
from hub.security import access
from hub.security.access import (
    GRANTS,
    MASKED,
    ROLES,
    RestrictedError,
    Scope,
    ScopeError,
    Stage,
    UnknownScopeError,
    actor_of,
    fields_for,
    scopes_of,
)
from hub.settings.practice import Role

DESK = {"name", "language", "appointments", "requests", "tasks", "contacts", "related", "links"}
CLINICAL = {"allergies", "problems", "medications", "care-team", "encounters", "referrals", "consents", "messages"}
CALL = {
    "number",
    "attestation",
    "did",
    "queue",
    "waited_seconds",
    "match",
    "why",
    "candidates",
    "language",
    "repeat_caller",
}
CALL |= {"open_tasks", "proxy"}

MATRIX: dict[tuple[Role, Stage], set[str]] = {
    ("front-desk", "masked"): CALL,
    ("front-desk", "full"): DESK,
    ("nurse", "masked"): CALL,
    ("nurse", "full"): DESK | CLINICAL,
    ("provider", "masked"): CALL,
    ("provider", "full"): DESK | CLINICAL | {"coverage"},
    ("billing", "masked"): CALL,
    ("billing", "full"): {"name", "language", "coverage", "tasks", "contacts", "links"},
    ("privacy-officer", "masked"): set(),
    ("privacy-officer", "full"): set(),
    ("admin", "masked"): set(),
    ("admin", "full"): set(),
}

STAGES: tuple[Stage, ...] = get_args(Stage)


@pytest.mark.parametrize(("role", "stage"), list(product(ROLES, STAGES)))
def test_a_role_sees_these_fields_and_no_other(role: Role, stage: Stage) -> None:
    assert fields_for(role, stage) == MATRIX[role, stage]


def test_the_matrix_knows_every_role() -> None:
    assert {role for role, _ in MATRIX} == set(get_args(Role)) == set(ROLES) == set(GRANTS)


def test_the_page_shows_the_same_tables() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "access.md").read_text()
    lines = page.splitlines()
    for role in ROLES:
        scopes, fields = (line.split("|")[2:-1] for line in lines if line.startswith(f"| {role} |"))
        assert [set(re.findall(r"`([^`]+)`", cell)) for cell in scopes] == [{str(scope) for scope in GRANTS[role]}]
        assert [set(re.findall(r"`([^`]+)`", cell)) for cell in fields] == [MATRIX[role, stage] for stage in STAGES]


def test_the_masked_stage_shows_exactly_what_it_is_allowed_and_nobody() -> None:
    call = Ringing("+12125550142", "+12125550100", "appointments", 5, "one", candidates=1, language="es")
    assert set(pop.masked(call)) - {"stage"} == MASKED
    assert MASKED.isdisjoint({"name", "appointments", "allergies", "birth_date"})


@pytest.mark.parametrize("role", ROLES)
def test_the_full_stage_gives_out_nothing_that_was_not_asked_for(role: Role) -> None:
    known = dict.fromkeys(DESK | CLINICAL | {"coverage", "birth_date", "ssn", "balance"}, "x")
    assert set(pop.full([role], known)) - {"stage"} == set(fields_for(role, "full"))


def test_who_runs_the_machine_sees_no_chart_and_the_other_way_round() -> None:
    phi = {Scope.PATIENTS_READ, Scope.APPOINTMENTS_READ, Scope.POPS, Scope.NUMBERS_READ, Scope.MESSAGES_READ}
    phi |= {Scope.RECORDINGS_READ, Scope.VOICEMAILS_READ, Scope.TASKS_READ, Scope.REMINDERS_READ}
    machine = {Scope.POLICIES_WRITE, Scope.CONNECTIONS_WRITE, Scope.WEBHOOKS_WRITE, Scope.STAFF_WRITE}
    machine |= {Scope.TOKENS_WRITE}
    assert phi.isdisjoint(GRANTS["admin"])
    for role in set(ROLES) - {"admin"}:
        assert machine.isdisjoint(GRANTS[role]), role
    assert [role for role in ROLES if Scope.AUDIT_READ in GRANTS[role]] == ["privacy-officer"]
    assert [role for role in ROLES if Scope.RESTRICT_WRITE in GRANTS[role]] == ["privacy-officer"]


@pytest.mark.parametrize("scope", Scope)
def test_every_scope_is_somebodys(scope: Scope) -> None:
    assert any(scope in granted for granted in GRANTS.values())


SCOPES = st.frozensets(st.sampled_from(list(Scope)))


@given(st.sets(st.sampled_from(ROLES), min_size=1), SCOPES)
def test_a_token_only_narrows_what_the_roles_allow(roles: set[Role], token: frozenset[Scope]) -> None:
    actor = actor_of("one", roles=roles, token={scope.value for scope in token})
    assert actor.scopes == token & scopes_of(roles)
    for scope in Scope:
        assert actor.may(scope) == (scope in actor.scopes)
    assert actor_of("one", roles=roles, token=None).scopes == scopes_of(roles)


def test_a_program_has_what_its_token_says_and_no_roles() -> None:
    actor = actor_of("token:1", roles=None, token=["connections:read", "made-up"])
    assert not actor.roles
    assert actor.scopes == {Scope.CONNECTIONS_READ}
    assert actor_of("token:1", roles=None, token=None).scopes == frozenset()


def test_unknown_roles_grant_nothing() -> None:
    assert actor_of("one", roles=["owner", "root"], token=None).scopes == frozenset()


def test_what_is_missing_is_named() -> None:
    actor = actor_of("one", roles=["billing"], token=None)
    actor.need(Scope.PATIENTS_READ)
    with pytest.raises(ScopeError) as caught:
        actor.need(Scope.APPOINTMENTS_WRITE)
    assert (caught.value.status, str(caught.value)) == (403, "needs appointments:write")


def test_scopes_are_known_by_name() -> None:
    assert access.parse(["pops", "tasks:read"]) == {Scope.POPS, Scope.TASKS_READ}
    with pytest.raises(UnknownScopeError, match="no such scope: pop, root"):
        access.parse(["root", "pops", "pop"])


def test_what_the_audit_log_hears_of_a_look() -> None:
    actor = actor_of("staff-1", roles=["nurse", "front-desk"], token=None)
    said = actor.access(session="call-1")
    assert (said.actor, said.role, said.purpose, said.session, said.reason) == (
        "staff-1",
        "front-desk,nurse",
        "treatment",
        "call-1",
        None,
    )
    assert actor_of("token:1", roles=None, token=[]).access("operations").role == "token"


@pytest.mark.parametrize("reason", [None, "", "because", "         x"])
def test_a_restricted_chart_needs_a_reason(reason: str | None) -> None:
    with pytest.raises(RestrictedError):
        actor_of("staff-1", roles=["nurse"], token=None).access(restricted=True, reason=reason)


def test_breaking_the_glass_says_why() -> None:
    said = actor_of("staff-1", roles=["nurse"], token=None).access(restricted=True, reason="caller has chest pain")
    assert (said.purpose, said.reason) == ("emergency", "caller has chest pain")
    open_ = actor_of("staff-1", roles=["nurse"], token=None).access(reason="caller has chest pain")
    assert (open_.purpose, open_.reason) == ("treatment", None)

"""Who may do what, and see which fields: roles, scopes, and the two stages of a call's pop.

A role grants scopes (what one may do) and, for a verified caller, fields (what one may see): the minimum necessary by
role of 45 CFR 164.514(d)(2). Nobody gets more by asking with more roles' tokens: a token's scopes only narrow what its
owner's roles allow. docs/reference/access.md shows the tables.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, get_args

from hub.errors import DeniedError, UsageError
from hub.rules.pop import FIELDS
from hub.settings.practice import Role
from hub.vault.client import Access

ROLES: Final[tuple[Role, ...]] = get_args(Role)

Stage = Literal["masked", "full"]
Purpose = Literal["treatment", "payment", "operations", "patient-request", "emergency"]
"Why someone looks (45 CFR 164.501 for the first three)."


class Scope(StrEnum):
    """One thing that one may do through the API; `:write` does not include `:read`."""

    POPS = "pops"
    "Open one's own pops, and verify callers."

    PATIENTS_READ = "patients:read"
    APPOINTMENTS_READ = "appointments:read"
    APPOINTMENTS_WRITE = "appointments:write"
    CALLS_READ = "calls:read"
    NUMBERS_READ = "numbers:read"
    "See telephone numbers in full."

    RECORDINGS_READ = "recordings:read"
    VOICEMAILS_READ = "voicemails:read"
    MESSAGES_READ = "messages:read"
    MESSAGES_WRITE = "messages:write"
    TASKS_READ = "tasks:read"
    TASKS_WRITE = "tasks:write"
    QUEUES_READ = "queues:read"
    PRESENCE_WRITE = "presence:write"
    "One's own."

    REMINDERS_READ = "reminders:read"
    CONNECTIONS_READ = "connections:read"
    CONNECTIONS_WRITE = "connections:write"
    POLICIES_READ = "policies:read"
    POLICIES_WRITE = "policies:write"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"
    STAFF_READ = "staff:read"
    STAFF_WRITE = "staff:write"
    TOKENS_WRITE = "tokens:write"
    AUDIT_READ = "audit:read"
    RESTRICT_WRITE = "restrict:write"
    "Put a chart under break-glass."


_DESK: Final = frozenset(
    {
        Scope.POPS,
        Scope.PATIENTS_READ,
        Scope.APPOINTMENTS_READ,
        Scope.APPOINTMENTS_WRITE,
        Scope.CALLS_READ,
        Scope.NUMBERS_READ,
        Scope.VOICEMAILS_READ,
        Scope.MESSAGES_READ,
        Scope.MESSAGES_WRITE,
        Scope.TASKS_READ,
        Scope.TASKS_WRITE,
        Scope.QUEUES_READ,
        Scope.PRESENCE_WRITE,
        Scope.REMINDERS_READ,
    }
)
_BILLING: Final = _DESK - {Scope.APPOINTMENTS_WRITE, Scope.MESSAGES_WRITE, Scope.VOICEMAILS_READ}

GRANTS: Final[Mapping[Role, frozenset[Scope]]] = {
    "front-desk": _DESK,
    "nurse": _DESK | {Scope.RECORDINGS_READ},
    "provider": _DESK | {Scope.RECORDINGS_READ},
    "billing": _BILLING,
    "privacy-officer": frozenset(
        {
            Scope.CALLS_READ,
            Scope.RECORDINGS_READ,
            Scope.POLICIES_READ,
            Scope.STAFF_READ,
            Scope.AUDIT_READ,
            Scope.RESTRICT_WRITE,
        }
    ),
    "admin": frozenset(
        {
            Scope.CALLS_READ,
            Scope.QUEUES_READ,
            Scope.CONNECTIONS_READ,
            Scope.CONNECTIONS_WRITE,
            Scope.POLICIES_READ,
            Scope.POLICIES_WRITE,
            Scope.WEBHOOKS_READ,
            Scope.WEBHOOKS_WRITE,
            Scope.STAFF_READ,
            Scope.STAFF_WRITE,
            Scope.TOKENS_WRITE,
        }
    ),
}
"Who runs the machine sees no chart, and who watches over charts does not run the machine."

MASKED: Final = frozenset(
    {
        "number",
        "attestation",
        "did",
        "queue",
        "waited_seconds",
        "match",
        "why",
        "candidates",
        "language",
        "proxy",
        "repeat_caller",
        "open_tasks",
    }
)
"What a pop shows before anyone was verified (hub.rules.pop.masked): nothing of who calls."

REASON_LETTERS: Final = 10
"Shortest reason for breaking the glass."


class ScopeError(DeniedError):
    """The roles, or the token, do not allow this."""

    code = "scope-missing"

    def __init__(self, scope: Scope) -> None:
        super().__init__(f"needs {scope}")
        self.scope = scope


class RestrictedError(DeniedError):
    """The chart is under break-glass: say why it must be opened."""

    code = "restricted"


class UnknownScopeError(UsageError):
    """There is no such scope."""

    code = "scope-unknown"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks: a person, or a program with a token of its own."""

    id: str
    "Staff id, or token:<id>."

    roles: tuple[Role, ...]
    scopes: frozenset[Scope]
    "What roles and token together allow."

    def may(self, scope: Scope) -> bool:
        """Return whether this is allowed."""
        return scope in self.scopes

    def need(self, scope: Scope) -> None:
        """Refuse where this is not allowed.

        Raises:
            ScopeError: it is not.
        """
        if scope not in self.scopes:
            raise ScopeError(scope)

    def access(
        self, purpose: Purpose = "treatment", *, session: str = "", restricted: bool = False, reason: str | None = None
    ) -> Access:
        """Return what the audit log says of this look.

        Raises:
            RestrictedError: the chart is restricted, and no reason of ten letters is given.
        """
        if restricted and len((reason or "").strip()) < REASON_LETTERS:
            raise RestrictedError("a restricted chart needs a reason")
        role = ",".join(self.roles) or "token"
        return Access(self.id, role, "emergency" if restricted else purpose, session, reason if restricted else None)


def fields_for(role: Role, stage: Stage) -> frozenset[str]:
    """Return which fields of a pop someone in this role may see at this stage; nothing for who takes no calls."""
    if Scope.POPS not in GRANTS[role]:
        return frozenset()
    return MASKED if stage == "masked" else FIELDS[role]


def scopes_of(roles: Iterable[Role]) -> frozenset[Scope]:
    """Return what these roles allow together."""
    return frozenset[Scope]().union(*(GRANTS[role] for role in roles))


def parse(names: Iterable[str]) -> frozenset[Scope]:
    """Return the scopes of these names.

    Raises:
        UnknownScopeError: one is none.
    """
    known = {scope.value: scope for scope in Scope}
    wanted = list(names)
    if unknown := sorted(set(wanted) - known.keys()):
        raise UnknownScopeError(f"no such scope: {', '.join(unknown)}")
    return frozenset(known[name] for name in wanted)


def actor_of(id: str, *, roles: Collection[str] | None, token: Collection[str] | None) -> Actor:
    """Return who asks, from the roles of a person (None for a program) and the scopes of the token (None for all).

    A program that stands for nobody has what its token says; what is not known any more grants nothing.
    """
    held = tuple(role for role in ROLES if roles is not None and role in roles)
    granted = scopes_of(held) if roles is not None else frozenset(Scope)
    if token is None:
        limit = frozenset[Scope]() if roles is None else granted
    else:
        limit = frozenset(scope for scope in Scope if scope in token)
    return Actor(id, held, granted & limit)

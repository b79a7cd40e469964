"""Where a call goes: the practice's routes over what may be known of the caller, and the plan that comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

from hub.rules.expression import Expression, compile_expression, context_of
from hub.settings.practice import Number, Practice, Then

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a route may know of the call itself; the caller's number is not part of it."""

    did: str
    "The dialled number, E.164."

    match: Literal["none", "one", "many", "restricted"]
    at: datetime


class AppointmentContext(BaseModel):
    """What a route may know of one coming visit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hours_until: float
    status: str
    "FHIR R4 Appointment.status."

    confirmed: bool = False
    type: str = ""


class RequestContext(BaseModel):
    """What a route may know of one request, such as a refill."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    "refill, referral or other."

    status: str
    "open or done."


class PatientContext(BaseModel):
    """The least that routing needs of a chart (45 CFR 164.502(b)); nothing else reaches a route."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    language: str = ""
    "ISO 639 code; empty where the chart names none."

    appointments: tuple[AppointmentContext, ...] = ()
    requests: tuple[RequestContext, ...] = ()


class Plan(BaseModel):
    """What is to happen to a call: names from the policy and codes, nothing of the patient.

    Where `menu` is set it comes first, and `queue` and `voicemail` are its ways out; otherwise `queue` comes first,
    with `voicemail` as its way out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: int
    "The version of the policy that decided."

    language: str
    menu: str | None = None
    queue: str | None = None
    voicemail: str | None = None
    priority: int = 0
    "Higher is answered first."

    rule: str = "default"
    'The route that said where to: its name, or "route-3" for the third; "default" where none did.'

    fired: tuple[str, ...] = ()
    "Every route that set something, in order."

    reads: tuple[str, ...] = ()
    'The chart fields that the routes read: "patient.appointments.hours_until".'

    faults: tuple[str, ...] = ()
    "The routes that failed and were passed over."

    source: Literal["workflow", "last-good"] = "workflow"


@dataclass(frozen=True, slots=True)
class Route:
    """One route, ready to be asked."""

    name: str
    expression: Expression
    then: Then

    def sets(self) -> frozenset[str]:
        """Return which of place, language and priority it sets."""
        given = {
            "place": self.then.queue or self.then.menu or self.then.voicemail,
            "language": self.then.language,
            "priority": self.then.priority,
        }
        return frozenset(key for key, value in given.items() if value is not None)


@dataclass(frozen=True, slots=True)
class Router:
    """A policy's routes, compiled."""

    practice: Practice
    routes: tuple[Route, ...]

    @classmethod
    def of(cls, practice: Practice) -> Self:
        """Compile the routes of `practice`; an expression that was compiled before costs nothing.

        Raises:
            SettingsError: a route is no valid condition.
        """
        return cls(
            practice,
            tuple(
                Route(route.name or f"route-{place}", compile_expression(route.when), route.then)
                for place, route in enumerate(practice.routes, start=1)
            ),
        )

    def decide(self, policy_version: int, call: CallContext, patient: PatientContext | None) -> Plan:
        """Return the plan for `call`.

        Routes are asked in order, and the first that sets a thing decides it. A route that could decide nothing any
        more is not asked, one that reads the chart is not asked about a caller whom nobody knows, and one that fails
        is passed over and named in `Plan.faults`.
        """
        known = context_of(_known(call, patient, self.practice))
        decided: dict[str, Route] = {}
        reads: dict[str, None] = {}
        faults: list[str] = []
        for route in self.routes:
            if route.sets() <= decided.keys() or (patient is None and route.expression.needs_patient):
                continue
            reads.update(dict.fromkeys(route.expression.reads))
            answer = route.expression.holds(known)
            if answer is None:
                faults.append(route.name)
            elif answer:
                for key in route.sets() - decided.keys():
                    decided[key] = route
        plan = last_good(self.practice, policy_version, call.did)
        return plan.model_copy(
            update={**_changes(decided), "reads": tuple(reads), "faults": tuple(faults), "source": "workflow"}
        )


def compile(practice: Practice) -> Router:
    """Compile the routes of `practice`.

    Raises:
        SettingsError: a route is no valid condition.
    """
    return Router.of(practice)


def decide(practice: Practice, policy_version: int, call: CallContext, patient: PatientContext | None) -> Plan:
    """Return the plan for `call`; well under a millisecond, and the same for the same values."""
    return Router.of(practice).decide(policy_version, call, patient)


def last_good(practice: Practice, version: int, did: str) -> Plan:
    """Return the published plan of a dialled number: no route is asked, no chart is needed.

    A number that the policy does not know gets the first one's plan, and a practice without numbers its first queue:
    a caller is never left without a place.
    """
    number = practice.find_number(did) or (practice.numbers[0] if practice.numbers else None)
    return Plan(
        policy=version,
        language=practice.practice.languages[0],
        **(_places(number) if number else {"queue": practice.queues[0].name if practice.queues else None}),
        source="last-good",
    )


def _places(number: Number) -> dict[str, Any]:
    return {"menu": number.menu, "queue": number.queue, "voicemail": number.voicemail}


def _changes(decided: Mapping[str, Route]) -> dict[str, Any]:
    """Return what the deciding routes change in a number's own plan."""
    changes: dict[str, Any] = {}
    if "place" in decided:
        then = decided["place"].then
        # The number's own queue and voicemail stay as ways out of a menu, its voicemail as the way out of a queue.
        if then.menu:
            changes |= {"menu": then.menu}
        elif then.queue:
            changes |= {"menu": None, "queue": then.queue}
        else:
            changes |= {"menu": None, "queue": None, "voicemail": then.voicemail}
    if "language" in decided:
        changes["language"] = decided["language"].then.language
    if "priority" in decided:
        changes["priority"] = decided["priority"].then.priority
    if decided:
        first = next(iter(decided.values()))
        changes["rule"] = decided.get("place", first).name
        changes["fired"] = tuple(dict.fromkeys(route.name for route in decided.values()))
    return changes


def _known(call: CallContext, patient: PatientContext | None, practice: Practice) -> dict[str, Any]:
    local = call.at.astimezone(practice.practice.zone)
    return {
        "call": {
            "did": call.did,
            "match": call.match,
            "weekday": WEEKDAYS[local.weekday()],
            "hour": local.hour + local.minute / 60,
        },
        "patient": (patient or PatientContext()).model_dump(),
    }

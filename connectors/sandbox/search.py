"""FHIR R4 search over the sandbox's store: what a phone hub asks for, paging, _include (FHIR R4 search.html)."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from connectors.sandbox.resource import Resource
from connectors.sandbox.store import Place, Store

Test = Callable[[Resource, str], bool]
"Whether a resource fits one value of a parameter."

COUNT, MOST = 20, 1000
_STEPS = {4: 366, 7: 31, 10: 1}
"Days that a date of so many characters covers at most."


class SearchError(ValueError):
    """A parameter makes no sense; the text names it, not its value."""


def listed(value: Any) -> list[Any]:
    """Return `value` as a list of what is there."""
    return value if isinstance(value, list) else [] if value is None else [value]


def _token(*path: str) -> Test:
    def test(resource: Resource, wanted: str) -> bool:
        system, bar, code = _token_parts(wanted)
        for said in values_at(resource, path):
            if isinstance(said, dict) and "coding" in said:
                found = [(one.get("system", ""), one.get("code")) for one in listed(said["coding"])]
            elif isinstance(said, dict):
                found = [(said.get("system", ""), said.get("value") or said.get("code"))]
            else:
                found = [("", str(said).lower() if isinstance(said, bool) else said)]
            if any(own_code == code and (not bar or own_system == system) for own_system, own_code in found):
                return True
        return False

    return test


def _alternatives(value: str) -> list[str]:
    """Return the values between commas that are not escaped (FHIR R4 search.html#escaping)."""
    return re.findall(r"(?:\\.|[^,\\])+", value) or [""]


def _token_parts(wanted: str) -> tuple[str, str, str]:
    parts = re.fullmatch(r"(?:((?:\\.|[^|\\])*)(\|))?((?:\\.|[^|\\])*)", wanted)
    if parts is None:
        raise SearchError("a token")
    system, bar, code = (re.sub(r"\\(.)", r"\1", part or "") for part in parts.groups())
    return system, bar, code


def _string(*path: str) -> Test:
    def test(resource: Resource, wanted: str) -> bool:
        return any(str(said).casefold().startswith(wanted.casefold()) for said in values_at(resource, path))

    return test


def _name(resource: Resource, wanted: str) -> bool:
    names = [part for key in ("family", "given") for part in values_at(resource, ("name", key))]
    return any(str(part).casefold().startswith(wanted.casefold()) for part in names)


def _phone(resource: Resource, wanted: str) -> bool:
    """Compare characters, as most servers do: another way of writing the number does not hit."""
    return any(
        one.get("system") in {"phone", "sms"} and one.get("value") == wanted
        for one in values_at(resource, ("telecom",))
    )


def _reference(*path: str) -> Test:
    def test(resource: Resource, wanted: str) -> bool:
        said = [str(found) for found in values_at(resource, (*path, "reference"))]
        return any(one == wanted or one.rpartition("/")[2] == wanted for one in said)

    return test


def _participant(kind: str) -> Test:
    def test(resource: Resource, wanted: str) -> bool:
        own = wanted.rpartition("/")[2]
        return f"{kind}/{own}" in values_at(resource, ("participant", "actor", "reference"))

    return test


def _date(*path: str) -> Test:
    def test(resource: Resource, wanted: str) -> bool:
        prefix, text = (wanted[:2], wanted[2:]) if wanted[:2].isalpha() else ("eq", wanted)
        begin, end = _span(text)
        return any(_compare(prefix, _span(str(said)), begin, end) for said in values_at(resource, path))

    return test


def _compare(prefix: str, said: tuple[datetime, datetime], begin: datetime, end: datetime) -> bool:
    """Compare two spans of time (FHIR R4 search.html#prefix)."""
    tests = {
        "eq": said[0] >= begin and said[1] <= end,
        "ne": said[0] < begin or said[1] > end,
        "gt": said[1] > end,
        "ge": said[0] >= begin or said[1] > end,
        "lt": said[0] < begin,
        "le": said[1] <= end or said[0] < begin,
    }
    if prefix not in tests:
        raise SearchError("a date's prefix")
    return tests[prefix]


def _span(text: str) -> tuple[datetime, datetime]:
    try:
        if len(text) in _STEPS:
            year, month, day_of = (*(int(part) for part in text.split("-")), 1, 1)[:3]
            first = date(year, month, day_of)
            last = first + timedelta(days=_STEPS[len(text)])
            last = last if len(text) == 10 else last.replace(day=1, month=1 if len(text) == 4 else last.month)
            return _midnight(first), _midnight(last)
        at = datetime.fromisoformat(text)
    except ValueError:
        raise SearchError("a date") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return at, at + timedelta(milliseconds=1) if at.microsecond else at + timedelta(seconds=1)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def values_at(value: Any, path: tuple[str, ...]) -> list[Any]:
    """Return everything that stands at `path`, through lists on the way."""
    found = listed(value)
    for name in path:
        found = [inner for one in found if isinstance(one, dict) for inner in listed(one.get(name))]
    return found


_EVERYWHERE: dict[str, Test] = {
    "_id": _token("id"),
    "_lastUpdated": _date("meta", "lastUpdated"),
    "identifier": _token("identifier"),
    "status": _token("status"),
}
_OF_PATIENT: dict[str, Test] = {
    "patient": lambda resource, wanted: any(
        _reference(name)(resource, wanted) for name in ("patient", "subject", "for", "beneficiary")
    )
}

PARAMETERS: dict[str, dict[str, Test]] = {
    "Patient": {
        "phone": _phone,
        "name": _name,
        "family": _string("name", "family"),
        "given": _string("name", "given"),
        "birthdate": _date("birthDate"),
        "active": _token("active"),
    },
    "Appointment": {
        "patient": _participant("Patient"),
        "practitioner": _participant("Practitioner"),
        "location": _participant("Location"),
        "actor": _reference("participant", "actor"),
        "slot": _reference("slot"),
        "date": _date("start"),
    },
    "Task": _OF_PATIENT | {"code": _token("code")},
    "AllergyIntolerance": _OF_PATIENT,
    "Condition": _OF_PATIENT | {"clinical-status": _token("clinicalStatus")},
    "MedicationRequest": _OF_PATIENT | {"intent": _token("intent")},
    "Coverage": _OF_PATIENT | {"beneficiary": _reference("beneficiary")},
    "CareTeam": _OF_PATIENT,
    "Communication": _OF_PATIENT | {"subject": _reference("subject"), "sent": _date("sent")},
    "Encounter": _OF_PATIENT | {"date": _date("period", "start")},
    "ServiceRequest": _OF_PATIENT,
    "Consent": _OF_PATIENT,
    "RelatedPerson": _OF_PATIENT | {"phone": _phone, "active": _token("active")},
    "Practitioner": {"name": _name, "active": _token("active")},
    "Location": {"name": _string("name")},
    "Schedule": {"actor": _reference("actor"), "active": _token("active")},
    "Slot": {"schedule": _reference("schedule"), "start": _date("start")},
    "Subscription": {"url": _string("channel", "endpoint"), "criteria": _string("criteria")},
    "AppointmentResponse": {"appointment": _reference("appointment"), "actor": _reference("actor")},
}
"Search parameters by resource type, beside `_id`, `_lastUpdated`, `identifier` and `status` of all."

_ACTORS = ("participant", "actor", "reference")

INCLUDES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Appointment:patient": (_ACTORS, ("Patient",)),
    "Appointment:practitioner": (_ACTORS, ("Practitioner",)),
    "Appointment:location": (_ACTORS, ("Location",)),
    "Appointment:actor": (_ACTORS, ("Patient", "Practitioner", "Location", "RelatedPerson")),
    "Appointment:slot": (("slot", "reference"), ("Slot",)),
    "Slot:schedule": (("schedule", "reference"), ("Schedule",)),
    "RelatedPerson:patient": (("patient", "reference"), ("Patient",)),
}
"For `_include`: where the references stand, and the resource types that they may lead to."


_INCLUDE = ("_include", "_include:iterate")


@dataclass(frozen=True, slots=True)
class Query:
    """A search as the server understood it."""

    kind: str
    applied: tuple[tuple[str, str], ...]
    count: int
    after: Place | None
    includes: tuple[tuple[str, str], ...]
    "Parameter and value; `_include:iterate` looks at what was included, too."

    only_count: bool

    @classmethod
    def parse(cls, kind: str, given: list[tuple[str, str]], *, strict: bool) -> "Query":
        """Read parameters; an unknown one is left out, and refused where the client asked for strictness.

        Raises:
            SearchError: which parameter makes no sense.
        """
        known = _EVERYWHERE | PARAMETERS[kind]
        applied, count, after, includes, only_count = [], COUNT, None, [], False
        for name, value in given:
            if name == "_count":
                count = min(max(_number(value), 1), MOST)
            elif name == "_after":
                after = _place(value)
            elif name == "_summary" and value == "count":
                only_count = True
            elif name in _INCLUDE and value in INCLUDES:
                includes.append((name, value))
            elif name in known:
                applied.append((name, value))
            elif strict:
                raise SearchError("an unknown parameter")
        return cls(kind, tuple(applied), count, after, tuple(includes), only_count)

    def run(self, store: Store, base: str) -> Resource:
        """Return the searchset Bundle."""
        hits = [(place, resource) for place, resource in store.all(self.kind) if self._fits(resource)]
        bundle: Resource = {"resourceType": "Bundle", "type": "searchset", "total": len(hits)}
        bundle["link"] = [{"relation": "self", "url": self._url(base, self.after)}]
        if self.only_count:
            return bundle
        rest = [hit for hit in hits if self.after is None or hit[0].number > self.after.number]
        page = rest[: self.count]
        if len(rest) > len(page):
            bundle["link"].append({"relation": "next", "url": self._url(base, page[-1][0])})
        bundle["entry"] = [_entry(base, resource, "match") for _, resource in page]
        bundle["entry"] += [_entry(base, one, "include") for one in self._included(store, [hit[1] for hit in page])]
        return bundle

    def _fits(self, resource: Resource) -> bool:
        known = _EVERYWHERE | PARAMETERS[self.kind]
        return all(any(known[name](resource, one) for one in _alternatives(value)) for name, value in self.applied)

    def _included(self, store: Store, page: list[Resource]) -> Iterator[Resource]:
        found: dict[str, Resource] = {}
        for name, value in sorted(self.includes):  # those that iterate come last
            path, kinds = INCLUDES[value]
            looked_at = [*page, *found.values()] if name == _INCLUDE[1] else page
            source = value.partition(":")[0]
            for resource in [one for one in looked_at if one["resourceType"] == source]:
                for reference in map(str, values_at(resource, path)):
                    kind, _, own = reference.partition("/")
                    if kind in kinds and (there := store.get(kind, own)) is not None:
                        found[reference] = there
        return iter([found[reference] for reference in sorted(found)])

    def _url(self, base: str, after: Place | None) -> str:
        params = [*self.applied, ("_count", str(self.count)), *self.includes]
        if self.only_count:
            params.append(("_summary", "count"))
        if after is not None:
            params.append(("_after", str(after)))
        return f"{base}/{self.kind}?{urlencode(params)}"


def _entry(base: str, resource: Resource, mode: str) -> Resource:
    url = f"{base}/{resource['resourceType']}/{resource['id']}"
    return {"fullUrl": url, "resource": resource, "search": {"mode": mode}}


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise SearchError("_count") from None


def _place(text: str) -> Place:
    try:
        return Place.parse(text)
    except ValueError:
        raise SearchError("a page that is not known") from None

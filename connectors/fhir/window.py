"""Which appointments are asked for: a span of days, and whose, for servers that refuse a search by date alone.

Some servers answer only for one location or practitioner at a time. Their ids stand in the settings, or are found
once a day: active Locations, else active Practitioners, else whoever has a Schedule.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from connectors.api import RejectedError
from connectors.fhir.client import Client, Params
from connectors.fhir.memory import Memory
from connectors.fhir.reading import items, reference, text
from connectors.fhir.settings import FhirSettings

ACTORS = 500
"Locations or practitioners of one practice."

EACH_S = 2.0
"""Seconds of one search for each of them: a practice of 60 locations is looked through once in two minutes, whatever
the pace of the rounds."""

FOUND_ANEW = timedelta(days=1)
"Between searches for the locations or practitioners themselves."

_SEARCHES = {"location": ("Location", ("status", "active")), "practitioner": ("Practitioner", ("active", "true"))}
"FHIR R4 Location and Practitioner search parameters."


@dataclass(frozen=True, slots=True)
class Window:
    """From yesterday's beginning, by the practice's clock, over the days to come."""

    begins: datetime
    ends: datetime

    @classmethod
    def of(cls, now: datetime, zone: ZoneInfo, days: int) -> "Window":
        """Return the window around `now`."""
        today = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
        return cls(today - timedelta(days=1), now + timedelta(days=days))

    def params(self, *, closed: bool) -> Params:
        """Return the search for it; with its end only where `closed`."""
        dates = [("date", f"ge{said(self.begins)}")]
        if closed:
            dates.append(("date", f"lt{said(self.ends)}"))
        return tuple(dates)


def said(at: datetime) -> str:
    """Return an instant as a search says it, by UTC: a day alone would be the server's own."""
    return at.astimezone(ZoneInfo("UTC")).strftime("%Y-%m-%dT%H:%M:%SZ")


def narrow(actor: str) -> Params:
    """Return the parameter that asks for one's appointments only; `actor` is a reference such as Location/1."""
    kind, _, own = actor.partition("/")
    return ((kind.lower(), own),) if own else ()


async def actors(client: Client, settings: FhirSettings, memory: Memory, now: datetime) -> tuple[str, ...]:
    """Return whose appointments are asked for, as references.

    Raises:
        RejectedError: nobody's, or the server answers for one patient at a time only.
    """
    allowed = settings.vendor.appointment_needs or ("location", "practitioner")
    given = {"location": settings.locations, "practitioner": settings.practitioners}
    for need in allowed:
        if ids := given.get(need):
            return tuple(f"{_SEARCHES[need][0]}/{own}" for own in ids)
    kinds = [str(need) for need in allowed if need in _SEARCHES]
    if not kinds:
        raise RejectedError("appointments-not-searchable", field="feed")
    if memory.actors_at is None or now - memory.actors_at > FOUND_ANEW:
        memory.actors = await _discovered(client, settings, kinds)
        memory.actors_at = now
    return memory.actors


async def _discovered(client: Client, settings: FhirSettings, kinds: list[str]) -> tuple[str, ...]:
    count = ("_count", str(settings.page))
    for need in kinds:
        kind, active = _SEARCHES[need]
        if found := await _ids(client, kind, (active, count)):
            return tuple(f"{kind}/{own}" for own in found)
    wanted = [_SEARCHES[need][0] for need in kinds]
    if found := await _ids(client, "Schedule", (count,), *wanted):
        return tuple(found)
    raise RejectedError("nobody-to-ask-for", field="locations")


async def _ids(client: Client, kind: str, params: Params, *actors_of: str) -> list[str]:
    """Return the ids of what a search finds, or whose it is; nothing where the server refuses it."""
    found: dict[str, None] = {}
    try:
        async for page in client.pages(kind, params):
            for resource in page.matches:
                if not actors_of and (own := text(resource.get("id"))):
                    found[own] = None
                for wanted in actors_of:
                    for actor in items(resource.get("actor")):
                        if own := reference(actor, wanted):
                            found[f"{wanted}/{own}"] = None
            if len(found) >= ACTORS:
                break
    except RejectedError:
        return []
    return list(found)[:ACTORS]

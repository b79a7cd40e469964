"""What changed at the server: polled by _lastUpdated where that is honoured, otherwise by window and comparison.

A round asks for Patient, then Appointment, then Task, page by page. It remembers the server's own time at its start;
the next round asks from there, less an overlap. A server that leaves _lastUpdated out of Bundle.link[self], refuses
it, or answers with older resources does not honour it: then the appointments of the coming days and the open requests
are read as a whole and compared with the last round's. After a day it is tried again.

What is compared lives in memory beside the cursor that it belongs to. A cursor that is not the last one handed out
(the host restarted, or did not commit) finds no memory, and everything is told again: at least once, never less.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from zoneinfo import ZoneInfo

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from connectors.api import (
    AppointmentFacts,
    AppointmentStatus,
    Change,
    Checkpoint,
    Context,
    Identifier,
    RejectedError,
    ResetError,
    Version,
)
from connectors.fhir.client import Client, Page, Params
from connectors.fhir.mapping import Reader, actors
from connectors.fhir.reading import APPOINTMENT_ID, Resource, instant, reference, version_of
from connectors.fhir.settings import FhirSettings

KINDS = {"patients": "Patient", "appointments": "Appointment", "requests": "Task"}
"In the order in which a round asks: an appointment finds its patient told."

OPEN = "draft,requested,received,accepted,ready,in-progress,on-hold"
"FHIR R4 task-status codes of what is still to do."

RETRY_AFTER = timedelta(days=1)
"How long a server that ignored _lastUpdated is taken at its word."

LONGEST = 3000
"Bytes of a cursor in the middle of a search; the host keeps 4096."


class Paused(BaseModel):
    """Where in a search a round stopped."""

    model_config = ConfigDict(frozen=True)
    kind: str
    url: str
    at: AwareDatetime


class Cursor(BaseModel):
    """How far the feed is told."""

    model_config = ConfigDict(frozen=True)
    version: int = 1
    round: int = 0
    "Makes every cursor another: memory is kept by it."

    since: dict[str, AwareDatetime] = {}
    "For each resource type, the server's time at the start of the last whole search."

    compared: dict[str, AwareDatetime] = {}
    "Resource types whose _lastUpdated is not honoured, and when that was seen."

    paused: Paused | None = None

    @classmethod
    def parse(cls, cursor: bytes | None) -> "Cursor":
        """Read what `bytes` wrote.

        Raises:
            ResetError: it is of another version, or broken.
        """
        if cursor is None:
            return cls()
        try:
            found = cls.model_validate_json(cursor)
        except ValidationError:
            raise ResetError("the cursor does not read") from None
        if found.version != 1:
            raise ResetError("the cursor is of another version")
        return found

    def __bytes__(self) -> bytes:
        return self.model_dump_json(exclude_defaults=True).encode()


@dataclass(frozen=True, slots=True)
class Seen:
    """One resource as it was last told."""

    digest: bytes
    starts_at: datetime | None


@dataclass(slots=True)
class Memory:
    """What was told up to a cursor."""

    cursor: bytes | None = None
    seen: dict[str, Seen] = field(default_factory=dict)
    "By relative reference, such as Appointment/7."


class Round:
    """One pass over the server."""

    def __init__(self, client: Client, ctx: Context, settings: FhirSettings, zone: ZoneInfo, memory: Memory) -> None:
        self._client = client
        self._settings = settings
        self._memory = memory
        self._now = ctx.clock()
        self._zone = zone
        self._ends_at = self._now + timedelta(days=settings.window_days)
        self._patients_told = "patients" in settings.feed
        self._reader = Reader(settings, zone, ctx.region, self._now)
        self._before: dict[str, Seen] = {}
        self._after: dict[str, Seen] = {}
        self._patients: dict[str, Resource | None] = {}

    async def run(self, cursor: bytes | None) -> AsyncIterator[Change | Checkpoint]:
        """Yield what changed since `cursor`, with a checkpoint after each page."""
        state = Cursor.parse(cursor)
        if cursor is not None and cursor == self._memory.cursor:
            self._before = self._memory.seen
        kinds = [kind for name, kind in KINDS.items() if name in self._settings.feed]
        if state.paused is not None and state.paused.kind in kinds:
            kinds = kinds[kinds.index(state.paused.kind) :]
        state = state.model_copy(update={"round": state.round + 1})
        for kind in kinds:
            async for change in self._kind(kind, state):
                if isinstance(change, Cursor):
                    state = change
                    yield Checkpoint(cursor=bytes(state), at=self._now)
                else:
                    yield change
        self._memory.cursor, self._memory.seen = bytes(state), self._after

    async def _kind(self, kind: str, state: Cursor) -> AsyncIterator[Change | Cursor]:
        compared_at = state.compared.get(kind)
        if compared_at is not None and self._now - compared_at > RETRY_AFTER:
            compared_at = None
        since = state.since.get(kind)
        resumed = state.paused is not None and state.paused.kind == kind
        if since is not None and compared_at is None and not resumed:
            first = await self._since(kind, since)
            if first is not None:
                async for change in self._search(kind, _without(state, kind), self._by_time(kind, since), first):
                    yield change
                return
            compared_at = self._now
        if compared_at is None:
            params = self._by_window(kind, closed=False) if since is None else self._by_time(kind, since)
            async for change in self._search(kind, state, params):
                yield change
            return
        state = state.model_copy(update={"compared": state.compared | {kind: compared_at}})
        if kind == "Patient" and since is not None and self._now - since < RETRY_AFTER:
            # Everyone would be read again: until tomorrow a new patient is met through the appointment.
            self._patients_told = False
            yield state
            return
        whole = state
        async for change in self._search(kind, state, self._by_window(kind, closed=True)):
            if isinstance(change, Cursor) and change.paused is None:
                whole = change  # handed out below: a checkpoint comes after all that it covers
            else:
                yield change
        async for gone in self._gone(kind):
            yield gone
        yield whole

    async def _since(self, kind: str, since: datetime) -> Page | None:
        """Return the first page of what changed, or None if the server shows that it did not look at the time."""
        asked_at = since - timedelta(seconds=self._settings.overlap_seconds)
        try:
            page = await self._client.page(kind, self._by_time(kind, since))
        except RejectedError:
            return None
        told = [version_of(resource, self._zone, self._now).at for resource in page.matches]
        honoured = "_lastUpdated" in page.echoed and all(at >= asked_at - timedelta(seconds=1) for at in told)
        return page if honoured else None

    async def _search(
        self, kind: str, state: Cursor, params: Params, first: Page | None = None
    ) -> AsyncIterator[Change | Cursor]:
        page = first
        started_at = None
        if page is None and state.paused is not None and state.paused.kind == kind:
            page, started_at = await self._resumed(kind, state.paused), state.paused.at
        if page is None:
            page, started_at = await self._client.page(kind, params), None
        started_at = started_at or page.at or self._now
        seen: set[str] = set()
        while True:
            async for change in self._told(kind, page):
                yield change
            if page.next is None:
                break
            if page.next in seen:
                raise RejectedError("paging-in-a-circle", field=kind)
            seen.add(page.next)
            if len(page.next) < LONGEST:
                yield state.model_copy(update={"paused": Paused(kind=kind, url=page.next, at=started_at)})
            page = await self._client.page(kind, params, following=page.next)
        yield state.model_copy(update={"paused": None, "since": state.since | {kind: started_at}})

    async def _resumed(self, kind: str, paused: Paused) -> Page | None:
        """Return the page where a round stopped, or None if the server no longer knows it."""
        try:
            return await self._client.page(kind, (), following=paused.url)
        except RejectedError:
            return None

    async def _told(self, kind: str, page: Page) -> AsyncIterator[Change]:
        for resource in page.matches:
            name = f"{kind}/{resource.get('id')}"
            starts_at = instant(resource.get("start"), self._zone)
            digest = blake2b(orjson.dumps(resource, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()
            told_before = self._after.get(name) or self._before.get(name)
            self._after[name] = Seen(digest, starts_at)
            if told_before is not None and told_before.digest == digest:
                continue
            if kind == "Appointment" and not self._patients_told:
                await self._meet(resource, page)
            for fact in self._facts(kind, resource, page):
                yield fact

    def _facts(self, kind: str, resource: Resource, page: Page) -> Iterator[Change]:
        if kind == "Patient":
            yield self._reader.merge(resource) or self._reader.patient(resource)
            return
        if kind == "Appointment":
            found: Change | None = self._reader.appointment(
                resource, lambda name: page.beside.get(name) or self._patients.get(name)
            )
        else:
            found = self._reader.request(resource)
        if found is not None:
            yield found

    async def _meet(self, appointment: Resource, page: Page) -> None:
        """Read the appointment's patient, unless it came along."""
        for actor in actors(appointment):
            person = reference(actor, "Patient")
            name = f"Patient/{person}"
            if person and name not in page.beside and name not in self._patients:
                read = await self._client.read("Patient", person)
                self._patients[name] = read.resource if read else None

    async def _gone(self, kind: str) -> AsyncIterator[Change]:
        """Yield what the last window held and this one does not: moved out of it, or deleted."""
        for name, was in self._before.items():
            if kind != "Appointment" or not name.startswith("Appointment/") or name in self._after:
                continue
            if was.starts_at is None or not self._now <= was.starts_at < self._ends_at:
                continue
            read = await self._client.read("Appointment", name.partition("/")[2])
            if read is not None and (fact := self._reader.appointment(read.resource)) is not None:
                yield fact
            elif read is None:
                yield self._deleted(name.partition("/")[2])

    def _deleted(self, logical_id: str) -> AppointmentFacts:
        return AppointmentFacts(
            ids=(Identifier(system=APPOINTMENT_ID, value=logical_id),),
            version=Version(at=self._now, tag=""),
            status=AppointmentStatus.ENTERED_IN_ERROR,
            creates=False,
        )

    def _by_time(self, kind: str, since: datetime) -> Params:
        asked_at = since - timedelta(seconds=self._settings.overlap_seconds)
        return (*self._page_of(kind), ("_lastUpdated", f"ge{asked_at.strftime('%Y-%m-%dT%H:%M:%SZ')}"))

    def _by_window(self, kind: str, *, closed: bool) -> Params:
        """Return the search for all that still matters: visits from yesterday on, requests that are open."""
        if kind == "Task":
            return (*self._page_of(kind), ("status", OPEN))
        if kind == "Patient":
            return self._page_of(kind)
        dates = [("date", f"ge{self._now.astimezone(self._zone).date() - timedelta(days=1)}")]
        if closed:
            dates.append(("date", f"le{self._ends_at.astimezone(self._zone).date()}"))
        return (*self._page_of(kind), *dates)

    def _page_of(self, kind: str) -> Params:
        size = ("_count", str(self._settings.page_size))
        return (size, ("_include", "Appointment:patient")) if kind == "Appointment" else (size,)


def _without(state: Cursor, kind: str) -> Cursor:
    """Return `state` with its trust in the _lastUpdated of `kind`."""
    return state.model_copy(update={"compared": {name: at for name, at in state.compared.items() if name != kind}})

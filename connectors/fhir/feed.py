"""What changed at the server, by the best way that it allows.

    subscription  a topic Subscription hints that something changed, so that the next round is at once
    updated       polled by _lastUpdated, where Bundle.link[self] shows that it was looked at
    window        the appointments of the coming days read as a whole and compared; for each location or practitioner
                  by itself where the server refuses them otherwise
    export        Bulk Data by night: what no search told, and what was deleted

A round asks for Patient, RelatedPerson, Appointment and Task, page by page. It remembers the server's own time at its
start; the next round asks from there, less an overlap. A server that leaves _lastUpdated out of Bundle.link[self],
refuses it, or answers with older resources does not honour it, and is compared instead; after a day it is tried again.

What is compared lives in memory beside the cursor that it belongs to. A cursor that is not the last one handed out
(the host restarted, or did not commit) finds no memory, and everything is told again: at least once, never less.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from connectors.api import Change, Checkpoint, Context, RejectedError
from connectors.fhir import subscription
from connectors.fhir.bulk import Bulk, Nightly, path_of
from connectors.fhir.capability import Capabilities
from connectors.fhir.client import Client, Page, Params
from connectors.fhir.cursor import LONGEST, Cursor, Mark, Paused
from connectors.fhir.mapping import Reader
from connectors.fhir.memory import Memory
from connectors.fhir.reading import version_of
from connectors.fhir.settings import FhirSettings
from connectors.fhir.telling import Teller
from connectors.fhir.window import EACH_S, Window, actors, narrow, said

KINDS = {"patients": "Patient", "related": "RelatedPerson", "appointments": "Appointment", "requests": "Task"}
"In the order in which a round asks: an appointment finds its patient told."

OPEN = "draft,requested,received,accepted,ready,in-progress,on-hold"
"FHIR R4 task-status codes of what is still to do."

INCLUDES = ("Appointment:patient", "Appointment:actor", "Appointment:practitioner", "Appointment:location")
SLOTS = ("Appointment:slot",)
"FHIR R4 Appointment search parameters that lead to who and where, and to when."

RETRY_AFTER = timedelta(days=1)
"How long a server that ignored or refused something is taken at its word."

REFUSALS = frozenset({"http-400", "http-404", "http-405", "http-422", "http-501", "forbidden", "operation-outcome"})
"Reasons of a RejectedError by which a server says that it does not search like this."

PASSING = frozenset({"transient", "lock-error", "no-store", "exception", "timeout", "incomplete", "throttled"})
"Codes of an OperationOutcome that say nothing of the search, only of the moment (FHIR R4 issue-type)."


@dataclass(frozen=True, slots=True)
class Ask:
    """One search of a round."""

    params: Params
    actor: str = ""
    "Whose appointments, as a reference; empty for everyone's."


class Round:
    """One pass over the server."""

    def __init__(
        self,
        client: Client,
        ctx: Context,
        settings: FhirSettings,
        zone: ZoneInfo,
        memory: Memory,
        declared: Capabilities,
    ) -> None:
        self._client = client
        self._settings = settings
        self._vendor = settings.vendor
        self._memory = memory
        self._declared = declared
        self._clock = ctx.clock
        self._now = ctx.clock()
        self._zone = zone
        self._window = Window.of(self._now, zone, settings.window_days)
        self._reader = Reader(settings, zone, ctx.region, self._now)
        self._kinds = [kind for name, kind in KINDS.items() if name in settings.feed]
        self._teller = self._telling(None)

    def _telling(self, cursor: bytes | None) -> Teller:
        before = self._memory.upto(cursor)
        return Teller(self._client, self._reader, before, patients_told="Patient" in self._kinds)

    async def run(self, cursor: bytes | None) -> AsyncIterator[Change | Checkpoint]:
        """Yield what changed since `cursor`, with a checkpoint after each page."""
        state = Cursor.parse(cursor)
        state, handed = state.but(round=state.round + 1), b""
        self._teller = self._telling(cursor)
        if (topic := subscription.wanted(self._settings, self._declared)) is not None:
            hints = subscription.Hints(self._client, self._settings, topic, self._now)
            state = state.but(subscribed=await hints.kept(state.subscribed))
        async for one in self._all(state):
            if isinstance(one, Mark):
                state, handed = one.state, bytes(one.state)
                yield Checkpoint(cursor=handed, at=self._now, whole=one.whole)
            else:
                yield one
        if bytes(state) != handed:
            yield Checkpoint(cursor=bytes(state), at=self._now)
        self._memory.cursor, self._memory.seen = bytes(state), self._teller.after

    async def _all(self, state: Cursor) -> AsyncIterator[Change | Mark]:
        path, sole = self._export()
        kinds = [] if sole else self._kinds
        if state.paused is not None and state.paused.kind in kinds:
            for kind in kinds[: kinds.index(state.paused.kind)]:
                self._again(kind)
            kinds = kinds[kinds.index(state.paused.kind) :]
        for kind in kinds:
            async for one in self._kind(kind, state):
                state = one.state if isinstance(one, Mark) else state
                yield one
        if path is not None:
            bulk = Bulk(self._client, path, [kind for kind in self._kinds if self._there(kind)])
            nightly = Nightly(bulk, self._teller, self._window, self._clock, sole=sole)
            async for one in nightly.run(state, self._now.astimezone(self._zone).hour):
                yield one

    def _export(self) -> tuple[str | None, bool]:
        """Return the operation that exports, if one is to be used, and whether nothing else is."""
        declared = path_of(self._declared.export, self._settings.export_group)
        if self._settings.feed_by == "export":
            return declared or "Patient/$export", True
        usable = self._vendor.usable("export", declared is not None)
        if self._settings.feed_by not in {"auto", "subscription"} or not usable or not self._kinds:
            return None, False
        return declared or "Patient/$export", self._vendor.appointment_search == "no"

    async def _kind(self, kind: str, state: Cursor) -> AsyncIterator[Change | Mark]:
        if self._left_out(kind, state):
            self._again(kind)
            return
        if kind == "Appointment" and self._narrow(state):
            async for one in self._narrowed(state):
                yield one
            return
        since, compared_at = state.since.get(kind), self._distrusted(kind, state)
        resumed = state.paused is not None and state.paused.kind == kind
        if since is not None and compared_at is None and not resumed:
            asked = Ask(self._by_time(kind, since))
            first = await self._since(kind, since, asked)
            if first is not None:
                async for one in self._search(kind, _trusting(state, kind), [asked], first):
                    yield one
                self._again(kind)
                return
            compared_at = self._now
        if compared_at is not None:
            async for one in self._compared(kind, state.but(compared=state.compared | {kind: compared_at})):
                yield one
            return
        first_time = since is None
        asked = Ask(self._by_window(kind, closed=False) if since is None else self._by_time(kind, since))
        async for one in self._whole(kind, state, asked):
            if isinstance(one, Mark) and one.state.paused is None and first_time:
                yield self._finished(kind, one.state, state)
            else:
                yield one
        self._again(kind)

    def _again(self, kind: str) -> None:
        self._teller.again(kind, self._window.begins)

    def _left_out(self, kind: str, state: Cursor) -> bool:
        """Whether a type is not searched: the server has none of it, or does not let it be searched."""
        if kind == "Appointment":
            if self._vendor.appointment_search == "no":
                raise RejectedError("appointments-not-searchable", field="feed")
            return False
        refused_at = state.refused.get(kind)
        left_out = (
            (refused_at is not None and self._now - refused_at < RETRY_AFTER)
            or (kind == "Patient" and self._vendor.patient_search == "no")
            or not self._there(kind)
        )
        if kind == "Patient" and left_out:
            self._teller.patients_told = False
        return left_out

    def _there(self, kind: str) -> bool:
        """Whether the server has a type, as far as it says what it has."""
        return not self._declared.kinds or kind in self._declared.kinds

    def _distrusted(self, kind: str, state: Cursor) -> datetime | None:
        """Return since when _lastUpdated is not believed; None where it is to be asked for."""
        if self._settings.feed_by == "window" or self._vendor.last_updated == "no":
            return state.compared.get(kind, self._now)
        at = state.compared.get(kind)
        return None if at is None or self._now - at > RETRY_AFTER else at

    async def _since(self, kind: str, since: datetime, asked: Ask) -> Page | None:
        """Return the first page of what changed, or None if the server shows that it did not look at the time."""
        asked_at = since - timedelta(seconds=self._settings.overlap_seconds)
        try:
            page = await self._client.page(kind, asked.params)
        except RejectedError:
            return None
        if self._settings.feed_by == "updated":
            return page
        told = [version_of(resource, self._zone, self._now).at for resource in page.matches]
        echoed = "_lastUpdated" in page.echoed or self._vendor.last_updated == "yes"
        return page if echoed and all(at >= asked_at - timedelta(seconds=1) for at in told) else None

    async def _whole(self, kind: str, state: Cursor, asked: Ask) -> AsyncIterator[Change | Mark]:
        """Search for all of a type; where the server refuses, take its appointments one by one, or leave it."""
        first, refused = None, False
        if state.paused is None or state.paused.kind != kind:
            try:
                first = await self._client.page(kind, asked.params)
            except RejectedError as error:
                passing = error.reason not in REFUSALS or error.field in PASSING
                if passing or "Appointment" not in self._kinds:
                    raise
                refused = True
        if not refused:
            async for one in self._search(kind, state, [asked], first):
                yield one
        elif kind == "Appointment":
            async for one in self._narrowed(state.but(narrowed=self._now)):
                yield one
        else:
            self._teller.patients_told = self._teller.patients_told and kind != "Patient"
            yield Mark(state.but(refused=state.refused | {kind: self._now}))

    async def _compared(self, kind: str, state: Cursor) -> AsyncIterator[Change | Mark]:
        """Read what a window holds, and tell how it differs from the last time."""
        since = state.since.get(kind)
        resting = since is not None and self._now - since < RETRY_AFTER
        if kind in {"Patient", "RelatedPerson"} and resting:
            # Everyone would be read again: until tomorrow a new patient is met through the appointment.
            self._teller.patients_told = self._teller.patients_told and kind != "Patient"
            self._again(kind)
            yield Mark(state)
            return
        asked = Ask(self._by_window(kind, closed=True))
        async for one in self._with_gone(kind, state, self._whole(kind, state, asked)):
            yield one

    def _narrow(self, state: Cursor) -> bool:
        """Whether appointments are asked for by whose they are."""
        if self._settings.feed_by == "updated":
            return False
        refused = state.narrowed is not None and self._now - state.narrowed < RETRY_AFTER
        named = bool(self._settings.locations or self._settings.practitioners)
        return refused or named or bool(self._vendor.appointment_needs)

    async def _narrowed(self, state: Cursor) -> AsyncIterator[Change | Mark]:
        """Compare the appointments of each location or practitioner, all of them in as many seconds as they need."""
        whose = await actors(self._client, self._settings, self._memory, self._now)
        rested = state.looked_at is None or (self._now - state.looked_at).total_seconds() >= EACH_S * len(whose)
        if state.paused is None and not rested and self._teller.before.get("Appointment"):
            self._again("Appointment")
            return
        asks = [Ask((*self._by_window("Appointment", closed=True), *narrow(actor)), actor) for actor in whose]
        search = self._search("Appointment", state.but(looked_at=self._now), asks)
        async for one in self._with_gone("Appointment", state, search, narrowed=True):
            yield one

    async def _with_gone(
        self, kind: str, state: Cursor, search: AsyncIterator[Change | Mark], *, narrowed: bool = False
    ) -> AsyncIterator[Change | Mark]:
        """Yield what a search tells, then what it no longer told, and only then its last mark: it covers both."""
        last: Mark | None = None
        async for one in search:
            if isinstance(one, Mark) and one.state.paused is None:
                last = one
            else:
                yield one
        if last is None:
            return
        if kind == "Appointment":
            async for gone in self._teller.gone(self._now, self._window.ends):
                yield gone
        yield Mark(last.state.but(fresh=False)) if narrowed else self._finished(kind, last.state, state)

    def _finished(self, kind: str, done: Cursor, began: Cursor) -> Mark:
        """Return the mark after a whole search, with the span that it told where the feed began with it."""
        if kind != "Appointment" or not done.fresh or kind not in done.since:
            return Mark(done)
        ends = self._window.ends
        if began.paused is not None:  # it began earlier, with an earlier window
            ends -= max(self._now - began.paused.at, timedelta()) + timedelta(hours=1)
        whole = (self._window.begins, ends) if ends > self._window.begins else None
        return Mark(done.but(fresh=False), whole)

    async def _search(
        self, kind: str, state: Cursor, asks: Sequence[Ask], first: Page | None = None
    ) -> AsyncIterator[Change | Mark]:
        """Yield what the searches find, with a mark after each page; the last one has nothing paused."""
        page, started_at, paused = first, None, state.paused
        if paused is not None and paused.kind == kind:
            names = [ask.actor for ask in asks]
            if paused.actor in names:
                asks, started_at = asks[names.index(paused.actor) :], paused.at
                page = await self._resumed(kind, paused)
        for number, ask in enumerate(asks):
            page = page or await self._client.page(kind, ask.params)
            started_at = started_at or page.at or self._now
            seen: set[str] = set()
            while True:
                async for change in self._teller.tell(kind, page):
                    yield change
                if page.next is None:
                    break
                if page.next in seen:
                    raise RejectedError("paging-in-a-circle", field=kind)
                seen.add(page.next)
                if len(page.next) < LONGEST:
                    stopped = Paused(kind=kind, url=page.next, at=started_at, actor=ask.actor)
                    yield Mark(state.but(paused=stopped))
                page = await self._client.page(kind, ask.params, following=page.next)
            page = None
            if number + 1 < len(asks):
                yield Mark(state.but(paused=Paused(kind=kind, url="", at=started_at, actor=asks[number + 1].actor)))
        yield Mark(state.but(paused=None, since=state.since | {kind: started_at or self._now}))

    async def _resumed(self, kind: str, paused: Paused) -> Page | None:
        """Return the page where a round stopped, or None if the server no longer knows it."""
        if not paused.url:
            return None
        try:
            return await self._client.page(kind, (), following=paused.url)
        except RejectedError:
            return None

    def _by_time(self, kind: str, since: datetime) -> Params:
        asked_at = since - timedelta(seconds=self._settings.overlap_seconds)
        return (*self._page_of(kind), ("_lastUpdated", f"ge{said(asked_at)}"))

    def _by_window(self, kind: str, *, closed: bool) -> Params:
        """Return the search for all that still matters: visits from yesterday on, requests that are open."""
        if kind == "Task":
            return (*self._page_of(kind), ("status", OPEN))
        if kind != "Appointment":
            return self._page_of(kind)
        return (*self._page_of(kind), *self._window.params(closed=closed or self._vendor.window_closed))

    def _page_of(self, kind: str) -> Params:
        size = ("_count", str(self._settings.page))
        if kind != "Appointment":
            return (size,)
        usual = INCLUDES[:1] if self._vendor.include_patient != "no" else ()
        wanted = self._declared.included(kind, INCLUDES + SLOTS, usual)
        found = [("_include", one) for one in wanted]
        if SLOTS[0] in wanted:
            found.append(("_include:iterate", "Slot:schedule"))
        return (size, *found)


def _trusting(state: Cursor, kind: str) -> Cursor:
    """Return `state` with its trust in the _lastUpdated of `kind`."""
    return state.but(compared={name: at for name, at in state.compared.items() if name != kind})

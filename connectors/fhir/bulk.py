"""Bulk Data `$export` by night, as reconciliation: what no search told, and what was deleted (Bulk Data Access IG).

One round asks for the export, later ones ask whether it is ready, another reads it: no round waits. Where the export
stands is in the cursor, so that it outlives the process; a file that broke off is read again from its start.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import quote

import httpx
import orjson

from connectors.api import Change, RejectedError, TransientError
from connectors.fhir.client import FHIR_JSON, Client, Page, Params, resource_in
from connectors.fhir.cursor import Cursor, Export, Mark
from connectors.fhir.reading import Resource, inner, instant, items, text
from connectors.fhir.telling import Teller
from connectors.fhir.window import Window, said

NDJSON = "application/fhir+ndjson"
LINE = 8 * 1024 * 1024
"Bytes of one resource."

LINES = 100
"Resources that are told at a time."

LONGEST_URL = 800
"Bytes of the address where an export's state is asked for: it stands in the cursor."

AGAIN_S, LONGEST_S = 30.0, 3600.0
"Seconds between looks where the server does not say (Retry-After), and at most."

PATIENCE = timedelta(hours=12)
"For one export; after it, it is given up until the next night."

ONCE = timedelta(hours=20)
"From the end of one export to the next, at least."

NIGHT = range(1, 5)
"Hours of the practice's clock at which an export begins."

OVERLAP = timedelta(minutes=10)
"How far before the last export's time the next one asks."

TURN = timedelta(minutes=1)
"A round begins no further file after this."


@dataclass(frozen=True, slots=True)
class File:
    """One ndjson file of an export."""

    kind: str
    url: str
    deleted: bool = False
    "Whether it holds Bundles of what was deleted."


@dataclass(frozen=True, slots=True)
class Manifest:
    """An export that is ready."""

    at: datetime
    "transactionTime: the server's time of the picture."

    files: tuple[File, ...]
    with_token: bool
    "requiresAccessToken; where it is false the files are let be read in another way, and no credentials go there."


class Bulk:
    """The exports of one server."""

    def __init__(self, client: Client, path: str, kinds: Sequence[str]) -> None:
        """Export `kinds`, in the order in which they are to be read, by the operation at `path`."""
        self._client = client
        self._path = path
        self._kinds = tuple(kinds)

    async def begin(self, since: datetime | None) -> str:
        """Ask for an export, and return where its state is asked for.

        Raises:
            RejectedError: the server makes none.
        """
        params: Params = (("_type", ",".join(self._kinds)),)
        if since is not None:
            params = (*params, ("_since", said(since)))
        answer = await self._client.send("GET", self._path, params=params, headers={"Prefer": "respond-async"})
        where = answer.headers.get("content-location", "")
        if answer.status_code != 202 or not where or len(where) > LONGEST_URL:
            raise RejectedError("no-export", field="Content-Location")
        return str(where)

    async def state(self, url: str, now: datetime) -> Manifest | float:
        """Return the export if it is ready, otherwise the seconds after which to ask again."""
        answer = await self._client.send("GET", url, headers={"Accept": "application/json"})
        if answer.status_code == 202:
            return _pause(answer, now)
        manifest = resource_in(answer)
        at = instant(manifest.get("transactionTime"), UTC)
        if at is None:
            raise RejectedError("no-export", field="transactionTime")
        files = [*self._files(manifest, "output"), *self._files(manifest, "deleted")]
        return Manifest(at=at, files=tuple(files), with_token=manifest.get("requiresAccessToken") is not False)

    def _files(self, manifest: Resource, part: str) -> list[File]:
        found = [
            File(kind=str(one.get("type")), url=url, deleted=part == "deleted")
            for one in items(manifest.get(part))
            if (url := text(one.get("url")))
        ]
        if part == "deleted":
            return found
        return sorted((one for one in found if one.kind in self._kinds), key=lambda one: self._kinds.index(one.kind))

    async def resources(self, file: File, *, with_token: bool) -> AsyncIterator[Resource]:
        """Yield what stands in a file, line by line, as it comes in.

        Raises:
            TransientError: it broke off.
        """
        rest = b""
        async with self._client.streamed(file.url, with_token=with_token, accept=NDJSON) as pieces:
            async for piece in pieces:
                *lines, rest = (rest + piece).split(b"\n")
                if len(rest) > LINE:
                    raise RejectedError("line-too-long", field=file.kind)
                for line in lines:
                    if found := _object(line):
                        yield found
        if found := _object(rest):
            yield found

    async def forget(self, url: str) -> None:
        """Tell the server that the export is no longer needed; it forgets it by itself, too."""
        try:
            await self._client.send("DELETE", url, headers={"Accept": FHIR_JSON})
        except RejectedError:
            return


class Nightly:
    """The part of a round that exports."""

    def __init__(
        self, bulk: Bulk, teller: Teller, window: Window, clock: Callable[[], datetime], *, sole: bool
    ) -> None:
        """`sole`: nothing is told but what exports tell, so that the first one is made at once and whole."""
        self._bulk = bulk
        self._teller = teller
        self._window = window
        self._clock = clock
        self._now = clock()
        self._sole = sole

    def due(self, state: Cursor, hour: int) -> bool:
        """Return whether an export is to begin now; `hour` is the practice's."""
        if self._sole and state.exported_at is None:
            return True
        rested = state.exported_at is None or self._now - state.exported_at > ONCE
        return rested and hour in NIGHT

    async def run(self, state: Cursor, hour: int) -> AsyncIterator[Change | Mark]:
        """Yield what an export tells that is ready; ask for one where it is due."""
        if state.export is None:
            if self.due(state, hour):
                yield Mark(await self._begun(state))
            return
        if self._now < state.export.next_at:
            return
        if self._now - state.export.asked_at > PATIENCE:
            await self._bulk.forget(state.export.url)
            yield Mark(self._over(state))
            return
        export: Export | None = state.export
        try:
            found = await self._bulk.state(state.export.url, self._now)
            if isinstance(found, Manifest):
                async for one in self._read(state, state.export, found):
                    export = one.state.export if isinstance(one, Mark) else export
                    yield one
                return
        except RejectedError:  # it failed, or the server forgot it: another night
            yield Mark(self._over(state))
            return
        except TransientError:  # the searches must not wait for it
            found = AGAIN_S
        if export is not None:
            next_at = self._now + timedelta(seconds=found)
            yield Mark(state.but(export=export.model_copy(update={"next_at": next_at})))

    async def _begun(self, state: Cursor) -> Cursor:
        since = state.exported
        if since is None and not self._sole:  # the searches told what is older
            since = self._now - timedelta(days=2)
        try:
            url = await self._bulk.begin(None if since is None else since - OVERLAP)
        except (RejectedError, TransientError):
            if self._sole:
                raise
            return self._over(state)
        next_at = self._now + timedelta(seconds=1)
        return state.but(export=Export(url=url, asked_at=self._now, next_at=next_at, whole=since is None))

    def _over(self, state: Cursor) -> Cursor:
        return state.but(export=None, exported_at=self._now)

    async def _read(self, state: Cursor, export: Export, ready: Manifest) -> AsyncIterator[Change | Mark]:
        for number, file in enumerate(ready.files):
            if number < export.files:
                continue
            if self._clock() - self._now > TURN:
                return
            async for change in self._told(file, ready, whole=export.whole):
                yield change
            export = export.model_copy(update={"files": number + 1})
            yield Mark(state.but(export=export))
        await self._bulk.forget(export.url)
        done = self._over(state).but(exported=ready.at)
        if self._sole and export.whole and state.fresh:
            yield Mark(done.but(fresh=False), whole=(self._window.begins, self._window.ends))
        else:
            yield Mark(done)

    async def _told(self, file: File, ready: Manifest, *, whole: bool) -> AsyncIterator[Change]:
        gathered: list[Resource] = []
        async for resource in self._bulk.resources(file, with_token=ready.with_token):
            if file.deleted:
                for change in self._deleted(resource):
                    yield change
            elif resource.get("resourceType") == file.kind and (not whole or self._matters(resource)):
                gathered.append(resource)
            if len(gathered) == LINES:
                async for change in self._teller.tell(file.kind, _page(gathered)):
                    yield change
                gathered = []
        async for change in self._teller.tell(file.kind, _page(gathered)):
            yield change

    def _matters(self, resource: Resource) -> bool:
        """Whether it is no visit of the past: a whole export has those of all years."""
        at = self._teller.starts_at(resource)
        return at is None or at >= self._window.begins

    def _deleted(self, bundle: Resource) -> list[Change]:
        """Return what a Bundle of deletions tells: entries with request.method DELETE."""
        told: list[Change] = []
        for entry in items(bundle.get("entry")):
            kind, _, own = str(inner(entry, "request", "url") or "").rpartition("/")
            kind = kind.rpartition("/")[2]
            if inner(entry, "request", "method") == "DELETE" and own:
                change = self._teller.deleted(kind, own)
                told += [change] if change is not None else []
        return told


def path_of(declared: str | None, group: str) -> str | None:
    """Return the operation that exports: the group's, where the operator names one, or what is declared."""
    return f"Group/{quote(group, safe='')}/$export" if group else declared


def _page(resources: list[Resource]) -> Page:
    return Page(matches=resources, beside={}, echoed=frozenset(), next=None, at=None)


def _object(line: bytes) -> Resource | None:
    if not line.strip():
        return None
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise TransientError("a line that is no JSON object")
    return found


def _pause(answer: httpx.Response, now: datetime) -> float:
    """Return the seconds of Retry-After (RFC 9110 section 10.2.3)."""
    asked = answer.headers.get("retry-after", "").strip()
    if asked.isdigit():
        return min(max(float(asked), 1.0), LONGEST_S)
    try:
        seconds = (parsedate_to_datetime(asked) - now).total_seconds()
    except (ValueError, TypeError):
        return AGAIN_S
    return min(max(seconds, 1.0), LONGEST_S)

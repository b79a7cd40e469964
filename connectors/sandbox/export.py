"""The sandbox's Bulk Data `$export` (Bulk Data Access IG): asked for, waited for, read as ndjson, forgotten."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from connectors.sandbox.resource import Resource, stamp
from connectors.sandbox.store import Store

NDJSON = "application/fhir+ndjson"


@dataclass(slots=True)
class _Export:
    kinds: tuple[str, ...]
    since: datetime | None
    at: datetime
    request: str
    waits: int
    "Looks that are still answered with 202."


@dataclass
class Exports:
    """Exports of one store."""

    store: Store
    clock: Callable[[], datetime]
    waits: int = 1
    "Looks at an export before it is ready."

    _asked: dict[str, _Export] = field(default_factory=dict)

    def routes(self, base: str) -> list[Route]:
        """Return the doors under `base`."""
        return [
            Route(f"{base}/$export", self.begin),
            Route(f"{base}/Patient/$export", self.begin),
            Route(f"{base}/Group/{{group}}/$export", self.begin),
            Route(f"{base}/$export-state/{{own}}", self.state, methods=["GET"]),
            Route(f"{base}/$export-state/{{own}}", self.forget, methods=["DELETE"]),
            Route(f"{base}/$export-file/{{own}}/{{name}}", self.file),
        ]

    def wanted(self, request: Request) -> tuple[str, ...]:
        """Return the resource types that a request leads to; `*` for all."""
        found = self._asked.get(request.path_params.get("own", ""))
        return found.kinds if found else _types(request) or ("*",)

    async def begin(self, request: Request) -> Response:
        """Begin an export of the types in `_type`, of what changed since `_since`."""
        if "respond-async" not in request.headers.get("prefer", ""):
            return _outcome(400, "Prefer: respond-async")
        since = request.query_params.get("_since")
        try:
            since_at = datetime.fromisoformat(since) if since else None
        except ValueError:
            return _outcome(400, "_since")
        own, kinds = uuid4().hex, _types(request) or self.store.kinds()
        self._asked[own] = _Export(kinds, since_at, self.clock(), str(request.url), self.waits)
        base = str(request.url).partition("?")[0].removesuffix("/$export")
        for part in ("/Patient", f"/Group/{request.path_params.get('group', '')}"):
            base = base.removesuffix(part)
        return Response(status_code=202, headers={"Content-Location": f"{base}/$export-state/{own}"})

    async def state(self, request: Request) -> Response:
        """Say whether an export is ready, and where its files are."""
        found = self._asked.get(request.path_params["own"])
        if found is None:
            return _outcome(404, "no such export")
        if found.waits > 0:
            found.waits -= 1
            return Response(status_code=202, headers={"X-Progress": "under way", "Retry-After": "5"})
        files = str(request.url).replace("$export-state", "$export-file")
        manifest = {
            "transactionTime": stamp(found.at),
            "request": found.request,
            "requiresAccessToken": True,
            "output": [
                {"type": kind, "url": f"{files}/{kind}.ndjson", "count": count}
                for kind in found.kinds
                if (count := len(self._changed(found, kind)))
            ],
            "deleted": [{"type": "Bundle", "url": f"{files}/deleted.ndjson"}] if self._gone(found) else [],
            "error": [],
        }
        return Response(orjson.dumps(manifest), media_type="application/json")

    async def file(self, request: Request) -> Response:
        """Give one file."""
        found = self._asked.get(request.path_params["own"])
        name = str(request.path_params["name"]).removesuffix(".ndjson")
        if found is None:
            return _outcome(404, "no such export")
        lines = self._gone(found) if name == "deleted" else self._changed(found, name)
        return StreamingResponse((orjson.dumps(line) + b"\n" for line in lines), media_type=NDJSON)

    async def forget(self, request: Request) -> Response:
        """Forget an export."""
        there = self._asked.pop(request.path_params["own"], None)
        return Response(status_code=202) if there else _outcome(404, "no such export")

    def waiting(self) -> int:
        """Return how many exports are not forgotten yet."""
        return len(self._asked)

    def _changed(self, export: _Export, kind: str) -> list[Resource]:
        return [
            resource
            for _, resource in self.store.all(kind)
            if export.since is None or datetime.fromisoformat(resource["meta"]["lastUpdated"]) >= export.since
        ]

    def _gone(self, export: _Export) -> list[Resource]:
        """Return a Bundle for each resource that was deleted since: only an export with `_since` says so."""
        if export.since is None:
            return []
        return [
            {
                "resourceType": "Bundle",
                "type": "transaction",
                "entry": [{"request": {"method": "DELETE", "url": f"{kind}/{own}"}}],
            }
            for kind, own, at in self.store.deletions
            if at >= export.since and kind in export.kinds
        ]


def _types(request: Request) -> tuple[str, ...]:
    return tuple(filter(None, request.query_params.get("_type", "").split(",")))


def _outcome(status: int, what: str) -> Response:
    issue = {"severity": "error", "code": "invalid" if status == 400 else "not-found", "diagnostics": what}
    said = {"resourceType": "OperationOutcome", "issue": [issue]}
    return Response(orjson.dumps(said), status, media_type="application/fhir+json")

"""A small FHIR R4 server: read, search, create, update, JSON Patch, delete, versions; it says what it cannot do."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.sandbox.patch import PatchError, PatchTestError, apply
from connectors.sandbox.resource import Resource
from connectors.sandbox.search import PARAMETERS, Query, SearchError
from connectors.sandbox.store import PreconditionError, Store

BASE = "/fhir"
FHIR_JSON = "application/fhir+json"
JSON_PATCH = "application/json-patch+json"

REQUIRED = {
    "Appointment": ("status", "participant"),
    "Communication": ("status",),
    "Task": ("status", "intent"),
}
"Elements with a minimum of 1 in FHIR R4, of the types that a hub writes."

CODES = {
    "Appointment": "proposed pending booked arrived fulfilled cancelled noshow entered-in-error checked-in waitlist",
    "Communication": "preparation in-progress not-done on-hold stopped completed entered-in-error unknown",
}
"FHIR R4 appointmentstatus and event-status."

Answer = Callable[[Request], Awaitable[Response]]


class RefusedError(Exception):
    """What the server will not do, as an HTTP status and a FHIR issue-type code."""

    def __init__(self, status: int, code: str, what: str) -> None:
        super().__init__(what)
        self.status = status
        self.code = code


def app(store: Store, *, token: str | None = None, **how: Any) -> Starlette:
    """Return the server; with `token`, whoever does not bear it gets 401, except for the CapabilityStatement."""
    server = _Server(store, token)
    return Starlette(
        routes=[
            Route(f"{BASE}/metadata", server.metadata),
            Route(f"{BASE}/{{kind}}/_search", server.told(server.search), methods=["POST"]),
            Route(f"{BASE}/{{kind}}", server.told(server.search), methods=["GET"]),
            Route(f"{BASE}/{{kind}}", server.told(server.create), methods=["POST"]),
            Route(f"{BASE}/{{kind}}/{{own}}", server.told(server.read), methods=["GET"]),
            Route(f"{BASE}/{{kind}}/{{own}}", server.told(server.update), methods=["PUT"]),
            Route(f"{BASE}/{{kind}}/{{own}}", server.told(server.patch), methods=["PATCH"]),
            Route(f"{BASE}/{{kind}}/{{own}}", server.told(server.delete), methods=["DELETE"]),
        ],
        **how,
    )


class _Server:
    def __init__(self, store: Store, token: str | None) -> None:
        self._store = store
        self._token = token

    def told(self, answer: Answer) -> Answer:
        """Return `answer` with its refusals told as OperationOutcome, for those who may ask."""

        async def guarded(request: Request) -> Response:
            try:
                self._admit(request)
                return await answer(request)
            except RefusedError as error:
                return _outcome(error.status, error.code, str(error))
            except SearchError as error:
                return _outcome(400, "invalid", f"cannot read {error}")
            except PreconditionError:
                return _outcome(412, "conflict", "another version")

        return guarded

    def _admit(self, request: Request) -> None:
        said = request.headers.get("authorization", "")
        if self._token and not hmac.compare_digest(said.encode(), f"Bearer {self._token}".encode()):
            raise RefusedError(401, "login", "no valid token")
        if request.path_params["kind"] not in PARAMETERS:
            raise RefusedError(404, "not-supported", "no such resource type here")

    async def metadata(self, request: Request) -> Response:
        return _json(capability(str(request.base_url).rstrip("/") + BASE))

    async def search(self, request: Request) -> Response:
        given = list(request.query_params.multi_items())
        if request.method == "POST":
            given += parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True)
        strict = "handling=strict" in request.headers.get("prefer", "")
        query = Query.parse(request.path_params["kind"], given, strict=strict)
        return _json(query.run(self._store, _base(request)))

    async def read(self, request: Request) -> Response:
        return _resource(self._found(request))

    async def create(self, request: Request) -> Response:
        kind = request.path_params["kind"]
        resource = _checked(await _body(request), kind)
        if condition := request.headers.get("if-none-exist"):
            query = Query.parse(kind, parse_qsl(condition, keep_blank_values=True), strict=True)
            if not query.applied:
                raise RefusedError(412, "invalid", "a condition without a criterion")
            there = query.run(self._store, _base(request)).get("entry", [])
            if len(there) > 1:
                raise RefusedError(412, "multiple-matches", "the condition finds several")
            if there:
                return _resource(there[0]["resource"])
        resource.pop("id", None)  # FHIR R4 http.html#create: the server gives the id
        return _resource(self._store.put(resource), 201, _base(request))

    async def update(self, request: Request) -> Response:
        kind, own = request.path_params["kind"], request.path_params["own"]
        resource = _checked(await _body(request), kind)
        if resource.get("id") != own:
            raise RefusedError(400, "invalid", "the id in the body is not the one in the address")
        new = self._store.get(kind, own) is None
        stored = self._store.put(resource, if_match=request.headers.get("if-match"))
        return _resource(stored, 201 if new else 200, _base(request))

    async def patch(self, request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0] != JSON_PATCH:
            raise RefusedError(415, "not-supported", "only JSON Patch")
        was = self._found(request)
        try:
            patched = apply(was, await _body(request))
        except PatchTestError as error:
            raise RefusedError(409, "conflict", str(error)) from error
        except PatchError as error:
            raise RefusedError(422, "processing", str(error)) from error
        if not isinstance(patched, dict) or patched.get("id") != was["id"]:
            raise RefusedError(422, "processing", "a patch that changes the id")
        checked = _checked(patched, was["resourceType"])
        return _resource(self._store.put(checked, if_match=request.headers.get("if-match")))

    async def delete(self, request: Request) -> Response:
        self._store.delete(request.path_params["kind"], request.path_params["own"])
        return Response(status_code=204)

    def _found(self, request: Request) -> Resource:
        found = self._store.get(request.path_params["kind"], request.path_params["own"])
        if found is None:
            raise RefusedError(404, "not-found", "no resource of that id")
        return found


def capability(base: str) -> Resource:
    """Return what this server can do (FHIR R4 CapabilityStatement)."""
    interactions = [{"code": code} for code in ("read", "search-type", "create", "update", "patch", "delete")]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "kind": "instance",
        "fhirVersion": "4.0.1",
        "format": ["json"],
        "patchFormat": [JSON_PATCH],
        "implementation": {"description": "Chartline sandbox: invented people only", "url": base},
        "rest": [
            {
                "mode": "server",
                "resource": [
                    {
                        "type": kind,
                        "interaction": interactions,
                        "versioning": "versioned-update",
                        "conditionalCreate": True,
                        "searchParam": [{"name": name, "type": "special"} for name in sorted(parameters)],
                    }
                    for kind, parameters in PARAMETERS.items()
                ],
            }
        ],
    }


async def _body(request: Request) -> Any:
    try:
        return orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        raise RefusedError(400, "structure", "no JSON") from None


def _checked(resource: Any, kind: str) -> Resource:
    if not isinstance(resource, dict) or resource.get("resourceType") != kind:
        raise RefusedError(400, "structure", f"no {kind}")
    for name in REQUIRED.get(kind, ()):
        if not resource.get(name):
            raise RefusedError(422, "required", f"{kind}.{name}")
    if kind in CODES and resource["status"] not in CODES[kind].split():
        raise RefusedError(422, "code-invalid", f"{kind}.status")
    return resource


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/") + BASE


def _json(resource: Resource, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(resource), status, headers, FHIR_JSON)


def _resource(resource: Resource, status: int = 200, base: str = "") -> Response:
    version = resource["meta"]["versionId"]
    headers = {"ETag": f'W/"{version}"'}
    if base:
        headers["Location"] = f"{base}/{resource['resourceType']}/{resource['id']}/_history/{version}"
    return _json(resource, status, headers)


def _outcome(status: int, code: str, what: str) -> Response:
    issue = {"severity": "error", "code": code, "diagnostics": what}
    return _json({"resourceType": "OperationOutcome", "issue": [issue]}, status)

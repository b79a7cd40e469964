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

from connectors.sandbox.export import Exports
from connectors.sandbox.manners import USUAL, Manners
from connectors.sandbox.patch import PatchError, PatchTestError, apply
from connectors.sandbox.resource import Resource
from connectors.sandbox.search import INCLUDES, PARAMETERS, Query, SearchError, values_at
from connectors.sandbox.smart import Tokens
from connectors.sandbox.store import PreconditionError, Store
from connectors.sandbox.topic import TOPIC

BASE = "/fhir"
FHIR_JSON = "application/fhir+json"
JSON_PATCH = "application/json-patch+json"

EXPORT = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export"
_BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"
SUBSCRIPTION = _BACKPORT + "backport-subscription"
TOPICS = _BACKPORT + "capabilitystatement-subscriptiontopic-canonical"

REQUIRED = {
    "Appointment": ("status", "participant"),
    "AppointmentResponse": ("appointment", "participantStatus"),
    "Subscription": ("status", "criteria", "channel", "reason"),
    "Communication": ("status",),
    "Task": ("status", "intent"),
}
"Elements with a minimum of 1 in FHIR R4, of the types that a hub writes."

CODES = {
    "Appointment": "proposed pending booked arrived fulfilled cancelled noshow entered-in-error checked-in waitlist",
    "Subscription": "requested active error off",
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


def app(
    store: Store,
    *,
    token: str | None = None,
    tokens: Tokens | None = None,
    exports: Exports | None = None,
    manners: Manners = USUAL,
    **how: Any,
) -> Starlette:
    """Return the server.

    With `token`, or `tokens` of SMART Backend Services, whoever shows none gets 401, except for the
    CapabilityStatement. Without `exports` there is no $export.
    """
    server = _Server(store, token, tokens, exports, manners)
    routes = [
        Route(f"{BASE}/metadata", server.metadata),
        *([Route(f"{BASE}/.well-known/smart-configuration", tokens.configuration)] if tokens else []),
        *([Route("/auth/token", tokens.token, methods=["POST"])] if tokens else []),
        *(server.exported(exports) if exports else []),
        Route(f"{BASE}/{{kind}}/_search", server.told(server.search, "search"), methods=["POST"]),
        Route(f"{BASE}/{{kind}}", server.told(server.search, "search"), methods=["GET"]),
        Route(f"{BASE}/{{kind}}", server.told(server.create, "create"), methods=["POST"]),
        Route(f"{BASE}/{{kind}}/{{own}}", server.told(server.read, "read"), methods=["GET"]),
        Route(f"{BASE}/{{kind}}/{{own}}", server.told(server.update, "update"), methods=["PUT"]),
        Route(f"{BASE}/{{kind}}/{{own}}", server.told(server.patch, "update"), methods=["PATCH"]),
        Route(f"{BASE}/{{kind}}/{{own}}", server.told(server.delete, "delete"), methods=["DELETE"]),
    ]
    return Starlette(routes=routes, **how)


class _Server:
    def __init__(
        self, store: Store, token: str | None, tokens: Tokens | None, exports: Exports | None, manners: Manners
    ) -> None:
        self._store = store
        self._token = token
        self._tokens = tokens
        self._exports = exports
        self._manners = manners

    def told(self, answer: Answer, interaction: str) -> Answer:
        """Return `answer` with its refusals told as OperationOutcome, for those who may ask."""

        async def guarded(request: Request) -> Response:
            try:
                kind = request.path_params["kind"]
                self._admit(request, kind, interaction)
                if kind not in PARAMETERS:
                    raise RefusedError(404, "not-supported", "no such resource type here")
                return await answer(request)
            except RefusedError as error:
                return _outcome(error.status, error.code, str(error))
            except SearchError as error:
                return _outcome(400, "invalid", f"cannot read {error}")
            except PreconditionError:
                return _outcome(412, "conflict", "another version")

        return guarded

    def exported(self, exports: Exports) -> list[Route]:
        """Return the doors of $export, for those who may read every type that they want."""

        def guarded(answer: Answer) -> Answer:
            async def asked(request: Request) -> Response:
                try:
                    for kind in exports.wanted(request):
                        self._admit(request, kind, "read")
                    return await answer(request)
                except RefusedError as error:
                    return _outcome(error.status, error.code, str(error))

            return asked

        return [
            Route(route.path, guarded(route.endpoint), methods=list(route.methods or ["GET"]))
            for route in exports.routes(BASE)
        ]

    def _admit(self, request: Request, kind: str, interaction: str) -> None:
        said = request.headers.get("authorization", "")
        if self._tokens is not None:
            admitted = self._tokens.admits(said, kind, interaction)
            if admitted is None:
                raise RefusedError(401, "login", "no valid token")
            if not admitted:
                raise RefusedError(403, "forbidden", "no scope for it")
        elif self._token and not hmac.compare_digest(said.encode(), f"Bearer {self._token}".encode()):
            raise RefusedError(401, "login", "no valid token")

    async def metadata(self, request: Request) -> Response:
        base = str(request.base_url).rstrip("/") + BASE
        return _json(capability(base, self._manners, exports=self._exports is not None))

    async def search(self, request: Request) -> Response:
        given = list(request.query_params.multi_items())
        if request.method == "POST":
            given += parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True)
        given = [pair for pair in given if pair[0] not in self._manners.ignored]
        kind = request.path_params["kind"]
        if kind == "Appointment" and self._manners.needs and not {name for name, _ in given} & set(self._manners.needs):
            raise RefusedError(400, "required", "one of " + ", ".join(self._manners.needs))
        strict = "handling=strict" in request.headers.get("prefer", "")
        return _json(Query.parse(kind, given, strict=strict).run(self._store, _base(request)))

    async def read(self, request: Request) -> Response:
        return _resource(self._found(request))

    async def create(self, request: Request) -> Response:
        kind = request.path_params["kind"]
        resource = _checked(await _body(request), kind)
        if (condition := request.headers.get("if-none-exist")) and self._manners.conditional:
            query = Query.parse(kind, parse_qsl(condition, keep_blank_values=True), strict=True)
            if not query.applied:
                raise RefusedError(412, "invalid", "a condition without a criterion")
            there = query.run(self._store, _base(request)).get("entry", [])
            if len(there) > 1:
                raise RefusedError(412, "multiple-matches", "the condition finds several")
            if there:
                return _resource(there[0]["resource"])
        resource.pop("id", None)  # FHIR R4 http.html#create: the server gives the id
        if kind == "AppointmentResponse":
            self._respond(resource)
        return _resource(self._store.put(resource), 201, _base(request))

    async def update(self, request: Request) -> Response:
        kind, own = request.path_params["kind"], request.path_params["own"]
        resource = _checked(await _body(request), kind)
        if resource.get("id") != own:
            raise RefusedError(400, "invalid", "the id in the body is not the one in the address")
        self._changeable(kind)
        new = self._store.get(kind, own) is None
        stored = self._store.put(resource, if_match=request.headers.get("if-match"))
        return _resource(stored, 201 if new else 200, _base(request))

    async def patch(self, request: Request) -> Response:
        self._changeable(request.path_params["kind"])
        if not self._manners.patches:
            raise RefusedError(405, "not-supported", "no PATCH here")
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

    def _changeable(self, kind: str) -> None:
        if kind == "Appointment" and self._manners.answers_only:
            raise RefusedError(405, "not-supported", "only by AppointmentResponse")

    def _respond(self, response: Resource) -> None:
        """Give a participant the status of their answer (FHIR R4 AppointmentResponse)."""
        named = [str(one) for one in values_at(response, ("appointment", "reference"))]
        visit = self._store.get("Appointment", named[0].rpartition("/")[2]) if named else None
        if visit is None:
            raise RefusedError(422, "processing", "AppointmentResponse.appointment")
        actor = values_at(response, ("actor", "reference"))
        told = [one for one in visit["participant"] if actor and one["actor"].get("reference") == actor[0]]
        if not told:
            raise RefusedError(422, "processing", "AppointmentResponse.actor")
        told[0]["status"] = response["participantStatus"]
        self._store.put(visit)

    def _found(self, request: Request) -> Resource:
        found = self._store.get(request.path_params["kind"], request.path_params["own"])
        if found is None:
            raise RefusedError(404, "not-found", "no resource of that id")
        return found


def capability(base: str, manners: Manners = USUAL, *, exports: bool = False) -> Resource:
    """Return what this server can do (FHIR R4 CapabilityStatement)."""
    rest: Resource = {"mode": "server", "resource": [_declared(kind, manners) for kind in PARAMETERS]}
    if exports:
        rest["operation"] = [{"name": "export", "definition": EXPORT}]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "kind": "instance",
        "fhirVersion": "4.0.1",
        "format": ["json"],
        "patchFormat": [JSON_PATCH] if manners.patches else [],
        "implementation": {"description": "Chartline sandbox: invented people only", "url": base},
        "rest": [rest],
    }


def _declared(kind: str, manners: Manners) -> Resource:
    fixed = kind == "Appointment" and manners.answers_only
    codes = ["read", "search-type", "create", *([] if fixed else ["update", "delete"])]
    codes += ["patch"] if manners.patches and not fixed else []
    parameters = sorted(PARAMETERS[kind].keys() - manners.ignored)
    found: Resource = {
        "type": kind,
        "interaction": [{"code": code} for code in codes],
        "versioning": "versioned-update",
        "conditionalCreate": manners.conditional,
        "searchParam": [{"name": name, "type": "special"} for name in parameters],
    }
    includes = [name for name in INCLUDES if name.startswith(f"{kind}:")]
    if includes and manners.includes:
        found["searchInclude"] = includes
    if kind == "Subscription" and manners.topics:
        found["supportedProfile"] = [SUBSCRIPTION]
        found["extension"] = [{"url": TOPICS, "valueCanonical": TOPIC}]
    return found


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

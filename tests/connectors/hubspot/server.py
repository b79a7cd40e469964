"""An account as HubSpot's published documents describe its API: what they do not allow, it refuses in their words."""

import itertools
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.connectors.hubspot.schema import CONTACT, PROPERTIES, SEARCH, UPSERT, faults, searchable, wrong

BASE = "https://api.hubapi.test"
TOKEN = "pat-na1-token"
PORTAL = 4711
KEY = "chartline_key"
CANARY = "Quackenbush"
"Stands in every message: texts of the other side may quote a record."

AT = "2026-11-20T14:03:00.000Z"
CORRELATION = "aeb5f871-7f07-4993-9211-075dc63e7cbf"
CAP = 10_000
"Records that one search leads through."


@dataclass(frozen=True)
class Fault:
    """What happens to one request instead of the usual; with `after` it is done first."""

    status: int = 0
    "0: the connection breaks."

    body: Any = None
    after: bool = False
    on: str = ""
    "A regular expression that method and path match."

    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Account:
    version: str = "2026-03"
    contacts: dict[str, dict[str, str | None]] = field(default_factory=dict)
    objects: dict[str, dict[str, dict[str, str]]] = field(default_factory=lambda: {name: {} for name in PROPERTIES})
    links: set[tuple[str, str, str]] = field(default_factory=set)
    "Kind, object and contact."

    unique: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(PROPERTIES, True))
    "Whether the key's property of a kind has unique values; a kind that is not there has no such property."

    asked: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    searches: deque[float] = field(default_factory=lambda: deque(maxlen=5))
    now: Callable[[], float] | None = None
    "Seconds, for the limit of searches; None for no limit."

    page: int = 100
    country: bool = False
    "Whether the country code stays in the numbers that can be searched for."

    def __post_init__(self) -> None:
        self._numbers = itertools.count(501)
        objects = f"/crm/objects/{self.version}/"
        self.app = Starlette(
            routes=[
                Route(f"/account-info/{self.version}/details", self._around(self._details)),
                Route(f"/crm/properties/{self.version}/{{kind}}/{{name}}", self._around(self._property)),
                Route(objects + "contacts/search", self._around(self._search), methods=["POST"]),
                Route(objects + "{kind}/batch/upsert", self._around(self._upsert), methods=["POST"]),
                Route(
                    objects + "{kind}/{own}/associations/default/contacts/{contact}",
                    self._around(self._associate),
                    methods=["PUT"],
                ),
            ],
            exception_handlers={404: lambda *_: refused(404, "RESOURCE_NOT_FOUND")},
        )

    def add(self, **said: str | None) -> str:
        own = str(next(self._numbers))
        self.contacts[own] = {"firstname": None, "lastname": "Sample", "phone": None, "mobilephone": None} | said
        return own

    def count(self, pattern: str) -> int:
        return sum(re.match(pattern, one) is not None for one in self.asked)

    def _around(self, inner: Callable[[Request, bytes], Response]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            body = await request.body()
            what = f"{request.method} {request.url.path}"
            self.asked.append(what)
            self.bodies.append(body)
            due = self.faults[0] if self.faults and re.match(self.faults[0].on, what) else None
            if due is not None:
                self.faults.popleft()
                if not due.after:
                    return struck(due)
            if request.headers.get("authorization") != f"Bearer {TOKEN}":
                return refused(401, "INVALID_AUTHENTICATION")
            if request.method == "POST" and request.headers.get("content-type") != "application/json":
                return refused(415, "VALIDATION_ERROR")
            answer = inner(request, body)
            return answer if due is None else struck(due)

        return endpoint

    def _details(self, *_: Any) -> Response:
        said = {"portalId": PORTAL, "accountType": "STANDARD", "timeZone": "US/Eastern", "companyCurrency": "USD"}
        said |= {"additionalCurrencies": [], "utcOffset": "-05:00", "utcOffsetMilliseconds": -18_000_000}
        return json(200, said | {"uiDomain": "app.hubspot.com", "dataHostingLocation": "na1"})

    def _property(self, request: Request, _: bytes) -> Response:
        kind, name = request.path_params["kind"], request.path_params["name"]
        if name != KEY or kind not in self.unique:
            return refused(404, "OBJECT_NOT_FOUND")
        said = {"name": name, "label": "Chartline", "type": "string", "fieldType": "text", "options": []}
        return json(200, said | {"description": "", "groupName": "x", "hasUniqueValue": self.unique[kind]})

    def _search(self, _: Request, body: bytes) -> Response:
        if self.now is not None:
            now = self.now()
            if len(self.searches) == self.searches.maxlen and now - self.searches[0] < 1:
                return limited("SECONDLY")
            self.searches.append(now)
        asked, problems = parsed(body, SEARCH)
        if problems:
            return refused(400, "VALIDATION_ERROR", problems)
        groups = [one["filters"] for one in asked["filterGroups"]]
        named = {one["propertyName"] for group in groups for one in group} | set(asked["properties"])
        begin = int(asked["after"]) if asked["after"].isdigit() else CAP
        if len(groups) > 5 or not 1 <= asked["limit"] <= 200 or named - CONTACT or begin + asked["limit"] > CAP:
            return refused(400, "VALIDATION_ERROR")
        found = [
            (own, contact)
            for own, contact in self.contacts.items()
            if any(all(self._holds(contact, one) for one in group) for group in groups)
        ]
        size = min(asked["limit"], self.page)
        results = [shown(own, {name: contact.get(name) for name in asked["properties"]}) for own, contact in found]
        said: dict[str, Any] = {"total": len(found), "results": results[begin : begin + size]}
        if len(found) > begin + size:
            said["paging"] = {"next": {"after": str(begin + size), "link": f"{BASE}/?after={begin + size}"}}
        return json(200, said)

    def _holds(self, contact: dict[str, str | None], one: dict[str, Any]) -> bool:
        calculated = {
            f"hs_searchable_calculated_{name}_number": searchable(contact[held], country=self.country)
            for name, held in (("phone", "phone"), ("mobile", "mobilephone"))
        }
        value = (calculated | contact).get(one["propertyName"])
        return value in one["values"] if one["operator"] == "IN" else value == one.get("value")

    def _upsert(self, request: Request, body: bytes) -> Response:
        kind = request.path_params["kind"]
        asked, problems = parsed(body, UPSERT)
        if kind not in PROPERTIES or problems or len(asked["inputs"]) > 100:
            return refused(400, "VALIDATION_ERROR", problems)
        results = []
        for one in asked["inputs"]:
            if one.get("idProperty") != KEY or self.unique.get(kind) is not True:
                return refused(400, "VALIDATION_ERROR", ["idProperty"])
            own = next((own for own, held in self.objects[kind].items() if held[KEY] == one["id"]), None)
            if bad := wrong(kind, one["properties"], KEY, creating=own is None):
                return refused(400, "VALIDATION_ERROR", [name for name, _ in bad], code=bad[0][1])
            new = own is None
            own = own or str(next(self._numbers))
            held = self.objects[kind].setdefault(own, {KEY: one["id"]})
            held |= one["properties"]
            results.append(shown(own, dict(held)) | {"new": new})
        return json(200, {"status": "COMPLETE", "results": results, "startedAt": AT, "completedAt": AT})

    def _associate(self, request: Request, body: bytes) -> Response:
        kind, own, contact = (request.path_params[name] for name in ("kind", "own", "contact"))
        if body:
            return refused(400, "VALIDATION_ERROR")
        if own not in self.objects.get(kind, {}) or contact not in self.contacts:
            return refused(404, "OBJECT_NOT_FOUND")
        self.links.add((kind, own, contact))
        spec = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 194}
        results = [{"from": {"id": own}, "to": {"id": contact}, "associationSpec": spec}]
        return json(200, {"status": "COMPLETE", "results": results, "startedAt": AT, "completedAt": AT})


def parsed(body: bytes, shape: Any) -> tuple[Any, list[str]]:
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None, ["body"]
    return said, faults(said, shape)


def shown(own: str, properties: dict[str, Any]) -> dict[str, Any]:
    """Return a SimplePublicObject; every one carries its id among its properties."""
    said = {"id": own, "archived": False, "createdAt": AT, "updatedAt": AT}
    return said | {"properties": properties | {"hs_object_id": own}}


def struck(due: Fault) -> Response:
    if due.status == 0:
        raise httpx.ReadError("the connection broke")
    body = due.body if isinstance(due.body, bytes) else orjson.dumps(due.body)
    return Response(body, due.status, due.headers, "application/json")


def json(status: int, said: Any) -> Response:
    return Response(orjson.dumps(said), status, media_type="application/json;charset=utf-8")


def error(category: str, names: list[str] | None = None, *, code: str = "INVALID") -> dict[str, Any]:
    """Return an Error document, with a record's words in its message."""
    words = f"{category}: {CANARY}, +12125550177"
    details = [{"message": words, "code": code, "context": {"propertyName": [name]}} for name in names or ()]
    said = {"status": "error", "message": words, "correlationId": CORRELATION, "category": category}
    return said | ({"errors": details} if details else {})


def refused(status: int, category: str, names: list[str] | None = None, *, code: str = "INVALID") -> Response:
    return json(status, error(category, names, code=code))


def limit(policy: str) -> dict[str, str]:
    """Return the document of a 429 (developer documentation, usage guidelines)."""
    said = {"status": "error", "message": f"You have reached your limit. {CANARY}", "errorType": "RATE_LIMIT"}
    return said | {"correlationId": CORRELATION, "policyName": policy, "category": "RATE_LIMITS"}


def limited(policy: str) -> Response:
    return json(429, limit(policy))

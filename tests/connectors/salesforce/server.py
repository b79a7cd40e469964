"""An org as Salesforce's published pages describe its REST API: what they do not allow, it refuses in their words."""

import itertools
import re
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
import jwt
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.connectors.salesforce.language import MalformedError, matches, soql, sosl
from tests.connectors.salesforce.schema import KEY_FIELD, PREFIXES, SCHEMA, describe, fault, record_id

LOGIN = "https://login.salesforce.test"
INSTANCE = "https://harbor.my.salesforce.test"
CONSUMER = "3MVG9consumer"
CLIENT_SECRET = "not-the-key"
USERNAME = "chartline@harbor.test"
VERSION = "67.0"
CANARY = "Quackenbush"
"Stands in every message: texts of the other side may quote a record."

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass(frozen=True)
class Fault:
    """What happens to one request instead of the usual; with `after` it is done first."""

    status: int = 0
    "0: the connection breaks."

    body: Any = None
    after: bool = False
    on: str = ""
    "A regular expression that method and path match, as `PATCH .*Task`."


@dataclass
class Org:
    public_key: bytes
    clock: Callable[[], datetime]
    instance: str = INSTANCE
    login: str = LOGIN
    sessions: set[str] = field(default_factory=set)
    records: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {name: {} for name in SCHEMA})
    asked: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    used: int = 14
    limit: int = 100_000
    rows: int = 2000
    "Records of one page of a query."

    token_instance: str = ""
    "What the token answer calls the instance, where that is another."

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)
        self._locators: dict[str, list[dict[str, Any]]] = {}
        root = f"/services/data/v{VERSION}"
        self.app = Starlette(
            routes=[
                Route("/services/oauth2/token", self._around(self._token), methods=["POST"]),
                Route(root + "/sobjects/{sobject}/describe", self._around(self._describe)),
                Route(root + "/sobjects/{sobject}", self._around(self._create), methods=["POST"]),
                Route(
                    root + "/sobjects/{sobject}/{field}/{value:path}",
                    self._around(self._external),
                    methods=["GET", "PATCH"],
                ),
                Route(root + "/search", self._around(self._search)),
                Route(root + "/query", self._around(self._query)),
                Route(root + "/query/{locator}", self._around(self._more)),
            ],
            exception_handlers={404: lambda *_: refused(404, "NOT_FOUND")},
        )

    def add(self, sobject: str, **said: Any) -> str:
        own = record_id(sobject, next(self._numbers))
        base: dict[str, Any] = {
            "FirstName": None,
            "LastName": "Sample",
            "LastModifiedDate": "2026-11-20T14:03:00.000+0000",
        }
        if sobject == "Lead":
            base["IsConverted"] = False
        if sobject == "Account":
            base["IsPersonAccount"] = True
        self.records[sobject][own] = ({} if sobject == "Task" else base) | said | {"Id": own}
        return own

    @property
    def tasks(self) -> list[dict[str, Any]]:
        return list(self.records["Task"].values())

    def count(self, pattern: str) -> int:
        return sum(re.match(pattern, one) is not None for one in self.asked)

    def _around(self, inner: Callable[[Request, bytes], Response]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            body = await request.body()
            what = f"{request.method} {request.url.path}"
            self.asked.append(what)
            self.bodies.append(body + b" " + request.url.query.encode())
            ours = self.login if request.url.path == "/services/oauth2/token" else self.instance
            if str(request.base_url).rstrip("/") not in {ours, self.instance}:
                return refused(404, "NOT_FOUND")
            due = self.faults[0] if self.faults and re.match(self.faults[0].on, what) else None
            if due is not None:
                self.faults.popleft()
                if not due.after:
                    return self._struck(due)
            answer = self._admitted(request, body, inner)
            return answer if due is None else self._struck(due)

        return endpoint

    def _struck(self, due: Fault) -> Response:
        if due.status == 0:
            raise httpx.ReadError("the connection broke")
        body = due.body if isinstance(due.body, bytes) else orjson.dumps(due.body)
        return Response(body, due.status, self._limits(), "application/json;charset=UTF-8")

    def _limits(self) -> dict[str, str]:
        return {"Sforce-Limit-Info": f"api-usage={self.used}/{self.limit}"}

    def _admitted(self, request: Request, body: bytes, inner: Callable[[Request, bytes], Response]) -> Response:
        if request.url.path == "/services/oauth2/token":
            return inner(request, body)
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if bearer not in self.sessions:
            return refused(401, "INVALID_SESSION_ID")
        self.used += 1
        if self.used > self.limit:
            return refused(403, "REQUEST_LIMIT_EXCEEDED")
        answer = inner(request, body)
        answer.headers.update(self._limits())
        return answer

    def _token(self, request: Request, body: bytes) -> Response:
        if request.headers.get("content-type") != "application/x-www-form-urlencoded":
            return token_refused("unsupported_grant_type", "grant type not supported")
        form = dict(httpx.QueryParams(body.decode()))
        if form.get("grant_type") == JWT_BEARER:
            problem = self._unproven(form.get("assertion", ""))
        elif form.get("grant_type") == "client_credentials":
            here = str(request.base_url).rstrip("/") == self.instance
            good = (form.get("client_id"), form.get("client_secret")) == (CONSUMER, CLIENT_SECRET)
            problem = None if good and here else ("invalid_client", "invalid client credentials")
        else:
            problem = ("unsupported_grant_type", "grant type not supported")
        if problem:
            return token_refused(*problem)
        token = f"00D!{secrets.token_urlsafe(24)}"
        self.sessions.add(token)
        said = {"access_token": token, "scope": "api", "instance_url": self.token_instance or self.instance}
        return json(200, said | {"id": f"{self.login}/id/00D/005", "token_type": "Bearer"})

    def _unproven(self, assertion: str) -> tuple[str, str] | None:
        """Return what is wrong with an assertion, as the token endpoint puts it."""
        try:
            said = jwt.decode(
                assertion,
                self.public_key,
                algorithms=["RS256"],
                options={"verify_exp": False, "verify_aud": False, "require": ["iss", "sub", "aud", "exp"]},
            )
        except jwt.PyJWTError:
            return "invalid_grant", "invalid assertion"
        now = self.clock().timestamp()
        if said["iss"] != CONSUMER:
            return "invalid_client_id", "client identifier invalid"
        if said["aud"] != self.login:
            return "invalid_grant", "audience is invalid"
        if said["exp"] <= now:
            return "invalid_grant", "expired authorization code"
        if said["exp"] > now + 180:
            return "invalid_grant", "invalid assertion"
        return None if said["sub"] == USERNAME else ("invalid_grant", "user hasn't approved this consumer")

    def _describe(self, request: Request, _: bytes) -> Response:
        sobject = request.path_params["sobject"]
        return json(200, describe(sobject)) if sobject in SCHEMA else refused(404, "NOT_FOUND")

    def _search(self, request: Request, _: bytes) -> Response:
        try:
            asked = sosl(request.query_params.get("q", ""))
        except MalformedError:
            return refused(400, "MALFORMED_SEARCH")
        found: list[dict[str, Any]] = []
        for part in asked.returning:
            if part.sobject not in SCHEMA:
                return refused(400, "INVALID_TYPE")
            known = SCHEMA[part.sobject]
            if not set(part.fields) <= known.keys() or (part.where and part.where[0] not in known):
                return refused(400, "INVALID_FIELD")
            searched = [name for name, one in known.items() if one.type == "phone"]
            hits = [
                record
                for record in self.records[part.sobject].values()
                if (part.where is None or record.get(part.where[0]) is part.where[1])
                and any(matches(one, record.get(name) or "") for one in asked.phrases for name in searched)
            ]
            found += [shown(part.sobject, record, part.fields) for record in hits[: part.limit]]
        return json(200, {"searchRecords": found})

    def _query(self, request: Request, _: bytes) -> Response:
        try:
            fields, sobject, name, value = soql(request.query_params.get("q", ""))
        except MalformedError:
            return refused(400, "MALFORMED_QUERY")
        if sobject not in SCHEMA or not {*fields, name} <= SCHEMA[sobject].keys():
            return refused(400, "INVALID_FIELD")
        found = [shown(sobject, one, fields) for one in self.records[sobject].values() if one.get(name) == value]
        return self._page(found, len(found))

    def _more(self, request: Request, _: bytes) -> Response:
        rest = self._locators.pop(request.path_params["locator"], None)
        return refused(400, "INVALID_QUERY_LOCATOR") if rest is None else self._page(rest, len(rest))

    def _page(self, found: list[dict[str, Any]], total: int) -> Response:
        page, rest = found[: self.rows], found[self.rows :]
        said: dict[str, Any] = {"totalSize": total, "done": not rest, "records": page}
        if rest:
            locator = f"01g{len(self._locators):012}-{self.rows}"
            self._locators[locator] = rest
            said["nextRecordsUrl"] = f"/services/data/v{VERSION}/query/{locator}"
        return json(200, said)

    def _create(self, request: Request, body: bytes) -> Response:
        if request.path_params["sobject"] != "Task":
            return refused(404, "NOT_FOUND")
        return self._saved(body, {}, None)

    def _external(self, request: Request, body: bytes) -> Response:
        sobject, name, value = (request.path_params[part] for part in ("sobject", "field", "value"))
        if sobject != "Task" or not SCHEMA["Task"].get(name, SCHEMA["Task"]["Subject"]).external:
            return refused(404, "NOT_FOUND")
        found = [one for one in self.tasks if one.get(name) == value]
        if len(found) > 1:
            root = f"/services/data/v{VERSION}/sobjects/Task/"
            return json(300, [root + one["Id"] for one in found])
        if request.method == "PATCH":
            return self._saved(body, {name: value}, found[0] if found else None)
        if not found:
            return refused(404, "NOT_FOUND")
        return json(200, shown("Task", found[0], tuple(request.query_params["fields"].split(","))))

    def _saved(self, body: bytes, key: dict[str, str], old: dict[str, Any] | None) -> Response:
        try:
            said = orjson.loads(body)
        except orjson.JSONDecodeError:
            said = None
        if not isinstance(said, dict):
            return refused(400, "JSON_PARSER_ERROR")
        if key.keys() & said.keys():
            return refused(400, "INVALID_FIELD")
        for name, value in said.items():
            if found := fault(name, value, creating=old is None):
                return refused(400, *found)
        for name in ("WhoId", "WhatId"):
            if name in said and not self._there(name, said[name]):
                return refused(400, "INVALID_CROSS_REFERENCE_KEY", [name])
        if old is not None:
            old |= said
            return json(200, {"id": old["Id"], "errors": [], "success": True, "created": False})
        held = said.get(KEY_FIELD)
        if held is not None and any(one.get(KEY_FIELD) == held for one in self.tasks):
            return refused(400, "DUPLICATE_VALUE", [])
        own = self.add("Task", **({"Status": "Not Started", "Priority": "Normal"} | said | key))
        created = {"created": True} if key else {}
        return json(201, {"id": own, "errors": [], "success": True} | created)

    def _there(self, name: str, own: str) -> bool:
        names = [sobject for sobject in SCHEMA["Task"][name].refers if own.startswith(PREFIXES[sobject])]
        return any(own in self.records[sobject] for sobject in names)


def shown(sobject: str, record: dict[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    url = f"/services/data/v{VERSION}/sobjects/{sobject}/{record['Id']}"
    return {"attributes": {"type": sobject, "url": url}} | {name: record.get(name) for name in fields}


def json(status: int, said: Any) -> Response:
    return Response(orjson.dumps(said), status, media_type="application/json;charset=UTF-8")


def error(code: str, fields: list[str] | None = None) -> list[dict[str, Any]]:
    """Return an error document, with a record's words in its message."""
    entry: dict[str, Any] = {"message": f"{code.lower()}: {CANARY}, +12125550177", "errorCode": code}
    return [entry | ({} if fields is None else {"fields": fields})]


def refused(status: int, code: str, fields: list[str] | None = None) -> Response:
    return json(status, error(code, fields))


def token_refused(code: str, words: str) -> Response:
    return json(400, {"error": code, "error_description": f"{words} {CANARY}"})

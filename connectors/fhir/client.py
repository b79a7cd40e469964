"""The FHIR R4 RESTful API over the context's HTTP client (FHIR R4 http.html, search.html, bundle.html)."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qs, quote, urljoin

import httpx
import orjson

from connectors.api import AuthExpiredError, Context, RejectedError, TransientError
from connectors.fhir.auth import Authorization, Headers
from connectors.fhir.bundle import divided
from connectors.fhir.capability import JSON_PATCH, Capabilities
from connectors.fhir.reading import Resource, inner, items, text
from connectors.fhir.settings import FhirSettings

FHIR_JSON = "application/fhir+json"

Params = tuple[tuple[str, str], ...]
"Search parameters; one that stands twice must hold twice (FHIR R4 search.html#combining)."

PAGES = 10_000
"More pages than this of one search are a server that leads in circles."


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a search."""

    matches: list[Resource]
    beside: dict[str, Resource]
    "Included resources, by relative reference such as Patient/42; and whatever has a urn: for its fullUrl, by that."

    echoed: frozenset[str]
    "Names of the parameters in Bundle.link[self]: what the server really looked at (FHIR R4 search.html#conformance)."

    next: str | None
    "Where the next page is; opaque."

    at: datetime | None
    "When the server answered, by its own clock."


@dataclass(frozen=True, slots=True)
class Read:
    """One resource as it stands, and how to say that version."""

    resource: Resource
    etag: str | None
    "For If-Match, as the server wrote it."

    version: str | None = field(init=False)
    "meta.versionId, or what the ETag says."

    def __post_init__(self) -> None:
        said = text(str(inner(self.resource, "meta", "versionId") or "")) or version_in(self.etag)
        object.__setattr__(self, "version", said)


def version_in(etag: str | None) -> str | None:
    """Return the version id that a weak or strong ETag holds."""
    return etag.removeprefix("W/").strip('"') or None if etag else None


class Client:
    """Asks one server, as one connection's settings say, with what lets requests in (`connectors.fhir.auth`)."""

    def __init__(self, ctx: Context, settings: FhirSettings, auth: Authorization) -> None:
        self._ctx = ctx
        self.settings = settings
        self._base = settings.base
        self._headers = {"Accept": FHIR_JSON, "Prefer": "handling=lenient"} | settings.vendor.headers
        self._auth = auth

    async def capabilities(self) -> Capabilities:
        """Return what the server declares.

        Raises:
            RejectedError: it is no FHIR R4 (or R4B) server.
        """
        statement = resource_in(await self.send("GET", "metadata"))
        if statement.get("resourceType") != "CapabilityStatement":
            raise RejectedError("no-capability-statement", field="CapabilityStatement")
        found = Capabilities.of(statement)
        if not found.fhir_version.startswith("4."):
            raise RejectedError("not-fhir-r4", field="CapabilityStatement.fhirVersion")
        return found

    async def read(self, kind: str, logical_id: str) -> Read | None:
        """Return a resource, or None if there is none of that id."""
        try:
            answer = await self.send("GET", f"{kind}/{quote(logical_id, safe='')}")
        except RejectedError as error:
            if error.reason in {"http-404", "http-410"}:
                return None
            raise
        return Read(resource_in(answer), answer.headers.get("etag"))

    async def page(self, kind: str, params: Params, *, following: str | None = None, explained: bool = False) -> Page:
        """Return the first page of a search, or the one that `following` leads to.

        Raises:
            RejectedError: the search is refused; with `explained` by the code of its OperationOutcome.
        """
        first = (*params, *self.settings.search_parameters.items())
        how: dict[str, Any] = {"extensions": {"answers": _EXPLAINED}} if explained else {}
        answer = await (
            self.send("GET", following, **how) if following else self.send("GET", kind, params=first, **how)
        )
        if answer.status_code in _EXPLAINED:
            raise _refusal(answer)
        bundle = resource_in(answer)
        if bundle.get("resourceType") != "Bundle":
            raise RejectedError("no-bundle", field=kind)
        return _page(bundle, kind, answer, self._base)

    async def pages(
        self, kind: str, params: Params, *, most: int = PAGES, explained: bool = False
    ) -> AsyncIterator[Page]:
        """Yield the pages of a search, at most `most`.

        Raises:
            RejectedError: the pages lead in a circle, or see `page`.
        """
        following, seen = None, set()
        for _ in range(most):
            page = await self.page(kind, params, following=following, explained=explained)
            yield page
            if page.next is None:
                return
            if page.next in seen:
                raise RejectedError("paging-in-a-circle", field=kind)
            seen.add(page.next)
            following = page.next

    async def create(self, resource: Resource, *, unless: str | None = None) -> Read:
        """Create a resource; with `unless` (a search), only if it finds nothing (FHIR R4 http.html#ccreate)."""
        headers = {"If-None-Exist": unless} if unless else {}
        return await self._write("POST", str(resource["resourceType"]), resource, FHIR_JSON, headers)

    async def update(self, resource: Resource, *, if_match: str | None) -> Read:
        """Replace a resource, if it still is the version of `if_match` (FHIR R4 http.html#concurrency).

        Raises:
            ConflictError: it is not.
        """
        path = f"{resource['resourceType']}/{quote(str(resource['id']), safe='')}"
        return await self._write("PUT", path, resource, FHIR_JSON, _if_match(if_match))

    async def patch(self, kind: str, logical_id: str, operations: list[Resource], *, if_match: str | None) -> Read:
        """Change a resource by JSON Patch (RFC 6902), if it still is the version of `if_match`.

        Raises:
            ConflictError: it is not.
        """
        path = f"{kind}/{quote(logical_id, safe='')}"
        return await self._write("PATCH", path, operations, JSON_PATCH, _if_match(if_match))

    async def _write(self, method: str, path: str, body: Any, kind: str, headers: dict[str, str]) -> Read:
        answer = await self.send(
            method,
            path,
            content=orjson.dumps(body),
            headers={"Content-Type": kind, "Prefer": "return=representation"} | headers,
        )
        try:
            resource = resource_in(answer)
        except TransientError:
            resource = {}  # it was done, as the status says; only its picture is missing
        if not resource.get("id"):  # Prefer is a wish: the id may stand in Location only
            resource = resource | {"id": _id_in(answer.headers.get("location", ""))}
        return Read(resource, answer.headers.get("etag"))

    async def send(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **how: Any
    ) -> httpx.Response:
        """Return the answer to a request for `path` under the base, or a whole address that the server gave.

        Credentials go to the base's host only.
        """
        url = _joined(self._base, path)
        sent = self._headers | dict(headers or {})
        if not self.settings.at_base(url):  # a link to elsewhere: the settings allow it or not, credentials stay here
            return await self._ctx.http.request(method, url, headers=sent, **how)
        shown: Headers = await self._auth.headers(self._ctx)
        try:
            return await self._ctx.http.request(method, url, headers=sent | shown, **how)
        except AuthExpiredError:
            # A token may end before its time. The request was refused, so that it may go again, whatever it is.
            fresh = await self._auth.renewed(self._ctx, shown)
            if fresh is None:
                raise
        return await self._ctx.http.request(method, url, headers=sent | fresh, **how)

    @asynccontextmanager
    async def streamed(self, address: str, *, with_token: bool, accept: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Yield the pieces of an answer as they come in; credentials go along only `with_token`."""
        url = _joined(self._base, address)
        sent = self._headers | {"Accept": accept}
        shown = await self._auth.headers(self._ctx) if with_token and self.settings.at_base(url) else {}
        async with AsyncExitStack() as stack:

            async def opened(headers: Headers) -> httpx.Response:
                streaming = self._ctx.http.stream("GET", url, headers=headers, extensions={"streamed": True})
                return await stack.enter_async_context(streaming)

            try:
                answer = await opened(sent | shown)
            except AuthExpiredError:
                fresh = await self._auth.renewed(self._ctx, shown) if shown else None
                if fresh is None:
                    raise
                answer = await opened(sent | fresh)
            yield answer.aiter_bytes()


def _if_match(etag: str | None) -> dict[str, str]:
    return {"If-Match": etag} if etag else {}


def resource_in(answer: httpx.Response) -> Resource:
    """Return the JSON object that came.

    Raises:
        TransientError: it was cut off on the way.
        RejectedError: it tells of an error, whatever the status was.
    """
    try:
        found = orjson.loads(answer.content.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise TransientError("an answer that is no JSON object")
    if found.get("resourceType") == "OperationOutcome":
        for issue in items(found.get("issue")):
            if text(issue.get("severity")) in {"error", "fatal"}:
                raise RejectedError("operation-outcome", field=_issue_code(issue))
    return found


_EXPLAINED = frozenset({400, 422})
"Statuses of a refused search whose body may say why (FHIR R4 http.html#search)."


def _refusal(answer: httpx.Response) -> RejectedError:
    try:
        resource_in(answer)
    except RejectedError as error:
        return error
    except TransientError:
        pass  # no JSON: the status alone speaks
    return RejectedError(f"http-{answer.status_code}")


_ISSUE_CODES = re.compile(
    "invalid|structure|required|value|invariant|security|login|unknown|expired|forbidden|suppressed|processing|"
    "not-supported|duplicate|multiple-matches|not-found|deleted|too-long|code-invalid|extension|too-costly|"
    "business-rule|conflict|transient|lock-error|no-store|exception|timeout|incomplete|throttled"
)
"FHIR R4 issue-type. Only these are repeated: diagnostics may quote what was sent."


def _issue_code(issue: Resource) -> str:
    code = str(issue.get("code"))
    return code if _ISSUE_CODES.fullmatch(code) else "unknown"


def _page(bundle: Resource, kind: str, answer: httpx.Response, base: str) -> Page:
    links = {str(link.get("relation")): text(link.get("url")) for link in items(bundle.get("link"))}
    matches, beside = divided(bundle, kind)
    following = links.get("next")
    return Page(
        matches=matches,
        beside=beside,
        echoed=frozenset(parse_qs((links.get("self") or "").partition("?")[2], keep_blank_values=True)),
        next=str(_joined(base, following)) if following else None,
        at=_sent_at(answer),
    )


def _joined(base: str, path: str) -> httpx.URL:
    """Return the address of `path`, which may be a whole one that the server gave.

    Raises:
        RejectedError: it is none.
    """
    try:
        return httpx.URL(urljoin(f"{base}/", path))
    except (ValueError, httpx.InvalidURL):
        pass  # its text quotes the address
    raise RejectedError("no-address", field="Bundle.link")


def _sent_at(answer: httpx.Response) -> datetime | None:
    try:
        return parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        return None


def _id_in(location: str) -> str:
    """Return the id in [base]/[type]/[id]/_history/[vid]."""
    return location.split("/_history/")[0].rstrip("/").rpartition("/")[2]

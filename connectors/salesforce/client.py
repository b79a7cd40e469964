"""The Salesforce REST API over the context's HTTP client (REST API Developer Guide, version of the settings)."""

from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from connectors.api import AuthExpiredError, Context, RejectedError, TransientError, UnknownOutcomeError
from connectors.salesforce.auth import Tokens
from connectors.salesforce.budget import Budget
from connectors.salesforce.refusal import READ, error_of
from connectors.salesforce.settings import SalesforceSettings

Record = dict[str, Any]
"An sObject as JSON."

PAGES = 100
"More pages than this of one query are a server that leads in circles."


class Client:
    """Asks one org, as one connection's settings say."""

    def __init__(self, ctx: Context, settings: SalesforceSettings, tokens: Tokens, budget: Budget) -> None:
        self._ctx = ctx
        self._tokens = tokens
        self._budget = budget
        self._instance = settings.instance
        self._root = f"/services/data/v{settings.api_version}/"

    async def describe(self, sobject: str) -> dict[str, Record]:
        """Return the fields of an object that the signed-in user sees, by name (sObject Describe)."""
        said = _object(await self._send("GET", f"{self._root}sobjects/{sobject}/describe"))
        return {str(one.get("name")): one for one in _records(said, "fields")}

    async def search(self, statement: str) -> list[Record]:
        """Return the records that a SOSL statement finds (Search)."""
        said = _object(await self._send("GET", f"{self._root}search", params={"q": statement}))
        return _records(said, "searchRecords")

    async def query(self, statement: str) -> AsyncIterator[Record]:
        """Yield the records of a SOQL query, page by page (Query, Query More Results).

        Raises:
            RejectedError: the pages lead in a circle, or out of the API.
        """
        said = _object(await self._send("GET", f"{self._root}query", params={"q": statement}))
        seen: set[str] = set()
        while True:
            for record in _records(said, "records"):
                yield record
            following = said.get("nextRecordsUrl")
            if said.get("done") is not False or not isinstance(following, str):
                return
            if following in seen or len(seen) >= PAGES:
                raise RejectedError("paging-in-a-circle", field="nextRecordsUrl")
            if not following.startswith("/services/data/"):
                raise RejectedError("no-address", field="nextRecordsUrl")
            seen.add(following)
            said = _object(await self._send("GET", following))

    async def upsert(self, sobject: str, field: str, key: str, record: Record) -> str | None:
        """Write the record whose external id is `key`, and return its id, if the answer says it.

        Raises:
            TransientError: no answer came; it may have been written, and a repeat finds it by its key.
            RejectedError: `field` is not there, or `key` stands in two records.
        """
        path = f"{self._root}sobjects/{sobject}/{field}/{quote(key, safe='')}"
        try:
            answer = await self._send("PATCH", path, record=record)
        except UnknownOutcomeError:
            answer = None
        if answer is None:
            raise TransientError("no answer to an upsert")
        return _written(answer)

    async def by_external_id(self, sobject: str, field: str, key: str) -> str | None:
        """Return the id of the record whose external id is `key`, or None."""
        path = f"{self._root}sobjects/{sobject}/{field}/{quote(key, safe='')}"
        try:
            said = _object(await self._send("GET", path, params={"fields": "Id"}))
        except RejectedError as error:
            if error.reason == "not-found":
                return None
            raise
        return str(said["Id"]) if isinstance(said.get("Id"), str) else None

    async def create(self, sobject: str, record: Record) -> str:
        """Create a record and return its id (sObject Basic Information).

        Raises:
            UnknownOutcomeError: no answer came, or one that does not name what was created.
        """
        own = _written(await self._send("POST", f"{self._root}sobjects/{sobject}", record=record))
        if own is None:
            raise UnknownOutcomeError("taken, and not named")
        return own

    async def _send(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, record: Record | None = None
    ) -> httpx.Response:
        token = await self._tokens.current(self._ctx)
        try:
            answer = await self._once(method, path, token, params, record)
        except AuthExpiredError:  # it ran out, or was revoked: nothing was done, so it may be said again
            answer = None
        if answer is None:
            token = await self._tokens.renewed(self._ctx, token)
            answer = await self._once(method, path, token, params, record)
        return answer

    async def _once(
        self, method: str, path: str, token: str, params: Mapping[str, str] | None, record: Record | None
    ) -> httpx.Response:
        self._budget.ask(self._ctx.clock())
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        if record is not None:
            headers["Content-Type"] = "application/json"
        answer = await self._ctx.http.request(
            method,
            self._instance + path,
            params=params,
            content=orjson.dumps(record) if record is not None else None,
            headers=headers,
            extensions={"answers": READ},
        )
        self._budget.note(answer.headers.get("sforce-limit-info", ""), self._ctx.clock())
        if answer.status_code >= 300:
            raise error_of(answer, record or ())
        return answer


def _object(answer: httpx.Response) -> Record:
    """Return the JSON object that came.

    Raises:
        TransientError: it was cut off on the way.
    """
    try:
        said = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, dict):
        raise TransientError("an answer that is no JSON object")
    return said


def _records(said: Record, name: str) -> list[Record]:
    """Return the objects of the list `name`.

    Raises:
        RejectedError: there is no such list; an answer that says something else is no empty one.
    """
    found = said.get(name)
    if not isinstance(found, list):
        raise RejectedError("not-understood", field=name)
    return [one for one in found if isinstance(one, dict)]


def _written(answer: httpx.Response) -> str | None:
    """Return the id in the answer to a write: 201 and 200 carry it, 204 has no body."""
    try:
        own = _object(answer).get("id")
    except TransientError:
        own = None  # it was done, as the status says
    return own if isinstance(own, str) and own else None

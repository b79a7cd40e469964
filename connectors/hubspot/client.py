"""HubSpot's CRM API over the context's HTTP client (published OpenAPI documents, version of the settings)."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from connectors.api import Context, RejectedError, TransientError, UnknownOutcomeError
from connectors.hubspot.pace import Pace
from connectors.hubspot.refusal import READ, category_error, error_of
from connectors.hubspot.settings import HubspotSettings

Record = dict[str, Any]
"A CRM object as JSON (SimplePublicObject)."

PAGE = 100
"Records of one page of a search; 200 is the most."

MOST = 10_000
"Records that one search leads through, however many there are (developer documentation, CRM search)."


class Client:
    """Asks one account, as one connection's settings say."""

    def __init__(self, ctx: Context, settings: HubspotSettings, pace: Pace) -> None:
        self._http = ctx.http
        self._pace = pace
        self._base = settings.base
        self._version = settings.api_version
        self._token = settings.token

    async def portal(self) -> int | None:
        """Return the id of the token's account (Account Info, PortalInformationResponse)."""
        said = _object(await self._send("GET", f"/account-info/{self._version}/details"))
        found = said.get("portalId")
        return found if isinstance(found, int) else None

    async def property(self, kind: str, name: str) -> Record | None:
        """Return the definition of a property of a kind of objects, or None (Properties, Property)."""
        try:
            return _object(await self._send("GET", f"/crm/properties/{self._version}/{kind}/{quote(name, safe='')}"))
        except RejectedError as error:
            if error.reason in {"object-not-found", "resource-not-found", "http-404"}:
                return None
            raise

    async def search(
        self, kind: str, sought: Mapping[str, Sequence[str]], properties: Sequence[str], *, most: int = MOST
    ) -> AsyncIterator[Record]:
        """Yield the records of which one property of `sought` has one of its values (PublicObjectSearchRequest).

        Raises:
            RejectedError: the pages lead in a circle.
        """
        body: Record = {
            "filterGroups": [
                {"filters": [{"propertyName": name, "operator": "IN", "values": list(values)}]}
                for name, values in sought.items()
            ],
            "properties": list(properties),
            "sorts": ["hs_object_id"],
            "limit": PAGE,
            "after": "0",
        }
        seen = {"0"}
        told = 0
        while told + PAGE <= min(most, MOST):
            await self._pace.turn()
            said = _object(await self._repeatable("POST", f"{self._objects(kind)}/search", body))
            for record in _records(said, "results"):
                yield record
            following = _after(said)
            if following is None:
                return
            if following in seen:
                raise RejectedError("paging-in-a-circle", field="paging.next.after")
            seen.add(following)
            body["after"] = following
            told += PAGE

    async def upsert(self, kind: str, unique: str, key: str, properties: dict[str, str]) -> str:
        """Write the record whose property `unique` is `key`, and return its id (batch upsert of one).

        Raises:
            TransientError: no answer came, or another write of the same is under way; a repeat finds it by its key.
        """
        body = {"inputs": [{"idProperty": unique, "id": key, "properties": properties}]}
        sent = {*properties, unique}
        said = _object(await self._repeatable("POST", f"{self._objects(kind)}/batch/upsert", body, sent=sent))
        for record in _records(said, "results"):
            if isinstance(record.get("id"), str):
                return str(record["id"])
        if "errors" in said:  # 207: taken as a whole, refused in part
            for one in _records(said, "errors"):
                raise category_error(one, 207, sent)
        raise TransientError("taken, and not named")

    async def associate(self, kind: str, own: str, contact: str) -> None:
        """Hang an object on a contact, with the usual label; a repeat changes nothing (Associations, default)."""
        ends = f"{quote(own, safe='')}/associations/default/contacts/{quote(contact, safe='')}"
        await self._send("PUT", f"{self._objects(kind)}/{ends}")

    def _objects(self, kind: str) -> str:
        return f"/crm/objects/{self._version}/{kind}"

    async def _repeatable(self, method: str, path: str, body: Record, *, sent: Collection[str] = ()) -> httpx.Response:
        """Send what may be said twice, though it is a POST: a search has no effect, an upsert the same one."""
        try:
            return await self._send(method, path, body, sent=sent)
        except UnknownOutcomeError:
            pass
        raise TransientError("no answer")

    async def _send(
        self, method: str, path: str, body: Record | None = None, *, sent: Collection[str] = ()
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._token.get_secret_value()}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        answer = await self._http.request(
            method,
            self._base + path,
            content=orjson.dumps(body) if body is not None else None,
            headers=headers,
            extensions={"answers": READ},
        )
        if answer.status_code >= 300:
            raise error_of(answer, sent)
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


def _after(said: Record) -> str | None:
    """Return where the next page begins (Paging, NextPage)."""
    paging = said.get("paging")
    following = paging.get("next") if isinstance(paging, dict) else None
    after = following.get("after") if isinstance(following, dict) else None
    return after if isinstance(after, str) and after else None

"""Record what a test system answers, as exchanges of a case, with the secrets taken out."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import orjson

HIDDEN = "taken-out"

ASKED = ("if-match", "if-none-exist")
"Headers of a request that its exchange wants to see again."

ANSWERED = ("content-type", "date", "etag", "location", "retry-after")
"Headers of an answer that are kept; cookies and the like are nobody's affair."

_TOKENS = re.compile(r"(token|secret|password|assertion)$", re.IGNORECASE)
"Names of fields whose values are taken out of bodies and queries."


class Recorder(httpx.AsyncBaseTransport):
    """Sends through `client`, and writes each exchange to a file of its own under `directory`.

    A secret that stands anywhere else than in a header or in a field that is called so must be among `secrets`. Real
    people are not taken out: record a test system, and read what was written.
    """

    def __init__(self, client: httpx.AsyncClient, directory: Path, secrets: Collection[str] = ()) -> None:
        self._client = client
        self._directory = directory
        self._secrets = sorted((one for one in secrets if one), key=len, reverse=True)
        self._written = len(list(directory.glob("*.json")))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the answer, once it is written."""
        await request.aread()
        sent = self._client.build_request(
            request.method, request.url, headers=request.headers, content=request.content or None
        )
        answer = await self._client.send(sent)
        self._written += 1
        name = re.sub(r"[^a-z0-9]+", "-", f"{request.method} {request.url.path}".lower()).strip("-")
        path = self._directory / f"{self._written:03d}-{name[:60]}.json"
        path.write_bytes(orjson.dumps(self._exchange(request, answer), option=orjson.OPT_INDENT_2) + b"\n")
        headers = [(name, value) for name, value in answer.headers.raw if name.lower() not in _TRANSFER]
        return httpx.Response(answer.status_code, headers=headers, content=answer.content, request=request)

    def _exchange(self, request: httpx.Request, answer: httpx.Response) -> dict[str, Any]:
        query: dict[str, Any] = {}
        for name, value in request.url.params.multi_items():
            query.setdefault(name, []).append(value)
        wanted: dict[str, Any] = {"method": request.method, "path": request.url.path}
        if query:
            wanted["query"] = {name: values[0] if len(values) == 1 else values for name, values in query.items()}
        if headers := _kept(request.headers, ASKED):
            wanted["headers"] = headers
        if request.content:
            wanted["body"] = _body(request.content, request.headers.get("content-type", ""))
        said = {
            "status": answer.status_code,
            "headers": _kept(answer.headers, ANSWERED),
            "body": _body(answer.content, answer.headers.get("content-type", "")) if answer.content else None,
        }
        found: dict[str, Any] = self._without_secrets({"request": wanted, "response": said})
        return found

    def _without_secrets(self, value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {inner: self._without_secrets(one, inner) for inner, one in value.items()}
        if isinstance(value, list):
            return [self._without_secrets(one, name) for one in value]
        if not isinstance(value, str):
            return value
        if _TOKENS.search(name):
            return HIDDEN
        for secret in self._secrets:
            value = value.replace(secret, HIDDEN)
        return value


_TRANSFER = {b"content-encoding", b"content-length", b"transfer-encoding"}


def _kept(headers: httpx.Headers, names: Collection[str]) -> dict[str, str]:
    return {name: headers[name] for name in names if name in headers}


def _body(content: bytes, kind: str) -> Any:
    if kind.startswith("application/x-www-form-urlencoded"):
        return dict(parse_qsl(content.decode("utf-8", "replace"), keep_blank_values=True))
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return content.decode("utf-8", "replace")


__all__ = ["Recorder"]

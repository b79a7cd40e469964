"""What holds for every request: a number, a longest body, headers that keep browsers from keeping anything."""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.api.problem import defect
from hub.db import uuid7

LONGEST: Final = 256 * 1024
"Bytes of a body; what people and carriers send has a few hundred."

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # a pop's address holds its token
    "X-Content-Type-Options": "nosniff",
}
"Of every answer that does not say otherwise itself; the pages and their assets do (hub.web.page)."

REQUEST_ID: Final = "X-Request-Id"
"Names the request in the audit log (`request:<id>`)."


class Guard:
    """ASGI middleware around the whole application; what it cannot answer it answers as a defect."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        number = str(uuid7())
        scope.setdefault("state", {})["number"] = number
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = number
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, _bounded(receive), answer)
        except Exception as error:  # nothing of it may reach the server's own log: its text may quote a record
            response = defect(error)
            if not begun:
                await response(scope, receive, answer)


def _bounded(receive: Receive) -> Callable[[], Awaitable[Message]]:
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > LONGEST:
            raise HTTPException(413)
        return message

    return bounded


def number_of(request: Request) -> str:
    """Return the number of a request."""
    return str(request.state.number)

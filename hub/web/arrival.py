"""Coming from another site: the session's cookie is SameSite=Strict, so a browser that follows a link does not show it.

Who comes so to the desk, or is sent by the EHR that launches us, gets an empty page that loads the same address again;
that request is this site's own and carries the cookie. Nothing is written by either.
"""

from html import escape
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from hub.api.caller import SESSION_COOKIE

AGAIN: Final = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Chartline</title>'
    '<meta http-equiv="refresh" content="0;url={url}"></head><body></body></html>'
)

PLACES: Final = ("/desk", "/launch/")
"Where people come to from elsewhere."


class Arrival:
    """ASGI middleware: loads a page again that was come to from another site."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or answer it with the page that asks again."""
        if scope["type"] == "http" and _from_elsewhere(request := Request(scope)):
            url = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            await HTMLResponse(AGAIN.format(url=escape(url)))(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _from_elsewhere(request: Request) -> bool:
    said = request.headers
    return (
        request.method == "GET"
        and request.url.path.startswith(PLACES)
        and said.get("sec-fetch-site") in {"cross-site", "same-site"}
        and said.get("sec-fetch-mode") == "navigate"
        and SESSION_COOKIE not in request.cookies
    )

"""What stands between a desk and its hub in tests: lines that are late, slow, or dead."""

import asyncio
from collections.abc import Callable

from playwright.async_api import Page, Route, WebSocketRoute

PATIENCE_S = 30.0
POP = "**/desk/part/pop"
"Where a page asks for what it shows of the call."


class Late:
    """Keeps what `/live` says from a page until it is let through."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.heard: list[str] = []
        self.holds = False
        self._came = asyncio.Event()
        self._page: WebSocketRoute | None = None

    def follow(self, page: WebSocketRoute) -> None:
        """Stand between the page and the hub."""
        self._page = page
        page.connect_to_server().on_message(self._hear)

    def _hear(self, said: str | bytes) -> None:
        self.heard.append(str(said))
        if not self.holds:
            self.say(str(said))
            return
        self.kept.append(str(said))
        self._came.set()

    async def has(self, text: str) -> None:
        """Return once something that says this is kept."""
        async with asyncio.timeout(PATIENCE_S):
            while not any(text in said for said in self.kept):
                self._came.clear()
                await self._came.wait()

    def say(self, said: str) -> None:
        """Say something to the page."""
        assert self._page is not None
        self._page.send(said)

    async def let_through(self, page: Page) -> None:
        """Say it all, one after the other."""
        for said in self.kept:
            self.say(said)
            await page.evaluate("new Promise(next => setTimeout(next))")  # the page has heard it by then
        self.kept.clear()


class Slow:
    """Takes a request to the hub and keeps the answer until it is let through."""

    def __init__(self) -> None:
        self.answered = asyncio.Event()
        self._through = asyncio.Event()

    async def __call__(self, route: Route) -> None:
        answer = await route.fetch()
        self.answered.set()
        await self._through.wait()
        await route.fulfill(response=answer)

    def let_through(self) -> None:
        """Give the page its answer."""
        self._through.set()


def asked(page: Page, path: str) -> Callable[[], int]:
    """Count the requests for a part from now on."""
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url) if request.url.endswith(path) else None)
    return lambda: len(seen)


async def dead(route: Route) -> None:
    """Break a request off, as where the network is away."""
    await route.abort("connectionfailed")


async def mute(_route: Route) -> None:
    """Leave a request without an answer."""

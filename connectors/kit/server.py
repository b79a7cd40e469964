"""The recorded server: it answers a connector's requests in memory, and misbehaves as a check has it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

import httpx
import orjson

from connectors.kit.case import Auth, Case
from connectors.kit.exchange import SAFE, STARTED, Asked, Exchange
from connectors.kit.mutation import Mutate
from connectors.kit.telephone import each_text, ways
from connectors.kit.token import TokenEndpoint

LATENCY = 0.1
"Virtual seconds of each answer; it also ends, after a while, who never stops to ask."

Fault = Callable[[], Awaitable[httpx.Response | None]]
"Answers in place of the recording, raises, or only takes its time."


@dataclass(frozen=True, slots=True)
class Script:
    """What goes wrong."""

    fault: Fault | None = None
    begins: int = 0
    "The first request that `fault` meets; those for a token are not counted."

    mutate: Mutate | None = None
    spoil: Callable[[bytes], bytes] | None = None
    "Changes the bytes of each answer from `begins` on."

    loses: bool = False
    "Whether the first answer to a write gets lost on its way."

    way: int | None = None
    "The way (`telephone.ways`) in which the server has its numbers."

    received: Callable[[httpx.Request], httpx.Request] | None = None
    "Takes back from a request what `mutate` put into the answers before."


class Server(httpx.AsyncBaseTransport):
    """One run of the other side: its scenarios begin anew with each server."""

    def __init__(self, case: Case, clock: Callable[[], datetime], script: Script | None = None) -> None:
        self.clock = clock
        self._case = case
        self._script = script or Script()
        self._numbers = case.numbers()
        self._states: dict[str, str] = {}
        self._done: dict[tuple[str, str, str], httpx.Response] = {}
        self._lost = False
        self._nobody = next((one.phone for one in case.plan.expect.find_patients if not one.ids), None)
        auth = case.plan.auth
        self.tokens = TokenEndpoint(case, auth.assertion, clock) if auth and auth.assertion else None
        self.asked: list[Asked] = []
        self.hits: list[int] = []
        "Indexes of the exchanges that answered, in order."

        self.effects = 0
        self.unrecorded: list[str] = []
        self.waiting = 0
        "Requests without an answer so far."

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer as recorded, or as the script has it."""
        await request.aread()
        self.waiting += 1
        try:
            return await self._handled(request)
        finally:
            self.waiting -= 1

    async def _handled(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(LATENCY)
        if self.tokens is not None and request.url.path == self.tokens.path:
            return self.tokens.answer(request)
        if self._script.received is not None:
            request = self._script.received(request)
        asked = Asked(request, self._numbers)
        index = len(self.asked)
        self.asked.append(asked)
        if self._script.fault is not None and index >= self._script.begins:
            answer = await self._script.fault()
            if answer is not None:
                return answer
        if not self._known(asked):
            return httpx.Response(401, headers={"WWW-Authenticate": "Bearer"}, json={"error": "unauthorized"})
        answer = self._answered(asked)
        if self._script.spoil is not None and index >= self._script.begins:
            headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
            return httpx.Response(answer.status_code, headers=headers, content=self._script.spoil(answer.content))
        return answer

    def _known(self, asked: Asked) -> bool:
        """Whether the request shows that it may be asked."""
        auth = self._case.plan.auth
        if auth is None or any(fnmatchcase(f"{asked.method} {asked.path}", one) for one in auth.open):
            return True
        return asked.headers.get(auth.header) in self._passes(auth)

    def _passes(self, auth: Auth) -> set[str]:
        if self.tokens is not None:
            return {f"Bearer {token}" for token in self.tokens.issued}
        return {self._case.filled(auth.value)}

    def _answered(self, asked: Asked) -> httpx.Response:
        key = self._key_of(asked)
        if key is not None and key in self._done:
            return self._copied(self._done[key])
        if self._script.way is not None:
            asked = self._as_it_has_numbers(asked)
        index, exchange = self._recorded(asked)
        if exchange is None:
            return self._unmatched(asked)
        self.hits.append(index)
        if asked.stale_for(exchange):
            return httpx.Response(412, json={"error": "stale"})
        if exchange.then is not None:
            self._states[exchange.scenario] = exchange.then
        answer = self._response(index, exchange)
        if exchange.effective:
            self.effects += 1
            if key is not None:
                self._done[key] = answer
            if self._script.loses and not self._lost:
                self._lost = True
                raise httpx.ReadError("the answer is lost")
        return self._copied(answer)

    def _as_it_has_numbers(self, asked: Asked) -> Asked:
        """Return what an exact search comes to: a number in another way of writing is a number that nobody has."""
        if self._case.plan.server.phone_search == "digits" or self._nobody is None or self._script.way is None:
            return asked
        found = asked.numbers
        if any(ways(e164)[self._script.way] == way for e164, way in found) or not found:
            return asked
        return asked.with_number(self._nobody)

    def _recorded(self, asked: Asked) -> tuple[int, Exchange | None]:
        fitting = [
            (index, exchange)
            for index, exchange in enumerate(self._case.exchanges)
            if exchange.when in {None, self._states.get(exchange.scenario, STARTED)} and asked.answered_by(exchange)
        ]
        return min(fitting, key=lambda found: found[1].wildness) if fitting else (-1, None)

    def _unmatched(self, asked: Asked) -> httpx.Response:
        versioned = any(
            exchange.request.path == asked.path and asked.stale_for(exchange) for exchange in self._case.exchanges
        )
        if asked.method not in SAFE and (versioned or self._over(asked)):
            return httpx.Response(412, json={"error": "stale"})
        self.unrecorded.append(str(asked))
        return httpx.Response(404, json={"error": "not recorded"})

    def _over(self, asked: Asked) -> bool:
        """Whether the write was recorded for an earlier state, and names the version of that."""
        return "if-match" in asked.headers and any(asked.answered_by(exchange) for exchange in self._case.exchanges)

    def _response(self, index: int, exchange: Exchange) -> httpx.Response:
        said = exchange.response
        headers = {name: value for name, value in said.headers.items() if name.lower() != "content-length"}
        content = said.content()
        if said.body is not None and not isinstance(said.body, str):
            headers.setdefault("Content-Type", "application/json")
            document = orjson.loads(content)
            if self._script.mutate is not None:
                document = self._script.mutate(index, document)
            if (way := self._script.way) is not None:
                document = each_text(document, lambda text: self._numbers.rewritten(text, way))
            content = orjson.dumps(document)
        return httpx.Response(said.status, headers=headers, content=content)

    def _key_of(self, asked: Asked) -> tuple[str, str, str] | None:
        if asked.method in SAFE:
            return None
        key = next((said for name in self._case.plan.server.once if (said := asked.headers.get(name))), None)
        return (asked.method, asked.path, key) if key else None

    def _copied(self, answer: httpx.Response) -> httpx.Response:
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


async def refused() -> httpx.Response:
    """Answer 401."""
    return httpx.Response(401, headers={"WWW-Authenticate": "Bearer"}, json={"error": "unauthorized"})


def answering(status: int, **headers: str) -> Fault:
    """Return what answers with `status`; underscores in the names of headers are hyphens."""

    async def answer() -> httpx.Response:
        written = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.Response(status, headers=written, json={"error": "no"})

    return answer


def late(seconds: float) -> Fault:
    """Return what lets `seconds` of virtual time pass before the recorded answer."""

    async def wait() -> None:
        await asyncio.sleep(seconds)

    return wait


async def gone() -> httpx.Response:
    """Let nobody connect."""
    raise httpx.ConnectError("no connection")

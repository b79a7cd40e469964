"""An SMS carrier that delivers to an inbox page: takes texts, reports on them, and plays the patients who answer.

It does what real carriers do to those who use them: it may be slow, fail, or take a text and lose the answer, and it
may tell everything twice. Whoever runs it says so with `POST /faults`.
"""

import asyncio
import html
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

import httpx
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from connectors.api import LANDLINE
from connectors.sandbox.sms import signature

Fault = Literal["slow", "error", "busy", "drop", "twice"]
"slow: answers late; error: 500 and busy: 429, not taken; drop: taken, the answer is lost; twice: reports double."

RETRIES = (0.2, 1.0, 5.0, 15.0, 30.0, 60.0)
"Seconds between the tries of a callback that was not answered with 2xx."


class Wire(BaseModel):
    """Something that a client sent."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NewText(Wire):
    """A text to deliver."""

    to: str = Field(pattern=r"^\+[1-9][0-9]{6,14}$")
    sender: str = Field(alias="from", min_length=3)
    text: str = Field(min_length=1, max_length=1600)


class NewFault(Wire):
    """How the next requests fare."""

    mode: Fault
    times: int = Field(1, ge=0, le=10_000)


class Rule(Wire):
    """How a patient answers a text."""

    to: str = "*"
    "The patient's number, or * for everyone."

    contains: str = ""
    "Only where the text holds this."

    reply: str
    after: float = Field(0.0, ge=0, le=3600)
    "Seconds."

    times: int = Field(1, ge=1)


class Reply(Wire):
    """A text that a patient sends by hand."""

    sender: str = Field(alias="from", pattern=r"^\+[1-9][0-9]{6,14}$")
    to: str
    text: str


@dataclass(slots=True)
class Text:
    """One text, either way."""

    id: str
    to: str
    sender: str
    text: str
    at: str
    inbound: bool
    "True for what a patient sent."

    status: str


@dataclass(slots=True)
class Carrier:
    """What the carrier knows; `callback` is where it reports, without a slash at the end."""

    token: str
    secret: str
    clock: Callable[[], datetime]
    callback: str | None = None
    slow_seconds: float = 3.0
    retries: Sequence[float] = RETRIES
    client: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(trust_env=False, timeout=5))
    texts: list[Text] = field(default_factory=list)
    rules: list[tuple[Rule, int]] = field(default_factory=list)
    "Each with how often it may still be used."

    faults: deque[Fault] = field(default_factory=deque)
    undelivered: set[str] = field(default_factory=set)
    "Numbers that no text reaches."

    landlines: set[str] = field(default_factory=set)
    "Numbers that take no texts."

    lost: int = 0
    "Callbacks that nobody took."

    receipts: dict[str, str] = field(default_factory=dict)
    "By the callback's id: the text that it reports on."

    _answers: dict[str, tuple[NewText, str]] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def take(self, said: NewText, key: str) -> tuple[str, bool]:
        """Take a text, once for each key; return its id, and whether it is new.

        Raises:
            ValueError: the key was used for another text.
        """
        if key in self._answers:
            before, own = self._answers[key]
            if before != said:
                raise ValueError("the key belongs to another text")
            return own, False
        own = f"sm-{secrets.token_hex(8)}"
        if key:
            self._answers[key] = said, own
        text = Text(own, said.to, said.sender, said.text, self.clock().isoformat(), False, "accepted")
        self.texts.append(text)
        self._start(self._deliver(text))
        return own, True

    def reply(self, said: Reply) -> str:
        """Let a patient send a text; return its id."""
        own = f"mo-{secrets.token_hex(8)}"
        text = Text(own, said.to, said.sender, said.text, self.clock().isoformat(), True, "received")
        self.texts.append(text)
        what = {"type": "reply", "message": own, "at": text.at, "from": said.sender, "to": said.to, "text": said.text}
        self._start(self._report("replies", what))
        return own

    async def settle(self) -> None:
        """Return when every report and every reply that is due has gone out."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def aclose(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.client.aclose()

    async def _deliver(self, text: Text) -> None:
        vain = text.to in self.undelivered | self.landlines
        for status in ("sent", "undelivered" if vain else "delivered"):
            text.status = status
            code = LANDLINE if text.to in self.landlines else "30003"
            code = code if status == "undelivered" else ""
            what = {
                "type": "receipt",
                "message": text.id,
                "at": self.clock().isoformat(),
                "status": status,
                "code": code,
            }
            await self._report("receipts", what)
        if text.status != "delivered":
            return
        for at, (rule, left) in enumerate(self.rules):
            if left and rule.to in {"*", text.to} and rule.contains in text.text:
                self.rules[at] = rule, left - 1
                await asyncio.sleep(rule.after)
                self.reply(Reply.model_validate({"from": text.to, "to": text.sender, "text": rule.reply}))
                return

    async def _report(self, path: str, what: dict[str, str]) -> None:
        if self.callback is None:
            return
        own = f"cb-{secrets.token_hex(8)}"
        if path == "receipts":
            self.receipts[own] = what["message"]
        body = orjson.dumps({"id": own} | what)
        for _ in range(2 if self._fault("twice") else 1):
            await self._call_back(f"{self.callback}/{path}", body)

    async def _call_back(self, url: str, body: bytes) -> None:
        for rest in (*self.retries, None):
            stamp = str(int(self.clock().timestamp()))
            headers = {
                "Content-Type": "application/json",
                "Sandbox-Timestamp": stamp,
                "Sandbox-Signature": signature(self.secret, stamp, body),
            }
            try:
                answer = await self.client.post(url, content=body, headers=headers)
                if answer.is_success:
                    return
            except httpx.HTTPError:
                pass  # tried again below, like any other answer that is not 2xx
            if rest is not None:
                await asyncio.sleep(rest)
        self.lost += 1

    def _fault(self, *modes: Fault) -> Fault | None:
        """Take the next fault, if it is one of `modes`."""
        return self.faults.popleft() if self.faults and self.faults[0] in modes else None

    def next_fault(self) -> Fault | None:
        """Return the fault of a request to send, and use it up."""
        return self._fault("slow", "error", "busy", "drop")

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def app(carrier: Carrier) -> Starlette:
    """Return the carrier's doors: /messages and /account for clients, /inbox for people, the rest for the stage."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await carrier.aclose()

    doors = _Doors(carrier)
    return Starlette(
        routes=[
            Route("/account", doors.account),
            Route("/messages", doors.send, methods=["POST"]),
            Route("/inbox", doors.page),
            Route("/inbox.json", doors.inbox),
            Route("/replies", doors.reply, methods=["POST"]),
            Route("/rules", doors.rule, methods=["POST"]),
            Route("/faults", doors.fault, methods=["POST"]),
        ],
        lifespan=lifespan,
    )


class _Cut(Response):
    """An answer that breaks off: the connection closes before its body came."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the shape of ASGI
        await send({"type": "http.response.start", "status": 201, "headers": [(b"content-length", b"64")]})


class _Doors:
    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier

    async def account(self, request: Request) -> Response:
        return _json({"name": "sandbox"}) if self._known(request) else _json({"error": "token"}, 401)

    async def send(self, request: Request) -> Response:
        if not self._known(request):
            return _json({"error": "token"}, 401)
        fault = self._carrier.next_fault()
        if fault == "error":
            return _json({"error": "out of order"}, 500)
        if fault == "busy":
            return _json({"error": "too fast"}, 429, {"Retry-After": "1"})
        try:
            said = NewText.model_validate_json(await request.body())
            own, new = self._carrier.take(said, request.headers.get("idempotency-key", ""))
        except ValidationError:
            return _json({"error": "to, from and text"}, 400)
        except ValueError:
            return _json({"error": "idempotency-key"}, 422)
        if fault == "slow":
            await asyncio.sleep(self._carrier.slow_seconds)
        if fault == "drop":
            return _Cut()
        return _json({"id": own, "status": "accepted"}, 201 if new else 200)

    async def reply(self, request: Request) -> Response:
        return await self._told(request, Reply, lambda said: {"id": self._carrier.reply(said)})

    async def rule(self, request: Request) -> Response:
        def add(rule: Rule) -> dict[str, Any]:
            self._carrier.rules.append((rule, rule.times))
            return {"rules": len(self._carrier.rules)}

        return await self._told(request, Rule, add)

    async def fault(self, request: Request) -> Response:
        def add(fault: NewFault) -> dict[str, Any]:
            self._carrier.faults.extend([fault.mode] * fault.times)
            return {"waiting": len(self._carrier.faults)}

        return await self._told(request, NewFault, add)

    async def inbox(self, request: Request) -> Response:
        to = request.query_params.get("to")
        found = [asdict(text) for text in self._carrier.texts if to in {None, text.to}]
        return _json({"items": found, "lost": self._carrier.lost})

    async def page(self, _: Request) -> Response:
        rows = "".join(
            f"<tr><td>{html.escape(text.at[11:19])}<td>{'from' if text.inbound else 'to'}"
            f"<td>{html.escape(text.sender if text.inbound else text.to)}"
            f"<td>{html.escape(text.text)}<td>{html.escape(text.status)}</tr>"
            for text in reversed(self._carrier.texts)
        )
        return HTMLResponse(
            '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="2">'
            "<title>Texts at the sandbox carrier</title><style>body{font:16px sans-serif;margin:2rem}"
            "td,th{padding:.3rem .8rem;border-bottom:1px solid #ccc;text-align:left}</style>"
            "<h1>Texts at the sandbox carrier</h1><table><tr><th>At<th><th>Number<th>Text<th>State</tr>"
            f"{rows}</table></html>"
        )

    def _known(self, request: Request) -> bool:
        said = request.headers.get("authorization", "")
        return secrets.compare_digest(said.encode(), f"Bearer {self._carrier.token}".encode())

    async def _told(self, request: Request, kind: type[Any], act: Callable[[Any], dict[str, Any]]) -> Response:
        try:
            said = kind.model_validate_json(await request.body())
        except ValidationError as error:
            fields = [".".join(map(str, fault["loc"])) for fault in error.errors(include_url=False)]
            return _json({"error": "not understood", "fields": fields, "modes": list(get_args(Fault))}, 400)
        return _json(act(said), 201)


def _json(said: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(said), status, headers, "application/json")

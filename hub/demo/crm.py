"""The agents' CRM in the demo: takes signed pops, opens them with each agent's token, and verifies the caller.

It is a program outside of the product as a practice's own would be: it checks signatures with the Standard Webhooks
library and speaks HTTP.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
import uvicorn
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.sandbox.people import People
from hub.demo.stage import Stage
from hub.settings import secret


@dataclass(slots=True)
class Seen:
    """One pop as the CRM saw it."""

    call: str
    agent: str
    received_at: float
    "Seconds of the Unix epoch."

    masked: dict[str, Any] = field(default_factory=dict)
    full: dict[str, Any] = field(default_factory=dict)
    "Empty where the caller is nobody whom the practice knows."


class Crm:
    """Receives webhooks on one port of loopback."""

    def __init__(self, port: int, secret: str, people: People, tokens: Mapping[UUID, str]) -> None:
        self._port = port
        self._webhook = Webhook(secret)
        self._people = people
        self._tokens = tokens
        self._http = httpx.AsyncClient(trust_env=False, timeout=5)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._ids: set[str] = set()
        self.events: list[dict[str, Any]] = []
        self.pops: list[Seen] = []
        self.forged = 0
        "Requests whose signature was wrong."

    async def start(self) -> None:
        """Listen."""
        app = Starlette(routes=[Route("/pops", self._take, methods=["POST"])])
        config = uvicorn.Config(app, host="127.0.0.1", port=self._port, log_level="critical", access_log=False)
        self._server = uvicorn.Server(config)
        self._serving = asyncio.create_task(self._server.serve())
        while not self._server.started:  # noqa: ASYNC110 - uvicorn sets no event
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Stop."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving
        await self._http.aclose()

    async def _take(self, request: Request) -> Response:
        received_at = time.time()
        try:
            said: dict[str, Any] = self._webhook.verify(await request.body(), dict(request.headers))
        except WebhookVerificationError:
            self.forged += 1
            return Response(status_code=401)
        if said["id"] not in self._ids:  # both lanes bring the same event under the same id
            self._ids.add(said["id"])
            self.events.append(said)
            if said["type"] == "call.offered":
                task = asyncio.create_task(self._open(said, received_at))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        return Response(status_code=204)

    async def _open(self, said: dict[str, Any], received_at: float) -> None:
        seen = Seen(said["call"], said["agent"], received_at)
        self.pops.append(seen)
        headers = {"Authorization": f"Bearer {self._tokens[UUID(said['agent'])]}"}
        masked = await self._http.get(said["pop"], headers=headers)
        if masked.status_code != httpx.codes.OK:
            return
        seen.masked = masked.json()
        callers = self._people.at(seen.masked.get("number") or "")
        if not callers:
            return
        person = callers[0]  # in a real practice the agent asks who calls
        words = {"name": f"{person.given} {person.family}", "birth_date": person.birth_date.isoformat()}
        full = await self._http.post(f"{said['pop']}/verify", json=words, headers=headers)
        if full.status_code == httpx.codes.OK and full.json().get("verified"):
            seen.full = full.json()


async def receiver(stage: Stage) -> Crm:
    """Return the stage's CRM, started; the caller closes it."""
    hook = stage.practice.webhooks[0]
    crm = Crm(
        port=httpx.URL(hook.url).port or 80,
        secret=secret(hook.secret, env={}, root=stage.paths.root),
        people=stage.people,
        tokens={agent.id: agent.token for agent in stage.agents.values()},
    )
    await crm.start()
    return crm

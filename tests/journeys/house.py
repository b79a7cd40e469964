"""A practice that works: a running instance, a carrier and a receiver of webhooks outside of it, agents with phones."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Template
from typing import Any
from zoneinfo import ZoneInfo

from sqlmodel import Session
from standardwebhooks import Webhook
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from connectors.sandbox import carrier
from connectors.sandbox.carrier import Carrier
from connectors.sandbox.people import morning
from hub import audio
from hub.cli.instance import opened
from hub.cli.staff import REALM
from hub.db import now
from hub.demo.phone import Phones
from hub.demo.ports import free_port
from hub.demo.practice import make_secrets
from hub.instance import Instance
from hub.record import staff, token
from hub.security import access
from hub.settings import Paths
from tests.journeys.stand import Stand, running
from tests.workflows.clinic import serving

DID = "+12125550100"
AGENTS = {"101": "ana@cove.example", "102": "ben@cove.example"}
RETRIES = (0.2, 1.0, *[2.0] * 60)
"Of the carrier's callbacks: for as long as by its own, but none is waited for long after all is up again."

NOTICED_S = 30
"Until media has noticed a phone that was added, on a busy machine."

SPOKEN = ["please-hold", "this-call-may-be-recorded", "callback-offered", "goodbye", "leave-message-after-tone"]


def clock() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Receiver:
    """What the practice's own system heard by webhook."""

    secret: str
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    "By id; both lanes bring the same."

    async def take(self, request: Request) -> Response:
        said: dict[str, Any] = Webhook(self.secret).verify(await request.body(), dict(request.headers))
        self.events[said["id"]] = said
        return Response(status_code=204)


@dataclass(slots=True)
class House:
    """Everything that a journey needs."""

    stand: Stand
    instance: Instance
    "Open beside the processes; what it reads from rows asks no vault."

    carrier: Carrier
    receiver: Receiver
    phones: Phones
    away: Path
    "The phones' files: outside of the instance, for they hold numbers in clear."

    zone: ZoneInfo
    secrets: dict[str, str]
    "Password of each agent's phone, by extension."

    tokens: dict[str, str]
    "API token of each agent, by id."

    @property
    def mllp(self) -> int:
        return self._port("adt", "listen")

    @property
    def http(self) -> str:
        return f"http://{self.stand.practice.http.bind}"

    def _port(self, connection: str, key: str) -> int:
        found = self.stand.practice.find_connection(connection)
        assert found is not None
        return int(str(found.settings[key]).rpartition(":")[2])

    async def sign_in(self, extension: str) -> int:
        """Register an agent's phone, and return the port that calls come to."""
        port = free_port()
        async with asyncio.timeout(NOTICED_S):
            while not (ended := await self.phones.register(extension, self.secrets[extension], port)).ok:
                # A device that was made a moment ago is not known yet; a phone tries again as well.
                assert "403 Forbidden" in ended.detail, ended.detail
        return port

    def let_go(self) -> None:
        """Close what the test has open of the instance; it is opened again when it is next asked."""
        for file in (self.instance.db, self.instance.inbox):
            file.engine.dispose()
        self.instance.vault.close()

    @asynccontextmanager
    async def agent(self, extension: str, *, talk_s: float = 1.0) -> AsyncIterator[None]:
        """Have an agent at work who answers every call."""
        port = await self.sign_in(extension)
        phone = asyncio.create_task(self.phones.agent("answers", extension, port, calls=100_000, talk_s=talk_s))
        try:
            await self.phones.listens(port)
            yield
        finally:
            phone.cancel()
            await asyncio.gather(phone, return_exceptions=True)


@asynccontextmanager
async def working(root: Path, *, rtp: str = "19600-19999") -> AsyncIterator[House]:
    """Make a practice in `root` and have all of it at work."""
    zone = morning(clock())
    outside = free_port()
    words = {"timezone": zone.key, "rtp": rtp, "sip": free_port(), "outside": outside}
    words |= {name: free_port() for name in ("http", "mllp")}
    toml = Template(Path(__file__).with_name("policy.toml").read_text()).substitute(words)
    phones: dict[str, str] = {}
    tokens: dict[str, str] = {}

    def prepare(paths: Paths) -> None:
        make_secrets(paths)
        _shorten(paths)
        _hire(paths, phones, tokens)

    async with AsyncExitStack() as stack:
        stand = await stack.enter_async_context(running(root, toml, prepare=prepare))
        instance = stack.enter_context(opened(root))
        kept = {name: (stand.paths.keys / name).read_text().strip() for name in ("carrier.token", "carrier.secret")}
        callback = f"http://{stand.practice.http.bind}/carriers/carrier"
        texts = Carrier(kept["carrier.token"], kept["carrier.secret"], clock, callback, retries=RETRIES)
        receiver = Receiver((stand.paths.keys / "pop.secret").read_text().strip())
        await stack.enter_async_context(_serving(outside, texts, receiver))
        away = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="phones-")))
        yield House(
            stand=stand,
            instance=instance,
            carrier=texts,
            receiver=receiver,
            phones=Phones(away, str(stand.practice.sip.udp)),
            away=away,
            zone=zone,
            secrets=phones,
            tokens=tokens,
        )


def _shorten(paths: Paths) -> None:
    """Let everything that callers hear be a blip: the practice's own recordings go before the stock ones."""
    folder = paths.root / "prompts"
    folder.mkdir()
    for name in SPOKEN:
        for language in ("en", "es"):
            (folder / f"{name}.{language}.wav").write_bytes(audio.wav(audio.tone(300.0, seconds=0.1)))


def _hire(paths: Paths, phones: dict[str, str], tokens: dict[str, str]) -> None:
    scopes = access.parse([scope.value for scope in access.GRANTS["front-desk"]])

    def hire(db: Session) -> None:
        for extension, email in AGENTS.items():
            row = staff.find(db, email)
            assert row is not None
            phones[extension] = staff.add_device(db, row.id, extension, REALM, now())
            _, tokens[str(row.id)] = token.create(
                db, scopes=scopes, now=now(), lifetime=timedelta(days=1), staff_id=row.id
            )

    with opened(paths.root) as instance, instance.db.write() as db:
        hire(db)


@asynccontextmanager
async def _serving(port: int, texts: Carrier, receiver: Receiver) -> AsyncIterator[None]:
    routes = [Route("/pops", receiver.take, methods=["POST"]), Mount("/", carrier.app(texts))]
    try:
        async with serving(Starlette(routes=routes), port):
            yield
    finally:
        await texts.aclose()

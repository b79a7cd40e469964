"""The stage of the demo: a sandbox instance, its processes, an EHR, a carrier, and people with phones."""

import asyncio
import contextlib
import os
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlmodel import Session

from connectors.sandbox.people import People, make
from hub.cli import run, setup
from hub.cli.instance import opened
from hub.cli.staff import REALM
from hub.db import now
from hub.demo import practice
from hub.errors import ChartlineError
from hub.instance import Instance
from hub.record import staff, token
from hub.security import access
from hub.settings import Paths, Practice

SEED = 7
UP_S = 60.0
AGENTS = ("ana@harbor.example", "ben@harbor.example", "nora@harbor.example")

UP_S = 60.0
"How long the processes may take to start, on a machine that has other things to do."


class StageError(ChartlineError):
    """A part of the demo did not start."""

    code = "demo-stage"


@dataclass(frozen=True, slots=True)
class Agent:
    """Somebody who takes calls."""

    id: UUID
    extension: str
    secret: str
    token: str
    email: str
    password: str
    "For the desk, good for one login."


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that the morning is played on."""

    paths: Paths
    practice: Practice
    people: People
    password: str
    "The administrator's, good for one login."

    agents: dict[str, Agent]
    "By extension."

    def url(self, connection: str) -> str:
        """Return where the sandbox server of a connection is."""
        found = self.practice.find_connection(connection)
        if found is None:
            raise StageError(f"the sandbox has no {connection}")
        return str(found.settings["base_url"]).removesuffix("/fhir")


@asynccontextmanager
async def raised(root: Path, soon: Sequence[timedelta]) -> AsyncIterator[Stage]:
    """Make a sandbox instance in `root`, start everything, and end it at the end.

    `soon` are the times from now at which the visits are whose reminders fall due during the morning.
    """
    began = now()
    paths, password = await asyncio.to_thread(_made, root, began)
    policy, agents = await asyncio.to_thread(_hire, root)
    people = make(SEED, began, ZoneInfo(policy.practice.timezone), soon=soon)
    stage = Stage(paths, policy, people, password, agents)
    stop, up = asyncio.Event(), asyncio.Event()
    async with _server(paths, *_carrier(stage)), _server(paths, *_ehr(stage, began, soon)):
        keeping = asyncio.create_task(run.supervisor(paths).run(stop, started=up.set))
        try:
            await _wait_for(up, paths)
            yield stage
        finally:
            stop.set()
            await keeping


async def _wait_for(up: asyncio.Event, paths: Paths) -> None:
    """Return once everything is up.

    Raises:
        StageError: something is not, and the text says what.
    """
    try:
        async with asyncio.timeout(UP_S):
            await up.wait()
    except TimeoutError:
        late = [part.value for part in run.Part if not await run.Ready(part, paths)()]
        raise StageError(f"not up after {UP_S:.0f} s: {', '.join(late)}; see {paths.log}") from None


def _made(root: Path, began: datetime) -> tuple[Paths, str]:
    """Make the instance, in place of the one of last time."""
    if root.exists():
        shutil.rmtree(root)
    paths = Paths(root.resolve())
    return paths, setup.make(paths, practice.practice_toml(began), sandbox=True)


def _hire(root: Path) -> tuple[Practice, dict[str, Agent]]:
    """Give every agent a phone and a token."""
    scopes = access.parse([scope.value for scope in access.GRANTS["nurse"]])

    def hire(db: Session, instance: Instance, policy: Practice) -> dict[str, Agent]:
        agents = {}
        for person in policy.staff:
            row = staff.find(db, person.email)
            if row is None or person.extension is None:
                continue
            secret = staff.add_device(db, row.id, person.extension, REALM, instance.clock())
            _, shown = token.create(
                db, scopes=scopes, now=instance.clock(), lifetime=timedelta(days=1), staff_id=row.id
            )
            password = secrets.token_urlsafe(12)
            staff.set_password(db, row.id, password, must_change=True)
            agents[person.extension] = Agent(row.id, person.extension, secret, shown, row.email, password)
        return agents

    with opened(root) as instance:
        _, policy = instance.policy()
        with instance.db.write() as db:
            return policy, hire(db, instance, policy)


def _carrier(stage: Stage) -> tuple[str, ...]:
    bind = stage.url("carrier").removeprefix("http://")
    callback = f"http://{stage.practice.http.bind}/carriers/carrier"
    secrets = ("--token", "file:keys/carrier.token", "--secret", "file:keys/carrier.secret")
    return ("carrier", "--bind", bind, "--callback", callback, *secrets)


def _ehr(stage: Stage, began: datetime, soon: Sequence[timedelta]) -> tuple[str, ...]:
    found = stage.practice.find_connection("adt")
    listen = str(found.settings["listen"]) if found else ""
    bind = stage.url("ehr").removeprefix("http://")
    when = ("--now", began.isoformat(), "--zone", stage.practice.practice.timezone, "--seed", str(SEED))
    return ("ehr", "--bind", bind, "--feed", listen, *when, "--soon", *(str(each.total_seconds()) for each in soon))


@asynccontextmanager
async def _server(paths: Paths, *arguments: str) -> AsyncIterator[None]:
    """Run a sandbox server from when it says that it listens."""
    out = os.open(paths.log / f"sandbox-{arguments[0]}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "connectors.sandbox",
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=out,
            cwd=paths.root,
            start_new_session=True,
        )
    finally:
        os.close(out)
    try:
        if process.stdout is None or not await process.stdout.readline():
            raise StageError(f"the sandbox {arguments[0]} did not start; see log/sandbox-{arguments[0]}.log")
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()

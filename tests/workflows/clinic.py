"""A practice to test with: real files, the real vault process, a carrier and an EHR on loopback, a clock that obeys."""

import asyncio
import base64
import itertools
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import uvicorn
from sqlmodel import SQLModel, select
from starlette.applications import Starlette

from connectors.api import (
    AppointmentFacts,
    AppointmentStatus,
    Change,
    Identifier,
    PatientFacts,
    Phone,
    Version,
)
from hub.db import Database
from hub.demo.ports import free_port
from hub.feeds.fact import arrival_of
from hub.instance import Instance
from hub.record import change, inbox, policy, schema
from hub.record.known import Known
from hub.security.index import BlindIndex
from hub.security.lane import PoolKey
from hub.security.sealed import Opener, Sealed, Sealer
from hub.settings import Paths
from hub.vault import keys
from hub.vault.client import Access, ServiceKeys, Vault, VaultUnavailableError

T = TypeVar("T", bound=SQLModel)

NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
"A Monday, 10 in the morning in New York."

TOKEN = "carrier-token"
SECRET = "carrier-secret"
WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"w" * 32).decode()
PHONE = "+12125550123"
AUDITED = Access("system:test", "system", "operations")
MRN = Identifier(system="urn:harbor", value="", type="MR")

PATIENCE_S = 20.0
"How long a vault may take on a busy machine."

CONNECTIONS = """
[[connection]]
name = "adt"
connector = "hl7v2"
settings = {{ listen = "127.0.0.1:2575", timezone = "America/New_York" }}

[[connection]]
name = "ehr"
connector = "fhir"
settings = {{ base_url = "http://127.0.0.1:{ehr}/fhir" }}

[[connection]]
name = "sms"
connector = "sandbox-sms"
settings = {{ base_url = "http://127.0.0.1:{carrier}", token = "file:keys/token", secret = "file:keys/secret" }}
"""
"A feed, an EHR and a carrier of texts; the ports of the latter two are to be filled in."

REMINDER = """
[[reminder]]
name = "visit"
offsets = ["-3d", "-1d", "-2h"]
text.en = "{{practice}}: your visit is {{date}} at {{time}}. Reply C to confirm, R to reschedule, STOP to end."
text.es = "{{practice}}: su cita es el {{date}} a las {{time}}. Responda C si viene, R si no, ALTO para salir."
"""

POLICY = (
    """
[practice]
name = "Harbor Family Medicine"
timezone = "America/New_York"
languages = ["en", "es"]

[[trunk]]
name = "line"
hosts = ["127.0.0.1"]

[[number]]
did = "+12125550100"
queue = "appointments"

[[queue]]
name = "appointments"

[[queue]]
name = "refills"

[[staff]]
email = "ana@harbor.example"
roles = ["front-desk"]
queues = ["appointments", "refills"]

[[route]]
name = "within-a-day"
when = "patient.appointments.exists(a, a.hours_until < 24)"
then = {{ queue = "appointments", priority = 10 }}

[[route]]
name = "open-refill"
when = "patient.requests.exists(r, r.kind == 'refill' && r.status == 'open')"
then = {{ queue = "refills" }}

[[route]]
name = "spanish"
when = "patient.language == 'es'"
then = {{ language = "es" }}

"""
    + CONNECTIONS
    + """
[[webhook]]
url = "http://127.0.0.1:{crm}/events"
events = ["call.*", "reminder.*", "message.*"]
secret = "file:keys/webhook"
"""
    + REMINDER
)


@dataclass(frozen=True, slots=True)
class House:
    """A vault process that runs, and databases with nothing but keys for new subjects, to copy."""

    paths: Paths
    keys: ServiceKeys
    blank: Paths


@contextmanager
def house(root: Path) -> Iterator[House]:
    """Make an instance's keys and files, and run its vault until the end of the block."""
    paths, blank = Paths(root / "live"), Paths(root / "blank")
    for directory in (paths.keys, paths.audit, paths.run, paths.log, paths.media, blank.root):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys.init(paths, uuid4())
    command = [sys.executable, "-m", "hub.vault", "--dir", str(paths.root)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            service = _booted(paths)
            for live, copy, key in ((paths.db, blank.db, service.database), (paths.inbox, blank.inbox, service.inbox)):
                for path in (live, copy):
                    database = Database(path, key)
                    schema.create(database)
                    database.close()
                _stock(live, copy, key)
            yield House(paths, service, blank)
        finally:
            process.terminate()


def _booted(paths: Paths) -> ServiceKeys:
    with Vault(paths.vault_socket, timeout=10) as vault:
        for _ in _patience():
            with suppress(VaultUnavailableError):
                return vault.boot("workflows")
    raise AssertionError


def _stock(live: Path, copy: Path, key: bytes) -> None:
    """Put keys into the blank file that the vault's courier has put into the live one."""
    source, target = Database(live, key), Database(copy, key)
    try:
        for _ in _patience():
            with source.read() as db:
                found = [(row.kid, row.public, row.signature) for row in db.exec(select(PoolKey).limit(200))]
            if len(found) >= 100:
                with target.write() as db:
                    db.add_all(PoolKey(kid=kid, public=public, signature=signed) for kid, public, signed in found)
                return
    finally:
        source.close()
        target.close()


def _patience() -> Iterator[None]:
    """Yield until it is no use any more."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        yield
        time.sleep(0.02)
    raise TimeoutError("waited in vain")


class Clinic:
    """One instance with its own files, and what a test says to it."""

    def __init__(self, house: House, root: Path) -> None:
        self.now = NOW
        self.ports = {"ehr": free_port(), "carrier": free_port(), "crm": free_port()}
        paths = Paths(root)
        for directory in (paths.keys, paths.run, paths.log, paths.media):
            directory.mkdir(mode=0o700, parents=True)
        shutil.copy(house.blank.db, paths.db)
        shutil.copy(house.blank.inbox, paths.inbox)
        (paths.keys / "token").write_text(TOKEN)
        (paths.keys / "secret").write_text(SECRET)
        (paths.keys / "webhook").write_text(WEBHOOK_SECRET)
        paths.vault_socket.symlink_to(house.paths.vault_socket)
        vault = Vault(paths.vault_socket, timeout=PATIENCE_S)
        self.instance = Instance(
            paths=paths,
            keys=house.keys,
            db=Database(paths.db, house.keys.database),
            inbox=Database(paths.inbox, house.keys.inbox),
            vault=vault,
            sealer=Sealer(house.keys, "test", self.clock),
            opener=Opener(vault, house.keys),
            index=BlindIndex(house.keys.index),
            clock=self.clock,
        )
        self._control = itertools.count(1)
        self.policy = POLICY.format(**self.ports)
        self.publish(self.policy)

    def clock(self) -> datetime:
        """Return the instant that the test says it is."""
        return self.now

    def close(self) -> None:
        """Close the files."""
        self.instance.close()

    def amend(self, old: str, new: str) -> int:
        """Change a piece of the policy and put it in force."""
        assert self.policy.count(old) == 1, old
        self.policy = self.policy.replace(old, new)
        return self.publish(self.policy)

    def publish(self, text: str) -> int:
        """Put a policy in force."""
        with self.instance.db.write() as db:
            latest = policy.history(db, limit=1)
            base = latest[0].version if latest else None
            return policy.publish(db, text, base, by="system:test", now=self.now)

    def tell(self, connection: str, *changes: Change) -> None:
        """Put facts into the inbox, as feeds does."""
        instance = self.instance
        with instance.inbox.write() as db:
            arrivals = [arrival_of(connection, said, instance.index) for said in changes]
            how = {"seal": instance.sealer, "index": instance.index, "now": self.now, "by": "system:feeds"}
            inbox.store(db, arrivals, **how)  # type: ignore[arg-type]

    def person(self, **said: Any) -> PatientFacts:
        """Return what an EHR says of an invented patient."""
        number = next(self._control)
        told: dict[str, Any] = {
            "ids": (MRN.model_copy(update={"value": f"P{number}"}),),
            "version": self.version(),
            "family": "Sample",
            "given": "Ada",
            "birth_date": date(1980, 2, 3),
            "phones": (Phone(e164=PHONE, use="mobile"),),
            "language": "en",
            "postal_code": "10001",
            "state": "NY",
        }
        return PatientFacts(**(told | said))

    def visit(self, patient: PatientFacts | None, **said: Any) -> AppointmentFacts:
        """Return what an EHR says of a visit in ten days at this time of day."""
        told: dict[str, Any] = {
            "ids": (Identifier(system="urn:harbor:visits", value=f"V{next(self._control)}"),),
            "version": self.version(),
            "status": AppointmentStatus.BOOKED,
            "starts_at": self.now + timedelta(days=10),
            "minutes": 30,
            "patient": patient,
            "type": "Checkup",
        }
        return AppointmentFacts(**(told | said))

    def version(self) -> Version:
        """Return a version newer than any before."""
        number = next(self._control)
        return Version(at=self.now + timedelta(milliseconds=number), tag=str(number))

    def store(self, *changes: Change, connection: str = "adt") -> list[change.Applied]:
        """Store facts in the record at once."""
        instance = self.instance
        with instance.db.read() as db:
            rows = change.affected(db, changes, connection=connection, index=instance.index)
            opened = instance.opener.open(db, AUDITED, rows) if rows else []
            known = Known(zip(rows, opened, strict=True))
        with instance.db.write() as db:
            return [
                change.apply(
                    db,
                    said,
                    connection=connection,
                    seal=instance.sealer,
                    index=instance.index,
                    now=self.now,
                    known=known,
                )
                for said in changes
            ]

    def book(self, **said: Any) -> UUID:
        """Store a visit of a new patient and return its id."""
        (applied,) = self.store(self.visit(self.person(), **said))
        assert applied.appointment_id is not None
        return applied.appointment_id

    def later(self, **by: float) -> None:
        """Let time pass."""
        self.now += timedelta(**by)

    def rows(self, kind: type[T]) -> list[T]:
        """Return every row of a table, oldest first."""
        with self.instance.db.read() as db:
            return sorted(db.exec(select(kind)).all(), key=lambda row: str(getattr(row, "id", "")))

    def open(self, row: Sealed) -> dict[str, Any]:
        """Return the fields of a sealed row."""
        with self.instance.db.read() as db:
            return self.instance.opener.open(db, AUDITED, [row])[0]


@asynccontextmanager
async def serving(app: Starlette, port: int) -> AsyncIterator[None]:
    """Serve an app on loopback in this loop."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="critical", lifespan="on"))
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn sets no event
        await asyncio.sleep(0.005)
    try:
        yield
    finally:
        server.should_exit = True
        await task

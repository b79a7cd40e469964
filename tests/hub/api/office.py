"""An office to test the API in: a real instance with its vault process, people with tokens, phones that ring."""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
from fastapi import FastAPI

from connectors.api import AppointmentFacts, AppointmentStatus, Change, Identifier, PatientFacts, Phone, Version
from hub.api.app import create
from hub.api.flows import Flows
from hub.cli import setup
from hub.db import uuid7
from hub.instance import Instance
from hub.outside import Outside
from hub.record import call, change, patient, policy, pop, staff, task, token
from hub.record.appointment import Appointment
from hub.record.known import Known
from hub.record.queue import Entry, EntryState, Offer, OfferState
from hub.rules.matching import Match
from hub.security.access import Scope
from hub.settings import Paths
from hub.settings.practice import Role
from hub.vault.client import Access
from hub.vault.home import Home
from tests.hub.policytext import ADT, HARBOR, sms
from tests.hub.vault.house import Process, logged, running

NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
"A Monday, ten in the morning in New York."

TEST = Access("system:test", "system", "operations")
DID = "+12125550100"
EVERYTHING = tuple(Scope)

POLICY = (
    HARBOR
    + """
[[trunk]]
name = "line"
hosts = ["127.0.0.1"]

[[number]]
did = "+12125550100"
queue = "appointments"
voicemail = "front-desk"

[[queue]]
name = "appointments"

[[voicemail]]
name = "front-desk"
roles = ["front-desk"]

[[voicemail]]
name = "nurses"
roles = ["nurse"]

[[staff]]
email = "ana@harbor.example"
roles = ["front-desk"]
queues = ["appointments"]
extension = "101"
"""
    + sms("secrets/sms.token", "secrets/sms.secret")
    + ADT
    + """
[[webhook]]
url = "http://127.0.0.1:9/events"
events = ["call.*"]
secret = "file:secrets/pop.secret"

[[agreement]]
counterparty = "line"
data = ["call-audio"]
expires = 2026-03-01
document = "secrets/line.pdf"
"""
)
"Port 9 is nobody's (discard)."

SMS_SECRET = "secret of the carrier"
SECRETS = {
    "sms.token": "token",
    "sms.secret": SMS_SECRET,
    "pop.secret": "whsec_" + base64.b64encode(b"p" * 32).decode(),
    "line.pdf": "a contract",
}


@dataclass(frozen=True, slots=True)
class Worker:
    """Somebody who works here, with a token of their own."""

    id: UUID
    email: str
    token: str


@dataclass
class Office:
    """The instance, and what a test says to it."""

    instance: Instance
    vault: Process
    app: FastAPI
    now: datetime = NOW

    def clock(self) -> datetime:
        return self.now

    def later(self, **by: float) -> None:
        self.now += timedelta(**by)

    def http(self, who: Worker | str | None = None, **headers: str) -> httpx.AsyncClient:
        """Return a client that shows somebody's token."""
        shown = who.token if isinstance(who, Worker) else who
        if shown is not None:
            headers["Authorization"] = f"Bearer {shown}"
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://hub.test", headers=headers, trust_env=False
        )

    def worker(self, *roles: Role, scopes: Sequence[Scope] = EVERYTHING) -> Worker:
        """Hire somebody."""
        email = f"{'-'.join(roles) or 'nobody'}-{uuid4().hex[:8]}@harbor.example"
        row = self.write(staff.add, email=email, roles=roles, now=self.now)
        return Worker(row.id, email, self.token(row.id, scopes))

    def listed(self) -> Worker:
        """Return the agent whom the policy names, with a token."""
        row = self.read(staff.find, "ana@harbor.example")
        return Worker(row.id, row.email, self.token(row.id, EVERYTHING))

    def token(self, staff_id: UUID | None, scopes: Sequence[Scope]) -> str:
        how = {"scopes": list(scopes), "now": self.now, "lifetime": timedelta(days=3650)}
        return str(self.write(token.create, staff_id=staff_id, **how)[1])

    def program(self, *scopes: Scope) -> str:
        """Return the token of a program that stands for nobody."""
        return self.token(None, scopes)

    def tell(self, *changes: Change, connection: str = "adt") -> list[change.Applied]:
        """Store facts, as a feed does."""
        instance = self.instance
        with instance.db.read() as db:
            rows = change.affected(db, changes, connection=connection, index=instance.index)
            known = Known(zip(rows, instance.opener.open(db, TEST, rows), strict=True))
        how: dict[str, Any] = {"connection": connection, "seal": instance.sealer, "index": instance.index}
        with instance.db.write() as db:
            return [change.apply(db, said, now=self.now, known=known, **how) for said in changes]

    def patient(self, **said: Any) -> UUID:
        """Register somebody, and return their id."""
        (applied,) = self.tell(self.visit(**said))
        with self.instance.db.read() as db:
            return db.get_one(Appointment, applied.appointment_id).patient_id

    def visit(self, **said: Any) -> AppointmentFacts:
        version = Version(at=self.now, tag="1")
        when = {name: said.pop(name) for name in ("starts_at", "status") if name in said}
        told: dict[str, Any] = {
            "ids": (Identifier(system="urn:harbor", value=uuid4().hex, type="MR"),),
            "version": version,
            "family": "Rivera",
            "given": "Ana",
            "birth_date": date(1980, 2, 3),
            "phones": (),
            "language": "es",
        }
        return AppointmentFacts(
            ids=(Identifier(system="urn:harbor:visits", value=uuid4().hex),),
            version=version,
            status=when.get("status", AppointmentStatus.BOOKED),
            starts_at=when.get("starts_at", self.now + timedelta(days=10)),
            minutes=30,
            patient=PatientFacts.model_validate(told | said),
            practitioner="Dr. Lindqvist",
            location="Room 4",
            type="Checkup",
        )

    def restrict(self, patient_id: UUID, restricted: bool = True) -> None:
        """Put a chart under break-glass."""
        with self.instance.db.write() as db:
            patient.restrict(db, patient_id, restricted, by="system:test", now=self.now)

    def ring(self, number: str | None, *, name: str | None = None) -> call.Call:
        """Let somebody call."""
        instance = self.instance
        with instance.db.write() as db:
            known = number is not None and number.startswith("+")
            match = patient.match_phone(db, instance.index.phone(number)) if number and known else Match("none")
            call_id = uuid7()
            call.ring(
                db,
                call_id,
                did=DID,
                trunk="line",
                host="media-a",
                number=number,
                name=name,
                match=match,
                seal=instance.sealer,
                index=instance.index,
                now=self.now,
            )
            return call.queued(db, call_id, "appointments", self.now)

    def pop(self, agent: Worker, number: str | None) -> str:
        """Ring an agent's phone for somebody who calls from `number`; return the token of the pop."""
        row = self.ring(number)
        with self.instance.db.write() as db:
            db.add(
                Entry(
                    call_id=row.id,
                    queue="appointments",
                    entered_at=self.now,
                    state=EntryState.OFFERED,
                    host="media-a",
                )
            )
            offer = Offer(
                call_id=row.id,
                agent_id=agent.id,
                queue="appointments",
                host="media-a",
                state=OfferState.RINGING,
                offered_at=self.now,
                expires_at=self.now + timedelta(seconds=20),
            )
            db.add(offer)
            db.flush()
            pop.open(db, offer, key=self.instance.keys.pop, now=self.now)
            return pop.token_of(self.instance.keys.pop, offer.id)

    def task(self, patient_id: UUID | None = None, kind: str = "callback") -> UUID:
        """Leave something to do."""
        with self.instance.db.write() as db:
            return task.ask(db, kind, key=f"{kind}:{uuid4()}", now=self.now, patient_id=patient_id).id

    def publish(self, text: str) -> int:
        """Put a policy in force."""
        with self.instance.db.write() as db:
            return policy.publish(db, text, policy.current(db)[0], by="system:test", now=self.now)

    def write(self, fn: Any, *arguments: Any, **named: Any) -> Any:
        with self.instance.db.write() as db:
            return fn(db, *arguments, **named)

    def read(self, fn: Any, *arguments: Any, **named: Any) -> Any:
        with self.instance.db.read() as db:
            return fn(db, *arguments, **named)

    def audit(self) -> list[dict[str, Any]]:
        """Return the audit log, verified, once everything that was written is in it."""
        self.instance.vault.settle(timeout=10)
        return logged(Home(self.instance.paths.root))

    def audited(self, response: httpx.Response) -> list[dict[str, Any]]:
        """Return what the audit log says of the request that was answered so."""
        session = f"request:{response.headers['x-request-id']}"
        return [record for record in self.audit() if record.get("session") == session]


def subjects_of(record: Mapping[str, Any]) -> set[UUID]:
    """Return whom a record of the audit log is about."""
    return {UUID(hex=subject) for _, subject, _ in record.get("obj", ())}


def phones(*numbers: str) -> dict[str, Any]:
    return {"phones": tuple(Phone(e164=number, use="mobile") for number in numbers)}


def number() -> str:
    """Return a number that nobody else in these tests has."""
    digest = hashlib.sha256(uuid4().bytes).digest()
    return f"+1{212 + digest[0] % 700}555{int.from_bytes(digest[1:3]) % 10000:04d}"


@contextmanager
def opened(root: Path) -> Iterator[Office]:
    """Make an instance in `root` with the command line, and serve it."""
    paths = Paths(root)
    (root / "secrets").mkdir()
    for name, value in SECRETS.items():
        (root / "secrets" / name).write_text(value)
    setup.make(paths, POLICY)
    with running(Home(root)) as vault:
        office: Office
        instance = Instance.open(paths, "hub", clock=lambda: office.now)
        outside = Outside(instance, {}, actor="system:hub")
        office = Office(instance, vault, create(instance, outside, Flows(instance, {})))
        try:
            yield office
        finally:
            instance.close()

"""A good connector, to an invented clinic: every capability, and nothing wrong with it."""

import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import date, datetime
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import orjson
import phonenumbers
from pydantic import HttpUrl, SecretStr, ValidationError

from connectors.api import (
    AppointmentFacts,
    AppointmentStatus,
    Callback,
    Change,
    ChartFacts,
    Checkpoint,
    CommunicationFacts,
    Connector,
    Context,
    Identifier,
    PatientFacts,
    PatientRef,
    Phone,
    Receipt,
    ReceiptFacts,
    RejectedError,
    ReplyFacts,
    ResetError,
    Scope,
    Section,
    Settings,
    Sms,
    TransientError,
    Version,
)
from tests.connectors.kit import bridge

Row = dict[str, Any]


class ClinicSettings(Settings):
    base_url: HttpUrl
    token: SecretStr
    secret: SecretStr


class Clinic(Connector[ClinicSettings]):
    name: ClassVar = "clinic"
    scopes: ClassVar = frozenset(Scope)
    Settings: ClassVar = ClinicSettings

    async def check(self, ctx: Context) -> None:
        await self.ask(ctx, "GET", "me")

    async def find_patients(self, ctx: Context, phone: str) -> Sequence[PatientRef]:
        found: dict[str, PatientRef] = {}
        for written in self.written(phone):
            for row in self.rows(await self.ask(ctx, "GET", "patients", params={"phone": written})):
                facts = self.patient(row, ctx)
                if facts is not None and self.hit(facts, phone):
                    found[facts.ids[0].value] = PatientRef(id=facts.ids[0].value, facts=facts)
        return self.chosen(list(found.values()))

    def written(self, phone: str) -> Sequence[str]:
        digits = phone.removeprefix("+1")
        return phone, digits, f"{digits[:3]}-{digits[3:6]}-{digits[6:]}", f"({digits[:3]}) {digits[3:6]}-{digits[6:]}"

    def hit(self, facts: PatientFacts, phone: str) -> bool:
        return any(one.e164 == phone for one in facts.phones)

    def chosen(self, refs: list[PatientRef]) -> list[PatientRef]:
        return refs

    async def chart(self, ctx: Context, patient_ids: Sequence[Identifier], sections: frozenset[Section]) -> ChartFacts:
        said = await self.ask(ctx, "GET", f"patients/{patient_ids[0].value}/chart")
        if not isinstance(said.get("sections"), dict):
            raise TransientError("no chart in the answer")
        held = {name: lines for name, lines in said["sections"].items() if isinstance(lines, list)}
        return ChartFacts(
            sections={one: tuple(map(str, held[one])) for one in self.asked_sections(sections) if one in held},
            read_at=ctx.clock(),
        )

    def asked_sections(self, sections: frozenset[Section]) -> frozenset[Section]:
        return sections

    async def changes(self, ctx: Context, cursor: bytes | None) -> AsyncIterator[Change | Checkpoint]:
        since, page = self.place(cursor)
        while True:
            said = await self.ask(ctx, "GET", "changes", params={"since": since} | ({"page": page} if page else {}))
            for fact in self.facts(self.rows(said), ctx):
                yield fact
            page, until = str(said.get("next") or ""), said.get("until")
            if not page:
                yield Checkpoint(cursor=self.cursor(str(until or since), ""))
                return
            if self.short(page):
                yield Checkpoint(cursor=self.cursor(since, page))

    def short(self, page: str) -> bool:
        return len(page) < 2000

    def place(self, cursor: bytes | None) -> tuple[str, str]:
        if cursor is None:
            return "", ""
        try:
            since, page = orjson.loads(cursor)
        except (ValueError, TypeError):
            raise ResetError("the cursor does not read") from None
        return since, page

    def cursor(self, since: str, page: str) -> bytes:
        return orjson.dumps([since, page])

    def facts(self, rows: list[Row], ctx: Context) -> Iterator[Change]:
        for row in rows:
            fact = self.visit(row, ctx) if row.get("kind") == "visit" else self.patient(row, ctx)
            if fact is not None:
                yield fact

    def patient(self, row: Row, ctx: Context) -> PatientFacts | None:
        own, at = row.get("id"), self.time(row.get("updated"), ctx)
        if not isinstance(own, str) or at is None:
            return None
        numbers = row.get("phones")
        phones = [number for one in (numbers if isinstance(numbers, list) else []) if (number := e164(one, ctx.region))]
        return PatientFacts(
            ids=(Identifier(system="clinic/patient", value=own),),
            version=self.version(row, at, ctx),
            family=text(row.get("family")),
            given=self.given(row),
            birth_date=day(row.get("born")),
            phones=tuple(Phone(e164=one) for one in dict.fromkeys(phones)),
        )

    def given(self, row: Row) -> str | None:
        return text(row.get("given"))

    def version(self, row: Row, at: datetime, ctx: Context) -> Version:  # noqa: ARG002 - others take the clock
        return Version(at=at, tag=str(row.get("version") or ""))

    def visit(self, row: Row, ctx: Context) -> AppointmentFacts | None:
        own, at = row.get("id"), self.time(row.get("updated"), ctx)
        if not isinstance(own, str) or at is None or row.get("status") not in list(AppointmentStatus):
            return None
        person = row.get("patient")
        return AppointmentFacts(
            ids=(Identifier(system="clinic/visit", value=own),),
            version=self.version(row, at, ctx),
            status=AppointmentStatus(row["status"]),
            starts_at=self.time(row.get("start"), ctx),
            patient=self.patient(person, ctx) if isinstance(person, dict) else None,
            type=text(row.get("type")),
        )

    def time(self, value: Any, ctx: Context) -> datetime | None:
        try:
            at = datetime.fromisoformat(value)
        except (ValueError, TypeError):
            return None
        return at if at.tzinfo else at.replace(tzinfo=ctx.timezone)

    async def set_status(
        self,
        ctx: Context,
        appointment_ids: Sequence[Identifier],
        to: AppointmentStatus | str,
        *,
        if_version: str | None,
        key: str,
    ) -> Receipt:
        own = appointment_ids[0].value
        headers = self.key(key) | self.if_match(if_version)
        said = await self.ask(ctx, "PUT", f"visits/{own}/status", json={"to": str(to)}, headers=headers)
        return Receipt(external_id=own, version=str(said.get("version") or ""))

    def if_match(self, version: str | None) -> dict[str, str]:
        return {"If-Match": f'"{version}"'} if version else {}

    def key(self, key: str) -> dict[str, str]:
        return {"Idempotency-Key": key}

    async def log(self, ctx: Context, communication: CommunicationFacts, *, key: str) -> Receipt:
        note = {"patient": communication.patient_ids[0].value, "topic": communication.topic}
        said = await self.ask(ctx, "POST", "notes", json=note, headers=self.key(key))
        return self.receipt(said)

    async def send(self, ctx: Context, sms: Sms, *, key: str) -> Receipt:
        message = {"to": sms.to, "from": sms.sender, "text": sms.body}
        return self.receipt(await self.ask(ctx, "POST", "texts", json=message, headers=self.key(key)))

    def receipt(self, said: Row) -> Receipt:
        if not isinstance(said.get("id"), str):
            raise TransientError("taken, and not named")
        return Receipt(external_id=said["id"])

    def verify(self, callback: Callback) -> str:
        stamp = callback.headers.get("clinic-time", "")
        mark = self.mark(stamp.encode() + b"." + callback.body)
        if not hmac.compare_digest(mark, callback.headers.get("clinic-mark", "").encode()):
            raise RejectedError("signature", field="Clinic-Mark")
        if abs(callback.received_at.timestamp() - int(stamp)) > 300:
            raise RejectedError("stale", field="Clinic-Time")
        return str(orjson.loads(callback.body)["message"])

    def mark(self, signed: bytes) -> bytes:
        secret = self.settings.secret.get_secret_value().encode()
        return hmac.new(secret, signed, hashlib.sha256).hexdigest().encode()

    def read(self, raw: bytes, *, timezone: ZoneInfo, region: str) -> Sequence[Change]:
        if raw.startswith(b"MSH"):
            return bridge.read(raw, timezone, region)
        try:
            said = orjson.loads(raw)
            at = datetime.fromisoformat(said["at"])
            if said["type"] == "receipt":
                return [ReceiptFacts(external_id=said["message"], at=at, status=said["status"])]
            return [
                ReplyFacts(external_id=said["message"], at=at, sender=said["from"], to=said["to"], body=said["text"])
            ]
        except (ValidationError, ValueError, KeyError, TypeError):
            pass  # what they say quotes the message
        raise RejectedError("not-understood")

    async def ask(self, ctx: Context, method: str, path: str, **how: Any) -> Row:
        headers = {"Authorization": f"Bearer {await self.token(ctx)}"} | how.pop("headers", {})
        return self.document(await self.fetched(ctx, method, f"{self.base}/{path}", headers=headers, **how))

    async def token(self, ctx: Context) -> str:  # noqa: ARG002 - others have to ask for one
        return self.settings.token.get_secret_value()

    async def fetched(self, ctx: Context, method: str, url: str, **how: Any) -> bytes:
        return (await ctx.http.request(method, url, **how)).content

    @property
    def base(self) -> str:
        return str(self.settings.base_url).rstrip("/")

    def document(self, content: bytes) -> Row:
        try:
            said = orjson.loads(content)
        except orjson.JSONDecodeError:
            said = None
        if not isinstance(said, dict) or said.get("error"):
            raise TransientError("no good answer")
        return said

    def rows(self, said: Row) -> list[Row]:
        rows = said.get("items")
        if not isinstance(rows, list):
            raise TransientError("no list in the answer")
        return [row for row in rows if isinstance(row, dict)]


def e164(value: Any, region: str) -> str | None:
    try:
        return str(phonenumbers.format_number(phonenumbers.parse(value, region), phonenumbers.PhoneNumberFormat.E164))
    except (phonenumbers.NumberParseException, TypeError):
        return None


def text(value: Any) -> str | None:
    return value or None if isinstance(value, str) else None


def day(value: Any) -> date | None:
    return date.fromisoformat(value) if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value) else None

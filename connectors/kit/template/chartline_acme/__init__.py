"""Acme's API as Chartline's facts: visits and patients come in, confirmations and contacts go out."""

import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, ClassVar

from pydantic import HttpUrl, SecretStr

from connectors import api


class AcmeSettings(api.Settings):
    """What the practice writes under `settings` of the connection."""

    base_url: HttpUrl
    token: SecretStr


class Acme(api.Connector[AcmeSettings]):
    """One practice's account at Acme."""

    name: ClassVar = "acme"
    scopes: ClassVar = frozenset(api.Scope) - {api.Scope.CHART_SUMMARY, api.Scope.MESSAGE_BODY}
    Settings: ClassVar = AcmeSettings

    async def check(self, ctx: api.Context) -> None:
        """Ask for the account, which needs the token and is about nobody."""
        await self._ask(ctx, "GET", "account", dict)

    async def _ask(self, ctx: api.Context, method: str, path: str, shape: type, headers: Any = (), **more: Any) -> Any:
        sent = {"Authorization": f"Bearer {self.settings.token.get_secret_value()}"} | dict(headers)
        answer = await ctx.http.request(method, f"{self.settings.base_url}/{path}", headers=sent, **more)
        with suppress(ValueError):  # the fault itself would carry the document along
            said = answer.json()
            if isinstance(said, dict) and isinstance(said.get("data"), shape):
                return said
        raise api.RejectedError("not-understood", field="data")

    async def find_patients(self, ctx: api.Context, phone: str) -> Sequence[api.PatientRef]:
        """Ask for the number, and keep those in whose record it really stands."""
        page = await self._ask(ctx, "GET", "patients", list, params={"phone": phone})
        read = [one for one in _each(page["data"], _patient, ctx) if isinstance(one, api.PatientFacts)]
        return [api.PatientRef(id=one.ids[0].value, facts=one) for one in read if phone in {n.e164 for n in one.phones}]

    async def changes(self, ctx: api.Context, cursor: bytes | None) -> AsyncIterator[api.Change | api.Checkpoint]:
        """Read page after page of visits, until one leads to itself."""
        if not (after := cursor or b"0").isdigit():
            raise api.ResetError("not a cursor of this connector")
        while True:
            page = await self._ask(ctx, "GET", "visits", list, params={"after": after.decode()})
            for facts in _each(page["data"], _visit, ctx):
                yield facts
            before, after = after, str(page.get("next")).encode()
            if not after.isdigit():
                raise api.RejectedError("not-understood", field="next")
            yield api.Checkpoint(cursor=after)
            if after == before:
                return

    async def set_status(
        self, ctx: api.Context, appointment_ids: Sequence[api.Identifier], to: str, *, if_version: str | None, key: str
    ) -> api.Receipt:
        """Change the status of a visit, or note that the patient comes; `key` makes a repeat harmless."""
        change = {"confirmed": True} if to == "confirmed" else {"status": to}
        return await self._write(ctx, "PATCH", f"visits/{_own('acme/visit', appointment_ids)}", change, key, if_version)

    async def log(self, ctx: api.Context, communication: api.CommunicationFacts, *, key: str) -> api.Receipt:
        """Note a contact; `key` makes a repeat harmless."""
        contact = communication.model_dump(mode="json", include={"medium", "inbound", "sent_at", "topic", "seconds"})
        contact["patient"] = _own("acme/patient", communication.patient_ids)
        return await self._write(ctx, "POST", "contacts", contact, key, None)

    async def _write(self, ctx: api.Context, method: str, path: str, body: Any, key: str, version: Any) -> api.Receipt:
        headers = {"Idempotency-Key": key} | ({"If-Match": version} if version else {})
        data = (await self._ask(ctx, method, path, dict, json=body, headers=headers))["data"]
        with suppress(KeyError, ValueError):
            return api.Receipt(external_id=data["id"], version=data.get("version"))
        raise api.UnknownOutcomeError("taken, and not named")


def _each(records: list[Any], facts: Callable[[Any, api.Context], Any], ctx: api.Context) -> Iterator[Any]:
    for record in records:
        try:
            yield facts(record, ctx)
        except (KeyError, TypeError, ValueError):  # it holds up no other, and waits in quarantine
            yield api.UnreadFacts(raw=json.dumps(record).encode())


def _same(system: str, record: Any, ctx: api.Context, *names: str) -> dict[str, Any]:
    ids = (api.Identifier(system=system, value=record["id"]),)
    version = api.Version(at=_time(record["changed_at"], ctx), tag=record["version"])
    return {"ids": ids, "version": version} | {name: record[name] for name in names}


def _time(written: str, ctx: api.Context) -> datetime:
    at = datetime.fromisoformat(written)
    return at.replace(tzinfo=at.tzinfo or ctx.timezone)


def _patient(record: Any, ctx: api.Context) -> api.PatientFacts:
    phones = tuple(api.Phone(e164=said) for one in record["phones"] or () if (said := api.e164(one, ctx.region)))
    return api.PatientFacts(phones=phones, **_same("acme/patient", record, ctx, "family", "given", "birth_date"))


def _visit(record: Any, ctx: api.Context) -> api.AppointmentFacts:
    patient = record["patient"] and _patient(record["patient"], ctx)
    same = _same("acme/visit", record, ctx, "status", "minutes", "practitioner", "confirmed")
    return api.AppointmentFacts(starts_at=(at := record["starts_at"]) and _time(at, ctx), patient=patient, **same)


def _own(system: str, ids: Sequence[api.Identifier]) -> str:
    if own := [one.value for one in ids if one.system == system]:
        return own[0]
    raise api.RejectedError("not-known-here", field=system)

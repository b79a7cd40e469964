"""The Salesforce connector: who has this number, which page shows them, and calls and texts as activities.

It conforms to what Salesforce publishes of its REST API (docs/connectors/salesforce.md says which pages).
"""

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from connectors.api import CommunicationFacts, Connector, Context, PatientRef, Receipt, RejectedError, Scope
from connectors.salesforce.activity import WRITTEN, link_of, task_of
from connectors.salesforce.auth import Tokens
from connectors.salesforce.budget import Budget
from connectors.salesforce.client import Client
from connectors.salesforce.person import fields_of, ref_of, sobject_of, statement
from connectors.salesforce.settings import SalesforceSettings

_STANDS = frozenset({"invalid-field-for-insert-update", "duplicate-value"})
"What an upsert says that met a record which is there already: TaskSubtype is set once and never changed."


class Salesforce(Connector[SalesforceSettings]):
    """One Salesforce org."""

    name: ClassVar = "salesforce"
    kind: ClassVar = "crm"
    scopes: ClassVar = frozenset(
        {Scope.PATIENT_IDENTITY, Scope.PATIENT_CONTACT, Scope.COMMUNICATION_WRITE, Scope.MESSAGE_BODY}
    )
    Settings: ClassVar = SalesforceSettings

    def __init__(self, settings: SalesforceSettings) -> None:
        super().__init__(settings)
        self._tokens = Tokens(settings)
        self._budget = Budget(settings.api_reserve)
        self._creating = asyncio.Lock()

    async def check(self, ctx: Context) -> None:
        """Sign in and read how the org describes the objects in use; nobody's record is read.

        Raises:
            RejectedError: a field is missing, or the signed-in user may not use it.
        """
        client = self._client(ctx)
        for searched in self.settings.objects:
            sobject = sobject_of(searched)
            seen = await client.describe(sobject)
            for name in fields_of(sobject):
                if name not in seen:
                    raise RejectedError("field-not-readable", field=f"{sobject}.{name}")
        task = await client.describe("Task")
        for name in WRITTEN:
            if name not in task or task[name].get("createable") is not True:
                raise RejectedError("field-not-writable", field=f"Task.{name}")
        held = self.settings.external_id_field
        if held and not all(
            task.get(held, {}).get(needed) is True for needed in ("externalId", "unique", "createable")
        ):
            raise RejectedError("no-unique-external-id", field=f"Task.{held}")

    async def find_patients(self, ctx: Context, phone: str) -> Sequence[PatientRef]:
        """Return every record with `phone` (E.164); what the search brings counts only if it carries the number."""
        return await self._find(ctx, phone)

    async def log(self, ctx: Context, communication: CommunicationFacts, *, key: str) -> Receipt:
        """Write a Task; a repeat of `key` has no second effect.

        It hangs on the record that the ids name, or on the only one with the number; where there is none, or several,
        on nobody.

        Raises:
            UnknownOutcomeError: no answer, and the org has no external id field; a repeat looks for the key first.
        """
        link = link_of(communication.patient_ids)
        if not link and communication.phone:
            hits = await self._find(ctx, communication.phone)
            link = link_of(hits[0].facts.ids) if len(hits) == 1 else {}
        status, zone = self.settings.task_status, ctx.timezone
        task = task_of(communication, key, link, status=status, zone=zone)
        client = self._client(ctx)
        if self.settings.external_id_field:
            return Receipt(external_id=await self._upserted(client, self.settings.external_id_field, key, task))
        async with self._creating:  # two at once would both look, and both find nothing
            return Receipt(external_id=await self._created(client, key, task))

    async def _upserted(self, client: Client, field: str, key: str, task: dict[str, object]) -> str:
        refused: RejectedError | None = None
        try:
            own = await client.upsert("Task", field, key, task)
        except RejectedError as error:
            if error.reason not in _STANDS:
                raise
            own, refused = None, error
        own = own or await client.by_external_id("Task", field, key)
        if own is None:
            raise refused or RejectedError("taken-and-not-found", field=f"Task.{field}")
        return own

    async def _created(self, client: Client, key: str, task: dict[str, object]) -> str:
        written = f"SELECT Id FROM Task WHERE CallObject = '{_quoted(key)}'"  # noqa: S608 - SOQL only reads; quoted
        async for record in client.query(written):
            if isinstance(record.get("Id"), str):
                return str(record["Id"])
        return await client.create("Task", task)

    async def _find(self, ctx: Context, phone: str) -> list[PatientRef]:
        records = await self._client(ctx).search(statement(phone, self.settings.objects))
        found = {ref.id: ref for one in records if (ref := ref_of(one, self.settings.instance, ctx)) is not None}
        return [ref for ref in found.values() if any(number.e164 == phone for number in ref.facts.phones)]

    def _client(self, ctx: Context) -> Client:
        return Client(ctx, self.settings, self._tokens, self._budget)


def _quoted(text: str) -> str:
    """Return `text` for a SOQL string literal (SOQL and SOSL Reference, Quoted String Escape Sequences)."""
    return text.replace("\\", "\\\\").replace("'", "\\'")


__all__ = ["Salesforce", "SalesforceSettings"]

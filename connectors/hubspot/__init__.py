"""The HubSpot connector: who has this number, which page shows them, and calls and texts as activities.

It conforms to the OpenAPI documents that HubSpot publishes (docs/connectors/hubspot.md says which).
"""

from collections.abc import Sequence
from typing import ClassVar

from connectors.api import CommunicationFacts, Connector, Context, PatientRef, Receipt, RejectedError, Scope
from connectors.hubspot.activity import CALLS, COMMUNICATIONS, activity_of, contact_of
from connectors.hubspot.client import Client
from connectors.hubspot.pace import Pace
from connectors.hubspot.person import PROPERTIES, ref_of, sought
from connectors.hubspot.settings import HubspotSettings

HITS = 500
"Contacts of one phone search; more people than that do not share a number."


class Hubspot(Connector[HubspotSettings]):
    """One HubSpot account."""

    name: ClassVar = "hubspot"
    kind: ClassVar = "crm"
    scopes: ClassVar = frozenset(
        {Scope.PATIENT_IDENTITY, Scope.PATIENT_CONTACT, Scope.COMMUNICATION_WRITE, Scope.MESSAGE_BODY}
    )
    Settings: ClassVar = HubspotSettings

    def __init__(self, settings: HubspotSettings) -> None:
        super().__init__(settings)
        self._pace = Pace(settings.searches_per_second)

    async def check(self, ctx: Context) -> None:
        """Ask whose the token is, and whether the key's property is there; nobody's record is read.

        Raises:
            RejectedError: another account's token, or no property with unique values for the key.
        """
        client = self._client(ctx)
        if await client.portal() != self.settings.portal:
            raise RejectedError("token-for-another-account", field="portal")
        for kind in (CALLS, COMMUNICATIONS):
            found = await client.property(kind, self.settings.key_property)
            if found is None or found.get("hasUniqueValue") is not True:
                raise RejectedError("no-unique-property", field=f"{kind}.{self.settings.key_property}")

    async def find_patients(self, ctx: Context, phone: str) -> Sequence[PatientRef]:
        """Return every contact with `phone` (E.164); what the search brings counts only if it carries the number."""
        return await self._find(ctx, phone)

    async def log(self, ctx: Context, communication: CommunicationFacts, *, key: str) -> Receipt:
        """Write a call or a communication; a repeat of `key` has no second effect.

        It hangs on the contact that the ids name, or on the only one with the number; where there is none, or several,
        on nobody.
        """
        contact = contact_of(communication.patient_ids)
        if contact is None and communication.phone:
            hits = await self._find(ctx, communication.phone)
            contact = hits[0].id if len(hits) == 1 else None
        kind, properties = activity_of(communication)
        client = self._client(ctx)
        own = await client.upsert(kind, self.settings.key_property, key, properties)
        if contact is not None:
            await client.associate(kind, own, contact)
        return Receipt(external_id=own)

    async def _find(self, ctx: Context, phone: str) -> list[PatientRef]:
        found: dict[str, PatientRef] = {}
        if wanted := sought(phone):
            async for record in self._client(ctx).search("contacts", wanted, PROPERTIES, most=HITS):
                ref = ref_of(record, self.settings.app, self.settings.portal, ctx)
                if ref is not None and any(number.e164 == phone for number in ref.facts.phones):
                    found[ref.id] = ref
        return list(found.values())

    def _client(self, ctx: Context) -> Client:
        return Client(ctx, self.settings, self._pace)


__all__ = ["Hubspot", "HubspotSettings"]

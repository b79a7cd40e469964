"""An account, and the connector that speaks to it as the host built it."""

from dataclasses import dataclass, field
from typing import Any

from connectors import host
from connectors.api import Context
from connectors.hubspot import Hubspot
from tests.connectors.hubspot.server import BASE, PORTAL, TOKEN, Account
from tests.connectors.stage import context

AGREED = ("patient.phone", "communication.topic", "communication.body", "communication.phone")
"An agreement that lets the CRM be told of everything it could be told of."


@dataclass
class World:
    account: Account = field(default_factory=Account)

    def connector(self, *, agreed: tuple[str, ...] = AGREED, **changed: Any) -> Hubspot:
        """Return the connector of a connection with the usual settings, but for what is `changed`."""
        written = {"base_url": BASE, "token": "env:TOKEN", "portal": PORTAL, "searches_per_second": 20} | changed
        kept = {name: value for name, value in written.items() if value is not None}
        secrets = {"env:TOKEN": TOKEN, "env:OTHER": "pat-na1-other"}
        built = host.build("hubspot", kept, secrets.__getitem__, fields=agreed)
        assert isinstance(built, Hubspot)
        return built

    def context(self, connector: Hubspot) -> Context:
        return context(connector, self.account.app)

"""The way to an outside system: the connector of a connection of the policy, behind the egress gate."""

import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import structlog

from connectors import host
from connectors.api import AnyConnector, ConnectorError, Context, Logs, Scope, Sends
from hub.errors import UnavailableError
from hub.instance import Instance
from hub.security.egress import Egress
from hub.settings import Connection, Practice

log = structlog.get_logger()


class ConnectionMissingError(UnavailableError):
    """The policy has no such connection, or its connector cannot be used as it is set."""

    code = "connection-missing"
    retry = False


def connector_of(practice: Practice, connection: Connection, resolve: host.Resolve) -> AnyConnector:
    """Return the connector of a connection of the policy, held to what the practice grants and agreements name.

    Raises:
        UnknownConnectorError, UnfitConnectorError, ConnectionSettingsError: see `connectors.host`.
    """
    agreed = {name for one in practice.agreements if one.counterparty == connection.name for name in one.fields}
    return host.build(connection.connector, connection.settings, resolve, granted=connection.scopes, fields=agreed)


@dataclass(frozen=True, slots=True)
class Line:
    """An open line to an outside system, for one exchange."""

    connector: AnyConnector
    ctx: Context


class Outside:
    """The connections of the policy in force, for one process."""

    def __init__(self, instance: Instance, env: Mapping[str, str], *, actor: str) -> None:
        """Take `actor`, the process as the audit log names it: `system:workflows`."""
        self._instance = instance
        self._actor = actor
        self._resolve = host.secrets(instance.paths.root, env)
        self._lock = threading.Lock()
        self._version: int | None = None
        self._connectors: dict[str, AnyConnector] = {}
        self._egress: Egress | None = None

    def connectors(self) -> Mapping[str, AnyConnector]:
        """Return the connectors in the order of the policy, by the names of their connections."""
        return self._current()[0]

    def able(self, capability: type) -> list[str]:
        """Return the connections whose connector has a capability of `connectors.api`."""
        return [name for name, connector in self.connectors().items() if isinstance(connector, capability)]

    def notes(self, kind: str) -> list[str]:
        """Return the systems of a kind (`ehr`, `crm`) that take notes of contacts, and may be told of them."""
        connectors, _, practice = self._current()
        return [
            one.name
            for one in practice.connections
            if (connector := connectors.get(one.name)) is not None
            and connector.kind == kind
            and isinstance(connector, Logs)
            and (one.scopes is None or Scope.COMMUNICATION_WRITE in one.scopes)
        ]

    def carrier(self) -> str | None:
        """Return the connection that sends texts, or None where there is none."""
        return next(iter(self.able(Sends)), None)

    @asynccontextmanager
    async def open(self, connection: str, data_class: str, purpose: str) -> AsyncIterator[Line]:
        """Yield a line to `connection` over which data of one class may go.

        Raises:
            EgressDeniedError: no agreement lets it out.
            ConnectionMissingError: the policy has no such connection, or it cannot be used.
        """
        connectors, egress, practice = self._current()
        connector = connectors.get(connection)
        if connector is None:
            raise ConnectionMissingError(f"connection {connection} is not in the policy, or cannot be used")
        async with await egress.open(connection, data_class, purpose) as http:
            yield Line(
                connector,
                host.context(
                    connector,
                    connection,
                    http=http,
                    connect=await egress.stream(connection, data_class, purpose),
                    clock=self._instance.clock,
                    timezone=practice.practice.zone,
                    region=practice.practice.region,
                ),
            )

    async def permit(self, counterparty: str, data_class: str, purpose: str) -> None:
        """Return if data of one class may go to a connection or a trunk, by whatever way.

        Raises:
            EgressDeniedError: no agreement lets it out.
        """
        await self._current()[1].permit(counterparty, data_class, purpose)

    async def webhook(self, url: str) -> httpx.AsyncClient:
        """Return a client for one of the policy's webhooks; the caller closes it.

        Raises:
            EgressDeniedError, DestinationDeniedError: the policy has no such webhook, or it leads where none may.
        """
        return await self._current()[1].webhook(url, "operations")

    def _current(self) -> tuple[Mapping[str, AnyConnector], Egress, Practice]:
        version, practice = self._instance.policy()
        with self._lock:
            if version != self._version or self._egress is None:
                self._connectors = self._built(practice)
                self._egress = Egress(practice, self._instance.db, self._instance.clock, actor=self._actor)
                self._version = version
            return self._connectors, self._egress, practice

    def _built(self, practice: Practice) -> dict[str, AnyConnector]:
        built = {}
        for connection in practice.connections:
            try:
                built[connection.name] = connector_of(practice, connection, self._resolve)
            except ConnectorError as error:
                log.error("connection left out", connection=connection.name, code=error.code)
        return built

"""What a connector's streams are made of: only the settings' addresses, and every fault a connector error.

A stream is for what is not HTTP: `mllp://host:port` is TCP, `mllps://host:port` TLS over it. The host finds what TLS
needs in the connector's settings by their names, each a `SecretStr` with PEM text, all of them optional:

    client_certificate, client_key    what is shown to the other side
    server_ca                         whose certificates the other side may show; the well-known ones if left out
"""

import asyncio
from dataclasses import dataclass
from typing import Protocol

import httpx
from pydantic import SecretStr

from connectors.api import Connect, ConnectorError, RejectedError, Settings, TransientError
from connectors.transport import Origin, origin_of, origins

SCHEMES = frozenset({"mllp", "mllps"})
"What `Context.connect` opens."

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """What a connection over TLS is made with, PEM texts; empty where the settings have none."""

    certificate: str = ""
    "Ours, with its chain."

    key: str = ""
    authorities: str = ""


class Dial(Protocol):
    """Opens a connection if the egress gate lets it; what the host is given to make a `Connect` of."""

    async def __call__(self, origin: Origin, credentials: Credentials) -> Streams:
        """Return a connection to `origin`.

        Raises:
            ConnectorError: it leads where none may, or there is no connection.
            OSError, TimeoutError: there is no connection.
        """
        ...


def credentials_of(settings: Settings) -> Credentials:
    """Return what the settings hold for TLS."""

    def text(name: str) -> str:
        value = getattr(settings, name, None)
        return value.get_secret_value() if isinstance(value, SecretStr) else ""

    return Credentials(text("client_certificate"), text("client_key"), text("server_ca"))


def lent(dial: Dial, settings: Settings) -> Connect:
    """Return what a connector opens its streams by: `dial`, for the addresses of its settings."""
    allowed = frozenset(one for one in origins(settings.model_dump(mode="json")) if one[0] in SCHEMES)
    credentials = credentials_of(settings)

    async def connect(url: str) -> Streams:
        try:
            origin = origin_of(httpx.URL(url))
        except httpx.InvalidURL:
            origin = ("", "", 0)
        if origin not in allowed:
            raise RejectedError("host-not-in-settings")
        # Raised after the except block: what the system says of a failed connection names its address.
        error: ConnectorError
        try:
            return await dial(origin, credentials)
        except (OSError, TimeoutError):
            error = TransientError("no connection")
        raise error

    return connect


__all__ = ["SCHEMES", "Credentials", "Dial", "Streams", "credentials_of", "lent"]

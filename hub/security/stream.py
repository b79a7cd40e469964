"""The way out for what is not HTTP: TCP or TLS to the addresses of one counterparty, as its settings write them.

It is what a connector's `Context.connect` stands on, so it raises connector errors. Beyond this machine a connection
is over TLS 1.2 or later, unless the table of the policy in which the address stands says `plaintext = true`.
"""

import asyncio
import os
import ssl
from collections.abc import Mapping
from typing import Any

import httpx

from connectors.api import RejectedError, TransientError
from connectors.stream import SCHEMES, Credentials, Streams
from connectors.transport import Origin, origins
from hub.security.address import (
    IP,
    AddressDeniedError,
    HostUnknownError,
    Reach,
    Resolve,
    literal_loopback,
    resolved,
)

CONNECT_S = 5.0
"For one address: the connection and, over it, the TLS handshake."


def stream_origins(settings: Mapping[str, Any]) -> frozenset[Origin]:
    """Return every address of a stream that stands in a connection's settings."""
    return frozenset(origin for origin in origins(settings) if origin[0] in SCHEMES)


def clear_origins(settings: Mapping[str, Any]) -> frozenset[Origin]:
    """Return those to which the operator lets data go in clear: what stands in a table with `plaintext = true`."""
    if settings.get("plaintext") is True:
        return stream_origins(settings)
    inner = [value for value in settings.values() if isinstance(value, Mapping)]
    return frozenset[Origin]().union(*map(clear_origins, inner))


class PinnedStreams:
    """Connects to judged addresses of a counterparty only; a name is resolved once in its life."""

    def __init__(self, allowed: frozenset[Origin], clear: frozenset[Origin], resolve: Resolve) -> None:
        self._allowed = allowed
        self._clear = clear
        self._resolve = resolve
        self._addresses: dict[Origin, list[IP]] = {}

    async def __call__(self, origin: Origin, credentials: Credentials) -> Streams:
        """Return a connection to the address that the host of `origin` had when it was first asked for.

        Raises:
            RejectedError: host-not-in-settings, plaintext-not-allowed, address-denied: the name leads where this
                counterparty cannot be; certificate-invalid: ours cannot be used.
            TransientError: the name leads nowhere, nobody answers there, or TLS does not come about.
        """
        scheme, host, port = origin
        if origin not in self._allowed:
            raise RejectedError("host-not-in-settings")
        if scheme == "mllp" and not literal_loopback(host) and origin not in self._clear:
            raise RejectedError("plaintext-not-allowed")
        context = _context(credentials) if scheme == "mllps" else None
        for address in await self._judged(origin):
            try:
                async with asyncio.timeout(CONNECT_S):
                    # The certificate is checked against the name; only the connection takes the address.
                    return await asyncio.open_connection(
                        str(address), port, ssl=context, server_hostname=host if context else None
                    )
            except (OSError, TimeoutError):
                continue  # the host may have another address
        raise TransientError("no connection")

    async def _judged(self, origin: Origin) -> list[IP]:
        if origin not in self._addresses:
            _, host, port = origin
            reach = Reach.LOOPBACK if literal_loopback(host) else Reach.PRACTICE
            try:
                found = await resolved(host, port, reach, self._resolve)
            except HostUnknownError:
                raise TransientError("no connection") from None
            except AddressDeniedError:
                raise RejectedError("address-denied") from None
            self._addresses.setdefault(origin, found)  # another connection may have come to know it meanwhile
        return self._addresses[origin]


def _context(credentials: Credentials) -> ssl.SSLContext:
    """Return how TLS is spoken: with authorities of the settings or the well-known ones, and our certificate if any."""
    try:
        if credentials.authorities:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(cadata=credentials.authorities)
        else:
            context = httpx.create_ssl_context(trust_env=False)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if credentials.certificate:
            _show(context, f"{credentials.certificate}\n{credentials.key}\n")
    except (OSError, ValueError):  # OpenSSL's faults are OSErrors; text that is no PEM at all, a ValueError
        raise RejectedError("certificate-invalid") from None
    return context


def _show(context: ssl.SSLContext, pem: str) -> None:
    # OpenSSL reads a private key from a file only; this one is in memory, and gone with its descriptor.
    with os.fdopen(os.memfd_create("certificate"), "wb") as file:
        file.write(pem.encode())
        file.flush()
        # Without a password OpenSSL would ask at the terminal for that of a key that has one.
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}", password="")


__all__ = ["CONNECT_S", "PinnedStreams", "clear_origins", "stream_origins"]

"""Addresses: our own as a peer sees it, and a peer's by its name."""

import asyncio
import socket

from media.sip.hop import Hop

WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to


def family_of(host: str) -> socket.AddressFamily:
    """Return the family of an IP address."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def own_address(local: Hop, peer: str) -> str:
    """Return the address of this machine that `peer` can reach; `local` itself unless it is the wildcard."""
    if local.host not in WILDCARDS:
        return local.host
    with socket.socket(family_of(peer), socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((peer, local.port))  # sends nothing: the kernel only chooses a route
        except OSError:
            return local.host
        return str(probe.getsockname()[0])


async def resolve(hop: Hop) -> Hop:
    """Return `hop` with the address in place of its name, which a certificate will have to bear.

    Raises:
        OSError: no such name.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(hop.host, hop.port, type=socket.SOCK_DGRAM, family=socket.AF_INET)
    return hop._replace(host=str(found[0][4][0]), name=hop.host)

"""Where an outbound connection may go: names are resolved once, every address is judged, and only those are used.

The list is our own: Python's `ipaddress` takes a NAT64 or 6to4 address of the metadata address for global, and
100.64.0.0/10 for neither private nor global. An IPv4 address inside of an IPv6 one is judged as itself.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum

from hub.errors import DeniedError, UnavailableError

IP = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"Returns the addresses of a host name, for a port."


class Reach(StrEnum):
    """How far a client may reach."""

    WORLD = "world"
    "The Internet only: for addresses that somebody else gave us."

    PRACTICE = "practice"
    "The practice's own network as well: for systems that the operator set up."

    LOOPBACK = "loopback"
    "This machine only: for a host that is written as loopback in the policy."


class EgressDeniedError(DeniedError):
    """No agreement lets this class of data out to this counterparty."""

    code = "no-agreement"


class DestinationDeniedError(EgressDeniedError):
    """The request leads elsewhere, or by another way, than the client may go."""

    code = "destination-denied"


class AddressDeniedError(EgressDeniedError):
    """The host's address is one that this client may not reach."""

    code = "address-denied"


class HostUnknownError(UnavailableError):
    """The host's name does not resolve, now."""

    code = "host-unknown"


_LOOPBACK = [ipaddress.ip_network(one) for one in ("127.0.0.0/8", "::1/128")]

_PRACTICE = [
    ipaddress.ip_network(one)
    for one in (
        "10.0.0.0/8",  # RFC 1918
        "172.16.0.0/12",  # RFC 1918
        "192.168.0.0/16",  # RFC 1918
        "100.64.0.0/10",  # RFC 6598, shared address space
        "fc00::/7",  # RFC 4193, unique local
    )
]

_NOBODY = [
    ipaddress.ip_network(one)
    for one in (
        "0.0.0.0/8",  # RFC 1122, this network
        "169.254.0.0/16",  # RFC 3927, link local: the metadata address of every cloud
        "192.0.0.0/24",  # RFC 6890, protocol assignments
        "192.0.2.0/24",  # RFC 5737, documentation
        "192.88.99.0/24",  # RFC 7526, 6to4 relay
        "198.18.0.0/15",  # RFC 2544, benchmarks
        "198.51.100.0/24",  # RFC 5737
        "203.0.113.0/24",  # RFC 5737
        "224.0.0.0/4",  # RFC 5771, multicast
        "240.0.0.0/4",  # RFC 1112 section 4, reserved; 255.255.255.255
        "::/128",  # RFC 4291, unspecified
        "64:ff9b:1::/48",  # RFC 8215, local-use NAT64
        "100::/64",  # RFC 6666, discard
        "2001::/23",  # RFC 2928, protocol assignments, Teredo among them
        "2001:db8::/32",  # RFC 3849, documentation
        "3fff::/20",  # RFC 9637, documentation
        "5f00::/16",  # RFC 9602, segment routing
        "fe80::/10",  # RFC 4291, link local
        "fec0::/10",  # RFC 3879, site local
        "ff00::/8",  # RFC 4291, multicast
    )
]


def judge(address: str, reach: Reach) -> IP:
    """Return the address to connect to.

    Raises:
        AddressDeniedError: not within reach, or not an address.
    """
    try:
        given = ipaddress.ip_address(address)
    except ValueError:
        raise AddressDeniedError("no address") from None
    if isinstance(given, ipaddress.IPv6Address) and given.scope_id is not None:
        raise AddressDeniedError("an address with a scope")
    meant = _embedded(given)
    kind = _kind(meant)
    allowed = {
        Reach.LOOPBACK: {Reach.LOOPBACK},
        Reach.PRACTICE: {Reach.PRACTICE, Reach.WORLD},
        Reach.WORLD: {Reach.WORLD},
    }[reach]
    if kind not in allowed or (meant is not given and kind is not Reach.WORLD):
        raise AddressDeniedError("the address is not one that this client may reach")
    return given


def _kind(address: IP) -> Reach | None:
    def within(networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
        return any(network.version == address.version and address in network for network in networks)

    if within(_LOOPBACK):
        return Reach.LOOPBACK
    if within(_PRACTICE):
        return Reach.PRACTICE
    return None if within(_NOBODY) else Reach.WORLD


def _embedded(address: IP) -> IP:
    """Return the IPv4 address that an IPv6 one stands for, if it does."""
    if not isinstance(address, ipaddress.IPv6Address):
        return address
    whole = int(address)
    if address.ipv4_mapped is not None:  # ::ffff:0:0/96, RFC 4291 section 2.5.5.2
        return address.ipv4_mapped
    if whole >> 32 == 0 and whole > 1:  # ::/96, RFC 4291 section 2.5.5.1
        return ipaddress.IPv4Address(whole)
    if whole >> 32 == 0x0064_FF9B << 64:  # 64:ff9b::/96, RFC 6052 section 2.1
        return ipaddress.IPv4Address(whole & 0xFFFF_FFFF)
    if whole >> 112 == 0x2002:  # 2002::/16, RFC 3056 section 2
        return ipaddress.IPv4Address(whole >> 80 & 0xFFFF_FFFF)
    return address


def literal_loopback(host: str) -> bool:
    """Whether `host`, as it is written, is this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return any(ipaddress.ip_address(host) in network for network in _LOOPBACK)
    except (ValueError, TypeError):
        return False


async def resolved(host: str, port: int, reach: Reach, resolve: Resolve) -> list[IP]:
    """Return the addresses of `host`, in the resolver's order; one bad one spoils all.

    Raises:
        AddressDeniedError: one of them is not within reach.
        HostUnknownError: there is none.
    """
    try:
        found = [str(ipaddress.ip_address(host.strip("[]")))]
    except ValueError:
        try:
            found = list(await resolve(host, port))
        except OSError:
            found = []
    if not found:
        raise HostUnknownError("the host has no address")
    return [judge(address, reach) for address in dict.fromkeys(found)]


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """Ask the machine's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]

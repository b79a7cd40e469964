"""The next place on a message's way: an address, how it is reached, and over which open connection."""

from typing import NamedTuple

RELIABLE = frozenset({"tcp", "tls", "ws"})
"Transports that lose nothing while the connection stands: nothing is sent twice over them (RFC 3261 section 17)."

DEFAULT_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80}
"RFC 3261 section 19.1.2, RFC 7118 section 5.2."


class Hop(NamedTuple):
    """Where one message goes to, or came from."""

    host: str
    "An IP address, IPv6 without brackets; or a name, before it is looked up."

    port: int
    transport: str = "udp"
    "One of `DEFAULT_PORTS`, or whatever else a URI named: that cannot be reached."

    flow: int = 0
    "The number of an open connection to use while it stands; 0 names none."

    name: str = ""
    "What its certificate must bear where that is not `host`: the name that was looked up."

    @property
    def reliable(self) -> bool:
        """Whether its transport delivers by itself."""
        return self[2] in RELIABLE

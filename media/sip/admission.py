"""Which addresses are trunks: calls from there need no password, calls from anywhere else do."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network

_REMEMBERED = 1024
"Source addresses whose trunk is kept; a flood from made-up addresses cannot fill memory."


class TrunkTable:
    """Trunks by source address: exact addresses and networks; pass it to `Endpoint` as `trunks`."""

    def __init__(self, hosts: Mapping[str, Sequence[str]]) -> None:
        """Take the hosts of each trunk by its name.

        Raises:
            ValueError: a host that is neither an IP address nor a network.
        """
        # The narrowest network wins, so that one address inside a carrier's network can be another trunk.
        self._networks = sorted(
            ((ip_network(host), name) for name, listed in hosts.items() for host in listed),
            key=lambda entry: entry[0].prefixlen,
            reverse=True,
        )
        self._find = lru_cache(_REMEMBERED)(self._search)

    def __call__(self, source: str) -> str | None:
        """Return the trunk that an IP address belongs to, or None."""
        return self._find(source)

    def _search(self, source: str) -> str | None:
        try:
            address = ip_address(source)
        except ValueError:
            return None
        return next((name for network, name in self._networks if address in network), None)

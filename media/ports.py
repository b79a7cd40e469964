"""Ports for RTP: an even one for each leg, with the odd one above it for RTCP (RFC 3550 section 11)."""

import errno
import socket
from collections import deque
from ipaddress import ip_address
from random import randrange

from media.errors import MediaError

EXPEDITED = 46 << 2
"Traffic class of voice: expedited forwarding (RFC 3246)."

_NO_DESCRIPTORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class NoPortError(MediaError):
    """No port can be had for another leg; the caller hears busy, and those who talk go on talking."""

    code = "no-rtp-port"
    status = 503
    retry = True


class Pair:
    """A leg's two sockets, and a third that only its far end's packets reach."""

    def __init__(self, rtp: socket.socket, rtcp: socket.socket, ports: "Ports") -> None:
        self.rtp = rtp
        self.rtcp = rtcp
        self.local: tuple[str, int] = rtp.getsockname()[:2]
        "IP address and RTP port."
        self.settled: socket.socket | None = None
        "Shares the port of `rtp`, connected to one address: the system lets through to it what comes from there alone."
        self._ports = ports

    def settle(self, remote: tuple[str, int]) -> socket.socket | None:
        """Connect a third socket to `remote`; None where the system will not. What comes from elsewhere goes to `rtp`.

        It may hold a few packets of others that came before it was connected. Sending and reading is cheaper there by
        a fifth: the system looks up no route, and we no address.
        """
        self.unsettle()
        made = socket.socket(self.rtp.family, socket.SOCK_DGRAM)
        try:
            made.setblocking(False)
            # For this moment alone, so that no other process ever shares the port.
            for each in (self.rtp, made):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(self.local)
            made.connect(remote)
            mark(made)
        except OSError:
            made.close()
            return None
        finally:
            self.rtp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        self.settled = made
        return made

    def unsettle(self) -> None:
        """Close the third socket."""
        if self.settled is not None:
            self.settled.close()
            self.settled = None

    def close(self) -> None:
        """Close them and give the ports back; closing twice is once."""
        if self.rtp.fileno() >= 0:
            self.unsettle()
            self.rtp.close()
            self.rtcp.close()
            self._ports.give_back(self.local[1])


class Ports:
    """The ports of one address; a port that was given back is used again last, so that stray packets find nobody."""

    def __init__(self, address: str, low: int, high: int) -> None:
        """Take the ports from `low` to `high`, both among them, on an IP address of this machine.

        Raises:
            NoPortError: there is no whole pair in that range.
        """
        self.address = address
        self._family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
        even = range(low + low % 2, high, 2)
        if not even:
            raise NoPortError(f"no pair of ports from {low} to {high}")
        turn = randrange(len(even))
        self._free = deque([*even[turn:], *even[:turn]])

    def take(self) -> Pair:
        """Bind the next free pair; one that another program has is passed over.

        Raises:
            NoPortError: none is free, or this process may open no more sockets, or the address is not this machine's.
        """
        for _ in range(len(self._free)):
            port = self._free.popleft()
            try:
                return self._bound(port)
            except OSError as error:
                self._free.append(port)
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise NoPortError(_why(error)) from error
        raise NoPortError("every RTP port is in use")

    def give_back(self, port: int) -> None:
        """Take an RTP port back, for `Pair`."""
        self._free.append(port)

    def __len__(self) -> int:
        return len(self._free)

    def _bound(self, port: int) -> Pair:
        opened: list[socket.socket] = []
        try:
            for each in (port, port + 1):
                opened.append(socket.socket(self._family, socket.SOCK_DGRAM))
                opened[-1].setblocking(False)
                opened[-1].bind((self.address, each))
            mark(opened[0])
        except OSError:
            for each_socket in opened:
                each_socket.close()
            raise
        return Pair(opened[0], opened[1], self)


def mark(rtp: socket.socket) -> None:
    """Let the network know that it carries voice."""
    if rtp.family == socket.AF_INET6:
        rtp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, EXPEDITED)
    else:
        rtp.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, EXPEDITED)


def _why(error: OSError) -> str:
    if error.errno in _NO_DESCRIPTORS:
        return "this process may open no more sockets"
    if error.errno == errno.EADDRNOTAVAIL:
        return "the address for RTP is not one of this machine"
    return f"no socket for RTP: {errno.errorcode.get(error.errno or 0, 'unknown')}"

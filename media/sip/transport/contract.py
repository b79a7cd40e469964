"""What a transport does for the endpoint, and what it tells it."""

import itertools
from typing import Protocol

from media.sip.hop import Hop

_FLOWS = itertools.count(1)


def new_flow() -> int:
    """Return the number of a connection that was opened just now: no other of this process has or had it."""
    return next(_FLOWS)


class Receiver(Protocol):
    """What stands over the transports: the endpoint."""

    def receive(self, data: bytes, source: Hop) -> None:
        """Take one message, whatever it is; nothing it holds can raise."""

    def refuse(self, head: bytes, source: Hop, status: int) -> None:
        """Answer a request that was not read to its end: `head` is what came of its header."""

    def unsent(self, data: bytes, hop: Hop) -> None:
        """Learn that a message could not be delivered; never called inside `Transport.send`."""

    def closed(self, flow: int) -> None:
        """Learn that a connection is gone."""


class Transport(Protocol):
    """One listening address."""

    @property
    def local(self) -> Hop:
        """The address it is bound to."""

    def send(self, data: bytes, hop: Hop) -> None:
        """Send one message: on the connection that `hop` names while it stands, or else to its address.

        Over UDP what cannot be sent is dropped, retransmission is the transaction's; otherwise `Receiver.unsent` tells.
        """

    def owner(self, flow: int) -> str:
        """Return the extension that a connection is known to belong to, so that it needs no password; else empty."""

    def close(self) -> None:
        """Stop listening, and close what is open."""

    async def wait_closed(self) -> None:
        """Wait until all of it is closed."""

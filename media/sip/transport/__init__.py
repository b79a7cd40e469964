"""Where SIP messages leave and arrive (RFC 3261 section 18): UDP, TCP and TLS; WebSocket implements `Transport` too."""

from media.sip.transport.address import own_address, resolve
from media.sip.transport.connection import Limits
from media.sip.transport.contract import Receiver, Transport, new_flow
from media.sip.transport.stream import StreamTransport
from media.sip.transport.tls import Identity
from media.sip.transport.udp import UdpTransport
from media.sip.transport.wires import Wires

__all__ = [
    "Identity",
    "Limits",
    "Receiver",
    "StreamTransport",
    "Transport",
    "UdpTransport",
    "Wires",
    "new_flow",
    "own_address",
    "resolve",
]

"""SIP signalling: an own, sans-IO core with an endpoint for the gateway (RFC 3261); see `media.sip.endpoint`."""

from media.sip.admission import TrunkTable
from media.sip.digest import Credentials, Login
from media.sip.endpoint import Endpoint
from media.sip.hop import Hop
from media.sip.incoming import Incoming
from media.sip.outgoing import Outgoing
from media.sip.registrar import Binding
from media.sip.status import Cause
from media.sip.uri import Address, Uri

__all__ = [
    "Address",
    "Binding",
    "Cause",
    "Credentials",
    "Endpoint",
    "Hop",
    "Incoming",
    "Login",
    "Outgoing",
    "TrunkTable",
    "Uri",
]

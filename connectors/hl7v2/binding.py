"""Bind a sender's certificate to the facilities that it may speak for (MSH-4, and MSH-3 where that is asked for)."""

from collections.abc import Collection, Mapping
from typing import Any

from connectors.hl7v2.ack import header_of
from connectors.hl7v2.er7 import messages_in


def names_of(certificate: Mapping[str, Any] | None) -> frozenset[str]:
    """Return the names in a verified certificate, as `ssl.SSLSocket.getpeercert` tells it: common and alternative."""
    if not certificate:
        return frozenset()
    common = {value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"}
    return frozenset(common | {value for _, value in certificate.get("subjectAltName", ())})


def bound(frame: bytes, facilities: Collection[str]) -> bool:
    """Return whether every message of a frame comes from one of `facilities`: MSH-4, or MSH-3|MSH-4.

    A frame may hold several messages, each with a header of its own; all of them count.
    """
    for message in messages_in(frame):
        application, facility = header_of(message).sender
        if not facility or (facility not in facilities and f"{application}|{facility}" not in facilities):
            return False
    return True

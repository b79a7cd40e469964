"""Where a phone stands, written for whoever sends help (RFC 4119, RFC 5139, RFC 5491), and sent along (RFC 6442)."""

import secrets
from datetime import UTC, datetime
from xml.sax.saxutils import escape, quoteattr

from hub.settings.telephony import Location
from media.sip.multipart import Part

TYPE = "application/pidf+xml"

_FIELDS = (
    ("country", "country"),
    ("A1", "state"),
    ("A3", "city"),
    ("RD", "street"),
    ("HNO", "house"),
    ("LOC", "detail"),
    ("FLR", "floor"),
    ("PC", "postal_code"),
    ("BLD", "building"),
    ("ROOM", "room"),
)
"Elements of a civic address in the order of its schema (RFC 5139 section 4), and our words for them."

_SPACES = (
    'xmlns="urn:ietf:params:xml:ns:pidf"'
    ' xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"'
    ' xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10"'
    ' xmlns:ca="urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr"'
)


def document(location: Location, entity: str, now: datetime) -> bytes:
    """Return the location as a presence document about `entity` (a `pres:` URI)."""
    said = [(name, str(getattr(location, field))) for name, field in _FIELDS]
    civic = "".join(f"<ca:{name}>{escape(text)}</ca:{name}>" for name, text in said if text)
    at = now.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f"<presence {_SPACES} entity={quoteattr(entity)}>"
        '<dm:device id="phone"><gp:geopriv><gp:location-info>'
        f"<ca:civicAddress>{civic}</ca:civicAddress>"
        "</gp:location-info><gp:usage-rules/><gp:method>Manual</gp:method></gp:geopriv>"
        f"<dm:timestamp>{at}</dm:timestamp></dm:device></presence>"
    ).encode()


def sent_along(location: Location, shown: str, domain: str, now: datetime) -> tuple[dict[str, str], Part]:
    """Return the header fields and the body part that carry a location in an INVITE (RFC 6442 sections 3.1 and 4.1)."""
    content_id = f"{secrets.token_hex(8)}@{domain}"
    part = Part(TYPE, document(location, f"pres:{shown or 'phone'}@{domain}", now), content_id)
    return {"Geolocation": f"<cid:{content_id}>", "Geolocation-Routing": "yes"}, part

"""Whom a call was first meant for, before somebody's telephone sent it on (RFC 7044, RFC 5806)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from media.errors import ProtocolError
from media.sip.header import parse_params
from media.sip.message import Request
from media.sip.uri import Address

MOST = 20
"Entries that are looked at."

_DIGITS = 9
"Of a number in an index; longer ones count nothing that happened."

_REASONS = {
    "302": "unconditional",
    "404": "unavailable",
    "408": "no-answer",
    "480": "deflection",
    "486": "user-busy",
    "487": "deflection",
    "503": "unavailable",
}
"Causes of RFC 4458 section 2, in the words of RFC 5806."

_WORDS = frozenset(
    {
        *("unknown", "user-busy", "no-answer", "unavailable", "unconditional", "time-of-day", "do-not-disturb"),
        *("deflection", "follow-me", "out-of-service", "away"),
    }
)
"Reasons of RFC 5806 section 4; anything else is unknown."


@dataclass(frozen=True, slots=True)
class Diversion:
    """Who was called first, and why the call went on from there."""

    number: str = field(repr=False)
    "Digits, with + where it is global; empty where it is withheld."

    reason: str


def first_called(request: Request) -> Diversion | None:
    """Return whom a call from a trunk was first meant for; None where nobody sent it on."""
    try:
        return _of_history(request) or _of_diversion(request)
    except ProtocolError:
        return None  # it is no more than a hint


def _of_history(request: Request) -> Diversion | None:
    """Read History-Info: the entry with the lowest index is the first target (RFC 7044 section 5)."""
    entries = [Address.parse(value) for value in request.all("History-Info")[:MOST]]
    indexed = sorted((entry for entry in entries if _index(entry)), key=_index)
    if len(indexed) < 2:
        return None
    first, later = indexed[0], indexed[1:]
    target = request.target
    if all(entry.uri.user == first.uri.user for entry in later) and first.uri.user == target.user:
        return None  # it only passed proxies
    headers = dict(part.partition("=")[::2] for part in first.uri.headers.split("&"))
    hidden = "history" in unquote(headers.get("Privacy", "")).lower()
    reason = parse_params(unquote(headers.get("Reason", ""))).get("cause")
    reason = reason or next((entry.uri.params["cause"] for entry in later if entry.uri.params.get("cause")), None)
    return Diversion("" if hidden else first.uri.number, _REASONS.get(reason or "", "unknown"))


def _index(entry: Address) -> list[int]:
    parts = (entry.params.get("index") or "").split(".")
    numbers = all(part.isascii() and part.isdigit() and len(part) <= _DIGITS for part in parts)
    return [int(part) for part in parts] if numbers else []


def _of_diversion(request: Request) -> Diversion | None:
    """Read Diversion: the last value is the first that sent the call on (RFC 5806 section 6)."""
    values: Sequence[str] = request.all("Diversion")[-MOST:]
    if not values:
        return None
    first = Address.parse(values[-1])
    reason = (first.params.get("reason") or "").strip('"').lower()
    hidden = (first.params.get("privacy") or "off").strip('"').lower() in ("full", "uri")
    return Diversion("" if hidden else first.uri.number, reason if reason in _WORDS else "unknown")

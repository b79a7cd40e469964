"""Session timers: each side of a call is asked again and again whether it is still there (RFC 4028)."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from media.errors import ProtocolError
from media.sip.header import build_params, parse_params
from media.sip.message import Message, Request, Response
from media.sip.timer import Timer, Timers

TAG = "timer"
"The option tag (RFC 4028 section 1 has the extension, section 7.1 the Supported that names it)."

SECONDS = 1800
"The interval that section 4 recommends."

MIN_SECONDS = 90
"The shortest interval that may be asked for (section 5)."

MAX_SECONDS = 86_400
"Longer ones are asked for as this: a call of a day is no call."

_LEAST_SECONDS = MIN_SECONDS // 2
"Shorter intervals are not kept to, whoever agreed on them: nobody is asked again at once, and for ever."

_EARLY_S = 32
"Who does not refresh hangs up so long before the end, or a third of the interval (section 10)."


@dataclass(frozen=True, slots=True)
class Interval:
    """A Session-Expires value (RFC 4028 section 4)."""

    seconds: int
    refresher: str = ""
    "`uac` or `uas`, as this transaction has them; empty where nothing is said."

    @classmethod
    def parse(cls, value: str) -> "Interval":
        """Parse a Session-Expires value.

        Raises:
            ProtocolError: no number of seconds.
        """
        number, _, tail = value.partition(";")
        refresher = (parse_params(tail).get("refresher") or "").lower() if tail else ""
        return cls(_seconds(number), refresher if refresher in ("uac", "uas") else "")

    def __str__(self) -> str:
        return f"{self.seconds}{build_params({'refresher': self.refresher} if self.refresher else {})}"


@dataclass(frozen=True, slots=True)
class Terms:
    """What one exchange agreed on."""

    seconds: int
    ours: bool
    "Whether it is this side that refreshes."


def interval_of(message: Message) -> Interval | None:
    """Return what a message says of the interval; None where it says nothing that can be read."""
    with suppress(ProtocolError):  # a call can do without it (RFC 3261 section 8.2.2)
        value = message.get("Session-Expires")
        return None if value is None else Interval.parse(value)
    return None


def minimum_of(message: Message) -> int:
    """Return the Min-SE of a message in seconds, 90 where there is none that can be read (RFC 4028 section 5)."""
    value = message.get("Min-SE")
    with suppress(ProtocolError):
        return MIN_SECONDS if value is None else max(_seconds(value.partition(";")[0]), MIN_SECONDS)
    return MIN_SECONDS


def speaks_timer(message: Message) -> bool:
    """Tell whether the sender knows session timers."""
    words = message.all("Supported") + message.all("Require")
    return any(word.lower() == TAG for word in words)


def is_too_brief(request: Request) -> bool:
    """Tell whether a request is refused with 422: only one that knows what that means (RFC 4028 section 9)."""
    asked = interval_of(request)
    return asked is not None and asked.seconds < MIN_SECONDS and speaks_timer(request)


def terms_of_request(request: Request, wanted: int) -> Terms:
    """Return what the side that is asked makes of a request (RFC 4028 section 9, table 2).

    `wanted` is the interval this side would choose; what the peer asks for may be shortened and never lengthened,
    but to the minimum: less is agreed on with nobody, and only who knows timers can be refused it (422). Where the
    peer leaves the choice this side refreshes: it then knows by itself when the peer is gone.
    """
    asked, least = interval_of(request), minimum_of(request)
    if asked is None:
        return Terms(max(wanted, least), ours=True)
    theirs = asked.refresher == "uac" and speaks_timer(request)
    return Terms(max(least, min(asked.seconds, wanted)), ours=not theirs)


def headers_of_answer(terms: Terms) -> dict[str, list[str]]:
    """Return what the 2xx to the peer's request says of `terms`, whose request must be done as they say."""
    headers = {"Session-Expires": [str(Interval(terms.seconds, "uas" if terms.ours else "uac"))]}
    if not terms.ours:
        headers["Require"] = [TAG]  # RFC 4028 section 9: only where the peer refreshes
    return headers


def headers_of_request(wanted: int, terms: Terms | None, least: int) -> dict[str, list[str]]:
    """Return what our INVITE or UPDATE asks for: `wanted` at first, later what holds (RFC 4028 sections 7.1, 7.4).

    `least` is the longest Min-SE that was heard for this call.
    """
    seconds = max(terms.seconds if terms is not None else wanted, least)
    refresher = "" if terms is None else "uac" if terms.ours else "uas"
    headers = {"Session-Expires": [str(Interval(seconds, refresher))]}
    if least > MIN_SECONDS:
        headers["Min-SE"] = [str(least)]
    return headers


def terms_of_response(response: Response, wanted: int) -> Terms:
    """Return what a 2xx to our request agrees to (RFC 4028 section 7.2).

    A peer that knows nothing of it is asked by this side all the same, so that its end is noticed.
    """
    agreed = interval_of(response)
    if agreed is None or agreed.seconds < _LEAST_SECONDS:
        return Terms(wanted, ours=True)
    return Terms(agreed.seconds, ours=agreed.refresher != "uas")


class SessionTimer:
    """The clock of one call's session."""

    def __init__(self, timers: Timers) -> None:
        self.terms: Terms | None = None
        "What holds; None before the first answer, and where timers are switched off."

        self._timers = timers
        self._timer: Timer | None = None

    def start(self, terms: Terms, due: Callable[[], None], over: Callable[[], None]) -> None:
        """Begin anew: the session was refreshed just now.

        `due` is called when this side has to refresh it, `over` when the peer did not.
        """
        self.stop()
        self.terms = terms
        seconds = max(terms.seconds, _LEAST_SECONDS)
        if terms.ours:
            self._timer = self._timers.after(seconds / 2, due)
        else:
            self._timer = self._timers.after(seconds - min(_EARLY_S, seconds / 3), over)

    def stop(self) -> None:
        """Ask nobody any more; the terms are kept."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _seconds(text: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise ProtocolError("not a number of seconds", spec="RFC 4028 section 4")
    return min(int(text), MAX_SECONDS)

"""How a page is made: templates, the words for codes, and headers that let it load what is ours and nothing else."""

import re
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import jinja2
import phonenumbers
from fastapi import Request
from fastapi.responses import HTMLResponse

from hub.web import assets

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'{sockets}; worker-src 'self'; media-src 'self' blob:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
"Content Security Policy Level 3; no inline script or style, nothing of another host."

HEADERS: Final = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=(), display-capture=(), payment=(), usb=()",
    "Referrer-Policy": "same-origin",  # with no-referrer a browser calls the origin of our own forms null
    "X-Frame-Options": "DENY",
}

_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:]+\](:[0-9]{1,5})?")

_LANGUAGES: Final = {
    **{
        "ar": "Arabic",
        "de": "German",
        "en": "English",
        "es": "Spanish",
        "fr": "French",
        "hi": "Hindi",
        "ht": "Haitian",
    },
    **{"it": "Italian", "ja": "Japanese", "ko": "Korean", "pl": "Polish", "pt": "Portuguese", "ru": "Russian"},
    **{"tl": "Tagalog", "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese"},
}

_PHRASES: Final = {
    **{"available": "Available", "away": "Away", "busy": "On a call", "wrap-up": "Wrap-up", "offline": "Signed off"},
    **{"said.resolved": "Settled on the call", "said.booked": "Visit booked, moved or cancelled"},
    **{"said.refill": "Refill request taken", "said.message": "Message taken", "said.callback": "Somebody calls back"},
    **{"said.nobody": "Nobody spoke", "said.other": "Something else"},
    **{"task.callback": "Call back", "task.reply": "Look at a reply", "task.outcome": "Settle an outcome"},
    **{"task.write-back": "Settle an EHR entry", "task.voicemail": "Hear a voicemail"},
    **{"path.abandoned": "Gave up waiting", "path.voicemail": "Left a message", "path.callback": "Wants a call back"},
    **{"late": "the EHR did not answer in time", "no-source": "no EHR is connected"},
}
"Codes in words, some of them by what they are codes of."


def _phrase(code: object, of: str = "") -> str:
    """Return a code in words; one without words of its own reads as it is written."""
    text = str(code or "")
    return _PHRASES.get(f"{of}.{text}") or _PHRASES.get(text) or text.replace("-", " ").replace("_", " ").capitalize()


def _language(code: str) -> str:
    return _LANGUAGES.get(code.split("-")[0].lower(), code)


def _telephone(number: str) -> str:
    """Return an E.164 number as people read it."""
    try:
        return phonenumbers.format_number(
            phonenumbers.parse(number, None), phonenumbers.PhoneNumberFormat.INTERNATIONAL
        )
    except phonenumbers.NumberParseException:
        return number


def _clock(at: datetime, zone: ZoneInfo) -> str:
    here = at.astimezone(zone)
    return f"{here:%-I:%M} {here:%p}"


def _day(at: datetime, zone: ZoneInfo, now: datetime) -> str:
    here, today = at.astimezone(zone).date(), now.astimezone(zone).date()
    away = (here - today).days
    if away in (-1, 0, 1):
        return ("Yesterday", "Today", "Tomorrow")[away + 1]
    return f"{here:%a %b %-d}" + (f", {here:%Y}" if here.year != today.year else "")


def _span(seconds: float) -> str:
    minutes, rest = divmod(max(round(seconds), 0), 60)
    return f"{minutes}:{rest:02}"


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("hub.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"asset": assets.url_of, "built": assets.built}
    made.filters |= {
        "clock": _clock,
        "day": _day,
        "instant": _instant,
        "language": _language,
        "phrase": _phrase,
        "span": _span,
        "telephone": _telephone,
    }
    return made


_TEMPLATES = _environment()


def rendered(request: Request, template: str, status: int = 200, **told: Any) -> HTMLResponse:
    """Return a page, or a part of one."""
    text = _TEMPLATES.get_template(template).render(told)
    return HTMLResponse(text, status, headers_of(request))


def headers_of(request: Request) -> dict[str, str]:
    """Return the headers of a page; `'self'` does not reach WebSockets in every browser, so they are named."""
    host = request.headers.get("host", "")
    sockets = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    return {**HEADERS, "Content-Security-Policy": POLICY.format(sockets=sockets)}

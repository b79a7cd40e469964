"""What a person means who answers a text: confirm, reschedule, stop, help, start, or something that a person must read.

An opt-out counts in any reasonable wording (47 CFR 64.1200(a)(10)), so stop words of every language are always known.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["confirm", "reschedule", "stop", "help", "start", "other"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What an answer means."""

    kind: Kind
    confident: bool = True
    "False: act on the safe side (for `stop`, send nothing more) and let a person read it."

    everything: bool = False
    "For `stop`: all texts of the practice, not this kind only."

    ask_staff: bool = False
    "A person should look, also where the kind is certain."


def _listed(text: str) -> frozenset[str]:
    return frozenset(" ".join(part.split()) for part in text.split(","))


_STOP_WORDS: Final = (
    _listed("stop, quit, end, revoke, opt out, cancel, unsubscribe")  # 47 CFR 64.1200(a)(10)
    | _listed("stopall, stop all, optout, remove, arret, td")  # carriers' own lists
    | _listed("alto, parar, pare, cancelar, terminar, fin, baja, no mas, detener, salir")
)
_STOP_STARTS: Final = _listed("stop, stopall, remove, unsubscribe, alto, parar, optout")
_STOP_PHRASES: Final = _listed(
    """opt out, opting out, unsubscribe, remove me, remove my number, take me off, delete my number, no more texts,
    no more messages, no more reminders, no more text, stop texting, stop messaging, stop sending, stop contacting,
    quit texting, do not text, dont text, do not message, dont message, do not contact, dont contact, do not send me,
    dont send me, leave me alone,
    no mas mensajes, no mas textos, no me envie, no me mande, no me escriba, no quiero mensajes,
    no quiero mas mensajes, no quiero recibir, deje de enviar, dejen de enviar, deje de mandar, dejen de mandar,
    darme de baja, cancelar suscripcion, cancelar la suscripcion, cancelar mi suscripcion, quiteme de,
    borre mi numero"""
)
_EVERYTHING: Final = _listed("stopall, stop all, all, everything, todo, todos")
_CANCEL: Final = _listed("cancel, cancelar, cancela, cancele")
_VISIT: Final = _listed("appointment, appt, apt, visit, cita, visita, turno")
_DOUBT: Final = _listed("no, not, dont, cant, cannot, wont, nunca, tampoco, but, pero, unless")
_BY: Final = _listed("by, at, in, over")
'"Stop by at three?" is about a visit.'

_WORDS: Final[dict[str, dict[Kind, frozenset[str]]]] = {
    "en": {
        "confirm": _listed(
            """c, confirm, confirmed, confirming, i confirm, yes, y, yep, yeah, yes confirm, yes confirmed,
            i will be there, ill be there, yes i will be there, yes ill be there, see you then, yes see you then"""
        ),
        "reschedule": _listed(
            "r, reschedule, change, another time, different time, another day, different day, move, postpone, new time"
        ),
        "help": _listed("help, info, h"),
        "start": _listed("start, unstop, subscribe, resume, opt in, optin"),
    },
    "es": {
        "confirm": _listed(
            """c, si, confirmo, confirmar, confirmado, confirmada, si confirmo, ahi estare, si ahi estare, alli estare,
            estare ahi"""
        ),
        "reschedule": _listed(
            "r, reprogramar, cambiar, cambio, otra hora, otro dia, otra fecha, mover, posponer, cambiar cita"
        ),
        "help": _listed("ayuda, info"),
        "start": _listed("comenzar, empezar, iniciar, reanudar, inicio"),
    },
}
_RESCHEDULING: Final = _listed(
    """reschedul, postpon, another time, another day, different time, different day, change my appointment,
    change the appointment, change my appt, move my appointment, move the appointment,
    reprogram, cambiar mi cita, cambiar la cita, otra hora, otro dia, otra fecha"""
)
_POLITE: Final = re.compile(
    r"\b(please|pls|plz|thanks|thank you|thankyou|thx|ty|hi|hello|hey|dear|sir|maam|por favor|porfavor|gracias|hola"
    r"|muchas|buenos dias|buenas tardes|doctor|dr|sorry|perdon)\b"
)
_START_IF_OUT: Final = frozenset({"yes", "si", "y"})


def classify(text: str, languages: Sequence[str] = ("en", "es"), *, opted_out: bool = False) -> Reply:
    """Return what `text` means.

    A bare "cancel" ends texts, as the rule says, leaves the visit alone and asks staff, for in a thread about a visit
    it may mean the visit; "cancel my appointment" is for staff only. `opted_out`: YES then means START.
    """
    said = _normal(text)
    words = said.split()
    if not words:
        return Reply("other", confident=False, ask_staff=True)
    if opted_out and said in _START_IF_OUT:
        return Reply("start")
    stop = _stop(said, words)
    if stop is not None:
        return stop
    for language in languages:
        for kind, known in _WORDS.get(language, {}).items():
            if said in known:
                return Reply(kind, ask_staff=kind == "reschedule")
    if any(phrase in said for phrase in _RESCHEDULING) and not _CANCEL & set(words):
        return Reply("reschedule", confident=not _DOUBT & set(words), ask_staff=True)
    return Reply("other", confident=False, ask_staff=True)


def _stop(said: str, words: list[str]) -> Reply | None:
    """Return the opt-out that the words are, or may be."""
    everything = said in _EVERYTHING or bool(set(words[1:]) & _EVERYTHING)
    if said in _CANCEL:
        return Reply("stop", ask_staff=True)
    if said in _STOP_WORDS:
        return Reply("stop", everything=everything)
    if set(words) & _VISIT and set(words) & _CANCEL and not set(words) & _STOP_STARTS:
        return Reply("other", ask_staff=True)
    if any(phrase in said for phrase in _STOP_PHRASES):
        return Reply("stop", everything=everything)
    if words[0] in _STOP_STARTS and not (len(words) > 1 and words[1] in _BY):
        # A long sentence that begins so may be about something else: nothing more is sent, and a person reads it.
        sure = len(words) <= 5
        return Reply("stop", confident=sure, everything=everything and sure, ask_staff=not sure)
    return None


def _normal(text: str) -> str:
    """Return the words of `text`: small letters without accents, punctuation, emoji and politeness."""
    split = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(char for char in split if not unicodedata.combining(char))
    plain = re.sub(r"[^a-z0-9]+", " ", re.sub(r"['’`]", "", letters)).strip()  # noqa: RUF001 - phones write it so
    kept = " ".join(_POLITE.sub(" ", plain).split())
    kept = kept or plain
    spelled = kept.split()
    return "".join(spelled) if len(spelled) > 2 and all(len(word) == 1 for word in spelled) else kept

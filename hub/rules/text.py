"""The text messages that the hub writes: rendered from a template, with dates said in the reader's language."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import phonenumbers

from hub.errors import SettingsError
from hub.rules.gsm import Segments, segments, transliterate
from hub.rules.template import FIELDS, fill, lint
from hub.settings.practice import Practice

_WEEKDAYS: Final = {
    language: names.split()
    for language, names in {
        "en": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
        "es": "lunes martes miércoles jueves viernes sábado domingo",
    }.items()
}
_MONTHS: Final = {
    language: names.split()
    for language, names in {
        "en": "January February March April May June July August September October November December",
        "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    }.items()
}
_HELP: Final = {
    "en": "{practice}: call {phone} for help. Msg&data rates may apply. Reply STOP to end texts.",
    "es": "{practice}: llame al {phone}. Pueden aplicarse tarifas. Responda STOP para no recibir mas.",
}
_STOPPED: Final = {
    "en": "{practice}: you will get no more texts from us. Reply START to get them again.",
    "es": "{practice}: no recibira mas mensajes nuestros. Responda START para recibirlos de nuevo.",
}
_STARTED: Final = {
    "en": "{practice}: you will get our texts again. Reply STOP to end, HELP for help.",
    "es": "{practice}: volvera a recibir nuestros mensajes. Responda STOP para terminar, HELP para ayuda.",
}


def render(template: str, fields: Mapping[str, str], practice: Practice) -> str:
    """Return the text to send, in the GSM alphabet where that is possible.

    `practice` and `phone` are filled in from the policy unless `fields` has them.

    Raises:
        SettingsError: the template asks for a field that a text may not carry or that has no value; its name only.
    """
    values = {"practice": practice.practice.named_in_texts, "phone": callback_number(practice), **fields}
    try:
        return transliterate(fill(template, {name: value for name, value in values.items() if name in FIELDS}))
    except KeyError as error:
        raise SettingsError([f'no value for the field "{error.args[0]}"']) from None


def visit_fields(practice: Practice, starts_at: datetime, language: str) -> dict[str, str]:
    """Return the fields that say when a visit is: on the practice's clock, for there it takes place."""
    local = starts_at.astimezone(practice.practice.zone)
    spoken = language if language in _MONTHS else "en"
    weekday, month = _WEEKDAYS[spoken][local.weekday()], _MONTHS[spoken][local.month - 1]
    return {
        "date": f"{weekday} {local.day} de {month}" if spoken == "es" else f"{weekday}, {month} {local.day}",
        "time": f"{local.hour % 12 or 12}:{local.minute:02} {'PM' if local.hour >= 12 else 'AM'}",
    }


def callback_number(practice: Practice) -> str:
    """Return the practice's first number as people write it; empty where it has none."""
    if not practice.numbers:
        return ""
    did = phonenumbers.parse(practice.numbers[0].did, None)
    return str(phonenumbers.format_number(did, phonenumbers.PhoneNumberFormat.NATIONAL))


def in_language(texts: Mapping[str, str], wanted: str, practice: Practice) -> tuple[str, str]:
    """Return the language and the text to use: the wanted one, else the practice's first that there is.

    Raises:
        SettingsError: there is no text in any language.
    """
    for language in (wanted, *practice.practice.languages, *texts):
        if language in texts:
            return language, texts[language]
    raise SettingsError(["a text in no language"])


def help_text(practice: Practice, language: str) -> str:
    """Return the answer to HELP (CTIA Messaging Principles: who writes, how to reach them, how to stop)."""
    return render(in_language(_HELP, language, practice)[1], {}, practice)


def stopped_text(practice: Practice, language: str) -> str:
    """Return the one confirmation that an opt-out may get (47 CFR 64.1200(a)(12))."""
    return render(in_language(_STOPPED, language, practice)[1], {}, practice)


def started_text(practice: Practice, language: str) -> str:
    """Return the answer to START."""
    return render(in_language(_STARTED, language, practice)[1], {}, practice)


__all__ = [
    "FIELDS",
    "Segments",
    "callback_number",
    "help_text",
    "in_language",
    "lint",
    "render",
    "segments",
    "started_text",
    "stopped_text",
    "transliterate",
    "visit_fields",
]

"""What a reminder says that is called: who calls, to whoever picks up; when the visit is, to who says it is theirs.

A machine, and whoever has not pressed a key, hears the practice's name and number and nothing else. Every call says at
its beginning who calls, gives a number (47 CFR 64.1200(b)(1), (2)), and takes a key for an end of all calls.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from hub.rules import text
from hub.rules.template import fill
from hub.settings.practice import Practice

MEANT, CONFIRM, ANOTHER_TIME, STOP = "1", "1", "2", "9"
"Keys: I am who is meant; I will come; I need another time; call me no more."

TRIES: Final = 3
"Calls for one step that nobody answers; then staff are told."

RETRY: Final = timedelta(hours=1)
"Between two of them."

_WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {
        "opening": "Hello. This is {practice}, with a message for the person who gave us this number. "
        "If that is you, press 1. To get no more calls from us, press 9. Our number is {phone}.",
        "visit": "Your visit is {date}, at {time}.",
        "choice": "If you will come, press 1. If you need another time, press 2. "
        "To get no more calls from us, press 9.",
        "confirmed": "Thank you. We have noted that you will come. Goodbye.",
        "reschedule": "Thank you. We will call you about another time. Goodbye.",
        "stopped": "You will get no more calls or texts from us. Goodbye.",
        "closing": "You can call us at {phone}. Goodbye.",
        "message": "This is {practice}. Please call us at {phone}. Again, please call {practice}, at {phone}. "
        "You can also tell us there that you want no more calls. Thank you.",
    },
    "es": {
        "opening": "Hola. Llamamos de {practice}, con un mensaje para la persona que nos dio este número. "
        "Si es usted, oprima el 1. Para no recibir más llamadas, oprima el 9. Nuestro número es {phone}.",
        "visit": "Su cita es el {date}, a las {time}.",
        "choice": "Si va a venir, oprima el 1. Si necesita otra fecha, oprima el 2. "
        "Para no recibir más llamadas, oprima el 9.",
        "confirmed": "Gracias. Hemos anotado que usted vendrá. Adiós.",
        "reschedule": "Gracias. Le llamaremos para buscar otra fecha. Adiós.",
        "stopped": "No recibirá más llamadas ni mensajes nuestros. Adiós.",
        "closing": "Puede llamarnos al {phone}. Adiós.",
        "message": "Llamamos de {practice}. Por favor llámenos al {phone}. De nuevo, por favor llame a {practice}, "
        "al {phone}. Ahí también puede decirnos que no quiere más llamadas. Gracias.",
    },
}


@dataclass(frozen=True, slots=True)
class Words:
    """Everything that one call may say."""

    language: str
    opening: str
    choice: str
    "What may be pressed once the visit was told."

    confirmed: str
    reschedule: str
    stopped: str
    closing: str
    message: str
    "What is left on a machine."

    visit: str
    "The one text of a person's, and without their name."


def words_of(practice: Practice, starts_at: datetime, language: str) -> Words:
    """Return what a call about a visit at `starts_at` says, in the patient's language or the practice's first."""
    spoken = next((each for each in (language, *practice.practice.languages) if each in _WORDS), "en")
    number = " ".join(f"{' '.join(group)}," for group in re.findall(r"\d+", text.callback_number(practice)))
    values = {
        "practice": practice.practice.named_in_texts,
        "phone": number.rstrip(","),
        **text.visit_fields(practice, starts_at, spoken),
    }
    return Words(language=spoken, **{name: fill(said, values) for name, said in _WORDS[spoken].items()})

"""What a text template may say: its fields by allow-list, and a reader who refuses what would tell a stranger too much.

A phone is read by whoever holds it, so a text names the practice, the time and nothing of why.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Final

from hub.rules.gsm import SINGLE, segments, transliterate

FIELDS: Final[Mapping[str, str]] = {
    "practice": "the practice's name, or its text_name",
    "date": "the day of the visit, on the practice's clock",
    "time": "the time of the visit, on the practice's clock",
    "phone": "the number to call back",
    "given": "the patient's first name",
}
"Everything a template may fill in, and what it is."

_LONGEST: Final[Mapping[str, str]] = {"phone": "(212) 555-0100", "given": "Christopher", "time": "12:30 PM"}
"Long values as they come, to see whether a text still fits."

_LONGEST_DATE: Final[Mapping[str, str]] = {"en": "Wednesday, September 30", "es": "miércoles 30 de septiembre"}


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


SPECIALTY: Final = "names a specialty"

TELLING: Final[Mapping[str, frozenset[str]]] = {
    "says why the patient comes": _words(
        """diagnosis diagnosed condition disease symptom symptoms treatment procedure surgery surgical
        biopsy scan mri ultrasound xray mammogram colonoscopy endoscopy pap vaccine vaccination screening infusion
        dialysis chemotherapy chemo radiation physical checkup consultation prenatal postpartum
        diagnostico enfermedad sintoma sintomas tratamiento procedimiento cirugia operacion biopsia ultrasonido
        mamografia colonoscopia vacuna dialisis quimioterapia radiacion prenatal"""
    ),
    "says what a test found or that there was one": _words(
        """test tests result results lab labs laboratory bloodwork positive negative hiv std sti covid
        prueba pruebas resultado resultados laboratorio analisis positivo negativo vih"""
    ),
    "names a drug or a prescription": _words(
        """medication medications medicine prescription prescriptions refill refills dose insulin pill pills drug drugs
        medicamento medicamentos medicina receta recetas dosis insulina pastilla pastillas"""
    ),
    SPECIALTY: _words(
        """oncology oncologist cancer psychiatry psychiatric psychiatrist psychology psychologist therapy therapist
        counseling behavioral mental addiction rehab detox methadone suboxone cardiology cardiologist neurology
        urology urologist gynecology gynecologist obgyn obstetrics fertility ivf pregnancy pregnant abortion
        nephrology dermatology pulmonology rheumatology hepatology endocrinology gastroenterology podiatry
        oncologia psiquiatria psicologia terapia consejeria adiccion cardiologia neurologia urologia ginecologia
        obstetricia fertilidad embarazo embarazada dermatologia"""
    ),
    "speaks of money": _words(
        """balance owe owed payment payments pay bill billing invoice copay deductible insurance debt overdue
        saldo pago pagos pagar factura copago deducible seguro deuda"""
    ),
    "sells something": _words("discount sale promo promotion coupon descuento oferta promocion gratis"),
    "names a record": _words("mrn dob ssn birthdate expediente"),
}
"Words that a text must not have, by what they would tell; without accents."

_STOPS = re.compile(r"(?i)\b(stop|alto|parar)\b")
_FIELD = re.compile(r"\{([^{}]*)\}")
_SHORTENED = re.compile(r"(?i)\b(bit\.ly|tinyurl\.com|goo\.gl|t\.co|ow\.ly|is\.gd|buff\.ly|rebrand\.ly)\b")
_WORD = re.compile(r"[a-z]+")


def fill(template: str, values: Mapping[str, str]) -> str:
    """Return `template` with its fields filled in, in one pass: a value that looks like a field stays as it is.

    Raises:
        KeyError: a field without a value, by its name.
    """
    return _FIELD.sub(lambda found: " ".join(values[found[1]].split()), template)


def lint(template: str, *, practice: str, language: str = "en") -> list[str]:
    """Return what is wrong with a template; empty where it may be sent as a reminder.

    `practice` is the name that goes into it.
    """
    problems = list(_fields(template))
    if not problems:
        problems += _said(template, practice, language)
    return problems


def telling(text: str, *kinds: str) -> Iterator[str]:
    """Yield what `text` gives away, with the word that does; of these kinds, or of every kind of `TELLING`."""
    words = set(_WORD.findall(_folded(text)))
    for what in kinds or TELLING:
        for word in sorted(words & TELLING[what]):
            yield f'{what} ("{word}")'


def _fields(template: str) -> Iterator[str]:
    for name in _FIELD.findall(template):
        if name not in FIELDS:
            close = get_close_matches(name, list(FIELDS), n=1)
            hint = f'did you mean "{{{close[0]}}}"?' if close else f"there are {', '.join(FIELDS)}"
            yield f'"{{{name}}}" is not a field that a text may carry; {hint}'
    if re.search(r"[{}]", _FIELD.sub("", template)):
        yield "has a brace without its partner"


def _said(template: str, practice: str, language: str) -> Iterator[str]:
    if "{practice}" not in template:
        yield "does not say who writes; put {practice} in"
    if not _STOPS.search(template):
        yield "does not say how to end texts; name STOP"
    words = _FIELD.sub(" ", template)
    yield from telling(words)
    if _SHORTENED.search(words):
        yield "has a shortened link, which carriers filter"
    values = {**_LONGEST, "date": _LONGEST_DATE.get(language, _LONGEST_DATE["en"]), "practice": practice}
    size = segments(transliterate(fill(template, values)))
    if size.encoding != "gsm":
        yield "has a letter that no plain text message carries, which leaves room for 70 letters only"
    elif size.septets > SINGLE:
        yield f"can come to {size.septets} letters; {SINGLE} fit into one message"


def _folded(text: str) -> str:
    split = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in split if not unicodedata.combining(char))

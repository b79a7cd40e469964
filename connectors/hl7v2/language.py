"""Read a patient's primary language (PID-15) as a BCP 47 tag."""

from connectors.hl7v2.er7 import Composite

_LANGUAGES = {
    "am": ("amh", "amharic"),
    "ar": ("ara", "arabic"),
    "bn": ("ben", "bengali"),
    "bs": ("bos", "bosnian"),
    "de": ("ger", "deu", "german"),
    "el": ("gre", "ell", "greek"),
    "en": ("eng", "english"),
    "es": ("spa", "spanish", "espanol", "español", "castilian"),
    "fa": ("per", "fas", "persian", "farsi"),
    "fr": ("fre", "fra", "french"),
    "gu": ("guj", "gujarati"),
    "he": ("heb", "hebrew"),
    "hi": ("hin", "hindi"),
    "hmn": ("hmong",),
    "ht": ("hat", "haitian", "haitian creole", "creole"),
    "hy": ("arm", "hye", "armenian"),
    "it": ("ita", "italian"),
    "ja": ("jpn", "japanese"),
    "km": ("khm", "khmer", "cambodian"),
    "ko": ("kor", "korean"),
    "lo": ("lao", "laotian"),
    "ne": ("nep", "nepali"),
    "nv": ("nav", "navajo"),
    "pa": ("pan", "punjabi", "panjabi"),
    "pl": ("pol", "polish"),
    "ps": ("pus", "pashto"),
    "pt": ("por", "portuguese"),
    "ru": ("rus", "russian"),
    "sm": ("smo", "samoan"),
    "so": ("som", "somali"),
    "sw": ("swa", "swahili"),
    "ta": ("tam", "tamil"),
    "te": ("tel", "telugu"),
    "ti": ("tir", "tigrinya"),
    "tl": ("tgl", "fil", "tagalog", "filipino"),
    "uk": ("ukr", "ukrainian"),
    "ur": ("urd", "urdu"),
    "vi": ("vie", "vietnamese"),
    "yi": ("yid", "yiddish"),
    "zh": ("chi", "zho", "chinese", "mandarin", "cantonese"),
}
"ISO 639-1 (639-3 where that has none) to the ISO 639-2 codes and the English words that senders write."

_TAGS = {tag: tag for tag in _LANGUAGES} | {name: tag for tag, names in _LANGUAGES.items() for name in names}


def language_of(cwe: Composite) -> str | None:
    """Return the language that any part of a coded element names; None where none is known."""
    for part in (cwe[1], cwe[4], cwe[2], cwe[5]):
        word = part.strip().lower()
        tag = _TAGS.get(word) or _TAGS.get(word.replace("_", "-").partition("-")[0])
        if tag is not None:
            return tag
    return None

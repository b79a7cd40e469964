"""How a text message travels: the GSM 7-bit alphabet, and into how many segments it is cut (3GPP TS 23.038)."""

import unicodedata
from dataclasses import dataclass
from typing import Final

import smsutil

SINGLE: Final = 160
"Septets that fit into one segment; a character of the extension table takes two."

_TYPOGRAPHY: Final = str.maketrans(
    {
        "‘": "'",  # noqa: RUF001 - these are the very characters that word processors put in
        "’": "'",  # noqa: RUF001
        "‚": "'",  # noqa: RUF001
        "“": '"',
        "”": '"',
        "„": '"',
        "«": '"',
        "»": '"',
        "‐": "-",  # noqa: RUF001
        "‑": "-",  # noqa: RUF001
        "–": "-",  # noqa: RUF001
        "—": "-",
        "−": "-",  # noqa: RUF001
        "…": "...",
        "•": "-",
        "·": "-",
        "×": "x",  # noqa: RUF001
        "\u00a0": " ",
        "\u2007": " ",
        "\u2009": " ",
        "\u202f": " ",
        "\u200b": "",
        "\ufeff": "",
        "\u00ad": "",
        "\t": " ",
        "ç": "Ç",  # the default alphabet has the capital only
    }
)


@dataclass(frozen=True, slots=True)
class Segments:
    """What a text costs to send."""

    count: int
    septets: int
    "Length in units of the encoding: septets in GSM, UTF-16 code units in UCS-2."

    encoding: str
    "gsm or ucs-2: one letter outside of the GSM alphabet makes it ucs-2, where 70 fit instead of 160."


def transliterate(body: str) -> str:
    """Return `body` in the GSM alphabet where that costs no more than accents and typography; otherwise as it is.

    "Está" becomes "Esta"; é, ñ, ü and others that the alphabet has stay.
    """
    body = unicodedata.normalize("NFC", body)
    plain = "".join(_letter(char) for char in body.translate(_TYPOGRAPHY))
    return plain if not plain or smsutil.is_valid_gsm(plain) else body


def segments(body: str) -> Segments:
    """Return into how many segments `body` is cut."""
    result = smsutil.split(body)
    gsm = not body or result.encoding == "gsm0338"
    return Segments(
        count=len(result.parts),
        septets=result.total_bytes if gsm else result.total_bytes // 2,
        encoding="gsm" if gsm else "ucs-2",
    )


def _letter(char: str) -> str:
    if smsutil.is_valid_gsm(char):
        return char
    base = unicodedata.normalize("NFKD", char)[0]
    return base if base.isalpha() and smsutil.is_valid_gsm(base) else char

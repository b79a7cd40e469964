"""Delimiters and escape sequences of ER7, the delimited encoding of HL7 v2 (HL7 v2.5.1 sections 2.5.4 and 2.7)."""

import re
from dataclasses import dataclass
from functools import lru_cache

from connectors.api import RejectedError
from connectors.hl7v2.charset import codec_of

STANDARD = "^~\\&"
"The encoding characters that the standard suggests (section 2.5.4)."

_AFTER_MSH_2 = 9
"Where the delimiters have been declared, in characters from the start."


@dataclass(frozen=True, slots=True)
class Delimiters:
    """What MSH-1 and MSH-2 declare; one that a sender left out is empty and splits nothing."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    truncation: str = ""
    "From v2.7 on."


@lru_cache(maxsize=64)
def delimiters_of(head: str) -> Delimiters:
    """Return what `head` declares: MSH-1 followed by MSH-2, such as `|^~\\&`.

    A character that is declared twice keeps its first meaning: some senders escape the escape character.

    Raises:
        RejectedError: they cannot be told apart.
    """
    field, encoding = head[:1], head[1:] or STANDARD
    if not (field.isascii() and field.isprintable()) or field.isalnum() or field.strip() == "":
        raise RejectedError("field-separator-invalid", field="MSH-1")
    if len(encoding) > 5 or not encoding.isascii() or not encoding.isprintable():
        raise RejectedError("encoding-characters-invalid", field="MSH-2")
    meanings = list(dict.fromkeys(encoding))
    if field in meanings:
        raise RejectedError("encoding-characters-invalid", field="MSH-2")
    return Delimiters(field, *[*meanings, "", "", "", ""][:5])


class Encoding:
    """How the text of one message is to be read; its parts know this and not the message, which would be a cycle."""

    __slots__ = ("_charset", "_text", "delimiters", "plain")

    def __init__(self, text: str, delimiters: Delimiters, charset: str) -> None:
        self.delimiters = delimiters
        self.plain: bool | None = None
        """True where no subcomponents, escape sequences or deleted values stand after MSH-2: in most messages there are
        none, and fields need no second look. None until `look` was called."""

        self._text = text
        self._charset = charset

    def look(self) -> None:
        """Find out whether the text is plain."""
        text, escape, subcomponent = self._text, self.delimiters.escape, self.delimiters.subcomponent
        self.plain = (
            bool(escape and subcomponent)
            and '"' not in text
            and text.find(escape, _AFTER_MSH_2) < 0
            and text.find(subcomponent, _AFTER_MSH_2) < 0
        )

    @property
    def charset(self) -> str:
        """The Python codec that MSH-18 names first, otherwise the source's own; UTF-8 where neither helps."""
        header = self._text.partition("\r")[0].split(self.delimiters.field, 18)
        said = header[17] if len(header) > 17 else ""  # as it came: it says how to read escape sequences
        named = said.split(self.delimiters.repetition)[0] if self.delimiters.repetition else said
        return codec_of(named or self._charset) or "utf-8"

    def unescape(self, text: str) -> str:
        """Return `text` with escape sequences resolved."""
        escape = self.delimiters.escape
        if not escape or escape not in text:
            return text
        return unescape(text, self.delimiters, self.charset)


_SEQUENCE = "(F|S|T|R|E|P|H|N|X[0-9A-Fa-f]+|\\.br|\\.sp[+]?[0-9]{0,2})"


@lru_cache(maxsize=64)
def _sequences(escape: str) -> re.Pattern[str]:
    mark = re.escape(escape)
    return re.compile(f"{mark}{_SEQUENCE}{mark}")


def unescape(text: str, delimiters: Delimiters, charset: str = "utf-8") -> str:
    """Resolve escape sequences (section 2.7); one that is unknown or unfinished stays as it came.

    Highlighting is dropped, `.br` and `.sp` become line breaks; hexadecimal data (section 2.7.6) is read in `charset`,
    without NUL, which some senders pad it with.
    """
    meaning = {
        "F": delimiters.field,
        "S": delimiters.component,
        "T": delimiters.subcomponent,
        "R": delimiters.repetition,
        "E": delimiters.escape,
        "P": delimiters.truncation,
    }

    def resolved(match: re.Match[str]) -> str:
        what = match[1]
        if what in meaning:
            return meaning[what] or match[0]  # stands for a delimiter that was not declared
        if what in ("H", "N"):
            return ""
        if what.startswith("."):
            return "\n" * int(what[3:].lstrip("+") or 1)
        digits = what[1:].rjust(len(what) // 2 * 2, "0")  # some write \\X00D\\ for a carriage return
        return bytes.fromhex(digits).decode(charset, "replace").replace("\0", "")

    return _sequences(delimiters.escape).sub(resolved, text)


def escape(text: str, delimiters: Delimiters | None = None) -> str:
    """Return `text` fit to stand in a field: the inverse of `unescape` for text without NUL.

    Control characters go as hexadecimal data, so that none ends the segment or the frame.
    """
    delimiters = delimiters or Delimiters()
    mark = delimiters.escape
    sequences = {
        delimiters.field: "F",
        delimiters.component: "S",
        delimiters.subcomponent: "T",
        delimiters.repetition: "R",
        delimiters.escape: "E",
        delimiters.truncation: "P",
    }
    out = []
    for character in text:
        if character in sequences:
            out.append(f"{mark}{sequences[character]}{mark}")
        elif character < " " or character == "\x7f":
            out.append(f"{mark}X{ord(character):02X}{mark}")
        else:
            out.append(character)
    return "".join(out)

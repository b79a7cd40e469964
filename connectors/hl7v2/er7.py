"""Read ER7, the delimited encoding of HL7 v2, lazily: only what is asked for is split (HL7 v2.5.1 section 2.5).

`Message` is a view of the sender's bytes: they are kept as they came, and `bytes(message)` returns them. Nothing is
validated against a message structure, because real senders keep to none; what a reader needs it asks for by
segment, field, component and subcomponent, numbered from 1 as in the standard.

Segments may end with CR, LF or CRLF. A line that begins with no segment name continues the one before it: some
senders let a line break of a note through.
"""

import re
from collections.abc import Iterator

from connectors.api import RejectedError
from connectors.hl7v2.charset import decode
from connectors.hl7v2.encoding import STANDARD, Delimiters, Encoding, delimiters_of, escape, unescape

__all__ = [
    "NULL",
    "STANDARD",
    "Composite",
    "Delimiters",
    "Message",
    "Segment",
    "delimiters_of",
    "escape",
    "messages_in",
    "unescape",
]

NULL = '""'
"An explicitly deleted value; an empty one says nothing (section 2.5.3)."

_JUNK = b"\x0b\x00 \t\r\n\xef\xbb\xbf"
"What senders leave before MSH: framing, blank lines, a byte order mark."

_MESSAGE = re.compile(rb"(?:^|(?<=[\r\n]))(?=MSH[^A-Za-z0-9\s])")


_USUAL = f"MSH|{STANDARD}|"
_USUALLY = Delimiters()


class Composite:
    """One repetition of a field; `composite[n]` is the first subcomponent of component n, unescaped, NULL as empty."""

    __slots__ = ("_encoding", "_parts", "text")

    def __init__(self, text: str, encoding: Encoding) -> None:
        self.text = text
        "As it came."

        self._encoding = encoding
        component = encoding.delimiters.component
        self._parts = text.split(component) if component else [text]

    def __getitem__(self, component: int) -> str:
        parts = self._parts
        if component > len(parts):
            return ""
        value = parts[component - 1]
        encoding = self._encoding
        if encoding.plain or not value:
            return value
        marks = encoding.delimiters
        if marks.subcomponent and marks.subcomponent in value:
            value = value[: value.index(marks.subcomponent)]
        if value == NULL:
            return ""
        return encoding.unescape(value) if marks.escape and marks.escape in value else value

    def subs(self, component: int) -> list[str]:
        """Return the subcomponents of a component; one empty string where it is absent."""
        parts = self._parts
        value = parts[component - 1] if component <= len(parts) else ""
        if self._encoding.plain:
            return [value]
        separator = self._encoding.delimiters.subcomponent
        if separator and separator in value:
            return [self._meant(sub) for sub in value.split(separator)]
        return [self._meant(value)]

    def _meant(self, value: str) -> str:
        if value == NULL:
            return ""
        return self._encoding.unescape(value)


class Segment:
    """One segment, its fields split; fields are numbered as in the standard, also in MSH, FHS and BHS."""

    __slots__ = ("_encoding", "_fields", "text")

    def __init__(self, text: str, encoding: Encoding) -> None:
        self.text = text
        "As it came, without its terminator."

        separator = encoding.delimiters.field
        self._fields = text.split(separator)
        if self._fields[0] == "MSH":
            self._fields.insert(1, separator)  # MSH-1 is the separator itself
        self._encoding = encoding

    @property
    def name(self) -> str:
        """The segment's name, such as PID."""
        return self._fields[0]

    def __len__(self) -> int:
        return len(self._fields) - 1

    def field(self, number: int) -> str:
        """Return a field as it came, escapes and repetitions and all; empty where it is absent."""
        return self._fields[number] if number < len(self._fields) else ""

    def deleted(self, number: int) -> bool:
        """Return whether the sender deleted the field outright."""
        return number < len(self._fields) and self._fields[number] == NULL

    def composites(self, number: int) -> list[Composite]:
        """Return the repetitions of a field that say anything."""
        fields = self._fields
        text = fields[number] if number < len(fields) else ""
        if not text or text == NULL:
            return []
        repetition = self._encoding.delimiters.repetition
        if repetition and repetition in text:
            return [Composite(part, self._encoding) for part in text.split(repetition) if part and part != NULL]
        return [Composite(text, self._encoding)]

    def composite(self, number: int) -> Composite:
        """Return the first repetition of a field; an empty one where it is absent or NULL."""
        text = self.field(number)
        repetition = self._encoding.delimiters.repetition
        if repetition and repetition in text:
            text = text[: text.index(repetition)]
        return Composite("" if text == NULL else text, self._encoding)

    def value(self, number: int) -> str:
        """Return the first subcomponent of the first component of the first repetition, unescaped, NULL as empty."""
        fields = self._fields
        text = fields[number] if number < len(fields) else ""
        if not text or text == NULL:
            return ""
        encoding = self._encoding
        delimiters = encoding.delimiters
        if encoding.plain and delimiters.component not in text and delimiters.repetition not in text:
            return text
        for separator in (delimiters.repetition, delimiters.component, delimiters.subcomponent):
            if separator and separator in text:
                text = text[: text.index(separator)]
        if text == NULL:
            return ""
        return self._encoding.unescape(text) if delimiters.escape and delimiters.escape in text else text


class Message:
    """A view of one message."""

    __slots__ = ("_charset", "_encoding", "_header", "_text", "delimiters", "raw")

    def __init__(self, raw: bytes, text: str, delimiters: Delimiters, charset: str) -> None:
        self.raw = raw
        "The bytes as they came."

        self.delimiters = delimiters
        self._text = text
        self._charset = charset
        self._encoding: Encoding | None = None
        self._header: Segment | None = None

    @classmethod
    def parse(cls, raw: bytes, *, charset: str = "") -> "Message":
        """Return a view of `raw`; `charset` (HL7 table 0211) stands in where MSH-18 is empty.

        Raises:
            RejectedError: it does not begin with an MSH segment that declares usable delimiters.
        """
        body = raw if raw.startswith(b"MSH") else raw.lstrip(_JUNK)
        if not body.startswith(b"MSH"):
            raise RejectedError("not-hl7", field="MSH")
        text = decode(body, charset)
        if "\n" in text:
            text = text.replace("\r\n", "\r").replace("\n", "\r")
        if text.startswith(_USUAL):
            return cls(raw, text, _USUALLY, charset)
        separator = text[3:4]
        line_end = text.find("\r")
        end = text.find(separator, 4) if separator else -1
        if end < 0 or 0 <= line_end < end:
            end = len(text) if line_end < 0 else line_end
        return cls(raw, text, delimiters_of(text[3:end]), charset)

    def __bytes__(self) -> bytes:
        return self.raw

    @property
    def header(self) -> Segment:
        """The MSH segment."""
        if self._header is None:
            self._header = Segment(self._text[: self._end(0)], self._parts_encoding())
        return self._header

    @property
    def type(self) -> tuple[str, str]:
        """Message code and trigger event (MSH-9.1 and .2; the event from EVN-1 where MSH-9 leaves it out)."""
        parts = self._text.split(self.delimiters.field, 9)  # most messages say nothing here, and are read no further
        line_end = self._text.find("\r")
        whole = len(parts) == 10 and len(self._text) - len(parts[9]) <= line_end
        said = parts[8] if whole else self.header.field(9)
        code, event = [*said.split(self.delimiters.component or None), "", ""][:2]
        if code and not event and (evn := self.segment("EVN")) is not None:
            event = evn.value(1)
        return code, event

    @property
    def control_id(self) -> str:
        """MSH-10, the sender's id of this message."""
        return self.header.field(10)

    @property
    def charset(self) -> str:
        """The Python codec of the message's text, as `Encoding` has it."""
        return self._parts_encoding().charset

    def segment(self, name: str) -> Segment | None:
        """Return the first segment of that name; the rest of the message is not split."""
        start = self._text.find(f"\r{name}{self.delimiters.field}")
        return None if start < 0 else Segment(self._text[start + 1 : self._end(start + 1)], self._looked())

    def has(self, name: str) -> bool:
        """Return whether there is a segment of that name."""
        return f"\r{name}{self.delimiters.field}" in self._text

    def segments(self, name: str) -> Iterator[Segment]:
        """Yield every segment of that name, in order."""
        mark = f"\r{name}{self.delimiters.field}"
        start = self._text.find(mark)
        while start >= 0:
            end = self._end(start + 1)
            yield Segment(self._text[start + 1 : end], self._looked())
            start = self._text.find(mark, end)

    def lines(self) -> Iterator[Segment]:
        """Yield every segment, in order."""
        text, start = self._text, 0
        while start < len(text):
            if text[start] == "\r":  # a blank line is none that another could continue
                start += 1
                continue
            end = self._end(start)
            yield Segment(text[start:end], self._looked())
            start = end + 1

    def unescape(self, text: str) -> str:
        """Return `text` with this message's escape sequences resolved."""
        return self._parts_encoding().unescape(text)

    def _parts_encoding(self) -> Encoding:
        if self._encoding is None:
            self._encoding = Encoding(self._text, self.delimiters, self._charset)
        return self._encoding

    def _looked(self) -> Encoding:
        encoding = self._encoding
        if encoding is None:
            encoding = self._parts_encoding()
        if encoding.plain is None:
            encoding.look()
        return encoding

    def _end(self, start: int) -> int:
        """Return where the segment that begins at `start` ends, over lines that continue it."""
        text, separator = self._text, self.delimiters.field
        end = text.find("\r", start)
        while end >= 0 and text[end + 4 : end + 5] != separator:
            head = text[end + 1 : end + 5]
            if len(head) < 4 or "\r" in head or not head.strip():
                return end  # the message's end, a blank line, or a bare name
            end = text.find("\r", end + 1)
        return len(text) if end < 0 else end


def messages_in(raw: bytes) -> list[bytes]:
    """Return each message of a packet or batch, batch headers and trailers dropped (section 2.10.3).

    A packet that holds no message at all is returned as it is, for `Message.parse` to refuse.
    """
    if raw.rfind(b"MSH") == 0:
        return [raw]
    starts = [match.start() for match in _MESSAGE.finditer(raw)]
    if not starts:
        return [raw]
    return [raw[start:end] for start, end in zip(starts, [*starts[1:], len(raw)], strict=True)]

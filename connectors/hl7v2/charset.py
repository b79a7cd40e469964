"""Turn a message's bytes into text: MSH-18 against HL7 table 0211, and what real senders do instead."""

import re
from functools import lru_cache

CODECS = {
    "ASCII": "",
    "8859/1": "iso8859-1",
    "8859/2": "iso8859-2",
    "8859/3": "iso8859-3",
    "8859/4": "iso8859-4",
    "8859/5": "iso8859-5",
    "8859/6": "iso8859-6",
    "8859/7": "iso8859-7",
    "8859/8": "iso8859-8",
    "8859/9": "iso8859-9",
    "8859/15": "iso8859-15",
    "ISO IR6": "",
    "ISO IR14": "shift_jis",
    "ISO IR87": "iso2022_jp",
    "ISO IR159": "iso2022_jp_1",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "BIG-5": "big5",
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
}
"HL7 table 0211 to Python codecs; empty: the name says little, the bytes say more."

SETS = {
    b"(B": ("ascii", b""),
    b"(J": ("iso2022_jp_ext", b"\x1b(J"),
    b"(I": ("iso2022_jp_ext", b"\x1b(I"),
    b")I": ("shift_jis", b""),  # JIS X 0201 katakana at G1: one byte each, as in Shift JIS
    b"$@": ("iso2022_jp_ext", b"\x1b$@"),
    b"$B": ("iso2022_jp_ext", b"\x1b$B"),
    b"$(D": ("iso2022_jp_ext", b"\x1b$(D"),
    b"$A": ("iso2022_jp_2", b"\x1b$A"),
    b"$(C": ("iso2022_jp_2", b"\x1b$(C"),
    b"$)C": ("euc_kr", b""),
    b"-A": ("iso8859-1", b""),
    b"-B": ("iso8859-2", b""),
    b"-C": ("iso8859-3", b""),
    b"-D": ("iso8859-4", b""),
    b"-L": ("iso8859-5", b""),
    b"-G": ("iso8859-6", b""),
    b"-F": ("iso8859-7", b""),
    b"-H": ("iso8859-8", b""),
    b"-M": ("iso8859-9", b""),
}
"""What follows ESC to switch to another character set (ISO 2022), to the codec that reads what comes after it, and what
that codec must see first; the sets are those of HL7 v2.5 section 2.7.2."""

MOST_SWITCHES = 20_000
"In one message; one that has more is no text, and is read as if they were characters."

_WESTERN = frozenset({"", "iso8859-1", "iso8859-15"})

_SWITCH = re.compile(rb"\x1b([\x20-\x2f]+[\x30-\x7e])")

_HL7_SWITCH = re.compile(rb"\\[CM](2[0-9A-Fa-f](?:[0-9A-Fa-f]{2}){1,2})\\")

_ESCAPED = re.compile(rb"%b|\\(?:[EFHNPRST]|X[0-9A-Fa-f]+)\\" % _HL7_SWITCH.pattern)
"Switches, and the escape sequences that one must not be sought in the middle of: `\\E\\M2442\\E\\` is plain text."


@lru_cache(maxsize=64)
def codec_of(name: str) -> str:
    """Return the codec of an MSH-18 value, or an empty string where it does not help."""
    return CODECS.get(name.strip().upper(), "")


def decode(body: bytes, charset: str = "") -> str:
    """Return the text of a message that begins with MSH; every byte sequence has one.

    `charset` stands in where MSH-18 is empty. Senders that name ASCII, or nothing, send UTF-8 or Windows-1252; some
    name Latin-1 and send UTF-8. What is UTF-8 by chance makes no sense in a Western character set, so it is tried
    first there.

    Bytes are decoded before they are split, because in Shift JIS, Big5 and GB 18030, and after a switch by ISO 2022,
    the second byte of a character may look like a delimiter.
    """
    if body.isascii() and b"\x1b" not in body and (body.find(b"\\", 9) < 0 or not _HL7_SWITCH.search(body)):
        return body.decode("ascii")
    codec = codec_of(_named(body) or charset)
    switching = _switches(body)
    return _decoded(body, codec) if switching is None else _decoded_by_parts(switching, codec)


def _named(body: bytes) -> str:
    """Return the first repetition of MSH-18, the set that a message begins in (section 2.15.9.18)."""
    end = min((at for at in (body.find(b"\r"), body.find(b"\n")) if at >= 0), default=len(body))
    header = body[:end].split(body[3:4] or b"|", 18)
    if len(header) < 18 or not header[17]:
        return ""
    return header[17].split(header[1][1:2] or b"~")[0].decode("latin-1")


def _decoded(body: bytes, codec: str) -> str:
    for candidate in ("utf-8", codec or "cp1252", "cp1252") if codec in _WESTERN else (codec, "utf-8", "cp1252"):
        try:
            return body.decode(candidate)
        except UnicodeDecodeError:
            continue
    return body.decode("latin-1")


def _switches(body: bytes) -> bytes | None:
    """Return `body` with each switch of character sets as ISO 2022 has it, ESC; None where there is none.

    Senders write them as they are (MSH-20 `ISO 2022-1994`), or as escape sequences of HL7 v2.3: `\\M2442\\`.
    """
    if body[6:7] == b"\\":
        body = _ESCAPED.sub(
            lambda match: b"\x1b" + bytes.fromhex(match[1].decode()) if match[1] else match[0],
            body,
        )
    if body.count(b"\x1b") > MOST_SWITCHES:
        return None
    return body if any(match[1] in SETS for match in _SWITCH.finditer(body)) else None


def _decoded_by_parts(body: bytes, codec: str) -> str:
    """Decode what stands between switches, each part by its own set; a switch holds until the segment's end."""
    parts = _SWITCH.split(body)
    text = [_decoded(parts[0], codec)]
    for mark, part in zip(parts[1::2], parts[2::2], strict=True):
        if mark not in SETS:
            text.append("\x1b" + mark.decode("ascii") + _decoded(part, codec))
            continue
        name, first = SETS[mark]
        end = min((at for at in (part.find(b"\r"), part.find(b"\n")) if at >= 0), default=len(part))
        if name == "ascii":
            text.append(_decoded(part, codec))
        else:
            text.append((first + part[:end]).decode(name, "replace") + _decoded(part[end:], codec))
    return "".join(text)

"""Turn a message's bytes into text: MSH-18 against HL7 table 0211, and what real senders do instead."""

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


_WESTERN = frozenset({"", "iso8859-1", "iso8859-15"})


@lru_cache(maxsize=64)
def codec_of(name: str) -> str:
    """Return the codec of an MSH-18 value, or an empty string where it does not help."""
    return CODECS.get(name.strip().upper(), "")


def decode(body: bytes, charset: str = "") -> str:
    """Return the text of a message that begins with MSH; every byte sequence has one.

    Senders that name ASCII, or nothing, send UTF-8 or Windows-1252; some name Latin-1 and send UTF-8. What is UTF-8
    by chance makes no sense in a Western character set, so it is tried first there.

    Bytes are decoded before they are split, because in Shift JIS, Big5 and GB 18030 the second byte of a character
    may look like a delimiter.
    """
    if body.isascii() and b"\x1b" not in body:  # ESC: ISO 2022 says everything in ASCII bytes
        return body.decode("ascii")
    header = body[: _line_end(body)].split(body[3:4] or b"|")
    # The first repetition: further ones are reached by escape sequences inside the text (section 2.15.9.18).
    named = header[17].split(header[1][1:2] or b"~")[0].decode("latin-1") if len(header) > 17 else ""
    codec = codec_of(named or charset)
    for candidate in ("utf-8", codec or "cp1252", "cp1252") if codec in _WESTERN else (codec, "utf-8", "cp1252"):
        try:
            return body.decode(candidate)
        except UnicodeDecodeError:
            continue
    return body.decode("latin-1")


def _line_end(body: bytes) -> int:
    ends = [end for end in (body.find(b"\r"), body.find(b"\n")) if end >= 0]
    return min(ends, default=len(body))

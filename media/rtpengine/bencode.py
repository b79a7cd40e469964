"""Bencode, as rtpengine's ng protocol writes its dictionaries: integers, byte strings, lists, dictionaries.

`decode(encode(value)) == value` for whatever is made of those; a value of text comes back as bytes, a key as text.
"""

from media.errors import ProtocolError

Value = int | str | bytes | list["Value"] | dict[str, "Value"]

DEEPEST = 32
"Lists and dictionaries within each other that are read; rtpengine's answers have eight."

LONGEST_NUMBER = 20
"Digits of a whole number of 64 bits, and its sign."


def encode(value: Value) -> bytes:
    """Return a value as bencode; keys are written in the order of their bytes, text as UTF-8."""
    if isinstance(value, dict):
        keyed = sorted((key.encode(), each) for key, each in value.items())
        return b"d" + b"".join(encode(key) + encode(each) for key, each in keyed) + b"e"
    if isinstance(value, list):
        return b"l" + b"".join(map(encode, value)) + b"e"
    if isinstance(value, int):
        return b"i%de" % value
    data = value.encode() if isinstance(value, str) else value
    return b"%d:%s" % (len(data), data)


def decode(data: bytes) -> Value:
    """Return the value that `data` is, and nothing behind it.

    Raises:
        ProtocolError: cut short, something behind it, too deep, or no bencode.
    """
    value, end = _read(data, 0, DEEPEST)
    if end != len(data):
        raise ProtocolError("bencode with something behind it")
    return value


def _read(data: bytes, at: int, deep: int) -> tuple[Value, int]:
    kind = data[at : at + 1]
    if kind == b"i":
        return _number(data, at + 1, b"e")
    if kind == b"l" or kind == b"d":
        if not deep:
            raise ProtocolError("bencode too deep")
        return (_list if kind == b"l" else _dictionary)(data, at + 1, deep - 1)
    if kind.isdigit():
        return _string(data, at)
    raise ProtocolError("no bencode")


def _list(data: bytes, at: int, deep: int) -> tuple[Value, int]:
    values: list[Value] = []
    while data[at : at + 1] != b"e":
        value, at = _read(data, at, deep)
        values.append(value)
    return values, at + 1


def _dictionary(data: bytes, at: int, deep: int) -> tuple[Value, int]:
    found: dict[str, Value] = {}
    while data[at : at + 1] != b"e":
        key, at = _string(data, at)
        value, at = _read(data, at, deep)
        try:
            found[key.decode()] = value
        except UnicodeDecodeError:
            raise ProtocolError("bencode with a key that is no text") from None
    return found, at + 1


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    size, start = _number(data, at, b":")
    if size < 0 or start + size > len(data):
        raise ProtocolError("bencode cut short")
    return data[start : start + size], start + size


def _number(data: bytes, at: int, end: bytes) -> tuple[int, int]:
    stop = data.find(end, at, at + LONGEST_NUMBER + 1)
    digits = data[at:stop] if stop > at else b""
    if not digits.removeprefix(b"-").isdigit():
        raise ProtocolError("no number where bencode has one")
    return int(digits), stop + 1

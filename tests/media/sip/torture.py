"""Messages of our own after those of RFC 4475, by name, read from `torture.txt` beside this module."""

import re
from pathlib import Path

_FILE = Path(__file__).with_name("torture.txt")
_HEADING = re.compile(r"^=== (?P<section>[0-9.]+) (?P<name>\w+): .*\n", re.MULTILINE)
_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|\\)")


def messages() -> dict[str, bytes]:
    """Return the messages in the order of the cases in the RFC."""
    parts = _HEADING.split(_FILE.read_text())[1:]
    return {name: _wire(text) for name, text in zip(parts[1::3], parts[2::3], strict=True)}


def sections() -> dict[str, str]:
    """Return the section of the RFC that describes the case of each message."""
    return {found["name"]: found["section"] for found in _HEADING.finditer(_FILE.read_text())}


def _wire(text: str) -> bytes:
    lines = []
    for line in text.splitlines(keepends=True):
        # A backslash at the end, unless it is the second of a pair, joins the line to the next.
        backslashes = len(line.rstrip("\n")) - len(line.rstrip("\n").rstrip("\\"))
        lines.append(line[:-2] if backslashes % 2 else line.replace("\n", "\r\n"))
    return _ESCAPE.sub(_byte, "".join(lines)).encode("latin-1")


def _byte(found: re.Match[str]) -> str:
    return "\\" if found[1] == "\\" else chr(int(found[1][1:], 16))

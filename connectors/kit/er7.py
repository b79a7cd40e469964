"""What the kit does to an HL7 v2 message in its ER7 encoding (HL7 v2.5.1 section 2.5), by bytes alone."""

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

_TIME = re.compile(r"(?<=[|^~&])(\d{12})(\d\d(?:\.\d{1,4})?)?([+-]\d{4})?(?=[|^~&\r\n]|$)")
"A date with a time to the minute at least (HL7 v2.5.1 section 2.A.22, DTM)."

SPECIAL = {"F": 0, "S": 1, "R": 2, "E": 3, "T": 4}
"Escape sequences (HL7 v2.5.1 section 2.7.1), and where in MSH-1 and MSH-2 the character stands that each means."


def is_er7(raw: bytes) -> bool:
    """Whether `raw` begins as an HL7 v2 message does."""
    return raw.startswith(b"MSH") and len(raw) > 8


def _text(raw: bytes) -> str:
    return raw.decode("latin-1")  # every byte is itself


def with_times(raw: bytes, change: Callable[[datetime, bool], str | None], zone: ZoneInfo) -> bytes:
    """Return `raw` with each time as `change` writes it; it is given the instant, and whether an offset stood there."""

    def changed(found: re.Match[str]) -> str:
        try:
            local = datetime.strptime(found[1], "%Y%m%d%H%M")  # noqa: DTZ007 - the zone follows
        except ValueError:
            return found[0]
        seconds = float(found[2] or 0)
        at = (local + timedelta(seconds=seconds)).replace(tzinfo=_offset(found[3]) or zone)
        written = change(at, found[3] is not None)
        return found[0] if written is None else written

    return _TIME.sub(changed, _text(raw)).encode("latin-1")


def _offset(written: str | None) -> timezone | None:
    if written is None:
        return None
    size = timedelta(hours=int(written[1:3]), minutes=int(written[3:5]))
    return timezone(-size if written[0] == "-" else size)


def without_zone(raw: bytes, zone: ZoneInfo) -> bytes:
    """Return `raw` with each time that has an offset as the local time of `zone`, without any."""

    def shorn(at: datetime, offset: bool) -> str | None:
        return at.astimezone(zone).strftime("%Y%m%d%H%M%S") if offset else None

    return with_times(raw, shorn, zone)


def moved(raw: bytes, starts: set[datetime], local: datetime, zone: ZoneInfo) -> bytes:
    """Return `raw` with `local`, without a zone, wherever one of the instants `starts` stands."""
    return with_times(raw, lambda at, _: local.strftime("%Y%m%d%H%M") if at in starts else None, zone)


def with_endings(raw: bytes, ending: bytes) -> bytes:
    """Return `raw` with each segment ended by `ending`."""
    return re.sub(rb"\r\n|\r|\n", ending, raw)


def escaped(raw: bytes, word: str, code: str) -> tuple[bytes, str] | None:
    """Return `raw` with an escape sequence after the second letter of each `word`, and the word as it then reads.

    None where the word does not stand alone in any component.
    """
    text = _text(raw)
    characters = text[3:8]
    sequence = characters[SPECIAL["E"]] + code + characters[SPECIAL["E"]]
    found = re.compile(rf"(?<=[|^~&]){re.escape(word)}(?=[|^~&\r\n]|$)")
    if not word.isascii() or not found.search(text):
        return None
    changed = found.sub(lambda _: word[:2] + sequence + word[2:], text)
    return changed.encode("latin-1"), word[:2] + characters[SPECIAL[code]] + word[2:]


def damaged(raw: bytes, most: int) -> Iterator[bytes]:
    """Yield `raw` cut at no more than `most` places, and with each field emptied, doubled, and put as a delete."""
    step = max(1, len(raw) // most)
    yield from (raw[:at] for at in range(0, len(raw), step))
    lines = re.split(r"(\r\n|\r|\n)", _text(raw))
    for at, line in enumerate(lines):
        fields = line.split("|")
        for number in range(1, len(fields)):
            for instead in ("", '""', fields[number] + "~" + fields[number], "^^^^^", "\\X"):
                fields_ = [*fields[:number], instead, *fields[number + 1 :]]
                yield "".join([*lines[:at], "|".join(fields_), *lines[at + 1 :]]).encode("latin-1")

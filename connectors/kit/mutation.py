"""What the kit does to recorded answers: JSON with its records doubled, turned round, emptied, its times shorn."""

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import orjson

Mutate = Callable[[int, Any], Any]
"Changes the JSON body that the exchange of that index answers with."

Path = tuple[str, ...]
"Names on the way to a field; the steps into a list are left out."

_TIME = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)(Z|[+-]\d\d:?\d\d)?")


def records_in(document: Any, where: str = "") -> list[Any] | None:
    """Return the list of records of an answer, or None if it has none; a change of it changes `document`."""
    if where:
        for name in where.split("."):
            document = document.get(name) if isinstance(document, dict) else None
        return document if isinstance(document, list) else None
    lists = list(_lists(document, 3))
    return max(lists, key=lambda found: len(orjson.dumps(found))) if lists else None


def _lists(value: Any, depth: int) -> Iterator[list[Any]]:
    if isinstance(value, list):
        if value and all(isinstance(one, dict) for one in value):
            yield value
    elif isinstance(value, dict) and depth:
        for inner in value.values():
            yield from _lists(inner, depth - 1)


def with_records(document: Any, where: str, change: Callable[[list[Any]], Sequence[Any]]) -> Any:
    """Return a copy of `document` with its list of records changed; without one, as it is."""
    copied = copy.deepcopy(document)
    found = records_in(copied, where)
    if found is not None:
        found[:] = change(found)
    return copied


def paths_in(value: Any, above: Path = ()) -> Iterator[Path]:
    """Yield each field in a record, each once."""
    seen: set[Path] = set()
    for path in _walk(value, above):
        if path not in seen:
            seen.add(path)
            yield path


def _walk(value: Any, above: Path) -> Iterator[Path]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield (*above, name)
            yield from _walk(inner, (*above, name))
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner, above)


def put(value: Any, path: Path, instead: Any) -> bool:
    """Set the field at `path`, in every element of a list on the way; return whether there was one."""
    if isinstance(value, list):
        return sum(put(inner, path, instead) for inner in value) > 0
    if not isinstance(value, dict) or path[0] not in value:
        return False
    if len(path) == 1:
        value[path[0]] = instead
        return True
    return put(value[path[0]], path[1:], instead)


def time_in(text: str, zone: ZoneInfo) -> datetime | None:
    """Return an ISO 8601 time that is all of `text`; one without a zone is taken as of `zone`."""
    if _TIME.fullmatch(text) is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=zone)


def without_zone(zone: ZoneInfo) -> Callable[[str], str]:
    """Return what writes a time with an offset as the local time of `zone`, without any."""

    def shorn(text: str) -> str:
        matched = _TIME.fullmatch(text)
        if matched is None or matched[2] is None or (at := time_in(text, zone)) is None:
            return text
        local = at.astimezone(zone).replace(tzinfo=None)
        return local.isoformat("T", "seconds" if not local.microsecond else "microseconds")

    return shorn


def instead_of(starts: set[datetime], local: datetime, zone: ZoneInfo) -> Callable[[str], str]:
    """Return what writes `local`, without a zone, wherever one of the instants `starts` stands."""

    def moved(text: str) -> str:
        at = time_in(text, zone)
        return local.isoformat() if at is not None and at in starts else text

    return moved


def changes_of_clocks(zone: ZoneInfo, after: datetime) -> list[tuple[datetime, timedelta]]:
    """Return the instants in the year after `after` when the clocks of `zone` change, and by how much."""
    found = []
    day = after.replace(minute=0, second=0, microsecond=0)
    for _ in range(366):
        following = day + timedelta(days=1)
        if _offset(day, zone) != _offset(following, zone):
            hours = (day + timedelta(hours=hour) for hour in range(1, 25))
            at = next(one for one in hours if _offset(one, zone) != _offset(day, zone))
            found.append((at, _offset(at, zone) - _offset(day, zone)))
        day = following
    return found


def _offset(at: datetime, zone: ZoneInfo) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()

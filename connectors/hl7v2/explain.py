"""Say what is wrong with a message that lies in quarantine, without a word of what it says (by hl7apy, off the feed).

hl7apy validates against the standard's own structures, a thousand times slower than the reader, and may raise anything;
so it sees one segment at a time, as many as `LONGEST_S` allows, and of the message as a whole only which segments stand
in which order. What it reports holds values: only the places and the kind of fault are taken from that.
"""

import os
import re
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from connectors.api import RejectedError
from connectors.hl7v2.er7 import Delimiters, Message, Segment, messages_in

LONGEST_S = 2.0
"For one message; what was not looked at by then is not explained."

LONGEST_SEGMENT = 8192
"Characters of a segment that is looked into."

MOST_SEGMENTS = 200
MOST_FINDINGS = 100

_STRUCTURES = {
    **{("SIU", f"S{number}"): "SIU_S12" for number in range(12, 27)},
    **dict.fromkeys((("ADT", "A04"), ("ADT", "A08"), ("ADT", "A01")), "ADT_A01"),
    **dict.fromkeys((("ADT", "A28"), ("ADT", "A31"), ("ADT", "A05")), "ADT_A05"),
    ("ADT", "A18"): "ADT_A18",
    **dict.fromkeys((("ADT", "A39"), ("ADT", "A40")), "ADT_A39"),
}
"Message structures (HL7 table 0354) of the events that are read; many senders leave MSH-9.3 out, or write the event."

_REPORTS = (
    (re.compile(r"Missing required child (\S+)\.(\S+)$"), "missing"),
    (re.compile(r"Child limit exceeded (\S+)\.(\S+)$"), "too-many"),
    (re.compile(r"Value .* not in table \S+ in element (\S+)\.(\S+)$", re.DOTALL), "not-in-table"),
    (re.compile(r"Exceeded max length \(\d+\) of (\S+)\.(\S+)$"), "too-long"),
    (re.compile(r"(?:Unknown element found|Invalid children detected)()()"), "not-expected"),
    (re.compile(r"Datatype .* is not correct for (\S+)\.(\S+) \(it must be ", re.DOTALL), "data-type"),
)
"What hl7apy reports, and what that is called here."

_PLACE = re.compile(r"[A-Z][A-Z0-9]{1,2}_\d{1,3}")
_STRUCTURE = re.compile(r"[A-Z][A-Z0-9]{2}_[A-Z][0-9]{2}")


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault, by its place: never a value, and no name that the standard does not have."""

    segment: str
    "Such as PID; `line` for one that the standard does not know; empty for the message as a whole."

    number: int
    "Which of the segments of that name, from 1 on; for `line`, which line of the message."

    field: str
    "Such as PID-8, or PID-3.4 for a component; empty for the segment as a whole."

    what: str
    """missing, too-many, too-long, not-in-table, data-type, not-expected, unknown-segment, unknown-version,
    not-understood; or the reason for which a message cannot even be split."""


def explain(raw: bytes, *, charset: str = "") -> list[Finding]:
    """Return what is wrong with the messages of a frame by the standard, which is more than hinders the reader.

    Bounded in time and in number; never raises.
    """
    findings: list[Finding] = []
    for part in messages_in(raw):
        try:
            message = Message.parse(part, charset=charset)
        except RejectedError as error:
            findings.append(Finding("MSH", 1, error.field if "-" in error.field else "", error.reason))
            continue
        findings += _explained(message, time.monotonic() + LONGEST_S)
    return list(dict.fromkeys(findings))[:MOST_FINDINGS]


def _explained(message: Message, deadline: float) -> list[Finding]:
    findings: list[Finding] = []
    version = message.header.value(12).strip()
    if version not in _versions():
        findings.append(Finding("MSH", 1, "MSH-12", "unknown-version" if version else "missing"))
        version = "2.5.1"
    segments = list(islice(message.lines(), MOST_SEGMENTS))
    known = _known(version)
    findings += _order_faults(message, [segment.name for segment in segments if segment.name in known], version)
    seen: Counter[str] = Counter()
    for place, segment in enumerate(segments, 1):
        if segment.name not in known:
            if not _local(segment.name):
                findings.append(Finding("line", place, "", "unknown-segment"))
            continue
        seen[segment.name] += 1
        if len(segment.text) <= LONGEST_SEGMENT and time.monotonic() < deadline:
            findings += _segment_faults(segment, seen[segment.name], version, message.delimiters)
    return findings


def _local(name: str) -> bool:
    return len(name) == 3 and name[0] == "Z" and name.isalnum()


def _segment_faults(segment: Segment, number: int, version: str, marks: Delimiters) -> list[Finding]:
    from hl7apy.parser import parse_segment

    def parsed() -> Any:
        return parse_segment(segment.text, version, _characters(marks, version))

    found = []
    for report in _reports(parsed):
        place, what = _meant(report)
        field = place if place.split("-")[0] == segment.name else ""
        found.append(Finding(segment.name, number, field, what))
    return found


def _order_faults(message: Message, names: list[str], version: str) -> list[Finding]:
    """Return which segments are missing or stand where none may, by a message of names alone."""
    from hl7apy.parser import parse_message

    code, event = message.type
    said = [*message.header.field(9).split(message.delimiters.component or None), "", "", ""][2]
    structure = _STRUCTURES.get((code, event)) or (said if _STRUCTURE.fullmatch(said) else None)
    if structure is None or structure not in _structures(version):
        return [Finding("MSH", 1, "MSH-9", "not-understood")] if structure else []
    bare = "\r".join([f"MSH|^~\\&|||||||{code}^{event}^{structure}|1|P|{version}", *(f"{name}|" for name in names[1:])])

    found = []
    for report in _reports(lambda: parse_message(bare, find_groups=True)):
        match = re.search(r"(Missing required child|Child limit exceeded) \S+\.([A-Z][A-Z0-9_]{2,})$", report)
        name = _first(match[2], version) if match is not None else ""
        if match is not None and name in _known(version):
            found.append(Finding(name, 1, "", "missing" if match[1].startswith("Missing") else "too-many"))
        elif report.startswith("Invalid children detected"):
            found.append(Finding("", 0, "", "not-expected"))
    return found


def _first(name: str, version: str) -> str:
    """Return the segment that a group begins with; a segment's own name."""
    from hl7apy import load_library

    groups = load_library(version).GROUPS
    while name in groups:
        name = groups[name][1][0][0]
    return name


def _reports(parsed: Any) -> list[str]:
    """Return what hl7apy says of an element, in its own words, which hold values: they go no further than here.

    It writes them to a file; this one is in memory, and gone with its descriptor.
    """
    from hl7apy.validation import Validator

    with warnings.catch_warnings(), os.fdopen(os.memfd_create("report"), "w+", encoding="utf-8") as file:
        warnings.simplefilter("ignore")
        path = f"/proc/self/fd/{file.fileno()}"
        try:
            Validator.validate(parsed(), report_file=path)
        except Exception as error:  # a fault found is raised as well; anything else is hl7apy's own
            with open(path, encoding="utf-8") as written:
                reports = written.read()
            return _split(reports) or [type(error).__name__]
        with open(path, encoding="utf-8") as written:
            return _split(written.read())


def _split(reports: str) -> list[str]:
    return [line.partition(": ")[2] for line in re.split(r"\n(?=Error: |Warning: )", reports.strip()) if ": " in line]


def _meant(report: str) -> tuple[str, str]:
    """Return the place (PID-3, PID-3.4, or nothing) and the kind of fault of one report."""
    for pattern, what in _REPORTS:
        match = pattern.match(report)
        if match is None:
            continue
        parent, child = match.groups()
        if _PLACE.fullmatch(child) and child.partition("_")[0] == parent:
            return child.replace("_", "-"), what
        if _PLACE.fullmatch(parent) and _PLACE.fullmatch(child):
            return f"{parent.replace('_', '-')}.{child.partition('_')[2]}", what
        return "", what
    return "", "not-understood"


def _characters(marks: Delimiters, version: str) -> dict[str, str]:
    standard = Delimiters()
    return {
        "GROUP": "\r",
        "SEGMENT": "\r",
        "FIELD": marks.field,
        "COMPONENT": marks.component or standard.component,
        "SUBCOMPONENT": marks.subcomponent or standard.subcomponent,
        "REPETITION": marks.repetition or standard.repetition,
        "ESCAPE": marks.escape or standard.escape,
        **({"TRUNCATION": marks.truncation or "#"} if version >= "2.7" else {}),
    }


@lru_cache(maxsize=1)
def _versions() -> frozenset[str]:
    from hl7apy import SUPPORTED_LIBRARIES

    return frozenset(SUPPORTED_LIBRARIES)


@lru_cache(maxsize=16)
def _known(version: str) -> frozenset[str]:
    """Return the names of the standard's segments."""
    from hl7apy import load_library

    return frozenset(load_library(version).SEGMENTS)


@lru_cache(maxsize=16)
def _structures(version: str) -> frozenset[str]:
    from hl7apy import load_library

    return frozenset(load_library(version).MESSAGES)

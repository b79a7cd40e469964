"""A small reader of HL7 v2 SIU messages, for the good connector: what the kit asks of `read`, and no more."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from connectors.api import (
    AppointmentFacts,
    AppointmentStatus,
    Change,
    Identifier,
    PatientFacts,
    RejectedError,
    Version,
)

STATUSES = {"S12": AppointmentStatus.BOOKED, "S15": AppointmentStatus.CANCELLED}
ESCAPES = {"F": "|", "S": "^", "T": "&", "R": "~", "E": "\\"}


def read(raw: bytes, zone: ZoneInfo, region: str) -> Sequence[Change]:  # noqa: ARG001 - numbers are not read
    lines = [line for line in re.split(r"\r\n|\r|\n", raw.decode("latin-1")) if line]
    starts = [at for at, line in enumerate(lines) if line.startswith("MSH")] + [len(lines)]
    return [one for begin, end in pairwise(starts) for one in _read(lines[begin:end], zone)]


def _read(lines: list[str], zone: ZoneInfo) -> list[Change]:
    segments = {line[:3]: line.split("|") for line in lines}
    header = segments["MSH"]
    event = "".join(_field(header, 8).split("^")[1:2])
    if event not in STATUSES:
        raise RejectedError("message-type-missing", field="MSH-9")
    own, sent_at = _field(segments.get("SCH", []), 2), _time(_field(header, 6), zone)
    if not own or sent_at is None:
        raise RejectedError("appointment-without-id", field="SCH-2")
    timing = _field(segments.get("SCH", []), 11).split("^")
    person = segments.get("PID", [])
    version = Version(at=sent_at, tag=_field(header, 9))
    try:
        patient = PatientFacts(
            ids=(Identifier(system="clinic/patient", value=_field(person, 3).partition("^")[0]),),
            version=version,
            family=plain(_field(person, 5).partition("^")[0]) or None,
        )
        return [
            AppointmentFacts(
                ids=(Identifier(system="clinic/visit", value=own.partition("^")[0]),),
                version=version,
                status=STATUSES[event],
                starts_at=_time(timing[3] if len(timing) > 3 else "", zone),
                patient=patient,
            )
        ]
    except ValidationError:
        pass  # what it says quotes the message
    raise RejectedError("not-understood")


def plain(text: str) -> str:
    return re.sub(r"\\([FSTRE])\\", lambda found: ESCAPES[found[1]], text)


def _field(segment: list[str], at: int) -> str:
    return segment[at] if at < len(segment) else ""


def _time(text: str, zone: ZoneInfo) -> datetime | None:
    found = re.fullmatch(r"(\d{12})(\d\d)?(?:([+-])(\d\d)(\d\d))?", text)
    if found is None:
        return None
    try:
        local = datetime.strptime(found[1] + (found[2] or "00"), "%Y%m%d%H%M%S")  # noqa: DTZ007 - the zone follows
    except ValueError:
        return None
    if found[3] is None:
        return local.replace(tzinfo=zone).astimezone(UTC)
    offset = timedelta(hours=int(found[4]), minutes=int(found[5])) * (-1 if found[3] == "-" else 1)
    return local.replace(tzinfo=timezone(offset)).astimezone(UTC)

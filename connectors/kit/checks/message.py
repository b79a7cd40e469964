"""Messages: `read` says what they say, always the same, whatever was done to them on their way."""

import warnings
from collections.abc import Iterator
from typing import Any

from connectors.api import AppointmentFacts, PatientFacts, Reads, RejectedError
from connectors.kit import er7
from connectors.kit.bench import Bench
from connectors.kit.case import ReadMessage
from connectors.kit.checks.check import Check, needs
from connectors.kit.error import Failed, Skipped
from connectors.kit.expect import unsaid

CUTS = 300
"Places at most where a message is cut."

ODD = (b"", b"\x00", b"\xff\xfe\xff", b"MSH", b"MSH|", b"null", b"[]", b"{}", b'{"type":null}')


def _recorded(bench: Bench) -> tuple[tuple[ReadMessage, bytes], ...]:
    needs(bench, Reads, "read")
    if not bench.case.messages:
        raise Skipped("needs-messages")
    return bench.case.messages


def _understood(bench: Bench) -> Iterator[tuple[str, bytes, list[Any]]]:
    """Yield each HL7 v2 message that is understood, with what it says.

    Raises:
        Skipped: there is none.
    """
    found = [(said.file, raw) for said, raw in _recorded(bench) if er7.is_er7(raw) and not said.rejected]
    if not found:
        raise Skipped("not-hl7")
    for file, raw in found:
        ended = bench.understood(raw)
        if ended.error is not None:
            raise Skipped("see-read")
        yield file, raw, ended.value


async def read(bench: Bench) -> None:
    """Each message says what the case expects, or is rejected for that reason."""
    for said, raw in _recorded(bench):
        ended = bench.understood(raw)
        if said.rejected:
            if not isinstance(ended.error, RejectedError) or ended.error.reason != said.rejected:
                raise Failed("not-rejected", f"{said.file}: {ended.kind}")
            continue
        if ended.error is not None:
            raise Failed("raised", f"{said.file}: {ended.kind}")
        if (fault := unsaid(said.says, ended.value)) is not None:
            raise Failed("not-as-expected", f"{said.file}: {fault}")


async def read_pure(bench: Bench) -> None:
    """The same bytes say the same, whatever was read before."""
    recorded = _recorded(bench)
    first = [bench.understood(raw) for _, raw in recorded]
    opened = set(bench.watch.opened)
    connector = bench.fresh()
    order = [*range(len(recorded)), *reversed(range(len(recorded)))]
    for at in order:
        said, raw = recorded[at]
        again = bench.understood(raw, connector)
        if again.value != first[at].value or again.kind != first[at].kind:
            raise Failed("says-something-else", said.file)
    if bench.watch.opened - opened:
        raise Failed("opened-by-itself", ", ".join(sorted(bench.watch.opened - opened)))


async def read_damaged(bench: Bench) -> None:
    """A message cut anywhere, or with any field empty, is understood or rejected."""
    for said, raw in _recorded(bench):
        whole = er7.damaged(raw, CUTS) if er7.is_er7(raw) else (raw[:at] for at in range(len(raw)))
        for number, bad in enumerate((*ODD, *whole)):
            ended = bench.understood(bad)
            if ended.error is not None and not isinstance(ended.error, RejectedError):
                raise Failed("naive-exception", f"{said.file}, damage {number}: {ended.kind}")


async def read_endings(bench: Bench) -> None:
    """CR, LF and CRLF end a segment alike."""
    for file, raw, facts in _understood(bench):
        for name, ending in (("CR", b"\r"), ("LF", b"\n"), ("CRLF", b"\r\n")):
            if bench.understood(er7.with_endings(raw, ending)).value != facts:
                raise Failed("says-something-else", f"{file} with {name}")


async def read_escapes(bench: Bench) -> None:
    """Escape sequences are read."""
    tried = False
    for file, raw, facts in _understood(bench):
        for name in {person.family for person in _people(facts) if person.family and len(person.family) > 3}:
            for code in er7.SPECIAL:
                changed = er7.escaped(raw, name, code)
                if changed is None:
                    continue
                tried = True
                ended = bench.understood(changed[0])
                said = {person.family for person in _people(ended.value or []) if person.family}
                if changed[1].casefold() not in {one.casefold() for one in said}:
                    raise Failed("escape-not-read", f"{file}, \\{code}\\ in a family name")
    if not tried:
        raise Skipped("needs-a-family-name")


async def read_bundled(bench: Bench) -> None:
    """Several messages in one are read one after the other."""
    messages = list(_understood(bench))
    for (file, one, first), (_, other, second) in zip(messages, messages[1:] + messages[:1], strict=True):
        bundle = one if one.endswith((b"\r", b"\n")) else one + b"\r"
        if bench.understood(bundle + other).value != first + second:
            raise Failed("says-something-else", f"{file} and another")


async def read_standard(bench: Bench) -> None:
    """An independent reader of the same bytes finds the same patient and appointment."""
    compared = False
    for file, raw, facts in _understood(bench):
        found = _by_hl7apy(er7.with_endings(raw, b"\r").decode("latin-1"))
        if found is None:
            continue
        compared = True
        people = {one.value for person in _people(facts) for one in person.ids}
        visits = {one.value for fact in facts if isinstance(fact, AppointmentFacts) for one in fact.ids}
        if people and found["PID"] and not people & found["PID"]:
            raise Failed("another-patient", f"{file}: PID-3")
        if visits and found["SCH"] and not visits & found["SCH"]:
            raise Failed("another-appointment", f"{file}: SCH-1, SCH-2")
    if not compared:
        raise Skipped("hl7apy-refuses")


def _by_hl7apy(text: str) -> dict[str, set[str]] | None:
    """Return the identifiers in PID-3, SCH-1 and SCH-2 as hl7apy reads them, or None where it does not."""
    from hl7apy.exceptions import HL7apyException  # only here: it takes a second to import
    from hl7apy.parser import parse_message

    found: dict[str, set[str]] = {"PID": set(), "SCH": set()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            message = parse_message(text, find_groups=False)
            for segment in message.children:
                names = {"PID": ("pid_3",), "SCH": ("sch_1", "sch_2")}.get(segment.name, ())
                for name in names:
                    found[segment.name] |= {str(one.to_er7()).partition("^")[0] for one in getattr(segment, name)}
    except (HL7apyException, AttributeError, KeyError, ValueError):
        return None
    return {name: values - {""} for name, values in found.items()}


def _people(facts: list[Any]) -> Iterator[PatientFacts]:
    for fact in facts:
        if isinstance(fact, PatientFacts):
            yield fact
        inner = getattr(fact, "patient", None) or getattr(fact, "survivor", None)
        if isinstance(inner, PatientFacts):
            yield inner


CHECKS = (
    Check("read", read),
    Check("read-pure", read_pure),
    Check("read-damaged", read_damaged),
    Check("read-endings", read_endings, after=("read",)),
    Check("read-escapes", read_escapes, after=("read",)),
    Check("read-bundled", read_bundled, after=("read",)),
    Check("read-standard", read_standard, after=("read",)),
)

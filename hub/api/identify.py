"""Finding a person by what somebody said of themselves: name and date of birth, never by likeness."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, cast
from uuid import UUID

from sqlmodel import Session

from hub.instance import Instance
from hub.record import patient
from hub.record.patient import Patient
from hub.rules import pop as rules
from hub.rules.pop import Identity, Typed
from hub.security.index import BlindIndex
from hub.vault.client import Access

NAME_WORDS = 6
"Of a name that is looked up by index; longer ones could be read in too many ways."


def identified(
    db: Session, instance: Instance, candidates: Iterable[UUID], typed: Typed, access: Access
) -> UUID | None:
    """Return whom name and date of birth name: one of `candidates`, otherwise anyone on record; None for nobody.

    Whoever is compared is opened, which is audited.
    """
    likely = [db.get_one(Patient, one) for one in candidates]
    return _chosen(db, instance, likely, typed, access) or _chosen(
        db, instance, namesakes(db, instance.index, typed), typed, access
    )


def namesakes(db: Session, index: BlindIndex, typed: Typed) -> list[Patient]:
    """Return the patients of that name and date of birth, by index: people also call from a number they never gave."""
    born = index.birth(typed.birth_date)
    found = {
        row.id: row
        for key in name_keys(index, typed.name)
        for row in patient.search(db, name=key, birth=born, restricted=False)
    }
    return [row for row in found.values() if row.active and not row.deceased]


def name_keys(index: BlindIndex, text: str) -> list[bytes]:
    """Return the index of every way to read a name: "Ruiz, Ana" has one, "Ana Ruiz" may be either way round."""
    return list(dict.fromkeys(index.name(family, given) for family, given in _readings(text)))


def _readings(text: str) -> list[tuple[str, str]]:
    family, comma, given = text.partition(",")
    if comma:
        return [(family, given)] if family.strip() and given.strip() else []
    words = text.split()
    if len(words) > NAME_WORDS:
        return []
    parts = [(" ".join(words[:at]), " ".join(words[at:])) for at in range(1, len(words))]
    return [*((last, first) for first, last in parts), *parts]


def _chosen(db: Session, instance: Instance, rows: Sequence[Patient], typed: Typed, access: Access) -> UUID | None:
    opened = instance.opener.open(db, access, [patient.sealed_of(row) for row in rows])
    stored = [Identity(one.get("given") or "", one.get("family") or "", _born(one.get("birth_date"))) for one in opened]
    index = rules.identify(stored, typed)
    return None if index is None else rows[index].id


def _born(kept: Any) -> date | None:
    return date.fromisoformat(kept) if isinstance(kept, str) else cast("date | None", kept)

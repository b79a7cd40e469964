"""Looking a patient up by name and birth date, identifier or number. The date of birth is compared, never shown."""

from dataclasses import dataclass
from datetime import date
from itertools import product
from typing import Annotated, Any
from uuid import UUID

import phonenumbers
from fastapi import APIRouter, Query
from sqlmodel import Session

from connectors.api import Identifier
from hub.api.caller import READING, InstanceDep, SessionDep, needs
from hub.api.identify import name_keys
from hub.api.page import LIMIT, Answer, CursorParam, LimitParam, Page, one_of, page
from hub.api.problem import declared
from hub.errors import NotFoundError, UsageError
from hub.record import patient
from hub.record.identity import key_of
from hub.security.access import Actor, Scope
from hub.security.index import BlindIndex

router = APIRouter(prefix="/patients", tags=["patients"], responses=READING)

Reader = Annotated[Actor, needs(Scope.PATIENTS_READ)]

TYPES = ("", "MR", "PI", "PT")
"HL7 v2 table 0203: tried for an identifier whose type is not given."


class SearchError(UsageError):
    """A search for nothing, or by something that cannot be read."""

    code = "search-invalid"


class ExternalId(Answer):
    """What an outside system calls something (FHIR R4 Identifier)."""

    system: str
    type: str
    value: str


class PatientPhone(Answer):
    """One number that the patient gave."""

    number: str
    "E.164."

    use: str
    "FHIR R4 ContactPoint.use."


class Patient(Answer):
    """One patient, as far as somebody needs who looks them up."""

    id: UUID
    family: str | None
    given: str | None
    language: str | None
    external_ids: list[ExternalId]
    phones: list[PatientPhone]
    "Empty for whoever may not see numbers."

    active: bool
    deceased: bool


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A search, as blind indexes: one of each kind that is given must be the patient's."""

    names: list[bytes | None]
    birth: bytes | None
    identifiers: list[bytes | None]
    phone: bytes | None

    def found(self, db: Session, after: UUID | None, limit: int) -> list[patient.Patient]:
        """Return the patients, oldest row first; none under break-glass."""
        rows = {
            row.id: row
            for name, identifier in product(self.names, self.identifiers)
            for row in patient.search(
                db,
                name=name,
                birth=self.birth,
                identifier=identifier,
                phone=self.phone,
                restricted=False,
                after=after,
                limit=limit,
            )
        }
        return [rows[row_id] for row_id in sorted(rows)][:limit]


@router.get("", summary="Search patients", responses=declared(SearchError))
async def patients(
    actor: Reader,
    instance: InstanceDep,
    session: SessionDep,
    name: Annotated[
        str | None, Query(max_length=200, description='"Ana Ruiz" or "Ruiz, Ana"; with birth_date.')
    ] = None,
    birth_date: Annotated[date | None, Query(description="With name.")] = None,
    identifier: Annotated[
        str | None, Query(max_length=200, description="system|value, or system|type|value (HL7 v2 table 0203).")
    ] = None,
    phone: Annotated[str | None, Query(max_length=40, description="In any usual form.")] = None,
    limit: LimitParam = LIMIT,
    cursor: CursorParam = None,
) -> Page[Patient]:
    """Return those who have everything that was given; charts under break-glass are not among them.

    Names must be whole; case, accents and punctuation make no difference. Who was found stands in the audit log, and
    that somebody looked where nobody was found.
    """
    _, practice = instance.policy()
    wanted = _wanted(instance.index, name, birth_date, identifier, phone, practice.practice.region)
    access = actor.access("treatment", session=session)

    def look(db: Session) -> Page[Patient]:
        rows = wanted.found(db, cursor, limit + 1)
        if not rows:
            instance.vault.append(access, "patient.search", (), {"found": 0})
        opened = instance.opener.open(db, access, [patient.sealed_of(row) for row in rows[:limit]])
        told = {row.id: said for row, said in zip(rows, opened, strict=False)}
        return page(rows, limit, lambda row: _shown(row, told[row.id], actor), lambda row: row.id)

    return await instance.db.run(look)


@router.get("/{patient_id}", summary="Get a patient", responses=declared(NotFoundError))
async def one(patient_id: UUID, actor: Reader, instance: InstanceDep, session: SessionDep) -> Patient:
    """Return one patient; the id of a merged record returns the survivor. A chart under break-glass is not found."""
    access = actor.access("treatment", session=session)

    def look(db: Session) -> Patient:
        row = one_of(db, patient.Patient, patient_id)
        row = one_of(db, patient.Patient, row.merged_into) if row.merged_into else row
        if row.restricted:
            raise NotFoundError(f"there is no patient {patient_id}")
        (said,) = instance.opener.open(db, access, [patient.sealed_of(row)])
        return _shown(row, said, actor)

    return await instance.db.run(look)


def _wanted(
    index: BlindIndex, name: str | None, born: date | None, identifier: str | None, phone: str | None, region: str
) -> _Wanted:
    if (name is None) != (born is None):
        raise SearchError("a name needs a birth date, and a birth date a name")
    if name is None and identifier is None and phone is None:
        raise SearchError("give name and birth_date, or identifier, or phone")
    names = [] if name is None else name_keys(index, name)
    if name is not None and not names:
        raise SearchError("name: give family and given name, in at most six words")
    return _Wanted(
        names=[*names] or [None],
        birth=None if born is None else index.birth(born),
        identifiers=[None] if identifier is None else [*_identifiers(index, identifier)],
        phone=None if phone is None else _phone(index, phone, region),
    )


def _identifiers(index: BlindIndex, text: str) -> list[bytes]:
    system, *rest = text.split("|")
    if not system or not 1 <= len(rest) <= 2 or not rest[-1]:
        raise SearchError("identifier: give system|value or system|type|value")
    types = TYPES if len(rest) == 1 else rest[:1]
    named = [Identifier(system=system, type=type, value=rest[-1]) for type in types]
    return list(dict.fromkeys(key_of(each, "", index)[1] for each in named))


def _phone(index: BlindIndex, text: str, region: str) -> bytes:
    try:
        number = phonenumbers.parse(text, region)
        return index.phone(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    except (phonenumbers.NumberParseException, ValueError):
        raise SearchError("phone: not a telephone number") from None


def ids_of(said: dict[str, Any]) -> list[ExternalId]:
    """Return the identifiers of an opened row."""
    return [ExternalId(system=id["system"], type=id["type"], value=id["value"]) for id in said.get("ids", ())]


def _shown(row: patient.Patient, said: dict[str, Any], actor: Actor) -> Patient:
    phones = said.get("phones") or () if actor.may(Scope.NUMBERS_READ) else ()
    return Patient(
        id=row.id,
        family=said.get("family"),
        given=said.get("given"),
        language=said.get("language"),
        external_ids=ids_of(said),
        phones=[PatientPhone(number=phone["e164"], use=phone["use"]) for phone in phones],
        active=row.active,
        deceased=row.deceased,
    )

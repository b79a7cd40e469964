"""What a connector says about the world: frozen facts, each field under the scope that allows it.

Field names follow FHIR R4 where it has a word for the thing. A fact is a snapshot of its owner's view: a field that
the owner did not mention is None or empty and changes nothing.
"""

from datetime import date, datetime
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class Scope(StrEnum):
    """What a connector may bring in or take out; declared by the connector, granted by the practice."""

    PATIENT_IDENTITY = "patient-identity"
    PATIENT_CONTACT = "patient-contact"
    APPOINTMENTS = "appointments"
    CHART_SUMMARY = "chart-summary"
    APPOINTMENT_STATUS_WRITE = "appointment-status-write"
    COMMUNICATION_WRITE = "communication-write"
    MESSAGE_BODY = "message-body"


def scoped(scope: Scope, default: Any = ...) -> Any:
    """Return a field that exists only where `scope` was declared and granted."""
    return Field(default, json_schema_extra={"scope": scope})


class Fact(BaseModel):
    """One thing that an outside system said."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Identifier(Fact):
    """A business identifier; equal only if system, type and value all are (FHIR R4 Identifier)."""

    system: str
    "Who assigned it: a URI, or an HL7 v2 assigning authority (CX.4); empty where the owner gave none."

    value: str
    type: str = ""
    "HL7 table 0203 code, such as MR; empty where the owner gave none."


class Version(Fact):
    """How new a statement is; a later `at` wins, `tag` only names it."""

    at: AwareDatetime
    "meta.lastUpdated, or MSH-7."

    tag: str
    "meta.versionId, or MSH-10."


class Phone(Fact):
    """One number that the patient gave."""

    e164: str
    use: str = ""
    "FHIR R4 ContactPoint.use: home, work, temp, old, mobile."

    rank: int = 1
    "1 is the preferred one (ContactPoint.rank)."


class PatientFacts(Fact):
    """A patient as the owner last told it."""

    ids: tuple[Identifier, ...] = scoped(Scope.PATIENT_IDENTITY)
    version: Version
    family: str | None = scoped(Scope.PATIENT_IDENTITY, None)
    given: str | None = scoped(Scope.PATIENT_IDENTITY, None)
    birth_date: date | None = scoped(Scope.PATIENT_IDENTITY, None)
    sex: str | None = scoped(Scope.PATIENT_IDENTITY, None)
    "FHIR R4 administrative-gender: male, female, other, unknown."

    phones: tuple[Phone, ...] = scoped(Scope.PATIENT_CONTACT, ())
    language: str | None = scoped(Scope.PATIENT_CONTACT, None)
    "BCP 47 tag, such as es."

    postal_code: str | None = scoped(Scope.PATIENT_CONTACT, None)
    state: str | None = scoped(Scope.PATIENT_CONTACT, None)
    deceased: bool | None = scoped(Scope.PATIENT_IDENTITY, None)
    active: bool | None = None
    restricted: bool | None = None
    """Whether the owner closes the chart to all but named people: FHIR R4 meta.security R or V, HL7 v2 PD1-12. It
    stands under no scope: what protects the patient is never dropped."""

    cleared: frozenset[str] = frozenset()
    'Names of fields that the owner deleted outright: HL7 v2 `""` (section 2.5.3).'


class AppointmentStatus(StrEnum):
    """FHIR R4 Appointment.status."""

    PROPOSED = "proposed"
    PENDING = "pending"
    BOOKED = "booked"
    ARRIVED = "arrived"
    FULFILLED = "fulfilled"
    CANCELLED = "cancelled"
    NOSHOW = "noshow"
    ENTERED_IN_ERROR = "entered-in-error"
    CHECKED_IN = "checked-in"
    WAITLIST = "waitlist"


FINAL = frozenset(
    {
        AppointmentStatus.FULFILLED,
        AppointmentStatus.CANCELLED,
        AppointmentStatus.NOSHOW,
        AppointmentStatus.ENTERED_IN_ERROR,
    }
)
"Statuses that yield only to a strictly newer version."


class AppointmentFacts(Fact):
    """One appointment as its owner last told it."""

    ids: tuple[Identifier, ...] = scoped(Scope.APPOINTMENTS)
    version: Version
    status: AppointmentStatus = scoped(Scope.APPOINTMENTS)
    starts_at: AwareDatetime | None = scoped(Scope.APPOINTMENTS, None)
    minutes: int | None = scoped(Scope.APPOINTMENTS, None)
    patient: PatientFacts | None = scoped(Scope.APPOINTMENTS, None)
    practitioner: str | None = scoped(Scope.APPOINTMENTS, None)
    location: str | None = scoped(Scope.APPOINTMENTS, None)
    type: str | None = scoped(Scope.APPOINTMENTS, None)
    reason: str | None = scoped(Scope.CHART_SUMMARY, None)
    confirmed: bool | None = scoped(Scope.APPOINTMENTS, None)
    "Whether the patient said that they come (FHIR R4 Appointment.participant.status); None where nobody keeps it."

    creates: bool = True
    "False where the statement only changes a known appointment (an unmatched S13 is quarantined)."


class RelatedFacts(Fact):
    """Somebody who may call for a patient: a parent, a spouse, a carer (FHIR R4 RelatedPerson; HL7 v2 NK1)."""

    ids: tuple[Identifier, ...] = scoped(Scope.PATIENT_CONTACT)
    version: Version
    patient_ids: tuple[Identifier, ...] = scoped(Scope.PATIENT_IDENTITY)
    family: str | None = scoped(Scope.PATIENT_CONTACT, None)
    given: str | None = scoped(Scope.PATIENT_CONTACT, None)
    relationship: str | None = scoped(Scope.PATIENT_CONTACT, None)
    "What they are to the patient, in words or as a code of HL7 table 0063."

    phones: tuple[Phone, ...] = scoped(Scope.PATIENT_CONTACT, ())
    active: bool | None = None


class MergeFacts(Fact):
    """Two records turned out to be one person (HL7 v2 ADT A40: MRG-1 into PID-3)."""

    survivor: PatientFacts
    merged: tuple[Identifier, ...] = scoped(Scope.PATIENT_IDENTITY)
    version: Version


class RequestFacts(Fact):
    """Something the patient or the practice asked for: a refill, a referral (FHIR R4 Task, MedicationRequest)."""

    ids: tuple[Identifier, ...] = scoped(Scope.CHART_SUMMARY)
    version: Version
    patient_ids: tuple[Identifier, ...] = scoped(Scope.PATIENT_IDENTITY)
    kind: str = scoped(Scope.CHART_SUMMARY)
    "refill, referral or other."

    status: str = scoped(Scope.CHART_SUMMARY)
    "open or done."


class ReplyFacts(Fact):
    """A text that a person sent to the practice."""

    external_id: str
    at: AwareDatetime
    sender: str = scoped(Scope.PATIENT_CONTACT)
    "E.164."

    to: str
    "E.164."

    body: str = scoped(Scope.MESSAGE_BODY)


LANDLINE = "landline"
"""That a number takes no texts, now or ever: the code of a receipt, or the reason of a `RejectedError`. A connector
says it where the carrier's own code is sure of it, as Twilio's 30006 and 21614 are."""


class ReceiptFacts(Fact):
    """What became of a text that was sent."""

    external_id: str
    at: AwareDatetime
    status: str
    "accepted, sent, delivered, undelivered or failed."

    code: str = ""


class UnreadFacts(Fact):
    """Something that a feed was told and cannot make sense of: kept in quarantine, and read again on request."""

    raw: bytes
    "As it came, so that `read` can say what is wrong with it, and perhaps some day what it means."


class PatientRef(Fact):
    """A patient of the outside system, as its API names it."""

    id: str
    facts: PatientFacts
    url: str | None = scoped(Scope.PATIENT_IDENTITY, None)
    "The patient's page in the outside system, for the agent's browser."


class Section(StrEnum):
    """Parts of a chart that may be asked for one by one; there is no "everything"."""

    ALLERGIES = "allergies"
    PROBLEMS = "problems"
    MEDICATIONS = "medications"
    REQUESTS = "requests"
    COVERAGE = "coverage"
    CARE_TEAM = "care-team"
    ENCOUNTERS = "encounters"
    REFERRALS = "referrals"
    CONSENTS = "consents"
    RELATED = "related"
    MESSAGES = "messages"


class ChartFacts(Fact):
    """The asked-for sections of one chart, each a list of short lines."""

    sections: dict[Section, tuple[str, ...]] = scoped(Scope.CHART_SUMMARY)
    read_at: AwareDatetime


class CommunicationFacts(Fact):
    """A contact with a patient, to be written to the chart (FHIR R4 Communication)."""

    patient_ids: tuple[Identifier, ...] = scoped(Scope.PATIENT_IDENTITY)
    medium: str
    "PHONE or SMSWRIT (v3 ParticipationMode)."

    inbound: bool
    sent_at: AwareDatetime
    topic: str
    "What it was about, in words without clinical content: Phone call, Appointment reminder."

    body: str | None = scoped(Scope.MESSAGE_BODY, None)
    phone: str | None = scoped(Scope.PATIENT_CONTACT, None)
    "The patient's side of it, E.164."

    seconds: int | None = None
    "How long a call took; None for a text, and for a call that nobody answered."


class Sms(Fact):
    """A text to send."""

    to: str = scoped(Scope.PATIENT_CONTACT)
    "E.164."

    sender: str
    "E.164 or short code."

    body: str = scoped(Scope.MESSAGE_BODY)


class Receipt(Fact):
    """The other side's word that it took what we wrote."""

    external_id: str
    version: str | None = None


class Checkpoint(Fact):
    """Everything yielded so far may be committed; resume from `cursor`."""

    cursor: bytes = Field(max_length=4096)
    at: datetime | None = None
    whole: tuple[AwareDatetime, AwareDatetime] | None = None
    """Only in a feed that began without a cursor: every appointment that starts from the first to before the second
    instant was told since, so the host may take those that it knows and that were not told for gone."""


Change = (
    PatientFacts | RelatedFacts | AppointmentFacts | MergeFacts | RequestFacts | ReplyFacts | ReceiptFacts | UnreadFacts
)
"What a feed may say."

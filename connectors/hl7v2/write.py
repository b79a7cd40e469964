"""Write an appointment's status back: a request to the system that keeps it (SRM, HL7 v2.5.1 section 10.3), or a
notification as if we kept it (SIU, section 10.4), which is what many systems take from a reminder service.

Neither has a way to say which version of the appointment is meant: the receiver decides by what it knows.
"""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from connectors.api import AppointmentStatus, Context, Identifier, Receipt, RejectedError
from connectors.hl7v2.build import Composite, Draft, Fields, control_id_of, entity, made_at, message
from connectors.hl7v2.outgoing import OutgoingSettings
from connectors.hl7v2.sender import Sender

CONFIRMED = "confirmed"
"What the patient said, which is no status of FHIR's."

REQUESTS = {
    AppointmentStatus.CANCELLED: "S04",  # request appointment cancellation
    AppointmentStatus.ENTERED_IN_ERROR: "S06",  # request appointment deletion
}
"Trigger events of SRM; every other status is a modification, S03."

NOTICES = {
    AppointmentStatus.CANCELLED: "S15",  # appointment cancellation
    AppointmentStatus.ENTERED_IN_ERROR: "S17",  # appointment deletion
    AppointmentStatus.NOSHOW: "S26",  # patient did not show up
}
"Trigger events of SIU; every other status is a modification, S14."

CODES: dict[str, str] = {
    CONFIRMED: "Confirmed",
    AppointmentStatus.PENDING: "Pending",
    AppointmentStatus.WAITLIST: "Waitlist",
    AppointmentStatus.BOOKED: "Booked",
    AppointmentStatus.ARRIVED: "Arrived",
    AppointmentStatus.CHECKED_IN: "Started",
    AppointmentStatus.FULFILLED: "Complete",
    AppointmentStatus.CANCELLED: "Cancelled",
    AppointmentStatus.NOSHOW: "Noshow",
    AppointmentStatus.ENTERED_IN_ERROR: "Deleted",
}
"""What a status is called: HL7 table 0278, as the v2-to-FHIR guide maps it, with Confirmed and Arrived, which the
table lacks and systems have. The table is for each site to change, and the settings' `codes` do."""

PLACER, FILLER = "PLAC", "FILL"
"HL7 table 0203: whose name for the appointment an identifier is."

_US: Composite = ("", "Chartline")
"XCN, for the persons that SRM and SIU must name: no person of the practice's is ours to name."

_RESOURCES: tuple[str, Fields] = ("RGS", {1: "1", 2: "U"})
"The resources that both structures cannot be without: an update that changes none of them (HL7 table 0206)."


class Writer:
    """Writes to the address of one connection's settings."""

    def __init__(self, settings: OutgoingSettings, *, charset: str | None, zone: ZoneInfo | None) -> None:
        """Say times in `zone`, or the practice's where it is None."""
        if settings.send is None:
            raise ValueError("the settings have no address to send to")
        self._header = settings.header_of(charset)
        self._request = settings.write == "srm"
        self._codes = CODES | {str(status): code for status, code in settings.codes.items()}
        self._zone = zone
        self._sender = Sender(
            settings.send, application=settings.awaits_application, answer_s=float(settings.answer_seconds)
        )

    async def set_status(
        self,
        ctx: Context,
        appointment_ids: Sequence[Identifier],
        to: AppointmentStatus | str,
        *,
        if_version: str | None,  # noqa: ARG002 - HL7 v2 has no word for it
        key: str,
    ) -> Receipt:
        """Write a status, or `confirmed`; the receiver knows a repeat of `key` by its MSH-10.

        Raises:
            RejectedError: a status or an appointment that the message cannot say, or the receiver refuses it.
            TransientError, RateLimitedError: not taken; try again.
            UnknownOutcomeError: sent, and no answer came; a repeat is safe.
        """
        if ctx.connect is None:
            raise RejectedError("nowhere-to-send")
        code = self._codes.get(to)
        if code is None:
            raise RejectedError("status-not-writable", field="ARQ-6" if self._request else "SCH-25")
        ours = self._header.sending_application.partition("^")[0]
        draft = request(appointment_ids, to, code, ours=ours) if self._request else notice(appointment_ids, to, code)
        control_id = control_id_of(key)
        now = ctx.clock()
        raw = message(self._header, draft, control_id=control_id, at=made_at(key, now), zone=self._zone or ctx.timezone)
        await self._sender.send(ctx.connect, raw, control_id=control_id)
        return Receipt(external_id=control_id)


def request(ids: Sequence[Identifier], to: str, code: str, *, ours: str) -> Draft:
    """Return a request to change an appointment; ARQ-6 says why (section 10.6.1), as ARQ has no status.

    ARQ-1 must be there: where no placer's id is known it is the filler's in our own namespace `ours`.
    """
    placer, filler = _ids(ids, "ARQ-1")
    arq: Fields = {
        1: entity(placer) if placer else (filler.value if filler else "", ours),
        2: entity(filler) if filler else "",
        6: code,
        15: _US,
        19: _US,
    }
    event = REQUESTS.get(AppointmentStatus(to), "S03") if to != CONFIRMED else "S03"
    return Draft(("SRM", event, "SRM_S01"), (("ARQ", arq), _RESOURCES))


def notice(ids: Sequence[Identifier], to: str, code: str) -> Draft:
    """Return a notification of an appointment that changed; SCH-25 says to what (section 10.6.2)."""
    placer, filler = _ids(ids, "SCH-2")
    sch: Fields = {
        1: entity(placer) if placer else "",
        2: entity(filler) if filler else "",
        6: code,
        16: _US,
        20: _US,
        25: code,
    }
    event = NOTICES.get(AppointmentStatus(to), "S14") if to != CONFIRMED else "S14"
    return Draft(("SIU", event, "SIU_S12"), (("SCH", sch), _RESOURCES))


def _ids(ids: Sequence[Identifier], place: str) -> tuple[Identifier | None, Identifier | None]:
    """Return the placer's and the filler's id; one that does not say whose it is counts as the filler's."""
    placer = next((one for one in ids if one.type == PLACER), None)
    filler = next((one for one in ids if one.type == FILLER), None)
    filler = filler or next((one for one in ids if one.type not in (PLACER, FILLER)), None)
    if placer is None and filler is None:
        raise RejectedError("appointment-id-missing", field=place)
    return placer, filler

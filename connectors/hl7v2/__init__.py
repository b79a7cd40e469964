"""HL7 v2 over MLLP: appointments (SIU) and patients (ADT) as the practice's system tells them."""

from collections.abc import Sequence
from typing import ClassVar
from zoneinfo import ZoneInfo

from connectors.api import Change, Connector, Context, RejectedError, Scope
from connectors.hl7v2 import adt, siu
from connectors.hl7v2.er7 import Message, messages_in
from connectors.hl7v2.link import greet
from connectors.hl7v2.mllp import Listener
from connectors.hl7v2.pid import reading_of
from connectors.hl7v2.query import Query
from connectors.hl7v2.settings import Hl7v2Settings
from connectors.hl7v2.write import Writer


class Hl7v2(Connector[Hl7v2Settings]):
    """Listens for HL7 v2 messages and reads them; writes back and looks numbers up where its settings say where."""

    name: ClassVar = "hl7v2"
    scopes: ClassVar = frozenset(
        {
            Scope.PATIENT_IDENTITY,
            Scope.PATIENT_CONTACT,
            Scope.APPOINTMENTS,
            Scope.CHART_SUMMARY,
            Scope.APPOINTMENT_STATUS_WRITE,
        }
    )
    Settings: ClassVar = Hl7v2Settings
    by_settings: ClassVar = {"set_status": "send", "find_patients": "query", "check": "send or query"}

    def __init__(self, settings: Hl7v2Settings) -> None:
        super().__init__(settings)
        # A method is a capability, so a source that is only listened to must not have these.
        if settings.send is not None:
            self.set_status = Writer(settings, charset=settings.charset, zone=settings.zone).set_status
        if settings.query is not None:
            self.find_patients = Query(settings, charset=settings.charset, zone=settings.zone).find_patients
        if settings.send is not None or settings.query is not None:
            self.check = self._check

    async def listen(self, ctx: Context) -> None:
        """Take messages until cancelled; each is acknowledged once `ctx.deliver` returned.

        Raises:
            OSError: the address is taken.
        """
        if ctx.deliver is None:
            raise RejectedError("nowhere-to-deliver")
        await Listener(self.settings, ctx.deliver, name=ctx.connection, clock=ctx.clock).serve()

    async def _check(self, ctx: Context) -> None:
        """Prove that the addresses to send to and to ask at take our connection."""
        if ctx.connect is None:
            raise RejectedError("nowhere-to-send")
        for url in dict.fromkeys((self.settings.send, self.settings.query)):
            if url is not None:
                await greet(ctx.connect, url)

    def read(self, raw: bytes, *, timezone: ZoneInfo, region: str) -> Sequence[Change]:
        """Return what the messages of one frame say of patients and appointments.

        SIU S12 to S17 and S26; ADT A01 to A08, A28, A31 (the patient, and who may call for them), A18, A30, A34, A36,
        A39, A40, A47 (merge). Every other type is understood as saying nothing that matters here.

        Raises:
            RejectedError: not HL7 v2, what its type cannot be without is missing, or nothing here keeps what it says.
        """
        parts = messages_in(raw)
        if len(parts) == 1:
            return self._read(parts[0], timezone, region)
        return [change for part in parts for change in self._read(part, timezone, region)]

    def _read(self, raw: bytes, timezone: ZoneInfo, region: str) -> list[Change]:
        message = Message.parse(raw, charset=self.settings.charset or "")
        code, event = message.type
        site = self.settings.meanings
        code, event = site.types.get(code, code), site.events.get(event, event)
        if code not in ("SIU", "ADT"):
            if not (len(code) == 3 and code.isascii() and code.isalnum()):
                raise RejectedError("message-type-invalid" if code else "message-type-missing", field="MSH-9")
            return []
        reading = reading_of(message, zone=self.settings.zone or timezone, region=region)
        if code == "SIU":
            return siu.read(message, event, reading, site.statuses)
        return adt.read(message, event, reading)

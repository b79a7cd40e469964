"""Ask for patients by telephone number: QBP^Q22 answered by RSP^K22 (HL7 v2.5.1 chapter 3, IHE PDQ ITI-21).

Servers compare text, so the number is asked for in every form that it may be kept in; and some ignore what they do not
know and tell everybody, so only those who have the number are returned.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import phonenumbers

from connectors.api import Connect, Context, PatientFacts, PatientRef, RejectedError, TransientError, Version
from connectors.hl7v2.build import Draft, Fields, message
from connectors.hl7v2.er7 import Message, Segment
from connectors.hl7v2.link import REFUSED, Link, Reply, error_of, reply_of
from connectors.hl7v2.outgoing import OutgoingSettings
from connectors.hl7v2.pid import Reading, patient_of, reading_of

QUESTION_S = 5.0
"For all that one look-up asks: a person waits for it."

AT_ONCE = 4
"Look-ups of one connection at a time; the others wait."

PAGE = 50
"Patients in one answer (RCP-2)."

PAGES = 4
"Answers to one question: nobody shares a number with so many, so the server did not look at it."

NAME = "IHE PDQ Query"
"QPD-1."


class Query:
    """Asks at the address of one connection's settings."""

    def __init__(
        self,
        settings: OutgoingSettings,
        *,
        charset: str | None,
        zone: ZoneInfo | None,
        question_s: float = QUESTION_S,
    ) -> None:
        """Read times without an offset in `zone`, or the practice's where it is None."""
        if settings.query is None:
            raise ValueError("the settings have no address to ask at")
        self.url = settings.query
        # The answer is an application acknowledgment, so in enhanced mode it has to be asked for.
        header = settings.header_of(charset)
        self.header = replace(header, application="AL") if header.accept or header.application else header
        self._field = settings.phone_field
        self.charset = charset or ""
        self.zone = zone
        self._question_s = question_s
        self._room = asyncio.Semaphore(AT_ONCE)

    async def find_patients(self, ctx: Context, phone: str) -> Sequence[PatientRef]:
        """Return everyone whose record has `phone` (E.164).

        Raises:
            TransientError: no answer in time.
            RejectedError: the server does not take the question.
        """
        if ctx.connect is None:
            raise RejectedError("nowhere-to-ask")
        found: dict[object, PatientRef] = {}
        talk = _Talk(self, ctx, ctx.connect)
        try:
            async with asyncio.timeout(self._question_s), self._room:
                for form in forms_of(phone):
                    async for facts in self._asked(talk, form):
                        if any(phone == one.e164 for one in facts.phones):
                            found.setdefault(facts.ids, PatientRef(id=facts.ids[0].value, facts=facts))
        except (OSError, TimeoutError):
            raise TransientError("no answer") from None
        finally:
            await talk.close()
        return list(found.values())

    async def _asked(self, talk: "_Talk", form: str) -> AsyncIterator[PatientFacts]:
        tag, pointer = _id(), ""
        for _ in range(PAGES):
            reply = await talk.reply(question(tag, self._field, form, pointer))
            for facts in patients_in(reply.message, at=talk.ctx.clock(), zone=talk.zone, region=talk.ctx.region):
                yield facts
            more = reply.message.segment("DSC")
            pointer = more.value(1) if more is not None else ""
            if not pointer:
                return


class _Talk:
    """One look-up's questions and answers; a server may hang up after each answer, and is then called again."""

    def __init__(self, query: Query, ctx: Context, connect: Connect) -> None:
        self.ctx = ctx
        self.zone = query.zone or ctx.timezone
        self._query = query
        self._connect = connect
        self._link: Link | None = None

    async def reply(self, draft: Draft) -> Reply:
        """Return the answer to a question.

        Raises:
            OSError: the connection broke before the first answer on it.
            RejectedError, TransientError: what the server says.
        """
        while True:
            if self._link is None or self._link.ended:
                await self.close()
                self._link = await Link.open(self._connect, self._query.url)
            try:
                reply = await self._exchanged(self._link, draft)
            except OSError:
                if not self._link.answered:
                    raise
                await self.close()
            else:
                self._link.answered = True
                return reply

    async def _exchanged(self, link: Link, draft: Draft) -> Reply:
        control_id = _id()
        await link.send(message(self._query.header, draft, control_id=control_id, at=self.ctx.clock(), zone=self.zone))
        while True:
            reply = reply_of(await link.receive(), self._query.charset)
            if reply is None or reply.control_id != control_id or reply.code == "CA":
                continue  # another's, or only that the question arrived
            if (error := error_of(reply)) is not None:
                raise error
            qak = reply.message.segment("QAK")
            status = qak.value(2) if qak is not None else ""
            if status == "AE":
                raise TransientError("the query failed")
            if status == "AR":
                raise RejectedError(REFUSED, field="QPD-3")
            return reply

    async def close(self) -> None:
        """Part from the server."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()


def question(tag: str, field: str, form: str, pointer: str = "") -> Draft:
    """Return the question for everybody whose `field` is `form`; `pointer` (DSC-1) asks for what follows an answer."""
    qpd: Fields = {1: NAME, 2: tag, 3: (f"@{field}", form)}
    rcp: Fields = {1: "I", 2: (str(PAGE), "RD")}  # at once, so many records at a time
    segments = [("QPD", qpd), ("RCP", rcp)]
    return Draft(("QBP", "Q22", "QBP_Q21"), [*segments, ("DSC", {1: pointer, 2: "I"})] if pointer else segments)


def forms_of(phone: str) -> tuple[str, ...]:
    """Return the forms in which `phone` (E.164) may be kept."""
    try:
        parsed = phonenumbers.parse(phone)
    except phonenumbers.NumberParseException:
        return (phone,)
    digits = phonenumbers.national_significant_number(parsed)
    if parsed.country_code == 1 and len(digits) == 10:
        area, exchange, rest = digits[:3], digits[3:6], digits[6:]
        return (phone, digits, f"{area}-{exchange}-{rest}", f"({area}) {exchange}-{rest}")
    local = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL)
    whole = "".join(character for character in local if character.isdigit())  # with its trunk prefix, where it has one
    return tuple(dict.fromkeys((phone, digits, local, whole)))


def patients_in(message: Message, *, at: datetime, zone: ZoneInfo, region: str) -> Iterator[PatientFacts]:
    """Yield the patients of a response; one that cannot be named is left out.

    What comes without MSH-7 is as new as the asking, `at`.
    """
    try:
        reading = reading_of(message, zone=zone, region=region)
    except RejectedError:
        reading = Reading(Version(at=at.astimezone(UTC), tag=message.control_id), zone, region)
    for pid, pd1 in _pairs(message):
        try:
            facts = patient_of(pid, reading, pd1)
        except RejectedError:
            continue
        yield facts


def _pairs(message: Message) -> Iterator[tuple[Segment, Segment | None]]:
    """Yield each PID with the PD1 that follows it."""
    pid: Segment | None = None
    pd1: Segment | None = None
    for segment in message.lines():
        if segment.name == "PID":
            if pid is not None:
                yield pid, pd1
            pid, pd1 = segment, None
        elif segment.name == "PD1":
            pd1 = segment
    if pid is not None:
        yield pid, pd1


def _id() -> str:
    """Return a control id or a query tag that nothing else has, in 20 characters."""
    return secrets.token_hex(10).upper()

"""What every call on this line works with: the policy in force, who may sign in, and who a number belongs to.

A watcher notices within `LOOK_S` that somebody committed to the record, and reads again what may have changed, in a
thread; the loop only ever sees finished values.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import phonenumbers
import structlog
from sqlmodel import Session

from hub.instance import Instance
from hub.record import patient, staff
from hub.rules.attestation import UNSIGNED, Attestation
from hub.rules.matching import Match
from hub.settings import Number, Practice, secret
from media.sip.admission import TrunkTable
from media.sip.digest import Credentials
from media.sip.incoming import Incoming
from media.trunk.stir import Verifier

log = structlog.get_logger()

LOOK_S = 0.1
"How often the record is asked whether somebody wrote; a new policy holds within 250 ms."

MATCH_S = 0.1
"How long a caller's number may be looked up; afterwards the call goes on without a match."

NOBODY = Match("none")


@dataclass(frozen=True, slots=True)
class Directory:
    """Who may sign in, and whose phone is whose."""

    credentials: Mapping[str, Credentials] = field(default_factory=dict)
    "By extension."

    owners: Mapping[str, UUID] = field(default_factory=dict)
    "Staff id by extension, of phones and of desks in a browser."

    def extensions_of(self, staff_id: UUID) -> list[str]:
        """Return the extensions that ring for a person."""
        return [extension for extension, owner in self.owners.items() if owner == staff_id]


class Line:
    """The practice as the media process knows it at this moment."""

    def __init__(self, instance: Instance, host: str) -> None:
        self.instance = instance
        self.host = host
        self.version, self.practice = instance.policy()
        self.directory = Directory()
        self.trunks = _trunks(self.practice)
        self._verifier = self._verifier_of(self.practice)
        self.on_change: list[Callable[[], None]] = []
        "Called on the loop after somebody committed to the record."

        self.on_policy: list[Callable[[], None]] = []
        "Called on the loop when another version of the policy holds."

        self._seen = -1
        self._reading = asyncio.Lock()

    async def load(self) -> None:
        """Read what the record says now."""
        async with self._reading:
            await self._load()

    async def _load(self) -> None:
        self._seen = self.instance.db.version()
        version, practice = await asyncio.to_thread(self.instance.policy)
        self.directory = await self.instance.db.run(lambda db: _directory(db, practice))
        if version != self.version:
            self.version, self.practice = version, practice
            self.trunks = _trunks(practice)
            self._verifier = self._verifier_of(practice)
            log.info("policy in force", version=version)
            for tell in self.on_policy:
                tell()

    async def watch(self) -> None:
        """Follow the record until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.refresh()

    async def refresh(self) -> bool:
        """Read again where somebody committed to the record since the last look; tell whether somebody did."""
        async with self._reading:
            if self.instance.db.version() == self._seen:
                return False
            try:
                await self._load()
            except Exception as error:
                log.error("record not read", kind=type(error).__name__)
                return False
        for tell in self.on_change:
            tell()
        return True

    def credentials(self, extension: str) -> Credentials | None:
        """Return what a phone must prove to know."""
        return self.directory.credentials.get(extension)

    def trunk(self, source: str) -> str | None:
        """Return the trunk that an IP address belongs to."""
        return self.trunks(source)

    def now(self) -> datetime:
        """Return the instance's instant."""
        return self.instance.clock()

    def _verifier_of(self, practice: Practice) -> Verifier | None:
        root = self.instance.paths.root
        return Verifier.of(practice.stir, lambda reference: secret(reference, env={}, root=root), self.now)

    def number_of(self, dialled: str) -> Number | None:
        """Return the practice's number that was dialled, however it is written; None where it is none of its own."""
        return self.practice.find_number(self.e164(dialled) or dialled)

    def called(self, incoming: Incoming) -> str:
        """Return the number that a call is for: the first of those it names that is the practice's own."""
        if not incoming.trunk:
            return incoming.to_number
        own = (number.did for each in incoming.called if (number := self.number_of(each)) is not None)
        return next(own, incoming.to_number)

    def e164(self, number: str) -> str | None:
        """Return a dialled or calling number as E.164; None where it is withheld or no number."""
        with contextlib.suppress(phonenumbers.NumberParseException):
            parsed = phonenumbers.parse(number, self.practice.practice.region)
            if phonenumbers.is_possible_number(parsed):
                return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
        return None

    def attested(self, incoming: Incoming) -> Attestation:
        """Return what the carrier of a trunk's call answers for."""
        caller, called = self.e164(incoming.from_number), self.e164(incoming.to_number)
        if self._verifier is None or not incoming.trunk or caller is None or called is None:
            return UNSIGNED
        return self._verifier.verify(incoming.request.headers.get("Identity", []), caller, called)

    async def match(self, number: str | None) -> Match:
        """Return who gave this number, or nobody when that cannot be said in time."""
        if number is None:
            return NOBODY
        key = self.instance.index.phone(number)
        try:
            async with asyncio.timeout(MATCH_S):
                return patient.match_of(await self.instance.db.rows(patient.HITS, key))
        except Exception as error:
            log.warning("number not matched", kind=type(error).__name__)
            return NOBODY


def _trunks(practice: Practice) -> TrunkTable:
    return TrunkTable({trunk.name: trunk.hosts for trunk in practice.trunks})


def _directory(db: Session, practice: Practice) -> Directory:
    phones = staff.devices(db)
    people = staff.people(db)
    desks = {
        person.extension: people[email]
        for person in practice.staff
        if person.extension is not None and (email := person.email.strip().lower()) in people
    }
    return Directory(
        {phone.extension: Credentials(phone.ha1_md5, phone.ha1_sha256) for phone in phones},
        desks | {phone.extension: phone.staff_id for phone in phones},
    )

"""Asking outside systems who has a number: the EHR where nobody on record gave it, a CRM for the page to open.

An EHR's answer goes the way of everything that it tells: sealed into the inbox, read into the record by its flow. By
the time that the agent has asked who is calling, the caller can be verified.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlmodel import Session

from connectors.api import ConnectorError, FindsPatients, Pages, PatientRef
from hub.errors import ChartlineError
from hub.feeds.fact import arrival_of
from hub.instance import Instance
from hub.outside import Outside
from hub.record import inbox
from hub.record.statement import identifiers_of
from hub.security import intent
from hub.security.sealed import Table
from hub.vault.client import Access

log = structlog.get_logger()

WITHIN_S = 5.0
"How long one system may take."

LINKS_WITHIN_S = 1.5
"How long an agent waits for links; the rest of the pop is shown without them."

REMEMBERED = 1000
"Calls whose number was asked for, so that it is asked for once."

GOES_OUT = {"ehr": ("chart", "treatment"), "crm": ("phone-number", "operations")}
"The class of data and the purpose of a look-up, by the kind of system, as agreements name them."


@dataclass(frozen=True, slots=True)
class Link:
    """A page about the caller in an outside system."""

    connection: str
    url: str


class Finder:
    """Asks the connections that can look a number up; `stored` is called with those that told something new."""

    def __init__(self, instance: Instance, outside: Outside, stored: Callable[[set[str]], None]) -> None:
        self._instance = instance
        self._outside = outside
        self._stored = stored
        self._asked: dict[UUID, asyncio.Task[None]] = {}

    def look(self, call_id: UUID, number: str, access: Access) -> None:
        """Have the EHRs asked who has `number` (E.164), once for a call; returns at once."""
        if call_id in self._asked or not self._able("ehr"):
            return
        while len(self._asked) >= REMEMBERED:
            self._asked.pop(next(iter(self._asked))).cancel()
        self._asked[call_id] = asyncio.create_task(self._look(call_id, number, access))

    async def looked(self, call_id: UUID) -> None:
        """Return once the look-up for a call, if there was one, is over."""
        if task := self._asked.get(call_id):
            await asyncio.wait([task], timeout=WITHIN_S)

    async def close(self) -> None:
        """End what is under way."""
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)

    async def links(
        self, call_id: UUID, number: str, patient_id: UUID, person: Mapping[str, Any], access: Access
    ) -> list[Link]:
        """Return the pages of a verified caller: the EHR's of this patient, a CRM's of whoever has `number`."""
        links = self._pages(person)
        crms = self._able("crm") if number else []
        try:
            async with asyncio.timeout(LINKS_WITHIN_S):
                found = await asyncio.gather(
                    *(self._found(connection, call_id, number, patient_id, access) for connection in crms)
                )
        except TimeoutError:
            return links
        named = zip(crms, found, strict=True)
        return links + [Link(connection, ref.url) for connection, refs in named for ref in refs if ref.url]

    def able(self) -> bool:
        """Return whether any connection may have a link."""
        return bool(self._able("crm") or self._outside.able(Pages))

    def _pages(self, person: Mapping[str, Any]) -> list[Link]:
        links = []
        for connection, connector in self._outside.connectors().items():
            ids = identifiers_of(person, connection)
            try:
                url = connector.page(ids) if ids and isinstance(connector, Pages) else None
            except Exception as error:  # whatever a connector raises, the agent gets the rest
                log.warning("no link", connection=connection, code=type(error).__name__)
                continue
            if url:
                links.append(Link(connection, url))
        return links

    def _able(self, kind: str) -> list[str]:
        connectors = self._outside.connectors()
        return [name for name in self._outside.able(FindsPatients) if connectors[name].kind == kind]

    async def _look(self, call_id: UUID, number: str, access: Access) -> None:
        for connection in self._able("ehr"):
            refs = await self._found(connection, call_id, number, None, access)
            arrivals = [arrival_of(connection, ref.facts, self._instance.index) for ref in refs]
            if not arrivals:
                continue

            def store(db: Session, new: Sequence[inbox.Arrival] = arrivals) -> bool:
                instance = self._instance
                return any(
                    inbox.store(
                        db, new, seal=instance.sealer, index=instance.index, now=instance.clock(), by="system:hub"
                    )
                )

            if await self._instance.inbox.run(store, write=True):
                self._stored({connection})
            return

    async def _found(
        self, connection: str, call_id: UUID, number: str, patient_id: UUID | None, access: Access
    ) -> Sequence[PatientRef]:
        """Ask one system; it is on record before it is asked, and a system that fails tells nothing."""
        await self._note(connection, call_id, patient_id, access)
        try:
            async with (
                asyncio.timeout(WITHIN_S),
                self._outside.open(connection, *GOES_OUT[self._outside.connectors()[connection].kind]) as line,
            ):
                if not isinstance(line.connector, FindsPatients):
                    return []
                return await line.connector.find_patients(line.ctx, number)
        except TimeoutError:
            code = "late"
        except (ConnectorError, ChartlineError) as error:
            code = error.code
        except Exception as error:  # whatever a connector raises, the agent gets the rest
            code = type(error).__name__
        log.warning("number not looked up", connection=connection, code=code)
        return []

    async def _note(self, connection: str, call_id: UUID, patient_id: UUID | None, access: Access) -> None:
        about = [(b"", patient_id, [(Table.PATIENT, patient_id)])] if patient_id else []
        detail = {"connection": connection, "call": str(call_id)}

        def note(db: Session) -> None:
            intent.note(db, access, "patient.find", about, detail, at=self._instance.clock())

        await self._instance.db.run(note, write=True)

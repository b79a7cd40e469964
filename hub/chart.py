"""Parts of a patient's chart, read from the EHR when somebody who may see them asks; nothing of it is kept."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlmodel import Session

from connectors.api import ChartFacts, ConnectorError, Identifier, ReadsCharts, Section
from hub.errors import ChartlineError
from hub.instance import Instance
from hub.outside import Outside
from hub.record.statement import identifiers_of
from hub.security import intent
from hub.security.sealed import Table
from hub.vault.client import Access

log = structlog.get_logger()

WITHIN_S = 2.0
"How long an agent waits for the chart; the rest of the pop is shown without it."

LATE = "late"
"The EHR did not answer in time."

NO_SOURCE = "no-source"
"No connection reads charts, or none knows this patient."

FAILED = "connector-failed"


@dataclass(frozen=True, slots=True)
class Chart:
    """What an EHR said of a patient."""

    sections: Mapping[Section, tuple[str, ...]] = field(default_factory=dict)
    read_at: datetime | None = None
    missing: str | None = None
    "Why there is nothing: `LATE`, `NO_SOURCE` or an error's code. None where the EHR answered."


class Charts:
    """Asks the connections that can read charts."""

    def __init__(self, instance: Instance, outside: Outside, *, within_s: float = WITHIN_S) -> None:
        self._instance = instance
        self._outside = outside
        self._within_s = within_s

    async def read(
        self, patient_id: UUID, person: Mapping[str, Any], sections: frozenset[Section], access: Access
    ) -> Chart:
        """Return the asked-for sections of a patient's chart, and why they are missing where they are.

        `person` is the opened patient row. What is asked for whom, and who asks, is on record before the EHR is asked.
        """
        for connection in self._outside.able(ReadsCharts):
            ids = identifiers_of(person, connection)
            if ids:
                await self._note(patient_id, connection, sections, access)
                return await self._ask(connection, ids, sections)
        return Chart(missing=NO_SOURCE)

    async def _ask(self, connection: str, ids: tuple[Identifier, ...], sections: frozenset[Section]) -> Chart:
        try:
            async with asyncio.timeout(self._within_s):
                said = await self._said(connection, ids, sections)
        except TimeoutError:
            code = LATE
        except (ConnectorError, ChartlineError) as error:
            code = error.code
        except Exception as error:  # whatever a connector raises, the agent sees the rest of the pop
            log.error("chart connector failed", connection=connection, kind=type(error).__name__)
            return Chart(missing=FAILED)
        else:
            return Chart(said.sections, said.read_at)
        log.warning("chart not read", connection=connection, code=code)
        return Chart(missing=code)

    async def _said(self, connection: str, ids: tuple[Identifier, ...], sections: frozenset[Section]) -> ChartFacts:
        async with self._outside.open(connection, "chart", "treatment") as line:
            assert isinstance(line.connector, ReadsCharts)  # noqa: S101 - chosen for it
            return await line.connector.chart(line.ctx, ids, sections)

    async def _note(self, patient_id: UUID, connection: str, sections: frozenset[Section], access: Access) -> None:
        detail = {"connection": connection, "sections": ",".join(sorted(sections))}
        asked = [(b"", patient_id, [(Table.PATIENT, patient_id)])]

        def note(db: Session) -> None:
            intent.note(db, access, "chart.read", asked, detail, at=self._instance.clock())

        await self._instance.db.run(note, write=True)

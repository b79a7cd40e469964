"""Parts of a patient's chart, read from the EHR when somebody who may see them asks; nothing of it is kept."""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from connectors.api import ConnectorError, ReadsCharts, Section
from hub.errors import ChartlineError
from hub.outside import Outside
from hub.record.statement import identifiers_of

log = structlog.get_logger()

WITHIN_S = 2.0
"How long an agent waits for the chart; the rest of the pop is shown without it."


class Charts:
    """Asks the connections that can read charts."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    async def read(self, person: Mapping[str, Any], sections: frozenset[Section]) -> dict[str, Any]:
        """Return the asked-for sections by name, and when they were read; `chart` says why there are none.

        `person` is an opened patient row. The request stands in the audit log by its egress.
        """
        if not sections:
            return {}
        for connection in self._outside.able(ReadsCharts):
            ids = identifiers_of(person, connection)
            if not ids:
                continue
            try:
                async with asyncio.timeout(WITHIN_S), self._outside.open(connection, "chart", "treatment") as line:
                    assert isinstance(line.connector, ReadsCharts)  # noqa: S101 - chosen for it
                    facts = await line.connector.chart(line.ctx, ids, sections)
            except (ConnectorError, ChartlineError) as error:
                log.warning("chart not read", connection=connection, code=error.code)
                return {"chart": error.code}
            except TimeoutError:
                return {"chart": "late"}
            found = {section.value: list(lines) for section, lines in facts.sections.items()}
            return {**found, "chart_read_at": facts.read_at.isoformat()}
        return {"chart": "no-source"}

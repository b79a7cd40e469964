"""Log lines as `hub.logs` writes them, without a logging library beside the keys: JSON objects of ids and codes."""

import json
import sys
from datetime import UTC, datetime


class Journal:
    """Writes lines that name `program` to standard error."""

    def __init__(self, program: str) -> None:
        self._program = program

    def warning(self, event: str, **codes: str | int | None) -> None:
        """Say what somebody may have to look at."""
        self._write("warning", event, codes)

    def error(self, event: str, **codes: str | int | None) -> None:
        """Say what somebody has to look at."""
        self._write("error", event, codes)

    def _write(self, level: str, event: str, codes: dict[str, str | int | None]) -> None:
        at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        line = {"program": self._program, **codes, "event": event, "level": level, "timestamp": at}
        sys.stderr.write(json.dumps(line) + "\n")
        sys.stderr.flush()

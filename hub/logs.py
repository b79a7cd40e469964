"""Log lines: one JSON object each, on standard error; ids and codes only."""

import asyncio
import json
import logging
import sys
import threading
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import structlog

log = structlog.get_logger()


def configure(program: str) -> None:
    """Make every log line of this process a JSON object that names `program`; libraries speak from warnings on.

    Of what libraries say only who says it is kept: their texts may repeat what a record says. So may the text of an
    error that ends the process or a thread, and a warning: of these, kind and place are kept.
    """
    libraries = logging.StreamHandler(sys.stderr)
    libraries.setFormatter(_LibraryLine(program))
    logging.basicConfig(level=logging.WARNING, handlers=[libraries], force=True)
    logging.captureWarnings(True)
    sys.excepthook = _ended
    threading.excepthook = lambda told: _not_caught(told.exc_value)
    sys.unraisablehook = lambda told: _not_caught(told.exc_value)
    structlog.configure(
        processors=[
            _named(program),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _named(program: str) -> structlog.types.Processor:
    """Return what adds the program's name to a line, whichever thread writes it."""

    def add(_logger: Any, _method: str, line: structlog.types.EventDict) -> structlog.types.EventDict:
        line["program"] = program
        return line

    return add


class _LibraryLine(logging.Formatter):
    """Says that a library said something, and nothing of what it said."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z")
        said = {"event": "library", "library": record.name, "level": record.levelname.lower()}
        return json.dumps({**said, "program": self._program, "timestamp": at})


def follow(loop: asyncio.AbstractEventLoop) -> None:
    """Log what nobody caught on `loop`: kind and place of the error, never its text."""

    def note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        _not_caught(context.get("exception"))

    loop.set_exception_handler(note)


def _ended(kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        _not_caught(error)


def _not_caught(error: BaseException | None) -> None:
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    at = f"{frames[-1].name}:{frames[-1].lineno}" if frames else ""
    log.error("not caught", kind=type(error).__name__, at=at)

"""Log lines: one JSON object each, on standard error; ids and codes only."""

import asyncio
import logging
import sys
import threading
import traceback
from types import TracebackType
from typing import Any

import structlog

log = structlog.get_logger()


def configure(program: str) -> None:
    """Make every log line of this process a JSON object that names `program`; libraries speak from warnings on.

    Of what libraries say only who says it is kept: their texts may repeat what a record says. So may the text of an
    error that ends the process or a thread, and a warning: of these, kind and place are kept.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s %(levelname)s", force=True)
    logging.captureWarnings(True)
    sys.excepthook = _ended
    threading.excepthook = lambda told: _not_caught(told.exc_value)
    sys.unraisablehook = lambda told: _not_caught(told.exc_value)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(program=program)


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

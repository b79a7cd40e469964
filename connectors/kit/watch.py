"""What a connector does beside its work: what it logs and prints, raises, opens, and where it asks."""

import io
import logging
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import structlog

from connectors.api import ChartFacts, Fact, ReplyFacts, Sms
from connectors.kit.telephone import pattern

OPENING = {
    "socket.connect",
    "socket.bind",
    "socket.sendto",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
}
"Audit events (PEP 578) of what a connector leaves to the host."

PERSONAL = {"family", "given", "birth_date", "e164", "body", "reason", "phone"}
"Fields of facts that name a person or repeat what one said."

SHORTEST = 4
"Letters of a text that is looked for: shorter ones stand in any log."

_current: ContextVar["Watch | None"] = ContextVar("watch", default=None)
_hooked: list[bool] = []


def _hook(event: str, _: tuple[Any, ...]) -> None:
    if event in OPENING and (watch := _current.get()) is not None:
        watch.opened.add(event)
        raise PermissionError("a connector opens nothing by itself")


@dataclass(slots=True)
class Watch:
    """All that was seen of one connector."""

    logged: list[str] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    cursors: list[bytes] = field(default_factory=list)
    opened: set[str] = field(default_factory=set)
    strangers: set[str] = field(default_factory=set)
    "Origins asked for that stand in no setting."

    undeclared: set[str] = field(default_factory=set)
    "Fields returned whose scope is not declared."

    secrets: set[str] = field(default_factory=set)
    _texts: set[str] = field(default_factory=set)
    _numbers: set[str] = field(default_factory=set)

    def personal(self, value: Any) -> None:
        """Remember what in `value`, a fact or several, must appear nowhere else."""
        if isinstance(value, tuple | list):
            for one in value:
                self.personal(one)
        elif isinstance(value, Fact):
            for name, held in vars(value).items():
                if isinstance(held, str):
                    if name in PERSONAL or (type(value), name) in _ALSO:
                        self._word(held)
                elif name == "birth_date" and held is not None:
                    self._texts |= {held.isoformat(), held.strftime("%Y%m%d")}
                elif isinstance(held, tuple | Fact):
                    self.personal(held)
            if isinstance(value, ChartFacts):
                for lines in value.sections.values():
                    self._texts |= {line for line in lines if len(line) >= SHORTEST}

    def _word(self, text: str) -> None:
        if re.fullmatch(r"\+[1-9]\d{6,14}", text):
            self.number(text)
        elif len(text) >= SHORTEST:
            self._texts.add(text)

    def number(self, e164: str) -> None:
        """Remember a phone number."""
        self._numbers.add(e164)

    def leaks(self, texts: Iterable[str]) -> bool:
        """Whether what is personal stands in any of `texts`."""
        parts = [rf"(?<!\w){re.escape(text)}(?!\w)" for text in sorted(self._texts)]
        parts += [pattern(number) for number in sorted(self._numbers)]
        wanted = re.compile("|".join(parts))
        return bool(parts) and any(wanted.search(text) for text in dict.fromkeys(texts))

    def betrays(self, texts: Iterable[str]) -> bool:
        """Whether a secret stands in any of `texts`."""
        return any(secret in text for text in texts for secret in self.secrets)

    def said_by(self, error: BaseException) -> list[str]:
        """Return the text of an error and of what led to it, as a traceback would show them."""
        return list(_chain(error))


_ALSO = {(ReplyFacts, "sender"), (Sms, "to")}


def _chain(error: BaseException) -> Iterator[str]:
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield f"{following} {following.args!r}"
        hidden = following.__suppress_context__
        following = following.__cause__ or (None if hidden else following.__context__)


class _Terminal(io.StringIO):
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def write(self, text: str) -> int:
        self._watch.logged.append(text)
        return len(text)


class _Handler(logging.Handler):
    def __init__(self, watch: Watch) -> None:
        super().__init__(logging.DEBUG)
        self._watch = watch

    def emit(self, record: logging.LogRecord) -> None:
        self._watch.logged.append(f"{self.format(record)} {record.__dict__}")


@contextmanager
def watching(watch: Watch, *, sealed: bool = True) -> Iterator[None]:
    """Let `watch` see everything that is logged and printed, at any level; where `sealed`, forbid to open anything."""
    if not _hooked:
        sys.addaudithook(_hook)  # it stays for the life of the process, and looks at what is watched only
        _hooked.append(True)
    root, handler, printed = logging.getLogger(), _Handler(watch), _Terminal(watch)
    level = root.level
    processors = structlog.get_config()["processors"]
    kept = list(processors)

    def note(_logger: Any, _method: str, line: structlog.types.EventDict) -> structlog.types.EventDict:
        watch.logged.append(repr(structlog.processors.format_exc_info(_logger, _method, line)))
        raise structlog.DropEvent

    processors[:] = [note]
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    token = _current.set(watch if sealed else None)
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            yield
    finally:
        _current.reset(token)
        root.setLevel(level)
        root.removeHandler(handler)
        processors[:] = kept

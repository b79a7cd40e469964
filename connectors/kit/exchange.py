"""One recorded exchange, and whether a request is the one that it answers."""

from typing import Any
from urllib.parse import parse_qsl

import httpx
import orjson
from pydantic import BaseModel, ConfigDict

from connectors.kit.telephone import Numbers, each_text

ANY = "*"
"Stands for anything."

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"Methods that change nothing (RFC 9110 section 9.2.1)."

STARTED = "started"
"The state in which each scenario begins."


class Wire(BaseModel):
    """A part of an exchange."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Wanted(Wire):
    """The request that an exchange answers."""

    method: str = "GET"
    path: str
    query: dict[str, str | list[str]] = {}
    headers: dict[str, str] = {}
    body: Any = ANY


class Answer(Wire):
    """What the server says."""

    status: int = 200
    headers: dict[str, str] = {}
    body: Any = None

    def content(self) -> bytes:
        """Return the body's bytes."""
        if self.body is None:
            return b""
        return self.body.encode() if isinstance(self.body, str) else orjson.dumps(self.body)


class Exchange(Wire):
    """A request, its answer, and what that does to a scenario."""

    request: Wanted
    response: Answer = Answer()
    scenario: str = ""
    when: str | None = None
    then: str | None = None
    effect: bool | None = None

    @property
    def effective(self) -> bool:
        """Whether it changes something on the other side."""
        if self.effect is not None:
            return self.effect
        return self.request.method.upper() not in SAFE and 200 <= self.response.status < 300

    @property
    def wildness(self) -> int:
        """How much of the request it leaves open: the lower, the more exact."""
        wanted = self.request
        return repr([wanted.query, wanted.headers, wanted.body]).count(repr(ANY))


class Asked:
    """A request as it came, in the terms of a recording."""

    def __init__(self, request: httpx.Request, numbers: Numbers) -> None:
        self.method = request.method
        self.url = request.url
        self.path = request.url.path
        self.query: dict[str, list[str]] = {}
        for name, value in request.url.params.multi_items():
            self.query.setdefault(name, []).append(value)
        self.headers = request.headers
        self.body = _document(request)
        self.texts = [value for values in self.query.values() for value in values] + _texts(self.body)
        self._numbers = numbers

    @property
    def numbers(self) -> set[tuple[str, str]]:
        """The known phone numbers in it, each with the way it is written."""
        return {found for text in self.texts for found in self._numbers.within(text)}

    def __str__(self) -> str:
        """Say it without any value: those hold what a record says."""
        names = ",".join(sorted(self.query))
        return f"{self.method} {self.path}" + (f"?{names}" if names else "")

    def with_number(self, e164: str) -> "Asked":
        """Return the same request about another number."""
        other = object.__new__(Asked)
        other.__dict__.update(self.__dict__)

        def exchanged(text: str) -> str:
            for found, way in self._numbers.within(text):
                if found != e164:
                    text = text.replace(way, e164)
            return text

        other.query = each_text(self.query, exchanged)
        other.body = each_text(self.body, exchanged)
        return other

    def answered_by(self, exchange: Exchange) -> bool:
        """Whether `exchange` is the recording of this request, its If-Match aside."""
        wanted = exchange.request
        return (
            self.method == wanted.method.upper()
            and self.path == wanted.path
            and self._query_fits(wanted)
            and all(self._header_fits(name, value) for name, value in wanted.headers.items())
            and self._same(wanted.body, self.body)
        )

    def stale_for(self, exchange: Exchange) -> bool:
        """Whether it asks for another version than `exchange` has (RFC 9110 section 13.1.1)."""
        said = self.headers.get("if-match")
        wanted = {name.lower(): value for name, value in exchange.request.headers.items()}.get("if-match")
        return said is not None and wanted not in {None, ANY} and said != wanted

    def _query_fits(self, wanted: Wanted) -> bool:
        open_ended = wanted.query.get(ANY) == ANY
        named = {name: value for name, value in wanted.query.items() if name != ANY}
        if not open_ended and named.keys() != self.query.keys():
            return False
        return all(name in self.query and self._values_fit(value, self.query[name]) for name, value in named.items())

    def _values_fit(self, wanted: str | list[str], said: list[str]) -> bool:
        if wanted == ANY:
            return True
        values = [wanted] if isinstance(wanted, str) else wanted
        return len(values) == len(said) and all(
            self._same(one, other) for one, other in zip(sorted(values), sorted(said), strict=True)
        )

    def _header_fits(self, name: str, wanted: str) -> bool:
        if name.lower() == "if-match":
            return True  # without it a write is unconditional; with another it is stale
        said = self.headers.get(name)
        return said is not None and (wanted == ANY or said == wanted)

    def _same(self, wanted: Any, said: Any) -> bool:
        if wanted == ANY:
            return True
        if isinstance(wanted, str) and isinstance(said, str):
            return wanted == said or self._numbers.neutral(wanted) == self._numbers.neutral(said)
        if isinstance(wanted, dict) and isinstance(said, dict):
            return wanted.keys() == said.keys() and all(self._same(wanted[name], said[name]) for name in wanted)
        if isinstance(wanted, list) and isinstance(said, list):
            return len(wanted) == len(said) and all(map(self._same, wanted, said))
        return bool(wanted == said)


def _document(request: httpx.Request) -> Any:
    content = request.content
    if not content:
        return None
    kind = request.headers.get("content-type", "")
    if kind.startswith("application/x-www-form-urlencoded"):
        return dict(parse_qsl(content.decode("utf-8", "replace"), keep_blank_values=True))
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return content.decode("utf-8", "replace")


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inner for text in _texts(one)]

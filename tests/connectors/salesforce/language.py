"""As much of SOSL and SOQL as is published of FIND in phone fields, and of a query for one value."""

import re
from dataclasses import dataclass

RESERVED = set("?&|!{}[]()^~*:\\\"'+-")


class MalformedError(Exception):
    """The statement does not parse."""


@dataclass(frozen=True)
class Returning:
    sobject: str
    fields: tuple[str, ...]
    where: tuple[str, bool] | None
    limit: int


@dataclass(frozen=True)
class Sosl:
    phrases: tuple[tuple[str, ...], ...]
    "Each the tokens of one phrase; one of them must be there."

    group: str
    returning: tuple[Returning, ...]


def tokens(text: str) -> tuple[str, ...]:
    """Return the words of a text as the search engine splits it: at spaces and punctuation."""
    return tuple(re.findall(r"[A-Za-z0-9]+", text))


def phrases(query: str) -> tuple[tuple[str, ...], ...]:
    """Return the phrases of a search query that joins them with OR; what is reserved and not escaped is refused."""
    found: list[tuple[str, ...]] = []
    at = 0
    while True:
        if query[at : at + 1] != '"':
            raise MalformedError("a phrase begins with a quotation mark")
        at += 1
        text = ""
        while query[at : at + 1] != '"':
            if at >= len(query):
                raise MalformedError("a phrase without an end")
            if query[at] == "\\":
                at += 1
                if query[at : at + 1] not in RESERVED:
                    raise MalformedError("nothing to escape")
            elif query[at] in RESERVED:
                raise MalformedError("reserved")
            text += query[at]
            at += 1
        found.append(tokens(text))
        at += 1
        if at == len(query):
            return tuple(found)
        if query[at : at + 4] != " OR ":
            raise MalformedError("what joins the phrases")
        at += 4


def braces(text: str) -> int:
    """Return where the search query that begins at `{` ends; an escaped brace ends nothing."""
    at = 1
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == "}":
            return at
        at += 1
    raise MalformedError("no closing brace")


_RETURNING = re.compile(r"(\w+)\((\w+(?:, ?\w+)*)(?: WHERE (\w+) = (true|false))?(?: LIMIT (\d+))?\)")


def sosl(statement: str) -> Sosl:
    if not statement.startswith("FIND {"):
        raise MalformedError("FIND")
    rest = statement.removeprefix("FIND ")
    end = braces(rest)
    query, rest = rest[1:end], rest[end + 1 :]
    said = re.fullmatch(r" IN (ALL|NAME|EMAIL|PHONE|SIDEBAR) FIELDS RETURNING (.+)", rest)
    if said is None:
        raise MalformedError("IN or RETURNING")
    returning: list[Returning] = []
    at = 0
    while one := _RETURNING.match(said[2], at):
        where = (one[3], one[4] == "true") if one[3] else None
        returning.append(Returning(one[1], tuple(re.split(", ?", one[2])), where, int(one[5] or 2000)))
        at = one.end() + 2 if said[2][one.end() : one.end() + 2] == ", " else one.end()
    if at != len(said[2]):
        raise MalformedError("RETURNING")
    return Sosl(phrases(query), said[1], tuple(returning))


def matches(phrase: tuple[str, ...], text: str) -> bool:
    words = tokens(text)
    return any(words[at : at + len(phrase)] == phrase for at in range(len(words) - len(phrase) + 1))


def soql(statement: str) -> tuple[tuple[str, ...], str, str, str]:
    """Return fields, object, and the field and value of the one condition."""
    said = re.fullmatch(r"SELECT (\w+(?:, ?\w+)*) FROM (\w+) WHERE (\w+) = '((?:[^'\\]|\\['\\])*)'", statement)
    if said is None:
        raise MalformedError("SELECT")
    return tuple(re.split(", ?", said[1])), said[2], said[3], re.sub(r"\\(.)", r"\1", said[4])

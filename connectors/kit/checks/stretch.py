"""Page tokens made long: what a server gives to go on with is opaque, and nobody promised that it is short."""

from collections.abc import Sequence
from typing import Any

import httpx

from connectors.kit.exchange import Asked
from connectors.kit.mutation import records_in
from connectors.kit.telephone import each_text

PADDING = "x" * 4200
"More than a cursor may hold."

PARAMETER = "kitpad"

MARK = "~" + PADDING


class Stretch:
    """Lengthens the page tokens in the answers, and takes that back in the requests."""

    def __init__(self, asked: Sequence[Asked]) -> None:
        self._urls = {str(one.url) for one in asked}
        self._tokens = {
            value for one in asked for values in one.query.values() for value in values if len(value) > 2
        } | {one.path.rpartition("/")[2] for one in asked}
        self._base = asked[0].url if asked else httpx.URL("")

    def mutate(self, _: int, document: Any) -> Any:
        """Return an answer with each string outside of its records that a request repeats made long."""
        if not isinstance(document, dict):
            return document
        records = records_in(document)
        return {name: value if value is records else self._longer(value, records) for name, value in document.items()}

    def _longer(self, value: Any, records: Any) -> Any:
        if isinstance(value, dict):
            return {name: one if one is records else self._longer(one, records) for name, one in value.items()}
        return each_text(value, self._stretched)

    def _stretched(self, text: str) -> str:
        if text in self._tokens:
            return text + MARK
        if "/" in text or "?" in text:
            try:
                leads_to = str(self._base.join(text))
            except (httpx.InvalidURL, ValueError):
                return text
            if leads_to in self._urls:
                return f"{text}{'&' if '?' in text else '?'}{PARAMETER}={PADDING}"
        return text

    def received(self, request: httpx.Request) -> httpx.Request:
        """Return the request as it would be with the short tokens."""
        url = request.url.copy_remove_param(PARAMETER) if PARAMETER in request.url.params else request.url
        params = [(name, value.replace(MARK, "")) for name, value in url.params.multi_items()]
        if params:
            url = url.copy_with(params=params)
        url = url.copy_with(path=url.path.replace(MARK, ""))
        return httpx.Request(request.method, url, headers=request.headers, content=request.content)

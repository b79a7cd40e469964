"""Requests of this side outside of any call: REGISTER to a carrier, OPTIONS to see whether somebody is there."""

import asyncio
from collections.abc import Mapping

from media.sip.dialog import new_branch, new_call_id, new_tag
from media.sip.digest import Login, authorize
from media.sip.hop import Hop
from media.sip.leg import Stack
from media.sip.message import MAX_FORWARDS, Headers, Request, Response

TRIES = 2
"Challenges answered in a row: a proxy's and the server's own."


class Client:
    """Asks one thing at a time of each server, and waits for what it says."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def contact_for(self, hop: Hop, user: str = "") -> str:
        """Return the Contact that a peer at `hop` reaches us by, with a user part where one is given."""
        contact = self._stack.contact_for(hop)
        return contact.replace("<sip:", f"<sip:{user}@", 1) if user else contact

    async def ask(
        self,
        method: str,
        uri: str,
        hop: Hop,
        *,
        from_: str,
        to: str,
        call_id: str = "",
        sequence: int = 1,
        headers: Mapping[str, list[str]] | None = None,
        login: Login | None = None,
        seconds: float = 32.0,
    ) -> tuple[Response | None, int]:
        """Send a request, answer challenges, and return the final response with the CSeq number it came to.

        None where nothing came within `seconds`, which counts from each sending. `from_` has no tag yet.
        """
        fields: Headers = {"Via": [self._stack.via_for(hop)], "Max-Forwards": [str(MAX_FORWARDS)]}
        fields |= {"From": [f"{from_};tag={new_tag()}"], "To": [to], "Call-ID": [call_id or new_call_id()]}
        fields |= {"CSeq": [f"{sequence} {method}"], **(headers or {})}
        request: Request | None = Request(method, uri, fields)
        response, tries = None, TRIES
        while request is not None:
            sequence = request.sequence
            response = await self._final(request, hop, seconds)
            request = again(request, response, login) if response is not None and tries else None
            tries -= 1
        return response, sequence

    async def _final(self, request: Request, hop: Hop, seconds: float) -> Response | None:
        answered: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()

        def hear(response: Response | None) -> None:
            if not answered.done() and (response is None or response.status >= 200):
                answered.set_result(response)

        transaction = self._stack.transactions.request(request, hop, hear)
        try:
            async with asyncio.timeout(seconds):
                return await answered
        except TimeoutError:
            return None
        finally:
            if not transaction.final:
                transaction.abandon()


def again(request: Request, refusal: Response, login: Login | None) -> Request | None:
    """Return `request` with the answer to a challenge (RFC 3261 section 22.2); None where we have none to give."""
    if login is None or refusal.status not in (401, 407):
        return None
    asking, answering = "WWW-Authenticate", "Authorization"
    if refusal.status == 407:
        asking, answering = "Proxy-Authenticate", "Proxy-Authorization"
    challenges = refusal.headers.get(asking, [])
    if answering in request.headers and not any("stale=true" in each.lower() for each in challenges):
        return None  # what we know was wrong: asking again would only lock the account
    value = authorize(challenges, request.method, request.uri, login)
    if value is None:
        return None
    headers = {name: list(values) for name, values in request.headers.items()}
    headers[answering] = [value]
    headers["CSeq"] = [f"{request.sequence + 1} {request.method}"]
    headers["Via"] = [headers["Via"][0].replace(request.via.branch, new_branch())]
    return Request(request.method, request.uri, headers, request.body)

"""A trunk's registration with its carrier, kept alive as long as it is wanted (RFC 3261 section 10.2)."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from media.errors import ProtocolError
from media.sip.client import Client
from media.sip.dialog import new_call_id
from media.sip.digest import Login
from media.sip.hop import Hop
from media.sip.message import Response
from media.sip.uri import Address

ANSWER_S = 8.0
"How long one server may take; afterwards the next is asked."

REFRESH = 0.8
"The part of what the carrier granted after which it is told again."

FIRST_WAIT_S = 2.0
LONGEST_WAIT_S = 300.0
"After failures; each wait is twice the one before, and begun at a random place (RFC 5626 section 4.5)."

REGISTERED = "registered"
"The code of a registration that holds; any other code is a SIP status or `no-answer`."

NO_ANSWER = "no-answer"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Account:
    """What a carrier knows this side by."""

    trunk: str
    user: str
    domain: str
    login: Login
    seconds: int = 3600
    "For how long the registration is asked to hold."

    route: str = ""
    "Route value of an outbound proxy; empty without one."

    @property
    def address(self) -> str:
        """The address of record."""
        return f"<sip:{self.user}@{self.domain}>"


class Registration:
    """Tells the carrier where this side is.

    `locate` finds the servers in the order to try; `on_change` hears each new code.
    """

    def __init__(
        self,
        client: Client,
        account: Account,
        locate: Callable[[], Awaitable[Sequence[Hop]]],
        on_change: Callable[[str], None],
        *,
        first_wait_s: float = FIRST_WAIT_S,
        answer_s: float = ANSWER_S,
    ) -> None:
        self.code = ""
        self._client = client
        self._account = account
        self._locate = locate
        self._on_change = on_change
        self._first_wait_s = first_wait_s
        self._answer_s = answer_s
        self._call_id = new_call_id()
        self._sequence = 0
        self._seconds = account.seconds
        self._held_at: Hop | None = None

    async def run(self) -> None:
        """Register, and again in time, until cancelled."""
        wait = self._first_wait_s
        while True:
            granted, advised = await self._register()
            if granted:
                wait = self._first_wait_s
                await asyncio.sleep(granted * REFRESH)
                continue
            await asyncio.sleep(max(advised, wait * random.uniform(0.5, 1.0)))
            wait = min(wait * 2, LONGEST_WAIT_S)

    async def close(self) -> None:
        """Take the registration back, where there is one; whether the carrier hears it matters to nobody."""
        if self._held_at is not None:
            await self._ask(self._held_at, 0)
            self._held_at = None

    async def _register(self) -> tuple[float, float]:
        """Return for how many seconds a server took the registration, and how long one asks us to wait."""
        advised, code = 0.0, NO_ANSWER
        for hop in await self._locate():
            self._held_at = hop  # from now on it may hold, whether we hear so or not
            response = await self._ask(hop, self._seconds)
            least = _number(response, "Min-Expires") if response is not None and response.status == 423 else 0
            if least > self._seconds:
                self._seconds = least
                response = await self._ask(hop, self._seconds)
            if response is None:
                continue
            if response.status < 300:
                self._say(REGISTERED)
                return self._granted(response, hop), 0.0
            code, advised = str(response.status), max(advised, float(_number(response, "Retry-After")))
            if response.status < 500 and response.status not in (408, 430):
                break  # a refusal is the carrier's, not this server's
        self._held_at = None
        self._say(code)
        return 0.0, advised

    async def _ask(self, hop: Hop, seconds: int) -> Response | None:
        account = self._account
        contact = f"{self._client.contact_for(hop, account.user)};expires={seconds}"
        headers = {"Contact": [contact], "Expires": [str(seconds)]}
        if account.route:
            headers["Route"] = [account.route]
        response, self._sequence = await self._client.ask(
            "REGISTER",
            f"sip:{account.domain}",
            hop,
            from_=account.address,
            to=account.address,
            call_id=self._call_id,
            sequence=self._sequence + 1,
            headers=headers,
            login=account.login,
            seconds=self._answer_s,
        )
        return response

    def _granted(self, response: Response, hop: Hop) -> float:
        """Return the seconds that the carrier grants our contact among all it lists (RFC 3261 section 10.2.4)."""
        ours = Address.parse(self._client.contact_for(hop, self._account.user)).uri
        try:
            for value in response.all("Contact"):
                listed = Address.parse(value)
                same = (listed.uri.user, listed.uri.hop[:2]) == (ours.user, ours.hop[:2])
                if same and (listed.params.get("expires") or "").isdigit():
                    return float(listed.params["expires"] or 0) or 1.0
        except ProtocolError:
            log.warning("carrier lists a contact that cannot be read", trunk=self._account.trunk)
        return float(_number(response, "Expires") or self._seconds)

    def _say(self, code: str) -> None:
        if code != self.code:
            self.code = code
            log.info("registration", trunk=self._account.trunk, code=code)
            self._on_change(code)


def _number(response: Response, name: str) -> int:
    """Return the number that a header field begins with, 0 where there is none; at most a day."""
    text = (response.get(name) or "").strip()
    digits = text[: next((place for place, char in enumerate(text) if not char.isdigit()), len(text))]
    return min(int(digits), 86_400) if digits and digits.isascii() and len(digits) < 10 else 0

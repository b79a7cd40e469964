"""One end of a call: its dialog, the requests that it makes inside it, and its end (RFC 3261 sections 12 and 15)."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from media.errors import CallOverError
from media.sip.capability import allowed_by
from media.sip.dialog import Dialog, DialogKey, new_branch
from media.sip.digest import Login, authorize
from media.sip.hop import Hop
from media.sip.message import Headers, Message, Request, Response
from media.sip.session_timer import SECONDS
from media.sip.status import Cause
from media.sip.timer import Timers
from media.sip.transaction import LIFETIME, T1, T2, InviteServer, Transactions

_CHALLENGES = 1
"How many challenges in a row a request inside a call answers: there is one peer to ask."

Heard = Callable[[Response | None], None]
"Takes the final response to a request; None where nobody answered."


@dataclass
class Stack:
    """What every leg of one endpoint stands on."""

    transactions: Transactions
    timers: Timers
    address_for: Callable[[Hop], str]
    "Our `host:port` as a peer reaches it."

    session_seconds: int = SECONDS
    "How long a session holds without a refresh (RFC 4028)."

    legs: "dict[DialogKey, Participant]" = field(default_factory=dict)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def via_for(self, hop: Hop) -> str:
        """Return the Via of a new request that goes to `hop`."""
        return f"SIP/2.0/{hop.transport.upper()} {self.address_for(hop)};branch={new_branch()};rport"

    def contact_for(self, hop: Hop, *, secure: bool = False) -> str:
        """Return the Contact that a peer at `hop` reaches us by, over the transport it uses.

        `secure` where a sips URI was called: that wants one in return (RFC 3261 sections 8.1.1.8 and 12.1.1).
        """
        scheme, transport = ("sips" if secure else "sip"), hop.transport
        named = "" if transport == "udp" or (secure and transport == "tls") else f";transport={transport}"
        return f"<{scheme}:{self.address_for(hop)}{named}>"

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run `work` beside everything else; what still runs when the endpoint closes is cancelled."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


class Acceptance:
    """A 2xx to INVITE that is sent again until its ACK comes (RFC 3261 section 13.3.1.4)."""

    def __init__(
        self,
        server: InviteServer,
        response: Response,
        timers: Timers,
        on_ack: Callable[[Request], None],
        on_lost: Callable[[], None],
    ) -> None:
        self.sequence = server.request.sequence
        self._server = server
        self._data = bytes(response)
        self._timers = timers
        self.on_ack = on_ack
        self._on_lost = on_lost
        self._wait = T1
        self._repeat = timers.after(T1, self._late)
        self._deadline = timers.after(LIFETIME, self._overdue)
        server.respond(response)

    def stop(self) -> None:
        """Send no more: the ACK is here, or the call is over."""
        self._repeat.cancel()
        self._deadline.cancel()

    def _late(self) -> None:
        self._server.repeat(self._data)
        self._wait = min(self._wait * 2, T2)
        self._repeat = self._timers.after(self._wait, self._late)

    def _overdue(self) -> None:
        self.stop()
        self._on_lost()


class Participant(ABC):
    """What is below every leg: a dialog that requests go out in, and that ends once."""

    def __init__(self, stack: Stack) -> None:
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Cause] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()
        self._stack = stack
        self._dialog: Dialog | None = None
        self._login: Login | None = None
        self._allowed: frozenset[str] | None = None
        "Methods that the peer takes, as its Allow has them; None while it has not said."

    def goes_on(self) -> bool:
        """Tell whether the far end is still there."""
        return not self.ended.done()

    @abstractmethod
    def bye(self) -> None:
        """Hang up, whatever the state; harmless when the call is over."""

    @abstractmethod
    def receive(self, request: Request, source: Hop) -> None:
        """Take a request inside the dialog other than ACK and CANCEL.

        Raises:
            ProtocolError: a field that this method needs cannot be read.
        """

    @abstractmethod
    def acknowledge(self, ack: Request) -> None:
        """Take an ACK for a 2xx of this leg; one that comes twice or late is dropped."""

    def _learn(self, message: Message) -> None:
        """Note what the peer says of itself."""
        allowed = allowed_by(message)
        if allowed is not None:
            self._allowed = allowed

    def _dialog_of(self, _request: Request) -> Dialog | None:
        """Return the dialog that a request of the peer belongs to."""
        return self._dialog

    def _contact(self, hop: Hop) -> str:
        """Return our Contact for this call's dialog."""
        return self._stack.contact_for(hop, secure=self._dialog is not None and self._dialog.secure)

    # Requests of this side (RFC 3261 section 12.2.1)

    def _ask(
        self, method: str, heard: Heard, headers: Headers | None = None, body: bytes = b"", dialog: Dialog | None = None
    ) -> None:
        """Send a request other than INVITE; `heard` hears its final response once."""
        dialog = dialog or self._dialog
        if dialog is None:
            raise CallOverError("the call has no dialog")
        hop = dialog.hop()
        request = dialog.request(method, self._stack.via_for(hop))
        request.headers |= headers or {}
        request.body = body
        self._say(request, hop, dialog, heard, _CHALLENGES)

    def _say(self, request: Request, hop: Hop, dialog: Dialog, heard: Heard, tries: int) -> None:
        self._stack.transactions.request(request, hop, partial(self._said, request, hop, dialog, heard, tries))

    def _said(
        self, request: Request, hop: Hop, dialog: Dialog, heard: Heard, tries: int, response: Response | None
    ) -> None:
        if response is not None and response.status < 200:
            return
        again = self._authorized(request, response, dialog) if response is not None and tries else None
        if again is None:
            heard(response)
        else:
            self._say(again, hop, dialog, heard, tries - 1)

    async def _until(self, future: "asyncio.Future[Response | None]") -> Response | None:
        """Return what comes true, unless the call ends first.

        Raises:
            CallOverError: it did.
        """
        await self._first(future)
        if not future.done():
            raise CallOverError("the call ended before its peer answered")
        return future.result()

    async def _first(self, future: asyncio.Future[Any]) -> None:
        """Wait for a future or for the end of the call, whichever is first."""
        racing: set[asyncio.Future[Any]] = {future, self.ended}
        await asyncio.wait(racing, return_when=asyncio.FIRST_COMPLETED)

    async def _pause(self, seconds: float) -> None:
        """Wait on the endpoint's clock, at most until the call is over."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self._stack.timers.after(seconds, partial(_come_true, over))
        try:
            await self._first(over)
        finally:
            timer.cancel()

    # The end (RFC 3261 section 15)

    def _hung_up(self) -> None:
        """The peer sent BYE."""
        self._finish(Cause.HANGUP)
        self._leave()

    def _lost(self) -> None:
        """The peer fell silent where it owed something: the call is ended by BYE (RFC 3261 section 13.3.1.4)."""
        self._send_bye(Cause.LOST)

    def _send_bye(self, cause: Cause) -> None:
        """End with BYE; the dialog stays until that is answered, since the peer's own may cross it."""
        if self._dialog is None:
            self._finish(cause)
            self._leave()
            return
        self._wind_up()
        self._finish(cause)
        self._ask("BYE", self._bye_answered)

    @abstractmethod
    def _wind_up(self) -> None:
        """Say what must be said before a BYE."""

    def _bye_answered(self, _response: Response | None) -> None:
        self._leave()

    def _finish(self, cause: Cause) -> None:
        """Let whoever listens know that the call is over."""
        if not self.ended.done():
            self.ended.set_result(cause)

    def _leave(self) -> None:
        """Forget the dialog: whatever comes for it now is answered with 481."""
        if self._dialog is not None:
            self._stack.legs.pop(self._dialog.key, None)
        if not self.gone.done():
            self.gone.set_result(None)

    # Challenges (RFC 3261 section 22.2)

    def _authorized(self, request: Request, refusal: Response, dialog: Dialog | None = None) -> Request | None:
        """Return `request` anew with the answer to a challenge, or None where we have none."""
        if self._login is None or refusal.status not in (401, 407):
            return None
        asking, answering = ("WWW-Authenticate", "Authorization")
        if refusal.status == 407:
            asking, answering = ("Proxy-Authenticate", "Proxy-Authorization")
        value = authorize(refusal.headers.get(asking, []), request.method, request.uri, self._login)
        if value is None:
            return None
        sequence = request.sequence + 1
        if dialog is not None:
            sequence = dialog.sequence = dialog.sequence + 1
        headers = {name: list(values) for name, values in request.headers.items()}
        headers[answering] = [value]
        headers["CSeq"] = [f"{sequence} {request.method}"]
        via = headers["Via"][0]
        headers["Via"] = [via.replace(request.via.branch, new_branch())]
        return Request(request.method, request.uri, headers, request.body)


def _come_true(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

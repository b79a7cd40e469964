"""What the two kinds of call leg share: their dialog, BYE, re-INVITE, and the 2xx that waits for its ACK."""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial

import structlog

from media.errors import ProtocolError, UnacceptableError
from media.sdp import Session
from media.sip.dialog import Dialog, DialogKey, new_branch
from media.sip.digest import Login, authorize
from media.sip.hop import Hop
from media.sip.message import Request, Response
from media.sip.status import Cause
from media.sip.timer import Timers
from media.sip.transaction import LIFETIME, T1, T2, InviteServer, Transactions

log = structlog.get_logger()

ALLOW = "INVITE, ACK, BYE, CANCEL, OPTIONS, REGISTER"
SDP_TYPE = "application/sdp"

Renegotiate = Callable[[Session], Awaitable[Session]]
"Takes the peer's new offer and returns the answer; raises UnacceptableError to refuse it with 488."


@dataclass
class Stack:
    """What every leg of one endpoint stands on."""

    transactions: Transactions
    timers: Timers
    address_for: Callable[[Hop], str]
    "Our `host:port` as a peer reaches it."

    legs: "dict[DialogKey, Leg]" = field(default_factory=dict)

    def via_for(self, hop: Hop) -> str:
        """Return the Via of a new request that goes to `hop`."""
        return f"SIP/2.0/{hop.transport.upper()} {self.address_for(hop)};branch={new_branch()};rport"

    def contact_for(self, hop: Hop) -> str:
        """Return the Contact that a peer at `hop` reaches us by, over the transport it uses."""
        named = "" if hop.transport == "udp" else f";transport={hop.transport}"
        return f"<sip:{self.address_for(hop)}{named}>"

    tasks: set[asyncio.Task[None]] = field(default_factory=set)

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


class Leg(ABC):
    """One call leg.

    `ended` comes true once, with the cause, as soon as nothing more can be heard on it; a BYE that is still on its
    way then is this class's own business, and `gone` comes true when that is over too.
    """

    def __init__(self, stack: Stack) -> None:
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Cause] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()
        self.local: Session | None = None
        "What this side last said in an exchange that stands."

        self.remote: Session | None = None
        "What the peer last said."

        self.on_offer: Renegotiate | None = None
        "Asked when a re-INVITE changes the peer's side; without it such a change is refused."

        self._stack = stack
        self._dialog: Dialog | None = None
        self._login: Login | None = None
        self._acceptance: Acceptance | None = None
        self._asked: InviteServer | None = None
        "The re-INVITE whose answer is being made."

    @abstractmethod
    def bye(self) -> None:
        """Hang up, whatever the state; harmless when the call is over."""

    def receive(self, request: Request, source: Hop) -> None:
        """Take a request inside the dialog other than ACK and CANCEL.

        Raises:
            ProtocolError: a field that this method needs cannot be read.
        """
        server = self._stack.transactions.serve(request)
        dialog = self._dialog
        if dialog is None or not dialog.in_order(request):
            server.respond(request.respond(500, "Out Of Order"))  # RFC 3261 section 12.2.2
        elif request.method == "BYE":
            if self._asked is not None:
                self._withdraw_offer(self._asked)
            server.respond(request.respond(200))
            self._hung_up()
        elif isinstance(server, InviteServer):
            self._reinvited(server, source)
        elif request.method == "OPTIONS":
            server.respond(request.respond(200, headers={"Allow": [ALLOW], "Accept": [SDP_TYPE]}))
        else:
            server.respond(request.respond(405, headers={"Allow": [ALLOW]}))

    def acknowledge(self, ack: Request) -> None:
        """Take an ACK for a 2xx of this leg; one that comes twice or late is dropped."""
        acceptance = self._acceptance
        if acceptance is not None and ack.sequence == acceptance.sequence:
            self._acceptance = None
            acceptance.stop()
            acceptance.on_ack(ack)

    # Re-INVITE (RFC 3261 section 14.2)

    def _reinvited(self, server: InviteServer, source: Hop) -> None:
        request = server.request
        _ = request.contacts  # what cannot be read is refused before anything is asked or changed
        if self.ended.done():
            server.respond(request.respond(481))
        elif self.local is None:
            # The first INVITE has no answer yet.
            server.respond(request.respond(500, headers={"Retry-After": [str(random.randint(0, 10))]}))
        elif self._acceptance is not None or self._asked is not None:
            server.respond(request.respond(491))
        elif not request.body:
            self._accept(server, self.local, source, self._read_answer)
        elif request.content_type != SDP_TYPE:
            server.respond(request.respond(415, headers={"Accept": [SDP_TYPE]}))
        else:
            self._renegotiate(server, source)

    def _renegotiate(self, server: InviteServer, source: Hop) -> None:
        """Answer a re-INVITE's offer, at once where it says what was said before."""
        try:
            offer = Session.parse(server.request.body)
        except ProtocolError:
            server.respond(server.request.respond(488))
            return
        if offer == self.remote and self.local is not None:
            self._accept(server, self.local, source, _ignore)
            return
        if self.on_offer is None:
            server.respond(server.request.respond(488))
            return
        self._asked = server
        server.tag = self._dialog.local_tag if self._dialog is not None else ""
        server.on_cancel = partial(self._withdraw_offer, server)
        self._stack.spawn(self._answer_offer(server, offer, source))

    async def _answer_offer(self, server: InviteServer, offer: Session, source: Hop) -> None:
        refusal = 488
        try:
            answer = await self._ask(offer)
        except (ProtocolError, UnacceptableError):
            answer = None
        except Exception as error:  # answered, so that no transaction is left without an end
            log.error("sip-fault", kind=type(error).__name__)
            answer, refusal = None, 500
        finally:
            self._asked = None
            server.on_cancel = None
        if server.final:
            return  # withdrawn meanwhile, or the call is over
        if answer is None:
            server.respond(server.request.respond(refusal))
        else:
            self.remote = offer
            self._accept(server, answer, source, _ignore)

    def _withdraw_offer(self, server: InviteServer) -> None:
        """The peer cancelled its re-INVITE, or the call ended (RFC 3261 sections 9.2 and 15.1.2)."""
        if not server.final:
            server.respond(server.request.respond(487))

    async def _ask(self, offer: Session) -> Session | None:
        return await self.on_offer(offer) if self.on_offer is not None else None

    def _accept(self, server: InviteServer, session: Session, source: Hop, on_ack: Callable[[Request], None]) -> None:
        """Answer an INVITE of this dialog with 200, and wait for its ACK."""
        request = server.request
        self.local = session
        headers = {"Contact": [self._stack.contact_for(source)], "Allow": [ALLOW]}
        headers["Content-Type"] = [SDP_TYPE]
        tag = ""
        if self._dialog is not None:
            self._dialog.refresh(request, source)
            tag = self._dialog.local_tag
        response = request.respond(200, to_tag=tag, headers=headers, body=bytes(session))
        self._acceptance = Acceptance(server, response, self._stack.timers, on_ack, self._lost)

    def _read_answer(self, ack: Request) -> None:
        """Read the answer that an ACK carries when our 2xx was the offer (RFC 3261 section 13.2.1)."""
        try:
            answer = Session.parse(ack.body)
        except ProtocolError:
            self._send_bye(Cause.UNACCEPTABLE)
            return
        changed, self.remote = answer != self.remote, answer
        if changed and self.on_offer is not None:
            self._stack.spawn(self._follow(answer))

    async def _follow(self, answer: Session) -> None:
        try:
            await self._ask(answer)
        except (ProtocolError, UnacceptableError):
            # Nothing can be refused any more: an exchange that fails this late ends the call.
            self._send_bye(Cause.UNACCEPTABLE)

    # The end (RFC 3261 section 15)

    def _hung_up(self) -> None:
        """The peer sent BYE."""
        self._finish(Cause.HANGUP)
        self._leave()

    def _lost(self) -> None:
        """No ACK came for our 2xx: the call is ended by BYE (RFC 3261 section 13.3.1.4)."""
        self._send_bye(Cause.LOST)

    def _send_bye(self, cause: Cause) -> None:
        """End with BYE; the dialog stays until that is answered, since the peer's own may cross it."""
        self._finish(cause)
        dialog = self._dialog
        if dialog is None:
            self._leave()
            return
        hop = dialog.hop()
        self._say_bye(dialog.request("BYE", self._stack.via_for(hop)), hop, 1)

    def _say_bye(self, bye: Request, hop: Hop, tries: int) -> None:
        self._stack.transactions.request(bye, hop, partial(self._bye_answered, bye, hop, tries))

    def _bye_answered(self, bye: Request, hop: Hop, tries: int, response: Response | None) -> None:
        if response is not None and response.status < 200:
            return
        again = self._authorized(bye, response) if response is not None and tries else None
        if again is None:
            self._leave()
        else:
            self._say_bye(again, hop, tries - 1)

    def _finish(self, cause: Cause) -> None:
        """Let whoever listens know that the call is over."""
        if not self.ended.done():
            self.ended.set_result(cause)

    def _leave(self) -> None:
        """Forget the dialog: whatever comes for it now is answered with 481."""
        if self._asked is not None:
            self._withdraw_offer(self._asked)
        if self._acceptance is not None:
            self._acceptance.stop()
            self._acceptance = None
        if self._dialog is not None:
            self._stack.legs.pop(self._dialog.key, None)
        if not self.gone.done():
            self.gone.set_result(None)

    # Challenges (RFC 3261 section 22.2)

    def _authorized(self, request: Request, refusal: Response) -> Request | None:
        """Return `request` anew with the answer to a challenge, or None where we have none."""
        if self._login is None or refusal.status not in (401, 407):
            return None
        asking, answering = ("WWW-Authenticate", "Authorization")
        if refusal.status == 407:
            asking, answering = ("Proxy-Authenticate", "Proxy-Authorization")
        value = authorize(refusal.headers.get(asking, []), request.method, request.uri, self._login)
        if value is None:
            return None
        headers = {name: list(values) for name, values in request.headers.items()}
        headers[answering] = [value]
        headers["CSeq"] = [f"{request.sequence + 1} {request.method}"]
        via = headers["Via"][0]
        headers["Via"] = [via.replace(request.via.branch, new_branch())]
        return Request(request.method, request.uri, headers, request.body)


def _ignore(_ack: Request) -> None:
    """Take an ACK that has nothing to say: the answer went out in the 2xx."""

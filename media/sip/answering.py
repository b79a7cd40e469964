"""The peer's side of a session that changes: its re-INVITE and UPDATE, and whether it holds us.

RFC 3261 section 14.2, RFC 3311 section 5.2, RFC 4028 section 9; hold as RFC 3264 section 8.4 and RFC 6337 have it.
"""

import asyncio
import random
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from media.errors import ProtocolError, UnacceptableError
from media.sdp import Session
from media.sip import session_timer
from media.sip.capability import ALLOW, SDP_TYPE, SUPPORTED_VALUE
from media.sip.hop import Hop
from media.sip.message import Request
from media.sip.participant import Acceptance, Participant, Stack
from media.sip.session_timer import SessionTimer, Terms
from media.sip.status import Cause
from media.sip.transaction import InviteServer, ServerTransaction

log = structlog.get_logger()

Renegotiate = Callable[[Session], Awaitable[Session]]
"Takes the peer's new offer and returns the answer; raises UnacceptableError to refuse it with 488."


class Answering(Participant):
    """Answers what the peer offers inside a call."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack)
        self.local: Session | None = None
        "What this side last said in an exchange that stands."

        self.remote: Session | None = None
        "What the peer last said."

        self.held = False
        "Whether the peer wants to hear nothing: it has put this side on hold."

        self.on_offer: Renegotiate | None = None
        "Asked when a re-INVITE or UPDATE changes the peer's side; without it such a change is refused."

        self.on_held: Callable[[bool], None] | None = None
        "Hears that the peer holds this side, and that it took it back."

        self._timer = SessionTimer(stack.timers)
        self._least = session_timer.MIN_SECONDS
        "The longest Min-SE that was heard for this call."

        self._established = False
        "Whether the call is answered."

        self._acceptance: Acceptance | None = None
        self._asked: ServerTransaction | None = None
        "The re-INVITE or UPDATE whose answer is being made."

        self._proposed = False
        "Whether an offer of ours waits for its answer."

        self._waiting: list[asyncio.Future[None]] = []

    @property
    def established(self) -> bool:
        """Whether the call is answered, by whichever side."""
        return self._established

    @abstractmethod
    def _refresh_due(self) -> None:
        """It is time that this side refreshes the session."""

    def _hold_to(self, terms: Terms) -> None:
        """Begin a session interval."""
        self._timer.start(terms, self._refresh_due, self._lost)

    def acknowledge(self, ack: Request) -> None:
        """Take an ACK for a 2xx of this leg; one that comes twice or late is dropped."""
        acceptance = self._acceptance
        if acceptance is not None and ack.sequence == acceptance.sequence:
            self._acceptance = None
            acceptance.stop()
            acceptance.on_ack(ack)
            self._calmed()

    # Re-INVITE

    def _reinvited(self, server: InviteServer, source: Hop) -> None:
        request = server.request
        _ = request.contacts  # what cannot be read is refused before anything is asked or changed
        if self.ended.done():
            server.respond(request.respond(481))
        elif not self._established:
            _later(server)  # the first INVITE has no answer yet
        elif self._acceptance is not None or self._asked is not None or self._proposed:
            server.respond(request.respond(491))
        elif self._objects(server):
            return
        elif not request.body and self.local is not None:
            self._proposed = True
            self._accept(server, self.local, source, self._read_answer)
        else:
            self._renegotiate(server, source)

    # UPDATE

    def _updated(self, server: ServerTransaction, source: Hop) -> None:
        request = server.request
        _ = request.contacts
        if self.ended.done():
            server.respond(request.respond(481))
        elif self._objects(server):
            return
        elif not request.body:
            self._agree(server, source)
        elif self._proposed:
            server.respond(request.respond(491))
        elif self._asked is not None or not (self._established or self._is_early_session(request)):
            _later(server)  # RFC 3311 section 5.2: an offer of the peer waits for its answer
        else:
            self._renegotiate(server, source)

    def _is_early_session(self, _request: Request) -> bool:
        """Tell whether an exchange is complete in the early dialog of a request, so that the next may begin."""
        return False

    def _objects(self, server: ServerTransaction) -> bool:
        """Refuse what carries something else than a session, and what would be refreshed too often."""
        request = server.request
        if request.body and request.content_type != SDP_TYPE:
            server.respond(request.respond(415, headers={"Accept": [SDP_TYPE]}))
        elif session_timer.is_too_brief(request):
            server.respond(request.respond(422, headers={"Min-SE": [str(session_timer.MIN_SECONDS)]}))
        else:
            return False
        return True

    # Both

    def _renegotiate(self, server: ServerTransaction, source: Hop) -> None:
        """Answer an offer, at once where it says what was said before."""
        try:
            offer = Session.parse(server.request.body)
        except ProtocolError:
            server.respond(server.request.respond(488))
            return
        if offer == self.remote and self.local is not None:
            self._settle(server, self.local, source)
            return
        if self.on_offer is None:
            server.respond(server.request.respond(488))
            return
        self._asked = server
        if isinstance(server, InviteServer):
            server.tag = server.request.to_tag
            server.on_cancel = partial(self._withdraw_offer, server)
        self._stack.spawn(self._answer_offer(server, offer, source))

    async def _answer_offer(self, server: ServerTransaction, offer: Session, source: Hop) -> None:
        refusal = 488
        try:
            answer = await self._asked_owner(offer)
        except (ProtocolError, UnacceptableError):
            answer = None
        except Exception as error:  # answered, so that no transaction is left without an end
            log.error("sip-fault", kind=type(error).__name__)
            answer, refusal = None, 500
        finally:
            self._asked = None
            if isinstance(server, InviteServer):
                server.on_cancel = None
        if server.final:
            self._calmed()
            return  # withdrawn meanwhile, or the call is over
        if answer is None:
            server.respond(server.request.respond(refusal))
        else:
            self.remote = offer
            self._settle(server, answer, source)
            self._hear_hold(not hears(offer))
        self._calmed()

    def _withdraw_offer(self, server: ServerTransaction) -> None:
        """The peer cancelled its re-INVITE, or the call ended (RFC 3261 sections 9.2 and 15.1.2)."""
        if not server.final:
            server.respond(server.request.respond(487))

    async def _asked_owner(self, offer: Session) -> Session | None:
        return await self.on_offer(offer) if self.on_offer is not None else None

    def _settle(self, server: ServerTransaction, answer: Session, source: Hop) -> None:
        """Send the answer that completes an exchange: in a 2xx that waits for its ACK, or in one that does not."""
        if isinstance(server, InviteServer):
            self._accept(server, answer, source, _ignore)
        else:
            self.local = answer
            self._agree(server, source, bytes(answer))

    def _accept(self, server: InviteServer, session: Session, source: Hop, on_ack: Callable[[Request], None]) -> None:
        """Answer an INVITE of this dialog with 200, and wait for its ACK."""
        self.local = session
        self._established = True
        headers = self._agreeing(server.request, source) | {"Content-Type": [SDP_TYPE]}
        tag = "" if self._dialog is None else self._dialog.local_tag
        response = server.request.respond(200, to_tag=tag, headers=headers, body=bytes(session))
        self._acceptance = Acceptance(server, response, self._stack.timers, on_ack, self._lost)

    def _agree(self, server: ServerTransaction, source: Hop, body: bytes = b"") -> None:
        """Answer an UPDATE with 200."""
        headers = self._agreeing(server.request, source)
        if body:
            headers["Content-Type"] = [SDP_TYPE]
        server.respond(server.request.respond(200, headers=headers, body=body))

    def _agreeing(self, request: Request, source: Hop) -> dict[str, list[str]]:
        """Take what a target refresh says, and return the headers of its 2xx (RFC 3261 section 12.2.2)."""
        dialog = self._dialog_of(request)
        if dialog is not None:
            dialog.refresh(request, source)
        self._least = max(self._least, session_timer.minimum_of(request))
        terms = session_timer.terms_of_request(request, self._stack.session_seconds)
        if self._established:
            self._hold_to(terms)
        headers = {"Contact": [self._contact(source)], "Allow": [ALLOW], "Supported": [SUPPORTED_VALUE]}
        return headers | session_timer.headers_of_answer(terms)

    def _read_answer(self, ack: Request) -> None:
        """Read the answer that an ACK carries when our 2xx was the offer (RFC 3261 section 13.2.1)."""
        self._proposed = False
        try:
            answer = Session.parse(ack.body)
        except ProtocolError:
            self._send_bye(Cause.UNACCEPTABLE)
            return
        changed, self.remote = answer != self.remote, answer
        if changed and self.on_offer is not None:
            self._stack.spawn(self._follow(answer))

    async def _follow(self, answer: Session) -> None:
        await self._followed(answer)

    async def _followed(self, answer: Session) -> Session | None:
        """Let the owner take an answer like an offer; return what it would have answered to that."""
        try:
            said = await self._asked_owner(answer)
        except (ProtocolError, UnacceptableError):
            # Nothing can be refused any more: an exchange that fails this late ends the call.
            self._send_bye(Cause.UNACCEPTABLE)
            return None
        self._hear_hold(not hears(answer))
        return said

    def _hear_hold(self, held: bool) -> None:
        if held == self.held or self.ended.done():
            return
        self.held = held
        if self.on_held is not None:
            self.on_held(held)

    # Turns

    async def _turn(self) -> None:
        """Wait until the peer's own exchange is over: there is one at a time (RFC 3261 section 14.1)."""
        while (self._acceptance is not None or self._asked is not None) and not self.ended.done():
            calm: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(calm)
            await self._first(calm)

    def _calmed(self) -> None:
        waiting, self._waiting = self._waiting, []
        for calm in waiting:
            if not calm.done():
                calm.set_result(None)

    def _hung_up(self) -> None:
        if self._asked is not None:
            self._withdraw_offer(self._asked)
        super()._hung_up()

    def _finish(self, cause: Cause) -> None:
        self._timer.stop()
        super()._finish(cause)

    def _leave(self) -> None:
        self._timer.stop()
        if self._asked is not None:
            self._withdraw_offer(self._asked)
        if self._acceptance is not None:
            self._acceptance.stop()
            self._acceptance = None
        super()._leave()


def hears(session: Session) -> bool:
    """Tell whether who wrote this wants to hear us; the hold of RFC 2543 is an address of zeros."""
    audio = session.audio
    return audio is None or (audio.direction.receives and not audio.held)


def _later(server: ServerTransaction) -> None:
    """Ask the peer to come back in a moment: 500 with Retry-After of 0 to 10 s (RFC 3261 section 14.2)."""
    server.respond(server.request.respond(500, headers={"Retry-After": [str(random.randint(0, 10))]}))


def _ignore(_ack: Request) -> None:
    """Take an ACK that has nothing to say: the answer went out in the 2xx."""

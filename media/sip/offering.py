"""This side's part in a session that changes: our re-INVITE, UPDATE and refresh (RFC 3261 section 14.1, RFC 3311)."""

import asyncio
import random
from functools import partial

import structlog

from media.errors import CallOverError, MediaError, ProtocolError, UnacceptableError
from media.sdp import Session
from media.sip import session_timer
from media.sip.answering import Answering, hears
from media.sip.capability import ALLOW, SDP_TYPE, SUPPORTED_VALUE
from media.sip.dialog import Dialog
from media.sip.hop import Hop
from media.sip.message import Headers, Request, Response
from media.sip.participant import Stack
from media.sip.status import Cause
from media.sip.timer import Timer
from media.sip.transaction import LIFETIME, ClientTransaction

log = structlog.get_logger()

_TRIES = 5
"How often an exchange is tried: glare comes again where both sides are quick."

_OVER = (408, 481)
"The peer no longer knows the call (RFC 3261 section 12.2.1.2)."


class Proposal:
    """One INVITE or UPDATE of ours inside a call, from its first byte to its last ACK."""

    def __init__(self, session: Session | None) -> None:
        self.session = session
        "What it offers; None where it only refreshes."

        self.answered: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()
        self.answer: Session | None = None
        "What the peer said to it."

        self.news = False
        "Whether that is something else than it said before."

        self.transaction: ClientTransaction | None = None
        self.patience: Timer | None = None
        self.ack: tuple[bytes, Hop] | None = None


class Offering(Answering):
    """Offers inside a call, one exchange at a time."""

    owns_call_id = False
    "Whether this side made the Call-ID: after glare the other side goes first (RFC 3261 section 14.1)."

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack)
        self._order = asyncio.Lock()
        "Our own exchanges wait for each other."

    async def reinvite(self, session: Session) -> Session:
        """Offer `session` and return the peer's answer.

        Before the call is answered it goes out as UPDATE (RFC 3311), where the peer takes that.

        Raises:
            UnacceptableError: the peer refuses; the call goes on as it was.
            CallOverError: the call ended, also because the peer no longer knew of it.
        """
        async with self._order:
            answer = (await self._propose(session)).answer
        if answer is None:
            raise UnacceptableError("the answer holds no session")
        return answer

    async def refresh(self) -> None:
        """Let the peer confirm that the call goes on: nothing of ours changes (RFC 4028 section 7.4).

        Where its answer wants the sound elsewhere, or otherwise, than before, that is followed.

        Raises:
            UnacceptableError: the peer refuses; the call goes on.
            CallOverError: the call ended, also because the peer no longer knew of it.
        """
        async with self._order:
            proposal = await self._propose(None)
            if proposal.answer is not None and proposal.news and not self.ended.done():
                await self._follow_answer(proposal.answer)

    async def _follow_answer(self, answer: Session) -> None:
        """Speak as the answer to a refresh says.

        The owner takes it like an offer of the peer. Keys of ours that only fit what the peer says now are told it.
        """
        said = await self._followed(answer)
        if said is not None and self.local is not None and _keys(said) != _keys(self.local):
            await self._propose(said)

    def _refresh_due(self) -> None:
        self._stack.spawn(self._refreshed())

    async def _refreshed(self) -> None:
        try:
            await self.refresh()
        except CallOverError:
            return
        except MediaError as error:
            # It refuses, so it is there: it is asked again when the next refresh is due.
            log.info("session not refreshed", code=error.code)
            if self._timer.terms is not None:
                self._hold_to(self._timer.terms)

    async def _propose(self, session: Session | None) -> Proposal:
        """Carry out one exchange, and again where the two sides met."""
        for _ in range(_TRIES):
            await self._turn()
            if self.ended.done():
                raise CallOverError("the call is over")
            proposal = self._begin(session)
            response = await self._until(proposal.answered)
            if response is None or response.status in _OVER:
                self._send_bye(Cause.LOST)
                raise CallOverError("the peer no longer knows the call")
            if response.status < 300:
                return proposal
            if response.status == 491:
                await self._pause(self._after_glare())
            elif response.status == 422 and session_timer.minimum_of(response) > self._least:
                self._least = session_timer.minimum_of(response)
            elif response.status in (405, 501) and response.sequence_method == "UPDATE" and self._established:
                self._allowed = (self._allowed or frozenset()) - {"UPDATE"}
            else:
                break
        raise UnacceptableError("the peer refuses the change")

    def _after_glare(self) -> float:
        """Return how many seconds to wait: 2.1 to 4, or 0 to 2 for who did not make the Call-ID (section 14.1)."""
        return random.randint(210, 400) / 100 if self.owns_call_id else random.randint(0, 200) / 100

    def _begin(self, session: Session | None) -> Proposal:
        updates = self._allowed is not None and "UPDATE" in self._allowed
        dialog = self._dialog_now()
        if dialog is None or not (self._established or (updates and self._may_update())):
            raise UnacceptableError("nothing can be offered before the call is answered")
        if session is None and not updates:
            session = self.local  # the same version: nothing changes
        proposal = Proposal(session)
        self._proposed = session is not None
        if updates and (session is None or not self._established):
            body = b"" if session is None else bytes(session)
            self._ask("UPDATE", partial(self._concluded, proposal, dialog), self._proposing(dialog, body), body, dialog)
        else:
            self._invite_again(proposal, dialog)
        return proposal

    def _dialog_now(self) -> Dialog | None:
        """Return the dialog that an offer of ours goes out in."""
        return self._dialog

    def _may_update(self) -> bool:
        """Tell whether an exchange is complete before the call is answered, so that the next may begin."""
        return False

    def _proposing(self, dialog: Dialog, body: bytes) -> Headers:
        headers = {"Contact": [self._contact(dialog.hop())], "Allow": [ALLOW]}
        headers["Supported"] = [SUPPORTED_VALUE]
        seconds = self._stack.session_seconds
        headers |= session_timer.headers_of_request(seconds, self._timer.terms, self._least)
        if body:
            headers["Content-Type"] = [SDP_TYPE]
        return headers

    # INVITE

    def _invite_again(self, proposal: Proposal, dialog: Dialog) -> None:
        hop = dialog.hop()
        invite = dialog.request("INVITE", self._stack.via_for(hop))
        invite.body = b"" if proposal.session is None else bytes(proposal.session)
        invite.headers |= self._proposing(dialog, invite.body)
        # A peer that says Trying for ever is as gone as one that says nothing.
        proposal.patience = self._stack.timers.after(2 * LIFETIME, partial(self._give_up_on, proposal, dialog))
        self._send_invite(proposal, dialog, invite, hop, 1)

    def _send_invite(self, proposal: Proposal, dialog: Dialog, invite: Request, hop: Hop, tries: int) -> None:
        heard = partial(self._invite_heard, proposal, dialog, invite, hop, tries)
        proposal.transaction = self._stack.transactions.request(invite, hop, heard)

    def _invite_heard(
        self, proposal: Proposal, dialog: Dialog, invite: Request, hop: Hop, tries: int, response: Response | None
    ) -> None:
        if response is not None and response.status < 200:
            return
        if response is not None and response.status < 300:
            if proposal.ack is None:
                proposal.ack = self._acknowledgement(dialog, invite, response)
            self._stack.transactions.send(*proposal.ack)
        elif response is not None and tries and not self.ended.done():
            again = self._authorized(invite, response, dialog)
            if again is not None:
                self._send_invite(proposal, dialog, again, hop, tries - 1)
                return
        if not proposal.answered.done():
            self._concluded(proposal, dialog, response)

    def _acknowledgement(self, dialog: Dialog, invite: Request, response: Response) -> tuple[bytes, Hop]:
        """Return the ACK of a 2xx, to the target that it names (RFC 3261 section 13.2.2.4)."""
        self._refresh_target(dialog, response)
        hop = dialog.hop()
        ack = dialog.request("ACK", self._stack.via_for(hop), sequence=invite.sequence)
        for name in ("Authorization", "Proxy-Authorization"):
            if name in invite.headers:
                ack.headers[name] = invite.headers[name]
        return bytes(ack), hop

    def _give_up_on(self, proposal: Proposal, dialog: Dialog) -> None:
        if proposal.transaction is not None:
            proposal.transaction.abandon()
        if not proposal.answered.done():
            self._concluded(proposal, dialog, None)

    # Both

    def _refresh_target(self, dialog: Dialog, response: Response) -> None:
        try:
            dialog.refresh(response, dialog.fallback)
        except ProtocolError:
            return  # the old target stands

    def _concluded(self, proposal: Proposal, dialog: Dialog, response: Response | None) -> None:
        """Take the final response, whoever still waits for it."""
        self._proposed = False
        if proposal.patience is not None:
            proposal.patience.cancel()
        if response is not None and response.status < 300:
            self._learn(response)
            self._refresh_target(dialog, response)
            if self._established and not self.ended.done():
                self._hold_to(session_timer.terms_of_response(response, self._stack.session_seconds))
            if proposal.session is not None:
                before, proposal.answer = self.remote, self._agreed(proposal.session, response)
                proposal.news = proposal.answer != before
        proposal.answered.set_result(response)
        self._calmed()

    def _agreed(self, offer: Session, response: Response) -> Session | None:
        try:
            answer = Session.parse(response.body)
        except ProtocolError:
            return None
        self.local, self.remote = offer, answer
        audio = offer.audio
        if audio is not None and audio.direction.sends:
            self._hear_hold(not hears(answer))
        return answer


def _keys(session: Session) -> list[str]:
    """Return the lines of a description that hold keys (RFC 4568)."""
    return [line for media in session.media for line in media.attributes if line.startswith("crypto:")]

"""A call that this side makes (RFC 3261 section 13.2)."""

import asyncio
from collections.abc import Callable, Sequence

from media.errors import ProtocolError
from media.sdp import Session
from media.sip import session_timer
from media.sip.capability import ALLOW, SDP_TYPE, SUPPORTED_VALUE
from media.sip.dialog import Dialog
from media.sip.digest import Login
from media.sip.early import Early, Forks
from media.sip.hop import Hop
from media.sip.leg import Leg
from media.sip.message import Headers, Request, Response
from media.sip.multipart import Part, mixed
from media.sip.participant import Stack
from media.sip.reliable import Rack, parse_rseq, requires
from media.sip.status import Cause, cause_of
from media.sip.timer import Timer
from media.sip.transaction import LIFETIME, ClientTransaction

_TRIES = 2
"Challenges answered in a row: a proxy's and the peer's own."

Progress = Callable[[int, Session | None], None]
"Hears each provisional status, and the session of early audio where one came with it."


class Outgoing(Leg):
    """A call that this side makes, from its INVITE on.

    Each phone behind a fork has a dialog of its own until the first of them answers.

    `answered` comes true with the peer's session, or with None when the call ended without one; `ended` says why.
    """

    owns_call_id = True

    def __init__(
        self,
        stack: Stack,
        uri: str,
        headers: Headers,
        offer: Session,
        *,
        login: Login | None = None,
        ring_seconds: float,
        hidden: bool = False,
        parts: Sequence[Part] = (),
    ) -> None:
        """Take what the INVITE will say; `headers` hold From with its tag, To, Call-ID and Max-Forwards.

        `parts` stand in its body behind the offer.
        """
        super().__init__(stack)
        self.answered: asyncio.Future[Session | None] = asyncio.get_running_loop().create_future()
        self.call_id = headers["Call-ID"][0]
        self.status = 0
        "The latest status the peer gave to the INVITE that is out; 0 before any."

        self.on_progress: Progress | None = None
        self.local = offer
        self._uri = uri
        self._headers = headers
        self._login = login
        self._hidden = hidden
        self._parts = tuple(parts)
        self._hop = Hop("", 0)
        self._offer = offer
        self._proposed = True
        self._forks = Forks()
        self._invite: Request | None = None
        self._transaction: ClientTransaction | None = None
        self._acks: dict[str, tuple[bytes, Hop]] = {}
        "The ACK of each 2xx by the tag of its To: forks answer with several."
        self._tries = _TRIES
        self._heard = False
        "Whether this INVITE has had a provisional response: no CANCEL may go out before (RFC 3261 section 9.1)."
        self._cancel_sent = False
        self._patience: Timer | None = stack.timers.after(ring_seconds, self._unanswered)

    @property
    def silence(self) -> float:
        """For how many seconds the peer could have answered the INVITE that is out, and said nothing at all."""
        return self._transaction.silence if self._transaction is not None and not self.status else 0.0

    def start(self, hop: Hop) -> None:
        """Send the INVITE, unless the call was withdrawn meanwhile."""
        if self.ended.done():
            return
        self._hop = hop
        headers: Headers = {"Via": [self._stack.via_for(hop)]}
        headers |= self._headers
        contact = self._stack.contact_for(hop, secure=self._uri.startswith("sips:"))
        headers |= {"CSeq": ["1 INVITE"], "Contact": [contact], "Allow": [ALLOW]}
        headers["Supported"] = [SUPPORTED_VALUE]
        headers |= session_timer.headers_of_request(self._stack.session_seconds, None, self._least)
        offer = Part(SDP_TYPE, bytes(self.local) if self.local is not None else b"")
        content_type, body = mixed([offer, *self._parts])
        headers["Content-Type"] = [content_type]
        self._send(Request("INVITE", self._uri, headers, body))

    def fail(self, cause: Cause) -> None:
        """End a call that cannot be signalled any further."""
        self._finish(cause)
        self._leave()

    def cancel(self) -> None:
        """Stop ringing; a call that is answered is hung up."""
        self.bye()

    def receive(self, request: Request, source: Hop) -> None:
        """Take a request inside the dialog; who is called says no BYE before it answers (RFC 3261 section 15).

        Raises:
            ProtocolError: a field that this method needs cannot be read.
        """
        if request.method == "BYE" and self._dialog is None:
            self._stack.transactions.serve(request).respond(request.respond(481))
        else:
            super().receive(request, source)

    def bye(self) -> None:
        """Hang up, or withdraw what was not answered; harmless when the call is over."""
        if self.ended.done():
            return
        if self._dialog is None:
            self._withdraw(Cause.CANCELLED)
        else:
            self._send_bye(Cause.CLOSED)

    def _unanswered(self) -> None:
        self._withdraw(Cause.NO_ANSWER)

    def _send(self, invite: Request) -> None:
        self._invite = invite
        self._heard = False
        self.status = 0
        self._transaction = self._stack.transactions.request(invite, self._hop, self._on_response)

    def _on_response(self, response: Response | None) -> None:
        if response is None:
            self._finish(Cause.UNREACHABLE)
            self._leave()
            return
        self.status = response.status
        if response.status < 200:
            self._progressed(response)
        elif response.status < 300:
            self._accepted(response)
        else:
            self._refused(response)

    def _progressed(self, response: Response) -> None:
        self._heard = True
        if self.ended.done():
            self._send_cancel()
            return
        session, early = _session_of(response), self._early_of(response)
        if requires(response):
            if early is None or not self._takes(response, early, session):
                return
            session = early.remote
        if self.on_progress is not None:
            self.on_progress(response.status, session)

    # Early dialogs (RFC 3261 section 12.1.2)

    def _early_of(self, response: Response) -> Early | None:
        """Return the early dialog that a provisional response belongs to, opened by it where there is none yet."""
        invite, tag = self._invite, response.to_tag
        early = self._forks.get(tag)
        if early is not None or invite is None or not tag or response.status == 100:
            return early
        try:
            dialog = Dialog.of_response(invite, response, self._hop)
        except ProtocolError:
            return None  # it rings, and cannot be spoken to yet
        dialog.hidden = self._hidden
        self._stack.legs[dialog.key] = self
        self._learn(response)
        early = self._forks.add(tag, dialog)
        self._weigh()
        return early

    def _takes(self, response: Response, early: Early, session: Session | None) -> bool:
        """Acknowledge a reliable response by PRACK; False for a copy, and one out of order (RFC 3262 section 4)."""
        number = parse_rseq(response.get("RSeq") or "")
        if not early.order.takes(number):
            return False
        if early.remote is None and session is not None:
            early.remote = self.remote = session
            self._weigh()
        self._ask("PRACK", _disregard, {"RAck": [str(Rack(number, response.sequence, "INVITE"))]}, dialog=early.dialog)
        return True

    def _weigh(self) -> None:
        """Count our offer as answered once the only phone that rings has done so."""
        only = self._forks.only()
        self._proposed = only is None or only.remote is None

    def _dialog_of(self, request: Request) -> Dialog | None:
        early = self._forks.get(request.from_tag) if self._dialog is None else None
        return self._dialog if early is None else early.dialog

    def _dialog_now(self) -> Dialog | None:
        only = self._forks.only()
        return self._dialog if self._dialog is not None or only is None else only.dialog

    def _is_early_session(self, _request: Request) -> bool:
        return self._may_update()

    def _may_update(self) -> bool:
        only = self._forks.only()
        return only is not None and only.remote is not None

    # The end of the INVITE

    def _refused(self, response: Response) -> None:
        invite = self._invite
        if invite is not None and not self.ended.done():
            again = self._anew(invite, response)
            if again is not None:
                self._forget_forks()
                self._send(again)
                return
        self._finish(cause_of(response.status))
        self._leave()

    def _anew(self, invite: Request, response: Response) -> Request | None:
        """Return the INVITE as the peer wants it: with our login, or with a longer session (RFC 4028 section 7.3)."""
        if response.status == 422:
            least = session_timer.minimum_of(response)
            if least <= self._least:
                return None
            self._least = least
            longer = session_timer.headers_of_request(self._stack.session_seconds, None, least)
            headers = {**invite.headers, **longer, "CSeq": [f"{invite.sequence + 1} INVITE"]}
            headers["Via"] = [self._stack.via_for(self._hop)]
            return Request("INVITE", invite.uri, headers, invite.body)
        if not self._tries:
            return None
        self._tries -= 1
        return self._authorized(invite, response)

    def _accepted(self, response: Response) -> None:
        """Acknowledge a 2xx; keep the first dialog, hang up on any other (RFC 3261 section 13.2.2.4)."""
        known = self._acks.get(response.to_tag)
        if known is not None:
            self._stack.transactions.send(*known)
            return
        invite = self._invite
        if invite is None:
            return
        try:
            dialog = Dialog.of_response(invite, response, self._hop)
        except ProtocolError:
            # Without a Contact or a way there is nowhere to send the ACK; the peer gives up when none comes.
            self.fail(Cause.FAILED)
            return
        dialog.hidden = self._hidden
        early = self._forks.get(response.to_tag)
        if early is not None:
            dialog.sequence, dialog.remote_sequence = early.dialog.sequence, early.dialog.remote_sequence
        self._acknowledge(dialog, invite, response.to_tag)
        if self._dialog is not None:
            hop = dialog.hop()
            bye = dialog.request("BYE", self._stack.via_for(hop))
            self._stack.transactions.request(bye, hop, _disregard)
            return
        session = self._agreed_early(early) or _session_of(response)
        self._drop_forks()
        self._dialog = dialog
        self._stack.legs[dialog.key] = self
        self._established, self._proposed = True, False
        self._learn(response)
        if self.ended.done():
            # The answer crossed our CANCEL.
            self._send_bye(Cause.CANCELLED)
        elif session is None:
            self._send_bye(Cause.UNACCEPTABLE)
        else:
            self._calm()
            self.remote = session
            self._hold_to(session_timer.terms_of_response(response, self._stack.session_seconds))
            self.answered.set_result(session)

    def _agreed_early(self, early: Early | None) -> Session | None:
        """Return what the phone that answers agreed on before; of several only its own counts."""
        if early is None or early.remote is None:
            self.local = self._offer
            return None
        if self._forks.only() is early:
            return self.remote  # an UPDATE may have changed it since
        self.local = self._offer
        return early.remote

    def _drop_forks(self) -> None:
        """Take nothing more from phones that did not answer; what they counted is kept, for a BYE to one that does."""
        for early in self._forks:
            self._stack.legs.pop(early.dialog.key, None)

    def _forget_forks(self) -> None:
        self._drop_forks()
        self._forks = Forks()

    def _acknowledge(self, dialog: Dialog, invite: Request, tag: str) -> None:
        hop = dialog.hop()
        ack = dialog.request("ACK", self._stack.via_for(hop), sequence=invite.sequence)
        for name in ("Authorization", "Proxy-Authorization"):  # RFC 3261 section 13.2.2.4: the same credentials
            if name in invite.headers:
                ack.headers[name] = invite.headers[name]
        self._acks[tag] = bytes(ack), hop
        self._stack.transactions.send(*self._acks[tag])

    def _withdraw(self, cause: Cause) -> None:
        if self.ended.done():
            return
        self._finish(cause)
        if self._transaction is None:
            self._leave()
        elif self._heard:
            self._send_cancel()
        else:
            # The CANCEL has to wait for a response (RFC 3261 section 9.1); nothing more is sent to provoke one.
            self._transaction.rest()

    def _send_cancel(self) -> None:
        invite, transaction = self._invite, self._transaction
        if invite is None or transaction is None or transaction.final or self._cancel_sent:
            return
        self._cancel_sent = True
        headers: Headers = {name: invite.headers[name] for name in ("Via", "From", "To", "Call-ID", "Max-Forwards")}
        headers["CSeq"] = [f"{invite.sequence} CANCEL"]
        if "Route" in invite.headers:
            headers["Route"] = invite.headers["Route"]
        cancel = Request("CANCEL", invite.uri, headers)
        self._stack.transactions.request(cancel, self._hop, _disregard)
        # A peer that answers the CANCEL but never the INVITE is given up (RFC 3261 section 9.1).
        self._patience = self._stack.timers.after(LIFETIME, self._give_up)

    def _give_up(self) -> None:
        if self._transaction is not None and not self._transaction.final:
            self._transaction.abandon()
            self._leave()

    def _calm(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _finish(self, cause: Cause) -> None:
        self._calm()
        super()._finish(cause)
        if not self.answered.done():
            self.answered.set_result(None)

    def _leave(self) -> None:
        self._calm()
        self._drop_forks()
        super()._leave()


def _session_of(response: Response) -> Session | None:
    """Return the session a response carries; None where it has none that can be read."""
    if not response.body or response.content_type != SDP_TYPE:
        return None
    try:
        return Session.parse(response.body)
    except ProtocolError:
        return None


def _disregard(_response: Response | None) -> None:
    """Take a response that changes nothing: the request said all there was to say."""

"""A call that came in (RFC 3261 section 13.3)."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

from hub.rules.attestation import UNSIGNED
from media.errors import ProtocolError
from media.sdp import Session
from media.sip.capability import ALLOW, SDP_TYPE, SUPPORTED_VALUE
from media.sip.dialog import Dialog, new_tag
from media.sip.diversion import Diversion, first_called
from media.sip.header import legible, split_list
from media.sip.hop import Hop
from media.sip.leg import Leg
from media.sip.message import Request, Response
from media.sip.participant import Stack
from media.sip.reliable import Provisionals, Rack, requires
from media.sip.status import Cause
from media.sip.timer import Timer
from media.sip.transaction import ServerTransaction
from media.sip.uri import Address, Uri, parts_of

T = TypeVar("T")

REMIND_SECONDS = 60
"A provisional response is repeated this often, or proxies give the call up (RFC 3261 section 13.3.1.1)."


@dataclass(frozen=True, slots=True)
class Caller:
    """Who an INVITE says is calling."""

    number: str = field(repr=False)
    "Digits, with + where global; empty where it is withheld or no number."

    display: str = field(repr=False)

    @classmethod
    def of(cls, request: Request) -> "Caller":
        """Read the caller of an INVITE that came over a trunk, which vouches for P-Asserted-Identity (RFC 3325).

        Raises:
            ProtocolError: a quote or an angle bracket in From is not closed.
        """
        display, uri, _ = parts_of(request.headers["From"][0])
        number = next((said.number for said in _each(Uri.parse, [uri])), "")
        private = {word.strip().lower() for word in (request.get("Privacy") or "").split(";")}
        if not private & {"id", "user", "header"}:
            values = chain.from_iterable(_each(split_list, request.headers.get("P-Asserted-Identity", [])))
            for asserted in _each(Address.parse, values):
                if asserted.uri.number:
                    return cls(asserted.uri.number, legible(asserted.display or display))
        return cls(number, legible(display))


class Incoming(Leg):
    """A call that came in, from its INVITE on.

    `ring`, `answer` and `reject` do nothing once the caller is gone: its CANCEL may cross them.
    """

    attestation = UNSIGNED
    "What the caller's carrier answers for; set by whoever checks it, for a trunk's call."

    _answer: Session | None = None
    "What it is answered with, from the moment that this is decided."

    _early: Session | None = None
    "What early audio went out with, reliably."

    def __init__(
        self,
        stack: Stack,
        request: Request,
        source: Hop,
        *,
        trunk: str,
        extension: str,
        offer: Session | None,
        replaces: Leg | None = None,
    ) -> None:
        """Take an INVITE that was let in, and say Trying.

        Raises:
            ProtocolError: Contact, Record-Route, From or the Request-URI cannot be read.
        """
        super().__init__(stack)
        self.acked: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        "True when the ACK of the answer came, False when the call ended without one."

        self.trunk = trunk
        "Name of the trunk; empty for an extension's call."

        self.extension = extension
        "Who proved to be calling; empty for a trunk's call."

        self.offer = offer
        "What the caller offers; None where the answer is to make the offer."

        self.source = source
        "Where its INVITE came from."

        self.replaces = replaces
        "The leg whose place it takes (RFC 3891); whoever answers it hangs that one up."

        self._read(request)
        self._learn(request)
        dialog = Dialog.of_request(request, new_tag(), source)
        self._dialog = dialog
        self._ringing: Response | None = None
        self._reminder: Timer | None = None
        self._owes_bye = False
        self._server = stack.transactions.serve_invite(request)
        self._server.tag = dialog.local_tag
        self._server.on_cancel = self._cancelled
        self._reliable = Provisionals(self._server, stack.timers, self._unheard) if requires(request) else None
        stack.legs[dialog.key] = self
        self._server.respond(request.respond(100))

    def _read(self, request: Request) -> None:
        """Read what the INVITE says.

        Raises:
            ProtocolError: From is not closed, or the Request-URI cannot be read.
        """
        self.request = request
        self.call_id = request.call_id
        caller = Caller(self.extension, "") if self.extension else Caller.of(request)
        self.from_number = caller.number
        self.display_name = caller.display
        dialled = request.target
        self.to_number = dialled.number or legible(dialled.user) or next(_users(request.headers["To"]), "")
        self.max_forwards = request.max_forwards
        self.remote = self.offer

    @property
    def called(self) -> list[str]:
        """Every number that the request names as the one called, the likeliest first.

        A carrier that we are registered with addresses our account, and says elsewhere which number was dialled
        (RFC 7315 section 5.2).
        """
        headers = self.request.headers
        return [self.to_number, *_users([*headers.get("P-Called-Party-ID", []), *headers["To"]])]

    @property
    def diversion(self) -> Diversion | None:
        """Whom a trunk's call was first meant for; None where nobody sent it on to us."""
        return first_called(self.request) if self.trunk else None

    @property
    def provenance(self) -> dict[str, str]:
        """What the record keeps of where a call comes from, beside the caller's number (hub.record.call.ring)."""
        first = self.diversion
        told = {} if first is None else {"first_called": first.number, "first_reason": first.reason}
        return {"attestation": str(self.attestation), **told}

    @property
    def answered(self) -> bool:
        """Whether this side has answered."""
        return self._answer is not None

    def ring(self, early: Session | None = None) -> None:
        """Say that it rings; with `early`, that audio comes before the answer (183).

        A caller who requires it hears so reliably (RFC 3262); it then is told nothing without `early` where its INVITE
        holds no offer, since the first reliable response has to make one (section 5).
        """
        if self.answered or self.ended.done():
            return
        if self._reliable is not None and self.offer is None and early is None and self._early is None:
            return
        body = bytes(early) if early is not None else b""
        headers = self._headers() | ({"Content-Type": [SDP_TYPE]} if body else {})
        self._ringing = self._provisional(183 if body else 180, headers, body)
        if self._reliable is not None:
            self._early = early or self._early
        if self._reminder is None:
            self._reminder = self._stack.timers.after(REMIND_SECONDS, self._remind)

    def answer(self, session: Session) -> bool:
        """Answer with `session`; False when the caller is gone or was answered before.

        The answer waits until the caller has acknowledged early audio that it wanted reliably (RFC 3262 section 3).
        """
        if self.answered or self.ended.done():
            return False
        self._answer = session
        self._calm()
        if self._reliable is not None and self._reliable.open:
            self._reliable.on_clear = self._answer_now
        else:
            self._answer_now()
        return True

    def _answer_now(self) -> None:
        if self._reliable is not None:
            self._reliable.answered()
        if self._answer is not None and not self.ended.done():
            self._proposed = self.offer is None and self.remote is None
            self._accept(self._server, self._answer, self.source, self._confirmed)

    def reject(self, status: int = 486, reason: str = "", headers: Mapping[str, list[str]] | None = None) -> None:
        """Refuse the call with a status of 300 to 699."""
        if not self.answered and not self.ended.done():
            self._refuse(status, reason, headers, Cause.CLOSED)

    def bye(self) -> None:
        """Hang up, or refuse what was not answered; harmless when the call is over."""
        if self.ended.done():
            return
        if not self.answered:
            self.reject(480)
        elif not self._established:
            self._refuse(480, "", None, Cause.CLOSED)  # the answer still waits for a PRACK
        elif self.acked.done():
            self._send_bye(Cause.CLOSED)
        else:
            # A called side sends no BYE before the ACK of its answer (RFC 3261 section 15): it goes out then.
            self._owes_bye = True
            self._finish(Cause.CLOSED)

    def _headers(self) -> dict[str, list[str]]:
        contact = [self._contact(self.source)]
        return {"Contact": contact, "Allow": [ALLOW], "Supported": [SUPPORTED_VALUE]}

    def _provisional(self, status: int, headers: Mapping[str, list[str]], body: bytes) -> Response:
        response = self.request.respond(status, to_tag=self._server.tag, headers=headers, body=body)
        if self._reliable is not None:
            self._reliable.send(response)
        else:
            self._server.respond(response)
        return response

    def _refuse(self, status: int, reason: str, headers: Mapping[str, list[str]] | None, cause: Cause) -> None:
        self._calm()
        if self._reliable is not None:
            self._reliable.stop()
        self._server.respond(self.request.respond(status, reason, to_tag=self._server.tag, headers=headers))
        self._finish(cause)
        self._leave()

    def _remind(self) -> None:
        if self._ringing is not None:
            if self._reliable is None:
                self._server.respond(self._ringing)
            elif not self._reliable.open:
                self._provisional(180, self._headers(), b"")
            self._reminder = self._stack.timers.after(REMIND_SECONDS, self._remind)

    def _calm(self) -> None:
        """Send no provisional response any more."""
        self._ringing = None
        if self._reminder is not None:
            self._reminder.cancel()

    def _cancelled(self) -> None:
        """The caller hung up before an answer (RFC 3261 section 9.2)."""
        self._refuse(487, "", None, Cause.CANCELLED)

    def _hung_up(self) -> None:
        """The caller sent BYE, which it also may before an answer (RFC 3261 section 15.1.2)."""
        if self._established:
            super()._hung_up()
        elif not self.ended.done():
            self._cancelled()

    def _confirmed(self, ack: Request) -> None:
        self.acked.set_result(True)
        if self._owes_bye:
            self._send_bye(Cause.CLOSED)
        elif self._proposed:
            self._read_answer(ack)

    # Reliable provisional responses (RFC 3262)

    def _unheard(self) -> None:
        """No PRACK came: the call is refused (section 3)."""
        self._refuse(504, "", None, Cause.LOST)

    def _is_early_session(self, _request: Request) -> bool:
        return self._may_update()

    def _may_update(self) -> bool:
        return self._early is not None and self._reliable is not None and not self._reliable.open

    def _pracked(self, server: ServerTransaction) -> None:
        request = server.request
        rack = Rack.parse(request.get("RAck") or "")
        reliable = self._reliable
        if reliable is None or not reliable.acknowledge(rack):
            server.respond(request.respond(481))
        elif not request.body:
            server.respond(request.respond(200))
        elif request.content_type != SDP_TYPE:
            server.respond(request.respond(415, headers={"Accept": [SDP_TYPE]}))
        elif self.offer is None and self.remote is None:
            self._take_early_answer(server)
        else:
            self._renegotiate(server, self.source)
        if reliable is not None:
            if self._early is not None and not reliable.open:
                self.local = self.local or self._early
            reliable.proceed()

    def _take_early_answer(self, server: ServerTransaction) -> None:
        """Take the answer to the offer that a provisional response made (section 5)."""
        try:
            self.remote = Session.parse(server.request.body)
        except ProtocolError:
            server.respond(server.request.respond(488))
        else:
            server.respond(server.request.respond(200))

    def _lost(self) -> None:
        self._unconfirmed()
        super()._lost()

    def _leave(self) -> None:
        self._unconfirmed()
        if self._reliable is not None:
            self._reliable.stop()
            self._reliable = None
        self._server.on_cancel = None  # the two would keep each other alive until the collector comes
        super()._leave()

    def _unconfirmed(self) -> None:
        if not self.acked.done():
            self.acked.set_result(False)


def _users(values: Iterable[str]) -> Iterator[str]:
    """Yield whom each address names, as a number where it is one."""
    for address in _each(Address.parse, values):
        yield address.uri.number or legible(address.uri.user)


def _each(read: Callable[[str], T], values: Iterable[str]) -> Iterator[T]:
    """Yield what can be read of a field that a call can do without; the rest is ignored (RFC 3261 section 8.2.2)."""
    for value in values:
        with suppress(ProtocolError):
            yield read(value)

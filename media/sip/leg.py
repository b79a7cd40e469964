"""What the two kinds of call leg share: what the peer may ask inside a call, whoever called whom."""

from collections.abc import Callable
from functools import partial

import structlog

from media.errors import CallOverError
from media.sip.answering import Renegotiate
from media.sip.capability import ACCEPT, ALLOW, EVENTS, SDP_TYPE, SUPPORTED_VALUE
from media.sip.dialog import Dialog
from media.sip.hop import Hop
from media.sip.keypress import RECORDING_TYPE, TYPES, key_of, recording_asked
from media.sip.message import Headers, Request, Response
from media.sip.offering import Offering
from media.sip.participant import Acceptance, Stack
from media.sip.referral import EVENT, Event, Replaces
from media.sip.transaction import InviteServer, ServerTransaction
from media.sip.transfer import LASTS_S, OnRefer, Refer, Referral, refer_headers, replaced_by
from media.sip.uri import Address, Uri

__all__ = ["ALLOW", "SDP_TYPE", "Acceptance", "Leg", "Renegotiate", "Stack"]

log = structlog.get_logger()


class Leg(Offering):
    """One call leg.

    `ended` comes true once, with the cause, as soon as nothing more can be heard on it; a BYE that is still on its
    way then is this class's own business, and `gone` comes true when that is over too.
    """

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack)
        self.on_refer: OnRefer | None = None
        "Carries out a transfer that the peer asks for, and tells it how that goes; without it transfers are declined."

        self.on_digit: Callable[[str], None] | None = None
        "Hears each key that the peer presses by INFO."

        self.on_record: Callable[[bool], bool] | None = None
        "Hears that the peer wants the call recorded or not, and tells whether that is done; without it it never is."

        self.broken = ""
        "Why this side hung up without anybody having wanted that, as `media.calls.rescue` says it; else empty."

        self.follows_recording = False
        "Whether the peer wants to be told how the call is recorded."

        self.on_follow: Callable[[], None] | None = None
        "Hears that it wants so from now on."

        self.on_info: Callable[[str, bytes], bool] | None = None
        "Hears type and body of an INFO that is no key, and tells whether it was understood; without it none is."

        self._refers: list[Refer] = []
        self._referrals: list[Referral] = []

    def receive(self, request: Request, source: Hop) -> None:
        """Take a request inside the dialog other than ACK and CANCEL.

        Raises:
            ProtocolError: a field that this method needs cannot be read.
        """
        server = self._stack.transactions.serve(request)
        dialog = self._dialog_of(request)
        if dialog is None or not dialog.in_order(request):
            server.respond(request.respond(500, "Out Of Order"))  # RFC 3261 section 12.2.2
            return
        self._learn(request)
        if request.method == "BYE":
            if self._asked is not None:
                self._withdraw_offer(self._asked)
            server.respond(request.respond(200))
            self._hung_up()
        elif isinstance(server, InviteServer):
            self._reinvited(server, source)
        else:
            self._inside(server, source)

    def _inside(self, server: ServerTransaction, source: Hop) -> None:
        """Take what has a meaning of its own inside a call."""
        request = server.request
        match request.method:
            case "UPDATE":
                self._updated(server, source)
            case "PRACK":
                self._pracked(server)
            case "REFER":
                self._referred(server, source)
            case "NOTIFY":
                self._notified(server)
            case "SUBSCRIBE":
                self._subscribed(server, source)
            case "INFO":
                self._pressed(server)
            case "OPTIONS":
                headers = {"Allow": [ALLOW], "Accept": [ACCEPT], "Supported": [SUPPORTED_VALUE]}
                server.respond(request.respond(200, headers=headers))
            case _:
                server.respond(request.respond(405, headers={"Allow": [ALLOW]}))

    def _pracked(self, server: ServerTransaction) -> None:
        """Take a PRACK: only who is called has sent anything that one is for (RFC 3262 section 3)."""
        server.respond(server.request.respond(481))

    @property
    def contact(self) -> str:
        """The URI that the peer says it is reached at; empty before there is a dialog."""
        return "" if self._dialog is None else self._dialog.target

    @property
    def replacement(self) -> Replaces | None:
        """What a call at the peer says to take the place of this one; None before there is a dialog (RFC 3891)."""
        return None if self._dialog is None else replaced_by(self._dialog)

    # Digits by INFO

    def _pressed(self, server: ServerTransaction) -> None:
        request = server.request
        if "Info-Package" in request.headers:
            server.respond(request.respond(469, headers={"Recv-Info": [""]}))  # RFC 6086 section 4.2.2: we take none
        elif (wanted := recording_asked(request)) is not None:
            done = self.on_record is not None and self.on_record(wanted)
            server.respond(request.respond(200 if done else 403))
        elif request.content_type == RECORDING_TYPE and not request.body:
            server.respond(request.respond(200))
            self.follows_recording = True
            if self.on_follow is not None:
                self.on_follow()
        elif not request.body:
            server.respond(request.respond(200))
        elif request.content_type not in TYPES:
            if self.on_info is not None and self.on_info(request.content_type, request.body):
                server.respond(request.respond(200))
                return
            server.respond(request.respond(415, headers={"Accept": [", ".join(TYPES)]}))
        else:
            key = key_of(request.content_type, request.body)
            server.respond(request.respond(200))
            if key and self.on_digit is not None:
                self.on_digit(key)

    def inform(self, kind: str, body: bytes) -> None:
        """Send an INFO, and do not wait for what the peer says to it; nothing is sent outside of a call."""
        if self._dialog is not None and self._established and not self.ended.done():
            self._ask("INFO", _disregard, {"Content-Type": [kind]}, body, self._dialog)

    # The peer transfers (RFC 3515 section 2.4)

    def _referred(self, server: ServerTransaction, source: Hop) -> None:
        request, dialog = server.request, self._dialog
        if self.ended.done() or dialog is None or not self._established:
            server.respond(request.respond(481 if self.ended.done() else 403))
            return
        refer = Refer(request, partial(self._notify, dialog), first=not self._refers)
        if self.on_refer is None or refer.method != "INVITE":
            server.respond(request.respond(603))
        elif any(not each.over for each in self._refers):
            server.respond(request.respond(491))  # one transfer at a time: the first decides where the call goes
        else:
            headers = {"Contact": [self._contact(source)]}
            if refer.silent:
                headers["Refer-Sub"] = ["false"]
            server.respond(request.respond(202, headers=headers))
            self._refers.append(refer)
            refer.progress(100)
            self._stack.spawn(self._transfer(refer, self.on_refer))

    async def _transfer(self, refer: Refer, on_refer: OnRefer) -> None:
        try:
            await on_refer(refer)
        except Exception as error:  # the peer must not wait for ever because the gateway has a fault
            log.error("transfer-fault", kind=type(error).__name__)
        finally:
            refer.progress(500)

    def _notify(self, dialog: Dialog, headers: Headers, body: bytes, told: Callable[[Response | None], None]) -> None:
        contact = {"Contact": [self._contact(dialog.hop())]}
        self._ask("NOTIFY", told, headers | contact, body, dialog)

    def _subscribed(self, server: ServerTransaction, source: Hop) -> None:
        """Take a wish to hear of a transfer for longer, or no more (RFC 6665 section 4.2.1)."""
        request = server.request
        event = Event.parse(request.get("Event") or "")
        open_refers = [refer for refer in self._refers if not refer.over]
        if event.package != EVENT:
            server.respond(request.respond(489, headers={"Allow-Events": [EVENTS]}))
        elif not open_refers:
            server.respond(request.respond(481))
        else:
            ends = (request.get("Expires") or "").strip() == "0"
            headers = {"Expires": ["0" if ends else str(LASTS_S)], "Contact": [self._contact(source)]}
            server.respond(request.respond(200, headers=headers))
            open_refers[0].repeat(last=ends)

    # We transfer

    async def refer(self, target: Uri, *, replaces: Replaces | None = None, referred_by: Address | None = None) -> int:
        """Ask the peer to call `target`, and return what came of it: 200, or the status that its call failed with.

        The call itself goes on until somebody hangs up.

        Raises:
            CallOverError: the call ended before the peer told.
        """
        dialog = self._dialog
        if dialog is None or not self._established or self.ended.done():
            raise CallOverError("there is no call to transfer")
        headers = refer_headers(target, replaces, referred_by, self._contact(dialog.hop()))
        referral = Referral(dialog.sequence + 1)
        self._referrals.append(referral)
        self._ask("REFER", referral.accepted, headers, dialog=dialog)
        timer = self._stack.timers.after(LASTS_S, partial(referral.end, 408))
        try:
            await self._first(referral.result)
        finally:
            timer.cancel()
            self._referrals.remove(referral)
        if not referral.result.done():
            raise CallOverError("the call ended before its peer told of the transfer")
        return referral.result.result()

    def _notified(self, server: ServerTransaction) -> None:
        request = server.request
        event = Event.parse(request.get("Event") or "")
        if event.package != EVENT:
            server.respond(request.respond(489, headers={"Allow-Events": [EVENTS]}))
            return
        wanted = [each for each in self._referrals if event.id in ("", str(each.sequence))]
        if not wanted:
            server.respond(request.respond(481))
            return
        wanted[-1].heard(request)
        server.respond(request.respond(200))

    # The end

    def _wind_up(self) -> None:
        """Tell how open transfers ended before the BYE: afterwards phones know nothing of them any more."""
        for refer in self._refers:
            refer.progress(503)

    def _leave(self) -> None:
        self._refers.clear()  # whoever carries one out may still tell of it; the two would keep each other alive
        super()._leave()


def _disregard(_response: Response | None) -> None:
    """Take a response that changes nothing."""

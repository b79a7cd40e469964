"""Transfers inside a call: the peer asks us to call somebody else, or we ask it (RFC 3515, RFC 4488, RFC 6665)."""

import asyncio
from collections.abc import Awaitable, Callable

from media.errors import ProtocolError
from media.sip.dialog import Dialog
from media.sip.message import Headers, Request, Response
from media.sip.referral import EVENT, FRAGMENT_TYPE, Event, ReferTo, Replaces, Subscription, fragment, parse_fragment
from media.sip.uri import Address, Uri

LASTS_S = 60
"How long a transfer is told of; it rings no longer."

Notify = Callable[[Headers, bytes, Callable[[Response | None], None]], None]
"Sends a NOTIFY in the dialog of the REFER, and tells how it was taken."


class Refer:
    """What a peer asked for by REFER, and how it hears what came of it."""

    def __init__(self, request: Request, notify: Notify, *, first: bool) -> None:
        """Read a REFER; `first` says that there was none before it in its dialog.

        Raises:
            ProtocolError: not exactly one Refer-To, or one that cannot be read.
        """
        asked = request.all("Refer-To")
        if len(asked) != 1:
            raise ProtocolError("not exactly one Refer-To", spec="RFC 3515 section 2.4.2")
        found = ReferTo.parse(asked[0])
        self.target: Uri = found.target
        "Whom to call."

        self.replaces: Replaces | None = found.replaces
        "The call whose place is taken: of who asked, with whom it goes to. None in a blind transfer."

        self.method = found.method
        self.referred_by = _referred_by(request)
        "Who asked, as Referred-By has it (RFC 3892); empty where it says nothing."

        self.silent = (request.get("Refer-Sub") or "").partition(";")[0].strip().lower() == "false"
        "Whether the peer wants to hear nothing (RFC 4488 section 4)."

        self.over = False
        "Whether the end was told."

        self._event = Event(EVENT, "" if first else str(request.sequence))
        self._notify = notify
        self._status = 100

    def progress(self, status: int) -> None:
        """Tell which status the new call has; from 200 on that is the end, and later ones are dropped."""
        if self.over:
            return
        self._status = status
        self.over = status >= 200
        if not self.silent:
            state = Subscription("terminated", reason="noresource") if self.over else Subscription("active", LASTS_S)
            self._tell(state)

    def repeat(self, *, last: bool) -> None:
        """Tell once more how far it is, because the peer subscribes anew; `last` ends the telling."""
        if not self.silent:
            self._tell(Subscription("terminated", reason="timeout") if last else Subscription("active", LASTS_S))
        self.silent = self.silent or last

    def _tell(self, state: Subscription) -> None:
        headers: Headers = {"Event": [str(self._event)], "Subscription-State": [str(state)]}
        headers["Content-Type"] = [FRAGMENT_TYPE]
        self._notify(headers, fragment(self._status), self._told)

    def _told(self, response: Response | None) -> None:
        if response is None or response.status >= 300:
            self.silent = True  # who does not want to hear it is not told again; the call goes on (RFC 5057)


OnRefer = Callable[[Refer], Awaitable[None]]


class Referral:
    """What we asked of a peer by REFER, and what it tells of it."""

    def __init__(self, sequence: int) -> None:
        self.sequence = sequence
        self.status = 100
        "The latest status that was told."

        self.result: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        "The final one."

    def accepted(self, response: Response | None) -> None:
        """Take the response to the REFER itself."""
        if response is None or response.status >= 300:
            self.end(408 if response is None else response.status)
        elif (response.get("Refer-Sub") or "").partition(";")[0].strip().lower() == "false":
            self.end(response.status)  # nothing will be told (RFC 4488 section 4)

    def heard(self, notify: Request) -> None:
        """Take a NOTIFY.

        Raises:
            ProtocolError: Subscription-State or the fragment cannot be read.
        """
        state = Subscription.parse(notify.get("Subscription-State") or "")
        if notify.body:
            self.status = parse_fragment(notify.body)
        if self.status >= 200 or state.state == "terminated":
            self.end(self.status)

    def end(self, status: int) -> None:
        """Let whoever waits know."""
        if not self.result.done():
            self.result.set_result(status)


def refer_headers(target: Uri, replaces: Replaces | None, referred_by: Address | None, contact: str) -> Headers:
    """Return what our REFER says."""
    headers: Headers = {"Refer-To": [str(ReferTo(target, replaces))], "Contact": [contact]}
    if referred_by is not None:
        headers["Referred-By"] = [str(referred_by)]
    return headers


def _referred_by(request: Request) -> str:
    value = request.get("Referred-By")
    if value is None:
        return ""
    Address.parse(value.partition(";")[0] if "<" not in value else value)
    return value


def replaced_by(dialog: Dialog) -> Replaces:
    """Return the Replaces by which another call takes the place of the one that `dialog` is, at the peer."""
    return Replaces(dialog.call_id, dialog.remote_tag, dialog.local_tag)

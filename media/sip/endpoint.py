"""The SIP side of the gateway: trunks and phones call in, calls go out (RFC 3261).

    endpoint = Endpoint([Hop("127.0.0.1", 5060)], credentials=secret_of, trunks=TrunkTable({"carrier": ["192.0.2.7"]}))
    endpoint.on_invite = take_call            # async def take_call(call: Incoming) -> None
    await endpoint.start()
    leg = endpoint.call(endpoint.registrar.contacts("101")[0], offer_audio(local), from_=caller)
    session = await leg.answered              # None: `await leg.ended` says why
    await endpoint.close()

One object is one listening address. Bytes come in through `receive` and leave through a `Transport`; whoever passes
`transport` and `clock` and never calls `start` drives it by hand, timers included (`endpoint.timers.run()`).
An INVITE reaches `on_invite` only from a trunk's address or from a phone that knows its password.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import structlog

from media.errors import ProtocolError
from media.sdp import Session
from media.sip.admission import Door, is_known
from media.sip.client import Client
from media.sip.dialog import is_numeric, new_call_id, new_tag
from media.sip.digest import ALGORITHMS, Algorithm, Authority, Credentials, Login
from media.sip.guard import Guard
from media.sip.hop import Hop
from media.sip.incoming import Incoming
from media.sip.leg import Leg
from media.sip.message import MAX_FORWARDS, Headers, MalformedError, Request, parse
from media.sip.multipart import Part
from media.sip.outgoing import Outgoing
from media.sip.outside import answer_outside, find_replaced, invite_objection, leg_of, objection
from media.sip.participant import Participant, Stack
from media.sip.referral import Replaces
from media.sip.refusal import headless, refusal_of
from media.sip.registrar import Binding, Registrar
from media.sip.session_timer import SECONDS
from media.sip.status import Cause
from media.sip.timer import Timers
from media.sip.transaction import Transactions
from media.sip.transport import Identity, Limits, Transport, Wires, resolve
from media.sip.uri import Address, Uri

RING_SECONDS = 60.0
CLOSE_SECONDS = 3.0
"How long `close` waits for peers to answer its BYEs."


log = structlog.get_logger()


class Endpoint:
    """One SIP address: transactions, registrar, admission, and the legs that come of them."""

    def __init__(
        self,
        listeners: Sequence[Hop],
        *,
        credentials: Callable[[str], Credentials | None],
        trunks: Callable[[str], str | None],
        realm: str = "chartline",
        clock: Callable[[], float] = time.monotonic,
        transports: Sequence[Transport] = (),
        identity: Identity | None = None,
        limits: Limits | None = None,
        advertise: str = "",
        algorithms: Sequence[Algorithm] = ALGORITHMS,
        session_seconds: int = SECONDS,
    ) -> None:
        """Take where to listen and who may call.

        `credentials` finds a phone's secret by its extension, `trunks` a trunk's name by its IP address; both answer
        from memory. `clock` counts seconds and never goes back. `transports` are open already, beside `listeners`; a
        listener for TLS needs an `identity`. `advertise` is the IP address that peers reach this machine at, where it
        is not the one bound. `algorithms` are what phones may prove themselves by,
        `session_seconds` how long a call goes on without a refresh (RFC 4028).

        Raises:
            ValueError: a listener that cannot be: another kind than udp, tcp and tls, or tls without an identity.
        """
        self.on_invite: Callable[[Incoming], Awaitable[None]] | None = None
        self.on_registered: Callable[[str, int], None] | None = None
        "Hears an extension and the seconds it stays registered; 0 when its last phone is gone."

        self.wires = Wires(listeners, transports, clock=clock, identity=identity, limits=limits, advertise=advertise)
        self.timers = Timers(clock, self._wake)
        self.transactions = Transactions(self._send, self.timers, self)
        self.transactions.widen = self._widen
        self.transactions.narrow = self.wires.narrow
        self.registrar = Registrar(self.timers, self._registered, lambda host: trunks(host) is not None)
        self.guard = Guard(clock, lambda host: trunks(host) is not None, partial(is_known, self.wires, self.registrar))
        self._stack = Stack(self.transactions, self.timers, self.wires.address_for, session_seconds)
        self.door = Door(Authority(realm, credentials, clock, algorithms), self.guard, self._stack, self)
        self.client = Client(self._stack)
        self._trunks = trunks
        self._loop: asyncio.AbstractEventLoop | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._outgoing: set[Outgoing] = set()
        self._closing = False
        self._salt = secrets.token_bytes(16)

    # Life

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address is taken or not this machine's.
        """
        self._loop = asyncio.get_running_loop()
        await self.wires.open(self)

    async def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Take no new call, hang up on all, wait at most `seconds` for the peers to say so too, stop listening."""
        self._closing = True
        legs: set[Participant] = {*self._stack.legs.values(), *self._outgoing}
        for leg in legs:
            leg.bye()
        open_legs = [leg.gone for leg in legs if not leg.gone.done()]
        if open_legs:
            await asyncio.wait(open_legs, timeout=seconds)
        tasks = list(self._stack.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._alarm is not None:
            self._alarm.cancel()
        self._loop = None
        await self.wires.close()

    @property
    def listening(self) -> dict[str, Hop]:
        """The addresses that it listens on, by transport."""
        return self.wires.listening

    @property
    def local(self) -> Hop:
        """The first of them; before `start` as it was asked for."""
        return self.wires.local

    @property
    def calls(self) -> int:
        """How many legs are not gone."""
        return sum(not leg.gone.done() for leg in {*self._stack.legs.values(), *self._outgoing})

    # Out

    def call(
        self,
        target: Binding | Uri,
        offer: Session,
        *,
        from_: Address,
        to: Address | None = None,
        headers: Mapping[str, str] | None = None,
        login: Login | None = None,
        ring_seconds: float = RING_SECONDS,
        max_forwards: int = MAX_FORWARDS,
        hop: Hop | None = None,
        parts: Sequence[Part] = (),
        replaces: Replaces | None = None,
    ) -> Outgoing:
        """Call a registered phone or a URI; returns at once.

        A call that came in passes `max_forwards` on less one, so that a loop through us ends. `login` answers a
        trunk that challenges. What cannot be reached ends with `Cause.UNREACHABLE`. `hop` is where the INVITE goes to,
        where that is not what the URI names; `parts` go with the offer. `replaces` names the call at the target whose
        place it takes (RFC 3891 section 4).

        Raises:
            ProtocolError: a line break in one of `headers`.
        """
        uri = replace(target.contact if isinstance(target, Binding) else target, headers="")  # RFC 3261 table 1
        fields: Headers = {"Max-Forwards": [str(max_forwards)]}
        fields["From"] = [str(Address(from_.uri, from_.display, {"tag": new_tag()}))]
        fields["To"] = [str(to or Address(uri))]
        fields["Call-ID"] = [new_call_id()]
        fields |= {name: [value] for name, value in (headers or {}).items()}
        if replaces is not None:
            fields |= {"Replaces": [str(replaces)], "Require": ["replaces"]}
        hidden = isinstance(target, Binding) and target.hidden
        leg = Outgoing(
            self._stack, str(uri), fields, offer, login=login, ring_seconds=ring_seconds, hidden=hidden, parts=parts
        )
        self._outgoing.add(leg)
        leg.gone.add_done_callback(partial(self._forget, leg))
        if hop is None:
            hop = target.hop() if isinstance(target, Binding) else uri.hop
        if self._closing or max_forwards <= 0:
            leg.fail(Cause.FAILED)
        elif is_numeric(hop.host):
            leg.start(hop)
        else:
            self._stack.spawn(self._look_up(leg, hop))
        return leg

    def find_leg(self, replaces: Replaces) -> Leg | None:
        """Return the leg that a Replaces names, as its peer writes it; None where there is no such call."""
        return leg_of(replaces, self._stack.legs)

    def _forget(self, leg: Outgoing, _gone: asyncio.Future[None]) -> None:
        self._outgoing.discard(leg)

    async def _look_up(self, leg: Outgoing, hop: Hop) -> None:
        try:
            leg.start(await resolve(hop))
        except OSError:
            leg.fail(Cause.UNREACHABLE)

    # In

    def receive(self, data: bytes, source: Hop) -> None:
        """Take one message, whatever it is; nothing it holds can raise."""
        if self.guard.bars(source):
            return
        try:
            message = parse(data)
            if isinstance(message, Request):
                message.check()
            self.transactions.receive(message, source)
        except MalformedError as error:
            self._complain(error, source)
        except ProtocolError:
            return  # a response that says not whose it is
        except Exception as error:  # the one place: a fault of ours must not stop the line for everyone
            log.error("sip-fault", kind=type(error).__name__)

    def _complain(self, error: MalformedError, source: Hop) -> None:
        if refusal := refusal_of(error, source, self._tag_of):
            self._send(*refusal)

    def refuse(self, head: bytes, source: Hop, status: int) -> None:
        """Answer a request that was not read to its end, if its header says to whom."""
        if self.guard.bars(source):
            return
        with suppress(ProtocolError):
            self._complain(headless(head, status), source)

    def unsent(self, data: bytes, hop: Hop) -> None:  # noqa: ARG002 - the receiver's signature
        """Learn that a message could not be delivered."""
        self.transactions.unsent(data)

    def closed(self, flow: int) -> None:
        """Learn that a connection is gone: whoever registered over it alone cannot be called."""
        self.registrar.lost(flow)

    def on_ack(self, request: Request) -> None:
        """Take the ACK of a 2xx."""
        leg = self._stack.legs.get((request.call_id, request.to_tag, request.from_tag))
        if leg is not None:
            leg.acknowledge(request)

    def on_request(self, request: Request, source: Hop) -> None:
        """Take a request that no transaction knows."""
        if self.guard.ignores(request, source.host):
            return
        status = 500
        try:
            self._dispatch(request, source)
            return
        except ProtocolError:
            status = 400
        except Exception as error:  # answered, so that no transaction is left without an end
            log.error("sip-fault", kind=type(error).__name__)
        server = self.transactions.server_of(request)
        if server is None:
            self.answer(request, status)
        else:
            server.respond(request.respond(status, to_tag=self._tag(request)))

    def _dispatch(self, request: Request, source: Hop) -> None:
        if request.method == "CANCEL":
            self._cancel(request)
            return
        status, headers = objection(request, merged=self.transactions.merged(request))
        if status:
            self.answer(request, status, headers)
        elif request.to_tag:
            leg = self._stack.legs.get((request.call_id, request.to_tag, request.from_tag))
            if leg is None:
                self.answer(request, 481)
            else:
                leg.receive(request, source)
        elif request.method == "INVITE":
            self._invite(request, source)
        elif request.method == "REGISTER":
            self._register(request, source)
        else:
            self.answer(request, *answer_outside(request))

    def _invite(self, request: Request, source: Hop) -> None:
        if self._closing or self.on_invite is None:
            self.answer(request, 503, {"Retry-After": ["5"]})
            return
        # A phone may share its address with a trunk; where it registered from, it is the phone.
        trunk = "" if self.registrar.holds(source) else self._trunks(source.host) or ""
        proven = not trunk or "Authorization" in request.headers
        extension = self.wires.owner(source)
        if not extension and proven:
            extension = self.door.extension_of(request, source, trunk)
        if not (trunk or extension):
            return
        status, headers = invite_objection(request)
        replaced = None
        if not status:
            status, replaced = find_replaced(request, self._stack.legs)
        if status:
            self.answer(request, status, headers)
            return
        offer = Session.parse(request.body) if request.body else None
        trunk = "" if extension else trunk
        call = Incoming(self._stack, request, source, trunk=trunk, extension=extension, offer=offer, replaces=replaced)
        self._stack.spawn(self._take(self.on_invite, call))

    async def _take(self, on_invite: Callable[[Incoming], Awaitable[None]], call: Incoming) -> None:
        try:
            await on_invite(call)
        except Exception as error:  # the caller must not hang in the air because the gateway has a fault
            log.error("call-fault", kind=type(error).__name__)
            call.reject(500)
            call.bye()

    def _register(self, request: Request, source: Hop) -> None:
        extension = self.wires.owner(source) or self.door.extension_of(request, source)
        if not extension:
            return
        server = self.transactions.serve(request)
        registered = Address.parse(request.headers["To"][0]).uri
        if registered.scheme not in ("sip", "sips"):
            raise ProtocolError("what is registered is no SIP URI")
        if registered.user != extension:
            server.respond(request.respond(403, to_tag=self._tag(request)))
        else:
            response = self.registrar.register(request, extension, source)
            response.headers["To"] = [f"{response.headers['To'][0]};tag={self._tag(request)}"]
            server.respond(response)

    def _cancel(self, request: Request) -> None:
        invite = self.transactions.invite_of(request)
        if invite is None:
            self.answer(request, 481)
            return
        self.transactions.serve(request).respond(request.respond(200, to_tag=invite.tag or self._tag(request)))
        if not invite.final and invite.on_cancel is not None:
            invite.on_cancel()

    def answer(self, request: Request, status: int, headers: Mapping[str, list[str]] | None = None) -> None:
        """Answer without keeping state, so that strangers cannot fill memory (RFC 3261 section 8.2.7)."""
        self.transactions.reply(request, request.respond(status, to_tag=self._tag(request), headers=headers))

    def _tag(self, request: Request) -> str:
        """Return our tag outside a dialog: the same for each copy of a request (RFC 3261 section 8.2.7)."""
        return self._tag_of(request.call_id, request.from_tag, request.get("CSeq"))

    def _tag_of(self, *said: str | None) -> str:
        seed = " ".join(map(str, said)).encode("utf-8", "surrogateescape")
        return hashlib.blake2b(seed, key=self._salt, digest_size=6).hexdigest()

    # Loop and wire

    def _registered(self, extension: str, seconds: int) -> None:
        if self.on_registered is not None:
            self.on_registered(extension, seconds)

    def _send(self, data: bytes, hop: Hop) -> None:
        if hop[3]:
            hop = self.registrar.current(hop)
        if not self.wires.send(data, hop):
            # In a turn of its own: the transaction that sends is not ready to hear of it yet.
            self.timers.after(0, partial(self.transactions.unsent, data))

    def _widen(self, request: Request, hop: Hop) -> Hop | None:
        # A phone that registered over UDP has shown that it listens there, and often sits behind a firewall.
        return None if self.registrar.holds(hop) else self.wires.widen(request, hop)

    def _wake(self, at: float) -> None:
        """Have the loop run the timers at `at`, which is earlier than what it was told before."""
        if self._loop is None:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_later(max(0.0, at - self.timers.clock()), self._run_timers)

    def _run_timers(self) -> None:
        self._alarm = None
        try:
            self.timers.run()
        except Exception as error:  # as in `receive`: one timer's fault must not stop the others
            log.error("sip-fault", kind=type(error).__name__)
        at = self.timers.next_at
        if at is not None:
            self._wake(at)

"""The only way out: a client for one counterparty, one class of data, one purpose, if an agreement lets it.

egress = Egress(practice, instance.db, instance.clock, actor="system:workflows")
async with await egress.open("sms", "message-body", "operations") as http:
    ...

connect = await egress.stream("adt", "appointments", "treatment")  # for what is not HTTP

The client reaches the hosts that the counterparty's settings name, at addresses that were judged once when it first
connected. It follows no redirect and reads no proxy from the environment. Every opening that goes through is in the
audit log, once a minute for the same counterparty, class and purpose; a refusal is, too.
"""

import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import get_args

import httpx
from sqlmodel import Session

from connectors import host
from connectors.transport import TIMEOUT, Origin, origin_of
from hub.db import Clock, Database
from hub.security import intent
from hub.security.address import (
    IP,
    AddressDeniedError,
    DestinationDeniedError,
    EgressDeniedError,
    HostUnknownError,
    Reach,
    Resolve,
    literal_loopback,
    resolved,
    system_resolver,
)
from hub.security.stream import PinnedStreams, clear_origins, stream_origins
from hub.settings import DataClass, Practice
from hub.vault.client import Access

NOTHING = "none"
"The data class of a request that carries nothing about anybody: a check of address and credentials."

WEBHOOK = "webhook"
"What all webhooks are called as counterparty in the audit log."

HTTP = frozenset({"http", "https"})
WEBHOOK_PORTS = frozenset({443, 8443})
WEBHOOK_TIMEOUT = httpx.Timeout(5.0)
WEBHOOK_ANSWER = 1024 * 1024
"Bytes of a webhook's answer that are read at most; nobody looks at them."

_MEMORY = 1024
"Openings remembered at most, for not noting them twice a minute."


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a client may go."""

    origins: frozenset[Origin]
    reach: Reach


class Egress:
    """The gate of one process under one version of the policy; it holds nothing that must be closed.

    `tls` says which authorities are trusted; the well-known ones where it is left out.
    """

    def __init__(
        self,
        practice: Practice,
        database: Database,
        clock: Clock,
        *,
        actor: str = "system:hub",
        resolve: Resolve = system_resolver,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._practice = practice
        self._database = database
        self._clock = clock
        self._actor = actor
        self._resolve = resolve
        self._tls = tls
        self._noted: dict[tuple[str, str, str, str, int], None] = {}

    async def open(self, counterparty: str, data_class: str, purpose: str) -> httpx.AsyncClient:
        """Return a client for the hosts of a connection; the caller closes it.

        Raises:
            EgressDeniedError: no agreement covers it today, or the policy knows no such connection.
            DestinationDeniedError: it would go over a network in clear.
        """
        await self.permit(counterparty, data_class, purpose)
        hosts = frozenset(origin for origin in self._origins(counterparty) if origin[0] in HTTP)
        local = all(literal_loopback(name) for _, name, _ in hosts)
        if not local and any(scheme != "https" for scheme, _, _ in hosts):
            raise DestinationDeniedError("beyond this machine it is https only")
        return self._client(Destination(hosts, Reach.LOOPBACK if local else Reach.PRACTICE))

    async def stream(self, counterparty: str, data_class: str, purpose: str) -> PinnedStreams:
        """Return what opens connections to the addresses of a connection that are not HTTP.

        Raises:
            EgressDeniedError: no agreement covers it today, or the policy knows no such connection.
        """
        await self.permit(counterparty, data_class, purpose)
        connection = self._practice.find_connection(counterparty)
        settings = connection.settings if connection else {}
        return PinnedStreams(stream_origins(settings), clear_origins(settings), self._resolve)

    async def permit(self, counterparty: str, data_class: str, purpose: str) -> None:
        """Return if `data_class` may go to `counterparty`, a connection or a trunk, by whatever way.

        Raises:
            EgressDeniedError: no agreement covers it today, or the policy knows no such counterparty.
        """
        basis = self._basis(counterparty, data_class)
        await self._note("egress.open" if basis else "egress.refused", counterparty, data_class, purpose, basis)
        if basis is None:
            raise EgressDeniedError("no agreement lets this class of data out to this counterparty")

    async def webhook(self, url: str, purpose: str) -> httpx.AsyncClient:
        """Return a client for one of the policy's webhooks, whose payloads hold nothing about anybody.

        It goes to the Internet by HTTPS on port 443 or 8443, or to this machine where the policy says so literally.

        Raises:
            EgressDeniedError: the policy has no such webhook.
            DestinationDeniedError: another scheme or port.
        """
        target = httpx.URL(url)
        if all(webhook.url != url for webhook in self._practice.webhooks):
            raise EgressDeniedError("the policy has no such webhook")
        local = literal_loopback(target.host)
        if target.userinfo or (not local and (target.scheme != "https" or (target.port or 443) not in WEBHOOK_PORTS)):
            raise DestinationDeniedError("a webhook is https on port 443 or 8443")
        await self._note("egress.open", WEBHOOK, NOTHING, purpose, "no-phi")
        reach = Reach.LOOPBACK if local else Reach.WORLD
        destination = Destination(frozenset({origin_of(target)}), reach)
        return self._client(destination, timeout=WEBHOOK_TIMEOUT, largest=WEBHOOK_ANSWER)

    def _client(
        self, destination: Destination, *, timeout: httpx.Timeout = TIMEOUT, largest: int | None = None
    ) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=PinnedTransport(destination, self._resolve, tls=self._tls, largest=largest),
            timeout=timeout,
            follow_redirects=False,
            trust_env=False,
        )

    def _basis(self, counterparty: str, data_class: str) -> str | None:
        """Return why it may go out, as a code, or None."""
        hosts = self._hosts(counterparty)
        if not hosts:
            return None
        if all(literal_loopback(host) for host in hosts):
            return "loopback"
        if data_class == NOTHING:
            return "no-phi"
        today = self._clock().astimezone(self._practice.practice.zone).date()
        for agreement in self._practice.agreements:
            in_force = agreement.expires is None or today <= agreement.expires
            if agreement.counterparty == counterparty and data_class in agreement.data and in_force:
                return str(agreement.basis)
        return None

    def _hosts(self, counterparty: str) -> frozenset[str]:
        """Return where a connection or a trunk is, as the policy writes it."""
        trunk = [host for one in self._practice.trunks if one.name == counterparty for host in one.hosts]
        return frozenset(trunk) or frozenset(name for _, name, _ in self._origins(counterparty))

    def _origins(self, counterparty: str) -> frozenset[Origin]:
        connection = self._practice.find_connection(counterparty)
        return host.addresses(connection.connector, connection.settings) if connection else frozenset()

    async def _note(self, act: str, counterparty: str, data_class: str, purpose: str, basis: str | None) -> None:
        """Leave an audit intent, unless the same was noted in this minute."""
        minute = int(self._clock().timestamp() // 60)
        known = {
            WEBHOOK,
            *(one.name for one in self._practice.connections),
            *(one.name for one in self._practice.trunks),
        }
        counterparty = counterparty if counterparty in known else "unknown"
        key = (act, counterparty, data_class, purpose, minute)
        if key in self._noted:
            return
        who = Access(self._actor, "system", purpose)
        detail: Mapping[str, str | int] = {
            "counterparty": counterparty,
            "data": _known(data_class),
            "basis": basis or "none",
        }

        def note(db: Session) -> None:
            intent.note(db, who, act, (), detail, at=self._clock())

        await self._database.run(note, write=True)
        while len(self._noted) >= _MEMORY:
            del self._noted[next(iter(self._noted))]
        self._noted[key] = None


class PinnedTransport(httpx.AsyncBaseTransport):
    """Connects to judged addresses of the destination's hosts only; a name is resolved once in its life."""

    def __init__(
        self,
        destination: Destination,
        resolve: Resolve,
        *,
        tls: ssl.SSLContext | None = None,
        largest: int | None = None,
    ) -> None:
        self._destination = destination
        self._resolve = resolve
        self._tls = tls or _well_known()
        self._largest = largest
        self._addresses: dict[Origin, list[IP]] = {}
        self._transports: dict[Origin, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request to the address that its host had when it was first asked for.

        Raises:
            DestinationDeniedError: another host, scheme or port than this client is for.
            AddressDeniedError: the name leads where this client may not go.
            httpx.ConnectError: it leads nowhere.
        """
        origin = origin_of(request.url)
        if origin not in self._destination.origins:
            raise DestinationDeniedError("the client was opened for another host")
        *others, last = await self._judged(origin)
        for address in others:
            try:
                return await self._send(request, origin, address)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue  # nothing was sent, and the host has another address
        return await self._send(request, origin, last)

    async def _judged(self, origin: Origin) -> list[IP]:
        if origin not in self._addresses:
            _, host, port = origin
            try:
                found = await resolved(host, port, self._destination.reach, self._resolve)
            except HostUnknownError:
                raise httpx.ConnectError("the host has no address") from None
            if origin not in self._addresses:  # another request may have come to know it meanwhile
                self._addresses[origin] = found
                self._transports[origin] = httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False)
        return self._addresses[origin]

    async def _send(self, request: httpx.Request, origin: Origin, address: IP) -> httpx.Response:
        # Host and SNI stay the name, and the certificate is checked against it; only the connection takes the address.
        answer = await self._transports[origin].handle_async_request(
            httpx.Request(
                request.method,
                request.url.copy_with(host=str(address)),
                headers=request.headers,
                stream=request.stream,
                extensions=dict(request.extensions) | {"sni_hostname": origin[1]},
            )
        )
        if self._largest is not None and isinstance(answer.stream, httpx.AsyncByteStream):
            answer.stream = _Bounded(answer.stream, self._largest)
        return answer

    async def aclose(self) -> None:
        """Close every connection."""
        for transport in self._transports.values():
            await transport.aclose()


class _Bounded(httpx.AsyncByteStream):
    """An answer that ends with an error where it grows too long."""

    def __init__(self, inner: httpx.AsyncByteStream, largest: int) -> None:
        self._inner = inner
        self._left = largest

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._inner:
            self._left -= len(piece)
            if self._left < 0:
                raise httpx.ReadError("the answer is too long")
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()


@cache
def _well_known() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


def _known(data_class: str) -> str:
    """Return a data class that exists: the name goes to the audit log and into messages."""
    return data_class if data_class in {*get_args(DataClass), NOTHING} else "unknown"


__all__ = [
    "NOTHING",
    "AddressDeniedError",
    "DestinationDeniedError",
    "Egress",
    "EgressDeniedError",
    "PinnedTransport",
]

"""Where each extension's phones are (RFC 3261 section 10.3); kept in memory, `restore` brings back what was written."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv6Address, ip_address

from media.errors import ProtocolError
from media.sip.dialog import is_hidden, is_numeric, reach
from media.sip.header import legible
from media.sip.hop import Hop
from media.sip.message import Request, Response
from media.sip.timer import Timer, Timers
from media.sip.uri import Address, Uri

MIN_SECONDS = 60
"Shorter registrations are refused with 423 (RFC 3261 section 10.3)."

MAX_SECONDS = 3600
_REMEMBERED = 4096
"Connections that phones had before."

MAX_CONTACTS = 10
"Phones of one extension at a time."


@dataclass(frozen=True, slots=True)
class Binding:
    """One phone of an extension."""

    contact: Uri
    source: Hop
    "The address its REGISTER really came from."

    hidden: bool
    "True where the contact is an address behind NAT: calls go to `source`."

    preference: float
    "0 to 1: phones with more are rung first (RFC 3261 section 20.10)."

    expires_at: float
    "Seconds on the endpoint's clock."

    call_id: str
    sequence: int

    lost: bool = False
    "True where the only connection to it is gone: it is kept for the phone to come back to, and not called."

    @property
    def bound(self) -> bool:
        """Whether only the connection that it registered over leads to it, not its address."""
        source = self.source
        tied = self.hidden or source.transport in ("tls", "ws") or not is_numeric(self.contact.hop.host)
        return source.reliable and tied

    def hop(self) -> Hop:
        """Return where a call to this phone is sent."""
        return self.source if self.hidden else reach(self.contact, self.source)


class Registrar:
    """The phones of all extensions.

    `on_change` hears an extension and the seconds that it stays registered, 0 when its last phone is gone. `carrier`
    tells whether an IP address is a trunk's: a phone that named one as its own would have the calls for it go out
    to whatever number it likes. DNS may make an address a carrier's later, so each call asks again.
    """

    def __init__(
        self,
        timers: Timers,
        on_change: Callable[[str, int], None],
        carrier: Callable[[str], bool] = lambda _host: False,
    ) -> None:
        self.servers: Callable[[str], bool] = lambda _host: False
        "Tells whether calls to the outside go to an IP address."

        self._timers = timers
        self._on_change = on_change
        self._carrier = carrier
        self._bindings: dict[str, dict[str, tuple[Binding, Timer]]] = {}
        self._sources: Counter[Hop] = Counter()
        self._moved: dict[int, int] = {}
        "The connection that a phone has now, by one that it had before."

    def contacts(self, extension: str) -> list[Binding]:
        """Return the phones of an extension that can be called, the preferred and then the latest first."""
        present = [binding for binding, _ in self._bindings.get(extension, {}).values()]
        found = [binding for binding in present if not binding.lost and not self._leads_out(binding)]
        return sorted(found, key=lambda binding: (binding.preference, binding.expires_at), reverse=True)

    def bindings(self, extension: str) -> Mapping[str, Binding]:
        """Return the phones of an extension by what tells them apart."""
        return {key: binding for key, (binding, _) in self._bindings.get(extension, {}).items()}

    def left(self, binding: Binding) -> float:
        """Return for how many seconds a phone stays registered."""
        return max(0.0, binding.expires_at - self._timers.clock())

    def restore(self, extension: str, key: str, seconds: float, binding: Binding) -> None:
        """Take up a phone that registered with a predecessor and stays for `seconds`; nobody is told of it.

        A connection ended with that predecessor: who can be reached over it alone is called when it is back, and so is
        who named no transport, and would now be called over another than it registered over.
        """
        self._remove(extension, key)
        at = self._timers.clock() + seconds
        binding = replace(binding, expires_at=at, source=binding.source._replace(flow=0))
        source, silent = binding.source, "transport" not in binding.contact.params
        elsewhere = source.reliable and silent and binding.hop().transport != source.transport
        self._keep(extension, key, seconds, replace(binding, lost=binding.bound or elsewhere))

    def holds(self, source: Hop) -> bool:
        """Tell whether a phone is registered from this address."""
        return self._sources[source] > 0

    def current(self, hop: Hop) -> Hop:
        """Return the hop over the connection that its phone has now, if it has registered anew over another.

        Calls go on over it that were made over the one before (RFC 5626 section 5.3).
        """
        flow = hop.flow
        while flow in self._moved:
            flow = self._moved[flow]
        return hop if flow == hop.flow else hop._replace(flow=flow)

    def lost(self, flow: int) -> None:
        """Learn that a connection is gone: phones that nothing else leads to are called no more."""
        for extension, present in self._bindings.items():
            changed = False
            for key, (binding, timer) in present.items():
                if binding.source.flow == flow and not binding.lost and binding.bound:
                    present[key] = replace(binding, lost=True), timer
                    changed = True
            if changed:
                self._on_change(extension, self._seconds(extension))

    def drop(self, extension: str) -> None:
        """Forget all phones of an extension: its credentials were withdrawn."""
        for key in list(self._bindings.get(extension, {})):
            self._remove(extension, key)
        self._on_change(extension, 0)

    def register(self, request: Request, extension: str, source: Hop) -> Response:
        """Carry out the REGISTER of a phone that proved to be `extension`; all of it or nothing.

        Raises:
            ProtocolError: a Contact that cannot be read.
        """
        values = request.all("Contact")
        if not values:
            return self._listed(request, extension)
        if "*" in values:
            if len(values) > 1 or request.get("Expires") != "0":
                return request.respond(400)
            return self._cleared(request, extension)
        changes = [self._change(request, value, source) for value in values]
        if any(0 < seconds < MIN_SECONDS for _, _, seconds in changes):
            return request.respond(423, headers={"Min-Expires": [str(MIN_SECONDS)]})
        present = self._bindings.get(extension, {})
        if any(_outdated(present.get(key), request) for key, _, _ in changes):
            return request.respond(400, "Out Of Order")
        if any(seconds and self._leads_out(binding) for _, binding, seconds in changes):
            return request.respond(403, "Not Your Address")
        added = {key for key, _, seconds in changes if seconds} - set(present)
        told = {key for key, _, _ in changes}
        gone = [key for key, (binding, _) in present.items() if binding.lost and key not in told]
        if len(present) - len(gone) + len(added) > MAX_CONTACTS:
            return request.respond(403, "Too Many Contacts")
        if len(present) + len(added) > MAX_CONTACTS:
            # A page that is loaded anew leaves one behind each time, and nobody can be called there.
            for key in gone:
                self._remove(extension, key)
        for key, binding, seconds in changes:
            self._follow(present.get(key), binding)
            self._remove(extension, key)
            if seconds:
                self._keep(extension, key, seconds, binding)
        self._on_change(extension, self._seconds(extension))
        return self._listed(request, extension)

    def _leads_out(self, binding: Binding) -> bool:
        """Tell whether calls to a phone would go to a carrier, from where it did not register."""
        host = plain(binding.hop().host)
        return host != plain(binding.source.host) and (self._carrier(host) or self.servers(host))

    def _change(self, request: Request, value: str, source: Hop) -> tuple[str, Binding, int]:
        address = Address.parse(value)
        if address.uri.scheme not in ("sip", "sips"):
            raise ProtocolError("Contact is no SIP URI")
        seconds = _seconds_of(address.params.get("expires") or request.get("Expires"))
        binding = Binding(
            address.uri,
            source,
            is_hidden(request, address.uri, source),
            _preference_of(address.params.get("q")),
            self._timers.clock() + seconds,
            request.call_id,
            request.sequence,
        )
        # A phone that says which one it is keeps one place over restarts (RFC 5626 section 4.1).
        instance = address.params.get("+sip.instance")
        key = legible(f"{instance};{address.params.get('reg-id')}") if instance else str(address.uri)
        return key, binding, seconds

    def _follow(self, before: tuple[Binding, Timer] | None, binding: Binding) -> None:
        """Note that a phone has another connection now."""
        old, new = (before[0].source.flow if before is not None else 0), binding.source.flow
        if old and new and old != new:
            if len(self._moved) >= _REMEMBERED:
                del self._moved[next(iter(self._moved))]
            self._moved.pop(new, None)  # nobody goes in circles
            self._moved[old] = new

    def _cleared(self, request: Request, extension: str) -> Response:
        present = self._bindings.get(extension, {})
        if any(_outdated(entry, request) for entry in present.values()):
            return request.respond(400, "Out Of Order")
        self.drop(extension)
        return request.respond(200)

    def _listed(self, request: Request, extension: str) -> Response:
        now = self._timers.clock()
        contacts = [
            f"<{binding.contact}>;expires={max(1, round(binding.expires_at - now))}"
            for binding in self.contacts(extension)
        ]
        return request.respond(200, headers={"Contact": contacts} if contacts else None)

    def _seconds(self, extension: str) -> int:
        now = self._timers.clock()
        return max((round(binding.expires_at - now) for binding in self.contacts(extension)), default=0)

    def _expire(self, extension: str, key: str) -> None:
        self._remove(extension, key)
        self._on_change(extension, self._seconds(extension))

    def _keep(self, extension: str, key: str, seconds: float, binding: Binding) -> None:
        timer = self._timers.after(seconds, partial(self._expire, extension, key))
        self._bindings.setdefault(extension, {})[key] = binding, timer
        self._sources[binding.source] += 1

    def _remove(self, extension: str, key: str) -> None:
        present = self._bindings.get(extension, {})
        if key not in present:
            return
        binding, timer = present.pop(key)
        timer.cancel()
        self._sources[binding.source] -= 1
        if not self._sources[binding.source]:
            del self._sources[binding.source]
        if not present:
            del self._bindings[extension]


def plain(host: str) -> str:
    """Return an IP address in its shortest spelling, the IPv4 one that an IPv6 address stands for (RFC 4291, 2.5.5.2).

    Whatever is no address is returned as it is.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _outdated(entry: tuple[Binding, Timer] | None, request: Request) -> bool:
    """Tell whether an older REGISTER of the same phone comes late (RFC 3261 section 10.3)."""
    return entry is not None and entry[0].call_id == request.call_id and request.sequence <= entry[0].sequence


def _seconds_of(text: str | None) -> int:
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= 10):
        return MAX_SECONDS  # RFC 3261 section 20.19: malformed is taken as 3600
    return min(int(text), MAX_SECONDS)


def _preference_of(text: str | None) -> float:
    try:
        value = float(text or "1")
    except ValueError:
        return 1.0
    return value if 0 <= value <= 1 else 1.0

"""Digest access authentication, as the side that asks and as the side that answers (RFC 7616, RFC 8760).

SHA-256 and MD5 with qop "auth". An unknown user and a wrong password are answered alike and cost the same work.
"""

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from media.errors import ProtocolError
from media.sip.header import cut, is_token, quote, unquote
from media.sip.message import Request
from media.sip.uri import Uri

NONCE_SECONDS = 300
"How long a nonce is taken; a phone registers more often than it goes stale."

_MAC_BYTES = 16
_STAMP_BYTES = 16
"Eight bytes of time in milliseconds, eight random ones."


_MD5_ONLY = ("baresip v0.", "baresip v1.")
"User-Agents that give up when any challenge names another algorithm, wherever it stands (seen with 1.0.0)."

_LWS = re.compile(r"[ \t\r\n]+")
"What stands between a scheme and its parameters (RFC 3261 section 25.1)."

_DIGEST = re.compile(r"[ \t]*digest[ \t\r\n]", re.IGNORECASE)


class Algorithm(StrEnum):
    """The hash functions of RFC 7616 that phones know."""

    MD5 = "MD5"
    SHA256 = "SHA-256"

    def digest(self, text: str) -> str:
        """Return H(text) in lower-case hex."""
        data = text.encode("utf-8", "surrogateescape")
        if self is Algorithm.MD5:
            return hashlib.md5(data, usedforsecurity=False).hexdigest()
        return hashlib.sha256(data).hexdigest()


ALGORITHMS = (Algorithm.MD5, Algorithm.SHA256)
"""Both, MD5 first: sipp 3.6 and JsSIP look at the first challenge only and know nothing else.

What phones hold are random secrets of 128 bits, which neither function gives away.
"""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the server side keeps of a password: H(username:realm:password), lower-case hex."""

    ha1_md5: str = field(repr=False)
    ha1_sha256: str = field(repr=False)

    @classmethod
    def of(cls, username: str, realm: str, password: str) -> "Credentials":
        """Return the credentials of a password."""
        text = f"{username}:{realm}:{password}"
        return cls(Algorithm.MD5.digest(text), Algorithm.SHA256.digest(text))

    def ha1(self, algorithm: Algorithm) -> str:
        """Return HA1 for one algorithm."""
        return self.ha1_md5 if algorithm is Algorithm.MD5 else self.ha1_sha256


@dataclass(frozen=True, slots=True)
class Login:
    """The name and password that this side answers challenges with, on a trunk that asks."""

    username: str
    password: str = field(repr=False)
    realm: str = ""
    "The only realm that it is used for; empty for any."


class Outcome(StrEnum):
    """What came of looking at a request's credentials."""

    ABSENT = "absent"
    "None for this realm: challenge."

    STALE = "stale"
    "Right, but for a nonce that is over or used: challenge with stale=true."

    REFUSED = "refused"
    ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome, and who proved to be there (empty unless accepted)."""

    outcome: Outcome
    username: str = ""
    claimed: str = ""
    "Whom a request that is refused says that it comes from."


def parse_auth(value: str) -> tuple[str, dict[str, str]]:
    """Parse a challenge or its answer into the scheme, lower case, and its parameters, unquoted.

    Raises:
        ProtocolError: a parameter without a name or value, or a quote that is not closed.
    """
    scheme, _, rest = _LWS.sub(" ", value.strip(" \t"), count=1).partition(" ")
    params: dict[str, str] = {}
    for part in cut(rest, ","):
        name, equals, text = part.partition("=")
        if not part:
            continue
        if not equals or not is_token(name.strip()):
            raise ProtocolError("an authentication parameter is not name=value", spec="RFC 7616 section 3.4")
        params.setdefault(name.strip().lower(), unquote(text.strip()))
    return scheme.lower(), params


def response_of(algorithm: Algorithm, ha1: str, method: str, params: dict[str, str]) -> str:
    """Return the `response` parameter (RFC 7616 section 3.4.1; without qop as RFC 2617 section 3.2.2.1 has it)."""
    ha2 = algorithm.digest(f"{method}:{params['uri']}")
    if "qop" in params:
        middle = f"{params['nonce']}:{params['nc']}:{params['cnonce']}:{params['qop']}"
    else:
        middle = params["nonce"]
    return algorithm.digest(f"{ha1}:{middle}:{ha2}")


class Authority:
    """The side that asks: makes challenges and judges what comes back.

    `clock` gives seconds; nonces prove themselves by an HMAC under a key of this process, and only those that were
    answered rightly are remembered, so strangers cannot fill memory.
    """

    def __init__(
        self,
        realm: str,
        credentials: Callable[[str], Credentials | None],
        clock: Callable[[], float],
        algorithms: Sequence[Algorithm] = ALGORITHMS,
    ) -> None:
        self.realm = realm
        self._algorithms = tuple(algorithms)
        self._credentials = credentials
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._counts: dict[str, int] = {}
        self._order: deque[tuple[float, str]] = deque()

    def challenges(self, request: Request, *, stale: bool = False) -> list[str]:
        """Return the WWW-Authenticate values for a request, in our order of preference (RFC 8760 section 2.4)."""
        nonce = self._nonce()
        tail = ", stale=true" if stale else ""
        algorithms = self._algorithms
        if Algorithm.MD5 in algorithms and (request.get("User-Agent") or "").startswith(_MD5_ONLY):
            algorithms = (Algorithm.MD5,)
        return [
            f'Digest realm={quote(self.realm)}, nonce="{nonce}", algorithm={algorithm}, qop="auth"{tail}'
            for algorithm in algorithms
        ]

    def judge(self, request: Request) -> Verdict:
        """Judge the Authorization of a request."""
        for value in request.headers.get("Authorization", ()):
            if not _DIGEST.match(value):
                continue
            try:
                params = parse_auth(value)[1]
            except ProtocolError:
                return Verdict(Outcome.REFUSED)
            if params.get("realm") == self.realm:
                return self._judge(request, params)
        return Verdict(Outcome.ABSENT)

    def _judge(self, request: Request, params: dict[str, str]) -> Verdict:
        try:
            algorithm = Algorithm(params.get("algorithm", "MD5").upper())
        except ValueError:
            return Verdict(Outcome.REFUSED)
        if algorithm not in self._algorithms:
            return Verdict(Outcome.REFUSED)
        needed = ("username", "nonce", "uri", "response", "cnonce", "nc")
        if any(not params.get(name) for name in needed) or params.get("qop") != "auth":
            return Verdict(Outcome.REFUSED)
        username = params["username"]
        # Always computed, so that a known name costs what an unknown one does.
        invented = self._mac(username.encode("utf-8", "surrogateescape")).hex()
        decoy = Credentials(invented, invented)
        found = self._credentials(username)
        expected = response_of(algorithm, (found or decoy).ha1(algorithm), request.method, params)
        right = hmac.compare_digest(expected.encode(), params["response"].lower().encode("utf-8", "surrogateescape"))
        if not (right and found is not None and _same_host(params["uri"], request.uri)):
            return Verdict(Outcome.REFUSED, claimed=username)
        if not self._spend(params["nonce"], params["nc"]):
            return Verdict(Outcome.STALE)
        return Verdict(Outcome.ACCEPTED, username)

    def _nonce(self) -> str:
        stamp = int(self._clock() * 1000).to_bytes(8) + secrets.token_bytes(8)
        return urlsafe_b64encode(stamp + self._mac(stamp)).decode()

    def _mac(self, data: bytes) -> bytes:
        return hmac.digest(self._key, data, "sha256")[:_MAC_BYTES]

    def _spend(self, nonce: str, count: str) -> bool:
        """Tell whether the nonce is ours, not over, and its count never used before (RFC 7616 section 3.4)."""
        try:
            raw = urlsafe_b64decode(nonce.encode("ascii"))
            used = int(count, 16)
        except (Base64Error, ValueError):
            return False
        stamp, mac = raw[:_STAMP_BYTES], raw[_STAMP_BYTES:]
        now = self._clock()
        made = int.from_bytes(stamp[:8]) / 1000
        if not hmac.compare_digest(mac, self._mac(stamp)) or now - made > NONCE_SECONDS:
            return False
        while self._order and self._order[0][0] < now:
            self._counts.pop(self._order.popleft()[1], None)
        if used <= self._counts.get(nonce, 0):
            return False
        if nonce not in self._counts:
            # From now, not from its making: the order must stay sorted, and longer is only safer.
            self._order.append((now + NONCE_SECONDS, nonce))
        self._counts[nonce] = used
        return True


def _same_host(one: str, other: str) -> bool:
    """Tell whether two URIs name one host; real clients leave user, port or parameters out of the digest's uri."""
    try:
        return one == other or Uri.parse(one).host == Uri.parse(other).host
    except ProtocolError:
        return False


def authorize(challenges: Sequence[str], method: str, uri: str, login: Login, *, cnonce: str = "") -> str | None:
    """Return the Authorization value for the strongest challenge that we can read and answer, among equals the first.

    RFC 8760 section 2.4 has the topmost chosen unless local policy says otherwise: ours never uses MD5 where SHA-256
    would do.
    """
    known = [asked for value in challenges if (asked := _readable(value, login)) is not None]
    if not known:
        return None
    asked = max(known, key=lambda each: _algorithm(each) is Algorithm.SHA256)
    return _answer(asked, _algorithm(asked), bool(_offered(asked)), method, uri, login, cnonce or secrets.token_hex(8))


def _readable(challenge: str, login: Login) -> dict[str, str] | None:
    """Return what a challenge asks, where we can answer it."""
    try:
        scheme, asked = parse_auth(challenge)
    except ProtocolError:
        return None
    known = asked.get("algorithm", "MD5").upper() in list(Algorithm)
    agreed = not _offered(asked) or "auth" in _offered(asked)
    meant = not login.realm or login.realm == asked.get("realm")
    return asked if scheme == "digest" and "nonce" in asked and known and agreed and meant else None


def _algorithm(asked: dict[str, str]) -> Algorithm:
    return Algorithm(asked.get("algorithm", "MD5").upper())


def _offered(asked: dict[str, str]) -> list[str]:
    return [word.strip().lower() for word in asked.get("qop", "").split(",") if word.strip()]


def _answer(
    asked: dict[str, str], algorithm: Algorithm, with_qop: bool, method: str, uri: str, login: Login, cnonce: str
) -> str:
    realm = asked.get("realm", "")
    params = {"username": login.username, "realm": realm, "nonce": asked["nonce"], "uri": uri}
    if with_qop:
        params |= {"qop": "auth", "nc": "00000001", "cnonce": cnonce}
    ha1 = algorithm.digest(f"{login.username}:{realm}:{login.password}")
    params["response"] = response_of(algorithm, ha1, method, params)
    if "algorithm" in asked:
        params["algorithm"] = asked["algorithm"]
    if "opaque" in asked:
        params["opaque"] = asked["opaque"]
    bare = {"qop", "nc", "algorithm"}  # RFC 7616 section 3.4: these stand without quotes
    return "Digest " + ", ".join(f"{name}={text if name in bare else quote(text)}" for name, text in params.items())

"""Digest: whatever a peer says of itself, it is judged without a fault, and nobody is let in who knows no secret.

The first line of an input is an Authorization value, the second the Request-URI, the others are challenges that a trunk
sends us.
"""

import secrets

from media.errors import ProtocolError
from media.sip.digest import Authority, Credentials, Login, Outcome, authorize, parse_auth
from media.sip.message import Request

REALM = "chartline"
URI = "sip:chartline.test"

SECRETS = {name: Credentials.of(name, REALM, secrets.token_hex(16)) for name in ("101", "")}
"New in each process: no saved input can prove one."

LOGIN = Login("trunk", "secret")


def one(data: bytes) -> None:
    """Judge, and answer."""
    answer, _, rest = data.decode("utf-8", "surrogateescape").partition("\n")
    uri, _, challenges = rest.partition("\n")
    authority = Authority(REALM, SECRETS.get, lambda: 1000.0)
    for asked in {uri or URI, URI}:
        request = Request("REGISTER", asked, {"Authorization": [answer]})
        verdict = authority.judge(request)
        assert verdict.outcome is not Outcome.ACCEPTED
        assert verdict.outcome is not Outcome.STALE
        assert not verdict.username
    lines = challenges.split("\n")[:20]
    value = authorize(lines, "REGISTER", URI, LOGIN, cnonce="c")
    if value is not None:
        scheme, said = parse_auth(value)
        assert scheme == "digest"
        assert said["username"] == LOGIN.username
        assert LOGIN.password not in value.replace(said.get("opaque", ""), "").replace(said["nonce"], "").replace(
            said["realm"], ""
        )
        assert len(said["response"]) in (32, 64)
    for line in [answer, *lines]:
        _parse(line)


def _parse(value: str) -> None:
    try:
        _, params = parse_auth(value)
    except ProtocolError:
        return
    assert all(name == name.lower() for name in params)

"""Signatures of callers' numbers, as carriers put them into the Identity header (RFC 8224, RFC 8225, RFC 8588).

Nothing is fetched: a certificate is found by its address among the files that the operator put there.
"""

import binascii
import json
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import jwt
import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from hub.errors import SettingsError
from hub.rules.attestation import UNSIGNED, Attestation, Doubt
from hub.settings.telephony import Stir
from media.errors import ProtocolError
from media.sip.header import cut, parse_params, unquote

FRESH_S = 60.0
"How far `iat` may be from now (RFC 8224 section 6.2 suggests so)."

LONGEST = 8192
"Characters of an Identity value that are looked at; real ones have about 700."

_DEEPEST = 4
"Certificates between the signer's and an authority's, both counted."

_NUMBERS = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.26")
"The extension TNAuthList, without which a certificate speaks for no number (RFC 8226 section 9)."

_LEVELS = ("A", "B", "C")

log = structlog.get_logger()


class StirError(Exception):
    """A signature that is not believed; only `Verifier` sees it."""

    def __init__(self, doubt: Doubt) -> None:
        super().__init__(doubt)
        self.doubt = doubt


class Verifier:
    """Believes the signatures of those whom the policy's authorities vouch for."""

    def __init__(self, authorities: bytes, certificates: Mapping[str, bytes], now: Callable[[], datetime]) -> None:
        """Take PEM texts: the authorities', and by address each signer's with those between.

        Raises:
            ValueError: one of them cannot be read.
        """
        self._now = now
        self._authorities = x509.load_pem_x509_certificates(authorities)
        self._chains = {url: x509.load_pem_x509_certificates(pem) for url, pem in certificates.items()}

    @classmethod
    def of(cls, stir: Stir, secret: Callable[[str], str], now: Callable[[], datetime]) -> "Verifier | None":
        """Return the verifier of a policy; None where it believes nobody, or its files cannot be read."""
        if stir.authorities is None:
            return None
        try:
            texts = {url: secret(file).encode() for url, file in stir.certificates.items()}
            return cls(secret(stir.authorities).encode(), texts, now)
        except (SettingsError, ValueError) as error:
            log.error("no signature is believed", kind=type(error).__name__)
            return None

    def verify(self, identities: Sequence[str], caller: str, called: str) -> Attestation:
        """Return what the first value of Identity that is a SHAKEN passport says; numbers are E.164."""
        for value in identities[:4]:
            try:
                return self._verify(value, caller, called)
            except StirError as error:
                return Attestation("", error.doubt)
            except LookupError:
                continue  # another kind of passport: rcd, div
        return UNSIGNED

    def _verify(self, value: str, caller: str, called: str) -> Attestation:
        token, url = _parts(value)
        head, claims = (_document(part) for part in token.split(".")[:2])
        if head.get("ppt") != "shaken":
            raise LookupError
        if head.get("alg") != "ES256" or head.get("typ") != "passport" or head.get("x5u") != url:
            raise StirError(Doubt.MALFORMED)
        self._signed(token, self._key(url))
        level, at = claims.get("attest"), claims.get("iat")
        if level not in _LEVELS or not isinstance(at, int) or isinstance(at, bool):
            raise StirError(Doubt.MALFORMED)
        if abs(self._now().timestamp() - at) > FRESH_S:
            raise StirError(Doubt.STALE)
        if _number(claims.get("orig")) != [_digits(caller)] or _digits(called) not in _number(claims.get("dest")):
            raise StirError(Doubt.OTHER)
        return Attestation(str(level), Doubt.NONE)

    def _signed(self, token: str, key: ec.EllipticCurvePublicKey) -> None:
        try:
            jwt.PyJWS().decode(token, key, algorithms=["ES256"])
        except jwt.PyJWTError:
            raise StirError(Doubt.FORGED) from None

    def _key(self, url: str) -> ec.EllipticCurvePublicKey:
        """Return the signer's key, once its certificate is vouched for at this instant."""
        chain = self._chains.get(url)
        if not chain:
            raise StirError(Doubt.UNKNOWN)
        signer, now = chain[0], self._now()
        key = signer.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise StirError(Doubt.UNTRUSTED)
        try:
            signer.extensions.get_extension_for_oid(_NUMBERS)
        except x509.ExtensionNotFound:
            raise StirError(Doubt.UNTRUSTED) from None
        self._vouched(signer, chain[1:], now, _DEEPEST)
        return key

    def _vouched(self, one: x509.Certificate, others: Sequence[x509.Certificate], now: datetime, depth: int) -> None:
        """Follow the issuers up to an authority (RFC 5280 section 6.1, as far as these chains need it)."""
        if not one.not_valid_before_utc <= now <= one.not_valid_after_utc:
            raise StirError(Doubt.EXPIRED)
        if one in self._authorities:
            return
        for issuer in [*self._authorities, *others]:
            if depth and _issued(one, issuer):
                self._vouched(issuer, others, now, depth - 1)
                return
        raise StirError(Doubt.UNTRUSTED)


def _issued(one: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        one.verify_directly_issued_by(issuer)
        basic = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return basic.ca


def _parts(value: str) -> tuple[str, str]:
    """Return the token and the certificate's address of an Identity value (RFC 8224 section 4)."""
    try:
        token, *rest = cut(value[:LONGEST], ";")
        params = parse_params(";".join(rest))
        url = unquote(params.get("info") or "").strip("<>")
    except ProtocolError:
        raise StirError(Doubt.MALFORMED) from None
    if token.count(".") != 2 or token.startswith("."):  # RFC 8588 section 4: the compact form is not for SHAKEN
        raise StirError(Doubt.MALFORMED)
    return token, url


def _document(part: str) -> dict[str, Any]:
    try:
        found = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        raise StirError(Doubt.MALFORMED) from None
    if not isinstance(found, dict):
        raise StirError(Doubt.MALFORMED)
    return found


def _number(said: Any) -> list[str]:
    """Return the telephone numbers of `orig`, which has one, or `dest`, which has several (RFC 8225 section 5.2.1)."""
    found = said.get("tn") if isinstance(said, dict) else None
    several = found if isinstance(found, list) else [found]
    return [_digits(each) for each in several if isinstance(each, str)]


def _digits(number: str) -> str:
    return number.removeprefix("+")

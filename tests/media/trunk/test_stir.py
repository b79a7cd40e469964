"""Signatures of callers' numbers: an authority and a carrier made up here, and everything that may be wrong."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from hub.rules.attestation import Attestation, Doubt
from hub.settings import secret
from hub.settings.telephony import Stir
from media.trunk.stir import Verifier

NOW = datetime(2026, 3, 4, 17, 0, tzinfo=UTC)
URL = "https://certificates.carrier.example/a.pem"
CALLER, CALLED = "+12125550123", "+12125550100"
SPC = bytes.fromhex("3008a006160437303941")
"TNAuthList with one service provider code (RFC 8226 section 9)."


class Issuer:
    """A key with a certificate."""

    def __init__(
        self,
        name: str,
        by: "Issuer | None" = None,
        *,
        ca: bool = True,
        spc: bool = False,
        days: int = 30,
        curve: Any = None,
        at: datetime = NOW,
    ) -> None:
        self.key = ec.generate_private_key(curve or ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = by or self
        builder = x509.CertificateBuilder(
            issuer_name=signer.name,
            subject_name=self.name,
            public_key=self.key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=at - timedelta(days=30),
            not_valid_after=at + timedelta(days=days),
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        if spc:
            oid = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.26")
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, SPC), critical=False)
        self.certificate = builder.sign(signer.key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


ROOT = Issuer("authority")
BETWEEN = Issuer("between", ROOT)
CARRIER = Issuer("carrier", BETWEEN, ca=False, spc=True)


def verifier(chain: bytes = CARRIER.pem + BETWEEN.pem, *, root: Issuer = ROOT, at: datetime = NOW) -> Verifier:
    return Verifier(root.pem, {URL: chain}, lambda: at)


def identity(signer: Issuer = CARRIER, *, head: dict[str, Any] | None = None, url: str = URL, **claims: Any) -> str:
    said = {
        "attest": "A",
        "dest": {"tn": [CALLED[1:]]},
        "iat": int(NOW.timestamp()),
        "orig": {"tn": CALLER[1:]},
        "origid": "de305d54-75b4-431b-adb2-eb6b9e546014",
    } | claims
    headers = {"typ": "passport", "ppt": "shaken", "x5u": URL} | (head or {})
    token = jwt.PyJWS().encode(json.dumps(said).encode(), signer.key, algorithm="ES256", headers=headers)
    return f'{token};info=<{url}>;alg=ES256;ppt="shaken"'


def said(value: str, by: Verifier | None = None) -> Attestation:
    return (by or verifier()).verify([value], CALLER, CALLED)


@pytest.mark.parametrize("level", ["A", "B", "C"])
def test_a_carrier_s_word_is_taken_at_its_level(level: str) -> None:
    assert said(identity(attest=level)) == Attestation(level, Doubt.NONE)


def test_a_chain_may_be_of_one_certificate_or_of_several() -> None:
    direct = Issuer("direct", ROOT, ca=False, spc=True)
    assert said(identity(direct), verifier(direct.pem)).level == "A"
    assert said(identity(), verifier(CARRIER.pem, root=BETWEEN)).level == "A"


@pytest.mark.parametrize(
    ("value", "doubt"),
    [
        (identity(iat=int(NOW.timestamp()) - 61), Doubt.STALE),
        (identity(iat=int(NOW.timestamp()) + 61), Doubt.STALE),
        (identity(orig={"tn": "12125550199"}), Doubt.OTHER),
        (identity(dest={"tn": ["12125550101"]}), Doubt.OTHER),
        (identity(dest={"uri": ["sip:a@b"]}), Doubt.OTHER),
        (identity(orig=None), Doubt.OTHER),
        (identity(attest="D"), Doubt.MALFORMED),
        (identity(iat="now"), Doubt.MALFORMED),
        (identity(url="https://elsewhere.example/a.pem"), Doubt.MALFORMED),
        (
            identity(head={"x5u": "https://elsewhere.example/a.pem"}, url="https://elsewhere.example/a.pem"),
            Doubt.UNKNOWN,
        ),
        (identity(Issuer("stranger", ROOT, ca=False, spc=True)), Doubt.FORGED),
        (identity(head={"typ": "JWT"}), Doubt.MALFORMED),
        (f"..sig;info=<{URL}>", Doubt.MALFORMED),
        ("a.b.c", Doubt.MALFORMED),
        ("", Doubt.MALFORMED),
        ('a.b.c;info="<', Doubt.MALFORMED),
    ],
)
def test_everything_that_is_wrong_has_its_name(value: str, doubt: Doubt) -> None:
    assert said(value) == Attestation("", doubt)


def test_a_changed_number_breaks_the_signature() -> None:
    head, payload, rest = identity().split(".", 2)
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims["orig"]["tn"] = "12125550199"
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    value = f"{head}.{forged}.{rest}"
    assert verifier().verify([value], "+12125550199", CALLED).doubt is Doubt.FORGED


def test_a_signature_without_a_key_is_none() -> None:
    head = base64.urlsafe_b64encode(
        json.dumps({"alg": "none", "typ": "passport", "ppt": "shaken", "x5u": URL}).encode()
    ).decode()
    assert said(f"{head}.{identity().split('.')[1]}.;info=<{URL}>").doubt is Doubt.MALFORMED


@pytest.mark.parametrize(
    ("carrier", "between", "root", "doubt"),
    [
        (Issuer("carrier", BETWEEN, ca=False), BETWEEN, ROOT, Doubt.UNTRUSTED),
        (Issuer("carrier", BETWEEN, ca=False, spc=True, curve=ec.SECP384R1()), BETWEEN, ROOT, Doubt.UNTRUSTED),
        (CARRIER, BETWEEN, Issuer("other"), Doubt.UNTRUSTED),
        (CARRIER, CARRIER, ROOT, Doubt.UNTRUSTED),
        (Issuer("carrier", BETWEEN, ca=False, spc=True, days=-1), BETWEEN, ROOT, Doubt.EXPIRED),
    ],
)
def test_certificates_that_vouch_for_nothing(carrier: Issuer, between: Issuer, root: Issuer, doubt: Doubt) -> None:
    value = identity(CARRIER)
    assert said(value, verifier(carrier.pem + between.pem, root=root)).doubt is doubt


def test_who_is_no_authority_vouches_for_nobody() -> None:
    subscriber = Issuer("subscriber", ROOT, ca=False, spc=True)
    friend = Issuer("friend", subscriber, ca=False, spc=True)
    assert said(identity(friend), verifier(friend.pem + subscriber.pem)).doubt is Doubt.UNTRUSTED


def test_an_authority_that_is_over_vouches_for_nobody() -> None:
    late = NOW + timedelta(days=60)
    assert said(identity(iat=int(late.timestamp())), verifier(at=late)).doubt is Doubt.EXPIRED


def test_passports_of_another_kind_are_passed_over() -> None:
    other = identity(head={"ppt": "rcd"})
    assert verifier().verify([other], CALLER, CALLED) == Attestation("", Doubt.ABSENT)
    assert verifier().verify([other, identity()], CALLER, CALLED).level == "A"
    assert verifier().verify([], CALLER, CALLED) == Attestation("", Doubt.ABSENT)


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda data: data.decode("latin-1")))
def test_no_text_of_a_stranger_raises(text: str) -> None:
    assert said(text).level == ""
    assert said(f"{identity().split('.')[0]}.{text}").level == ""


def test_the_policy_says_where_certificates_lie(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(ROOT.pem)
    (tmp_path / "carrier.pem").write_bytes(CARRIER.pem + BETWEEN.pem)

    def read(reference: str) -> str:
        return secret(reference, env={}, root=tmp_path)

    stir = Stir(authorities="file:ca.pem", certificates={URL: "file:carrier.pem"})
    found = Verifier.of(stir, read, lambda: NOW)
    assert found is not None
    assert said(identity(), found).level == "A"
    assert Verifier.of(Stir(), read, lambda: NOW) is None
    assert Verifier.of(Stir(authorities="file:gone.pem"), read, lambda: NOW) is None
    (tmp_path / "ca.pem").write_text("nothing")
    assert Verifier.of(stir, read, lambda: NOW) is None

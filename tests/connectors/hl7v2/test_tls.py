"""MLLP over TLS: who a sender is, and for whom it may speak."""

import asyncio
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from connectors.hl7v2.binding import bound, names_of
from connectors.hl7v2.mllp import Listener
from tests.connectors.hl7v2.sample import SIU, siu
from tests.connectors.hl7v2.talk import Inbox, framed, listening, numbered, sending


def certificate(name: str, by: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None) -> tuple[
    x509.Certificate, ec.EllipticCurvePrivateKey
]:  # fmt: skip
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signer = (by[0].subject, by[1]) if by else (subject, key)
    start = datetime.now(UTC) - timedelta(hours=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name), x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
    )
    return builder.sign(signer, hashes.SHA256()), key


def pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> tuple[str, str]:
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(encoding).decode(), private.decode()


async def _exchange(listener: Listener, context: ssl.SSLContext) -> None:
    async with sending(listener, context) as sender:
        await sender.send(framed(numbered(2)))
        await sender.answer()


async def test_a_sender_shows_its_certificate_where_that_is_asked_for(tmp_path_factory: pytest.TempPathFactory) -> None:
    authority = certificate("authority")
    root, _ = pem(*authority)
    chain, key = pem(*certificate("server", authority))
    mine, my_key = pem(*certificate("sender", authority))
    file = tmp_path_factory.mktemp("tls") / "sender.pem"
    file.write_text(mine + my_key)
    inbox = Inbox()
    async with listening(inbox, certificate=chain, key=key, client_ca=root) as listener:
        known = ssl.create_default_context(cadata=root)
        known.load_cert_chain(file)
        async with sending(listener, known) as sender:
            await sender.send(framed(siu()))
            assert await sender.answer() == ("AA", "M0001")
        unknown = ssl.create_default_context(cadata=root)
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await _exchange(listener, unknown)
    assert inbox.keys == ["M0001"]


# Certificates bound to facilities.


def at(facility: str, application: str = "SCHED") -> bytes:
    return siu(MSH=SIU["MSH"].replace("SCHED|HARBOR|", f"{application}|{facility}|", 1))


@pytest.mark.parametrize(
    ("facilities", "message", "may"),
    [
        (["HARBOR"], at("HARBOR"), True),
        (["HARBOR"], at("HARBOR^1.2.3^ISO"), True),
        (["HARBOR"], at("harbor"), False),
        (["HARBOR"], at("PIER"), False),
        (["HARBOR"], at(""), False),
        (["SCHED|HARBOR"], at("HARBOR"), True),
        (["SCHED|HARBOR"], at("HARBOR", "ADT"), False),
        (["HARBOR", "PIER"], at("HARBOR") + at("PIER"), True),
        (["HARBOR"], at("HARBOR") + at("PIER"), False),
        (["HARBOR"], b"FHS|^~\\&|A|HARBOR\r" + at("PIER"), False),
        (["HARBOR"], b"FHS|^~\\&|MSH|MSH\r" + at("HARBOR"), True),
        ([], at("HARBOR"), False),
        (["HARBOR"], b"", False),
        ([""], b"MSH", False),
    ],
)
def test_a_certificate_speaks_for_its_facilities_only(facilities: Sequence[str], message: bytes, may: bool) -> None:
    assert bound(message, facilities) is may


def test_a_certificate_has_its_common_name_and_its_alternative_names() -> None:
    shown = {
        "subject": ((("countryName", "US"),), (("commonName", "adt"),)),
        "subjectAltName": (("DNS", "adt.harbor.example"), ("IP Address", "127.0.0.1")),
    }
    assert names_of(shown) == {"adt", "adt.harbor.example", "127.0.0.1"}
    assert names_of(None) == names_of({}) == frozenset()


async def test_a_sender_speaks_for_the_facilities_of_its_certificate(tmp_path: Path) -> None:
    authority = certificate("authority")
    root, _ = pem(*authority)
    chain, key = pem(*certificate("server", authority))
    inbox = Inbox()
    facilities = {"adt.harbor.example": ["HARBOR"], "pier.example": ["SCHED|PIER"]}
    async with listening(inbox, certificate=chain, key=key, client_ca=root, facilities=facilities) as listener:
        said = {}
        for name in ("adt.harbor.example", "pier.example", "stranger.example"):
            file = tmp_path / f"{name}.pem"
            file.write_text("".join(pem(*certificate(name, authority))))
            context = ssl.create_default_context(cadata=root)
            context.load_cert_chain(file)
            async with sending(listener, context) as sender:
                await sender.send(framed(at("HARBOR")) + framed(at("PIER")))
                said[name] = [(await sender.answer())[0] for _ in range(2)]
    assert said == {
        "adt.harbor.example": ["AA", "AR"],
        "pier.example": ["AR", "AA"],
        "stranger.example": ["AR", "AR"],
    }
    assert inbox.raws == [at("HARBOR"), at("PIER")]

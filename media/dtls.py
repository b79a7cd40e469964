"""DTLS-SRTP: a handshake over a leg's own packets, and the keys that come of it (RFC 5764, RFC 6347).

Sans I/O: datagrams come in by a call and go out as what it returns; time is asked for and told. A handshake takes this
process about 2 ms in all, no step of it more than 1 ms, so it runs on the loop that carries the sound.
"""

import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from media.errors import MediaError
from media.keying import Fingerprint
from media.srtp import SUITES, Key

RECORDS = range(20, 64)
"First bytes that mean DTLS where it shares RTP's port (RFC 7983 section 7)."

GIVE_UP_SECONDS = 15.0
"A far end that has not shaken hands by then is gone."

_ALERT, _HANDSHAKE = 21, 22
_CLIENT_HELLO = 1
"RFC 6347 section 4.3.2."

_CLEAR = bytes(2)
"Epoch 0: what nobody has authenticated."

_MTU = 1200
_RECORD_HEAD = 13
_LABEL = b"EXTRACTOR-dtls_srtp"
"RFC 5764 section 4.2."

_DTLS_1_2 = 0xFEFD
_LIFE = timedelta(days=365)
_RENEWED_BEFORE = timedelta(days=30)
_PROFILES = SUITES[:3]
"A tag of 32 bits is only for those who ask for it by name, in SDES."


class HandshakeError(MediaError):
    """No keys came of the handshake: another certificate than was said, or no profile in common."""

    code = "dtls-failed"
    status = 502


class Identity:
    """This process's certificate; known to far ends by its fingerprint alone, and so signed by itself."""

    def __init__(self, now: datetime) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        # A name of its own each time: it tells nobody which practice this is.
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, secrets.token_hex(16))])
        self.expires_at = now + _LIFE
        made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        made = made.serial_number(x509.random_serial_number())
        made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(self.expires_at)
        certificate = made.sign(key, hashes.SHA256())
        self.fingerprint = Fingerprint("sha-256", sha256(certificate.public_bytes(Encoding.DER)).digest())
        self.context = SSL.Context(SSL.DTLS_METHOD)
        self.context.set_min_proto_version(_DTLS_1_2)
        self.context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION)
        self.context.set_cipher_list(b"ECDHE+AESGCM:ECDHE+CHACHA20")
        # Whose it is, is looked at when it is there: against the fingerprint, not against authorities.
        self.context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        self.context.set_tlsext_use_srtp(b":".join(suite.openssl for suite in _PROFILES))
        # After its handshake an association hears next to nothing: 15 KiB of buffers that it need not keep.
        self.context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        self.context.use_certificate(certificate)
        self.context.use_privatekey(key)


_identities: list[Identity] = []


def identity() -> Identity:
    """Return this process's certificate, made anew long before it runs out."""
    now = datetime.now(UTC)
    if not _identities or _identities[0].expires_at - now < _RENEWED_BEFORE:
        _identities[:] = [Identity(now)]
    return _identities[0]


class Dtls:
    """One association. Every call returns the datagrams that are to be sent for it."""

    def __init__(self, own: Identity, *, active: bool, fingerprints: Sequence[Fingerprint]) -> None:
        """`active` begins the handshake; the far end's certificate must have one of the fingerprints."""
        self.reads: Key | None = None
        self.writes: Key | None = None
        "Once the handshake is over."
        self.ended = False
        "Whether the far end has said that it is over (close_notify)."
        self._active, self._fingerprints = active, fingerprints
        self._over = False
        self._ssl = SSL.Connection(own.context, None)
        self._ssl.set_ciphertext_mtu(_MTU)
        if active:
            self._ssl.set_connect_state()
        else:
            self._ssl.set_accept_state()

    @property
    def done(self) -> bool:
        """Whether there are keys."""
        return self.writes is not None

    def start(self) -> list[bytes]:
        """Begin, if it is ours to begin.

        Raises:
            HandshakeError: see `heard`.
        """
        return self._go_on() if self._active else []

    def heard(self, datagram: bytes) -> list[bytes]:
        """Take what the far end sent; after the handshake too, since its last flight may have been lost.

        Raises:
            HandshakeError: it failed for good.
        """
        records = _whole(datagram)
        if self._over or not records:
            return []
        self._ssl.bio_write(records)
        return self._go_on()

    @property
    def due(self) -> float | None:
        """Seconds until `late` is to be called; None while nothing is waited for."""
        return None if self._over or self.done else self._ssl.DTLSv1_get_timeout()

    def late(self) -> list[bytes]:
        """Send again what was not answered in time (RFC 6347 section 4.2.4).

        Raises:
            HandshakeError: it was sent too often.
        """
        try:
            self._ssl.DTLSv1_handle_timeout()
        except SSL.Error:
            raise self._failed("nobody answers") from None
        return list(self._flights())

    def close(self) -> list[bytes]:
        """Say that it is over."""
        if self._over:
            return []
        self._over = True
        try:
            self._ssl.shutdown()
        except SSL.Error:
            return []  # in the middle of the handshake there is nothing to end
        return list(self._flights())

    def _go_on(self) -> list[bytes]:
        try:
            if self.done:
                self._ssl.recv(1)
            else:
                self._ssl.do_handshake()
        except SSL.ZeroReturnError:
            self.ended = True
            return list(self._flights())
        except SSL.WantReadError:
            return list(self._flights())
        except SSL.Error:
            if self.done:
                return []
            raise self._failed("the handshake failed") from None
        if not self.done:
            self._take_keys()
        return list(self._flights())

    def _take_keys(self) -> None:
        certificate = self._ssl.get_peer_certificate(as_cryptography=True)
        chosen = self._ssl.get_selected_srtp_profile()
        suite = next((suite for suite in _PROFILES if suite.openssl == chosen), None)
        if suite is None:
            raise self._failed("no protection profile in common")
        if certificate is None or not any(_is(certificate, each) for each in self._fingerprints):
            raise self._failed("another certificate than was said")
        size = suite.key_bytes
        made = self._ssl.export_keying_material(_LABEL, 2 * suite.size)
        keys, salts = made[: 2 * size], made[2 * size :]
        client = Key(suite, keys[:size] + salts[: suite.salt_bytes])
        server = Key(suite, keys[size:] + salts[suite.salt_bytes :])
        self.reads, self.writes = (server, client) if self._active else (client, server)

    def _failed(self, why: str) -> HandshakeError:
        self._over = True
        return HandshakeError(f"DTLS: {why}")

    def _flights(self) -> Iterator[bytes]:
        try:
            made = self._ssl.bio_read(65_536)
        except SSL.WantReadError:
            return
        # A flight comes as one piece; no record of it may be cut in two (RFC 6347 section 4.1.1).
        began = at = 0
        while at + _RECORD_HEAD <= len(made):
            end = at + _RECORD_HEAD + int.from_bytes(made[at + 11 : at + 13])
            if end - began > _MTU and at > began:
                yield made[began:at]
                began = at
            at = end
        if began < len(made):
            yield made[began:]


def _whole(datagram: bytes) -> bytes:
    """Return the records at the head of a datagram that are all there, without alerts in the clear.

    OpenSSL is given a stream of bytes, so the rest of a record that was cut short would be taken from the next one. And
    it would end the handshake for an alert that anybody may have sent.
    """
    at, kept = 0, b""
    while at + _RECORD_HEAD <= len(datagram) and datagram[at] in RECORDS and datagram[at + 1] == 0xFE:
        end = at + _RECORD_HEAD + int.from_bytes(datagram[at + 11 : at + 13])
        if end > len(datagram):
            break
        if datagram[at] != _ALERT or datagram[at + 3 : at + 5] != _CLEAR:
            kept += datagram[at:end]
        at = end
    return kept


def greets(datagram: bytes) -> bool:
    """Tell whether it is a ClientHello, the first word of whoever begins."""
    return (
        len(datagram) > _RECORD_HEAD
        and datagram[0] == _HANDSHAKE
        and datagram[3:5] == _CLEAR
        and datagram[_RECORD_HEAD] == _CLIENT_HELLO
    )


_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha-256": hashes.SHA256(),
    "sha-384": hashes.SHA384(),
    "sha-512": hashes.SHA512(),
}


def _is(certificate: x509.Certificate, said: Fingerprint) -> bool:
    return secrets.compare_digest(certificate.fingerprint(_HASHES[said.function]), said.value)

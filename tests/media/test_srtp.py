"""SRTP against the standards' own numbers, and what must not be opened or sent."""

import struct

import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from media.errors import ProtocolError
from media.passing import BUFFER_BYTES
from media.srtp import SUITES, Key, Place, Reader, Suite, Writer

GCM256, GCM128, CM80, CM32 = SUITES
SSRC = 0xCAFEBABE


def packet(sequence: int = 0x1234, ssrc: int = SSRC, payload: bytes = b"\xab" * 160) -> bytes:
    return struct.pack(">BBHII", 0x80, 0x0F, sequence, 0xDECAFBAD, ssrc) + payload


# The algorithms once more, from their descriptions: checked against the numbers in the RFCs, then compared.


def keystream(key: bytes, start: bytes, size: int) -> bytes:
    return Cipher(AES(key), CTR(start)).encryptor().update(bytes(size))


def derived(key: bytes, salt: bytes, label: int, size: int) -> bytes:
    """RFC 3711 section 4.3.3, key derivation rate 0."""
    start = int.from_bytes(salt.ljust(14, b"\0")) ^ label << 48
    return keystream(key, start.to_bytes(14) + bytes(2), size)


def iv_cm(salt: bytes, ssrc: int, index: int) -> bytes:
    """RFC 3711 section 4.1.1."""
    return (int.from_bytes(salt) << 16 ^ ssrc << 64 ^ index << 16).to_bytes(16)


def iv_gcm(salt: bytes, ssrc: int, index: int) -> bytes:
    """RFC 7714 section 8.1."""
    return (int.from_bytes(salt) ^ (ssrc << 48 | index)).to_bytes(12)


def by_the_book(key: Key, plain: bytes, roc: int = 0) -> bytes:
    suite, master, salt = key.suite, key.material[: key.suite.key_bytes], key.material[key.suite.key_bytes :]
    index = roc << 16 | int.from_bytes(plain[2:4])
    ssrc = int.from_bytes(plain[8:12])
    session, session_salt = derived(master, salt, 0, suite.key_bytes), derived(master, salt, 2, suite.salt_bytes)
    if suite.name.startswith("AEAD"):
        return plain[:12] + AESGCM(session).encrypt(iv_gcm(session_salt, ssrc, index), plain[12:], plain[:12])
    stream = keystream(session, iv_cm(session_salt, ssrc, index), len(plain) - 12)
    sealed = plain[:12] + bytes(a ^ b for a, b in zip(plain[12:], stream, strict=True))
    mac = hmac.HMAC(derived(master, salt, 1, 20), hashes.SHA1())
    mac.update(sealed + roc.to_bytes(4))
    return sealed + mac.finalize()[: 10 if suite is CM80 else 4]


def test_the_book_derives_keys_as_rfc_3711_appendix_b_3_does() -> None:
    key, salt = bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE4139"), bytes.fromhex("0EC675AD498AFEEBB6960B3AABE6")
    assert derived(key, salt, 0, 16).hex().upper() == "C61E7A93744F39EE10734AFE3FF7A087"
    assert derived(key, salt, 2, 14).hex().upper() == "30CBBC08863D8C85D49DB34A9AE1"
    assert derived(key, salt, 1, 20).hex().upper() == "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"


def test_the_book_makes_the_keystream_of_rfc_3711_appendix_b_2() -> None:
    key, start = bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C"), bytes.fromhex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000")
    assert keystream(key, start, 32).hex().upper() == "E03EAD0935C95E80E166B16DD92B4EB4D23513162B02D0F72A43A2FE4A5F97AB"


@pytest.mark.parametrize(
    ("key_bytes", "sealed"),
    [
        (
            16,
            "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce",
        ),
        (
            32,
            "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
        ),
    ],
    ids=["16.1.1", "16.2.1"],
)
def test_the_book_seals_as_rfc_7714_section_16_does(key_bytes: int, sealed: str) -> None:
    plain = bytes.fromhex("8040f17b8041f8d35501a0b2") + b"Gallia est omnis divisa in partes tres"
    key, salt = bytes(range(key_bytes)), b"Quid pro quo"
    made = AESGCM(key).encrypt(iv_gcm(salt, 0x5501A0B2, 0xF17B), plain[12:], plain[:12])
    assert made.hex() == sealed


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
@pytest.mark.parametrize("size", [1, 20, 160, 960])
def test_what_is_sent_is_what_the_book_says_and_is_read_again(suite: Suite, size: int) -> None:
    key = Key(suite, bytes(range(suite.size)))
    plain = packet(payload=bytes(n & 0xFF for n in range(size)))
    buffer = bytearray(BUFFER_BYTES)
    place = Place(buffer)
    buffer[40 : 40 + len(plain)] = plain
    end = Writer(key).protect_at(place, 40, 40 + len(plain))
    assert bytes(buffer[40:end]) == by_the_book(key, plain) == Writer(key).protect(plain)
    buffer[: end - 40] = buffer[40:end]
    size = Reader(key).open_at(place, end - 40)
    assert bytes(buffer[:size]) == plain


class Line:
    """A writer, a reader, and the buffer that packets are opened in."""

    def __init__(self, suite: Suite = GCM256) -> None:
        self.key = Key.new(suite)
        self.writer, self.reader = Writer(self.key), Reader(self.key)
        self.buffer = bytearray(BUFFER_BYTES)
        self.place = Place(self.buffer)

    def opened(self, sealed: bytes) -> bytes:
        self.buffer[: len(sealed)] = sealed
        return bytes(self.buffer[: self.reader.open_at(self.place, len(sealed))])


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_no_bit_of_a_packet_can_be_changed(suite: Suite) -> None:
    line = Line(suite)
    sealed = line.writer.protect(packet(payload=b"\x11" * 20))
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 0x10
        assert line.opened(bytes(changed)) == b""
    for size in range(len(sealed)):
        assert line.opened(sealed[:size]) == b""
    assert line.opened(sealed) == packet(payload=b"\x11" * 20)


def test_a_packet_is_opened_once() -> None:
    line = Line()
    sealed = [line.writer.protect(packet(number)) for number in range(400)]
    assert line.opened(sealed[300])
    assert line.opened(sealed[300]) == b""
    assert line.opened(sealed[299])
    # Further back than the window nothing is, since nobody remembers whether it was.
    assert line.opened(sealed[1]) == b""


def test_another_s_key_opens_nothing() -> None:
    line, other = Line(), Line()
    assert line.opened(other.writer.protect(packet())) == b""


def test_a_stream_is_followed_over_its_wrap_and_a_new_source_begins_at_none() -> None:
    line = Line(CM80)
    for number in range(65_530, 65_546):
        sealed = line.writer.protect(packet(number & 0xFFFF))
        assert sealed == by_the_book(line.key, packet(number & 0xFFFF), number >> 16)
        assert line.opened(sealed)
    assert line.opened(line.writer.protect(packet(3, ssrc=7))) == packet(3, ssrc=7)


def test_one_number_is_never_used_for_two_packets() -> None:
    line = Line()
    for each in (packet(9), packet(11), packet(10)):
        assert line.writer.protect(each)
    buffer = line.buffer
    for repeated in (packet(11), packet(11, payload=b"other")):
        buffer[: len(repeated)] = repeated
        assert line.writer.protect_at(line.place, 0, len(repeated)) == 0
        with pytest.raises(ProtocolError):
            line.writer.protect(repeated)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_reports_are_sealed_too(suite: Suite) -> None:
    line = Line(suite)
    report = struct.pack(">BBHI", 0x80, 201, 1, 77)
    sealed = line.writer.protect_rtcp(report)
    assert line.reader.open_rtcp(sealed) == report
    for forged in (sealed, sealed[:-1], report, b"", bytes(2000)):
        with pytest.raises(ProtocolError):
            line.reader.open_rtcp(forged)


def test_a_key_must_be_as_long_as_its_suite_says_and_shows_in_no_text() -> None:
    with pytest.raises(ProtocolError):
        Key(CM80, bytes(28))
    key = Key.new(CM32)
    assert key.material.hex() not in repr(key)
    assert repr(key.material) not in repr(key)
    assert Key.new(CM32) != key

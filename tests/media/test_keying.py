"""What descriptions say of keys and of RTCP, each read and written."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.errors import ProtocolError
from media.keying import (
    Crypto,
    Fingerprint,
    cryptos_of,
    fingerprints_of,
    muxed,
    rtcp_of,
    setup_of,
)
from media.sdp import PCMU, Media, Origin, Session
from media.srtp import SUITES, Key

# RFC 4568 section 6.1 and its example, with the session parameters that change nothing.
LINE = "1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20 WSH=64"
SHA256 = "sha-256 " + ":".join(f"{n:02X}" for n in range(32))


def section(*attributes: str) -> Media:
    return Media("audio", 4000, "RTP/SAVP", "192.0.2.7", (PCMU,), attributes=attributes)


def session(*attributes: str) -> Session:
    return Session(Origin("1", "1", "192.0.2.7"), (), attributes=attributes)


def test_a_key_is_read_from_a_line() -> None:
    crypto = Crypto.parse(LINE)
    assert (crypto.tag, crypto.key.suite.name) == (1, "AES_CM_128_HMAC_SHA1_80")
    assert crypto.key.material == b"wDfvg&T+)xG7@fb5jU,RaA}\\|p0%*#"


@given(st.integers(0, 999_999_999), st.sampled_from(SUITES), st.data())
def test_every_line_survives_its_own_text(tag: int, suite: object, data: st.DataObject) -> None:
    chosen = next(each for each in SUITES if each is suite)
    key = Key(chosen, data.draw(st.binary(min_size=chosen.size, max_size=chosen.size)))
    crypto = Crypto(tag, key)
    assert Crypto.parse(str(crypto)) == crypto
    assert Crypto.parse(str(crypto).rstrip("=")) == crypto


def test_a_line_cut_short_anywhere_is_refused_or_says_the_same_key() -> None:
    whole = Crypto.parse(LINE)
    for size in range(len(LINE)):
        try:
            assert Crypto.parse(LINE[:size]) == whole
        except ProtocolError:
            continue


@pytest.mark.parametrize(
    "line",
    [
        "",
        "1",
        "x AES_CM_128_HMAC_SHA1_80 inline:" + b64encode(bytes(30)).decode(),
        "1 F8_128_HMAC_SHA1_80 inline:" + b64encode(bytes(30)).decode(),
        "1 AES_CM_128_HMAC_SHA1_80 uri:" + b64encode(bytes(30)).decode(),
        "1 AES_CM_128_HMAC_SHA1_80 inline:" + b64encode(bytes(29)).decode(),
        "1 AES_CM_128_HMAC_SHA1_80 inline:not*base64",
        "1 AES_CM_128_HMAC_SHA1_80 inline:\u00e4\u00f6",
        LINE.replace("|2^20", "|2^20|1:4"),
        LINE.replace("|2^20", "|1:4"),
        LINE.replace("|2^20", ";inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|1:4"),
        LINE + " UNENCRYPTED_SRTP",
        LINE + " KDR=1",
    ],
)
def test_a_line_that_asks_for_what_we_do_not_do_is_as_good_as_absent(line: str) -> None:
    with pytest.raises(ProtocolError):
        Crypto.parse(line)
    assert cryptos_of(section(f"crypto:{line}", f"crypto:{LINE}")) == [Crypto.parse(LINE)]


def test_a_fingerprint_is_read_in_whatever_case_and_written_in_one() -> None:
    read = Fingerprint.parse(SHA256.replace("sha", "SHA").lower())
    assert (read.function, read.value) == ("sha-256", bytes(range(32)))
    assert str(read) == SHA256
    assert Fingerprint.parse(str(read)) == read


@pytest.mark.parametrize(
    "text", ["", "sha-256", "sha-256 00:01", "sha-1 " + "00:" * 19 + "00", "sha-256 zz", SHA256[:-1], "sha-256 \u00e4"]
)
def test_a_fingerprint_that_proves_nothing_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        Fingerprint.parse(text)


def test_a_section_s_own_fingerprint_goes_before_the_session_s() -> None:
    other = SHA256.replace("1F", "FF")
    both = session(f"fingerprint:{other}", "setup:passive"), section(f"fingerprint:{SHA256}", "setup:actpass")
    assert [str(each) for each in fingerprints_of(*both)] == [SHA256]
    assert setup_of(*both) == "actpass"
    above = session(f"fingerprint:{other}", "setup:passive"), section("fingerprint:md5 00")
    assert [str(each) for each in fingerprints_of(*above)] == [other]
    assert setup_of(*above) == "passive"
    assert setup_of(session(), section("setup:whatever")) == ""


@pytest.mark.parametrize(
    ("attributes", "address"),
    [
        ((), ("192.0.2.7", 4001)),
        (("rtcp:5000",), ("192.0.2.7", 5000)),
        (("rtcp:5000 IN IP4 192.0.2.9",), ("192.0.2.9", 5000)),
        (("rtcp:5000 IN IP6 2001:db8::9",), ("2001:db8::9", 5000)),
        (("rtcp:x",), ("192.0.2.7", 4001)),
        (("rtcp:",), ("192.0.2.7", 4001)),
        (("rtcp:70000",), ("192.0.2.7", 4001)),
    ],
)
def test_where_reports_are_wanted(attributes: tuple[str, ...], address: tuple[str, int]) -> None:
    assert rtcp_of(section(*attributes)) == address


def test_a_shared_port_is_said_in_one_word() -> None:
    assert muxed(section("rtcp-mux"))
    assert not muxed(section("rtcp-mux-only"))

"""Bencode: as rtpengine writes it, cut anywhere, and nonsense."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.errors import ProtocolError
from media.rtpengine.bencode import DEEPEST, Value, decode, encode

QUERY = (
    b"d7:createdi1795375980e4:SSRCd1:2d15:cumulative lossi0eee4:tagsd3:fard6:mediasld5:indexi1e"
    b"7:streamsld4:SSRCi2e5:flagsl3:RTP6:fillede5:statsd7:packetsi20e5:bytesi3440e6:errorsi0eeeeeeee6:result2:oke"
)
"Shortened from what rtpengine 10.5 answers to a query."

VALUES: st.SearchStrategy[Value] = st.recursive(
    st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_whatever_is_written_is_read_as_it_was(value: Value) -> None:
    assert decode(encode(value)) == value


def test_captured_bytes_are_read() -> None:
    read = decode(QUERY)
    assert isinstance(read, dict)
    assert read["result"] == b"ok"
    assert read["SSRC"] == {"2": {"cumulative loss": 0}}
    assert decode(encode(read)) == read


def test_keys_are_written_in_the_order_of_their_bytes_and_text_as_utf_8() -> None:
    assert encode({"to-tag": "b", "call-id": "é", "a": [1, -2]}) == b"d1:ali1ei-2ee7:call-id2:\xc3\xa96:to-tag1:be"


@pytest.mark.parametrize("whole", [QUERY, encode({"sdp": b"v=0\r\n", "flags": ["a", "b"], "n": -7})])
def test_whatever_is_cut_is_refused_at_every_byte(whole: bytes) -> None:
    for size in range(len(whole)):
        with pytest.raises(ProtocolError):
            decode(whole[:size])


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"x", b"i1", b"ie", b"i--1e", b"i" + b"1" * 30 + b"e", b"-1:a", b"9999999999:a", b"i1ei2e"),
        *(b"di1ei2ee", b"d1:\xff1:ae", b"l" * 100_000, b"\xb2:ab"),
    ],
)
def test_what_is_no_bencode_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(data)


def test_depth_has_an_end() -> None:
    decode(b"l" * DEEPEST + b"e" * DEEPEST)
    with pytest.raises(ProtocolError, match="too deep"):
        decode(b"l" * (DEEPEST + 1) + b"e" * (DEEPEST + 1))


@given(st.binary(max_size=200) | st.text(alphabet="dlie0123:-a", max_size=60).map(str.encode))
def test_nonsense_is_refused_or_says_the_same_again(data: bytes) -> None:
    try:
        value = decode(data)
    except ProtocolError:
        return
    assert decode(encode(value)) == value

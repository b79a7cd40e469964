"""G.711 against values of the recommendation and against itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.g711 import Codec, convert, decode, encode, table_between

EVERY_BYTE = bytes(range(256))
EVERY_SAMPLE = np.arange(-32768, 32768).astype(np.int16)


@pytest.mark.parametrize(
    ("codec", "code", "linear"),
    [
        (Codec.PCMU, 0x00, -32124),
        (Codec.PCMU, 0x80, 32124),
        (Codec.PCMU, 0x0F, -16764),
        (Codec.PCMU, 0xBF, 1980),
        (Codec.PCMU, 0xF0, 120),
        (Codec.PCMU, 0xFE, 8),
        (Codec.PCMU, 0xFF, 0),
        (Codec.PCMU, 0x7F, 0),
        (Codec.PCMA, 0x2A, -32256),
        (Codec.PCMA, 0xAA, 32256),
        (Codec.PCMA, 0x80, 5504),
        (Codec.PCMA, 0xD5, 8),
        (Codec.PCMA, 0x55, -8),
    ],
)
def test_known_codes_have_their_values(codec: Codec, code: int, linear: int) -> None:
    assert decode(codec, bytes([code])).tolist() == [linear]


@pytest.mark.parametrize("codec", list(Codec))
def test_every_code_survives_decoding_and_coding(codec: Codec) -> None:
    back = encode(codec, decode(codec, EVERY_BYTE))
    # Mu-law alone codes zero twice; coding takes the positive one.
    assert [a for a, b in zip(EVERY_BYTE, back, strict=True) if a != b] == ([0x7F] if codec is Codec.PCMU else [])


@pytest.mark.parametrize("codec", list(Codec))
def test_coding_loses_less_than_a_step(codec: Codec) -> None:
    inside = EVERY_SAMPLE[(EVERY_SAMPLE > -32000) & (EVERY_SAMPLE < 32000)]
    wide = inside.astype(np.int32)
    error = np.abs(decode(codec, encode(codec, inside)).astype(np.int32) - wide)
    # Half of one of sixteen steps in a segment as wide as its own (biased) beginning, and a small step near zero.
    assert (error <= np.maximum((np.abs(wide) + 132) / 32, 16)).all()


@pytest.mark.parametrize("codec", list(Codec))
def test_louder_never_codes_as_softer(codec: Codec) -> None:
    heard = decode(codec, encode(codec, EVERY_SAMPLE)).astype(np.int32)
    assert (np.diff(heard) >= 0).all()


@pytest.mark.parametrize("codec", list(Codec))
def test_silence_is_the_quietest_code(codec: Codec) -> None:
    assert abs(int(decode(codec, bytes([codec.silence]))[0])) == np.abs(decode(codec, EVERY_BYTE).astype(int)).min()


def test_a_table_translates_as_decoding_and_coding_would() -> None:
    for a, b in ((Codec.PCMU, Codec.PCMA), (Codec.PCMA, Codec.PCMU)):
        table = table_between(a, b)
        assert table is not None
        assert EVERY_BYTE.translate(table) == encode(b, decode(a, EVERY_BYTE))


@pytest.mark.parametrize("codec", list(Codec))
def test_one_law_needs_no_table(codec: Codec) -> None:
    assert table_between(codec, codec) is None
    assert convert(EVERY_BYTE, codec, codec) is EVERY_BYTE


@given(st.binary(max_size=400))
def test_changing_law_twice_stays_within_two_steps(coded: bytes) -> None:
    there = convert(coded, Codec.PCMU, Codec.PCMA)
    back = decode(Codec.PCMU, convert(there, Codec.PCMA, Codec.PCMU)).astype(int)
    before = decode(Codec.PCMU, coded).astype(int)
    assert len(there) == len(coded)
    assert (np.abs(back - before) <= np.maximum(np.abs(before) / 12, 24)).all()

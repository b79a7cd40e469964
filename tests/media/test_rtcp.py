"""RTCP: what is written is read again, and captured reports are read as they were meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.errors import ProtocolError
from media.rtcp import Block, Control, Description, Goodbye, Sent, Statement, compound, parse

CAPTURED = bytes.fromhex(
    "81c8000c"  # a sender report with one block
    "1234abcd e9d3a1b2 80000000 00010e60 00000190 0000fa00"
    "deadbeef 0d000007 00010203 00000050 a1b24000 00008000"
    "81ca0005"  # SDES: CNAME abcdefghij, TOOL x
    "1234abcd 010a6162 63646566 6768696a 06017800".replace(" ", "")
    + "81cb0001 1234abcd"  # BYE
    + "81ce0002 1234abcd deadbeef"  # feedback, of which we know nothing (RFC 4585)
)

WORDS = st.integers(0, 2**32 - 1)
BLOCKS = st.builds(Block, WORDS, st.integers(0, 255), st.integers(-(2**23), 2**23 - 1), WORDS, WORDS, WORDS, WORDS)
STATEMENTS = st.builds(
    Statement,
    WORDS,
    st.lists(BLOCKS, max_size=3).map(tuple),
    st.none() | st.builds(Sent, st.integers(0, 2**64 - 1), WORDS, WORDS, WORDS),
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
DESCRIPTIONS = st.builds(Description, st.lists(st.tuples(WORDS, NAMES), max_size=3).map(tuple))
GOODBYES = st.builds(Goodbye, st.lists(WORDS, max_size=3).map(tuple))
COMPOUNDS = st.builds(
    lambda first, rest: [first, *rest], STATEMENTS, st.lists(STATEMENTS | DESCRIPTIONS | GOODBYES, max_size=4)
)


def test_a_captured_compound_is_read() -> None:
    said, described, bye = parse(CAPTURED)
    assert said == Statement(
        0x1234ABCD,
        (Block(0xDEADBEEF, 13, 7, 0x10203, 80, 0xA1B24000, 0x8000),),
        Sent(0xE9D3A1B2_80000000, 0x10E60, 400, 64_000),
    )
    assert described == Description(((0x1234ABCD, "abcdefghij"),))
    assert bye == Goodbye((0x1234ABCD,))


@given(COMPOUNDS)
def test_what_is_written_is_read_again(parts: list[Control]) -> None:
    data = compound(parts)
    assert len(data) % 4 == 0
    assert parse(data) == parts


def test_more_packets_than_were_sent_are_a_negative_loss() -> None:
    block = Block(1, 0, -3, 9, 0, 0, 0)
    assert Block.parse(bytes(block)) == block
    assert Block.parse(bytes(Block(1, 0, -(2**30), 9, 0, 0, 0))).lost == -(2**23)


def test_truncated_anywhere_it_is_refused_or_ends_between_two_parts() -> None:
    ends = {52, 76, 84}
    for size in range(len(CAPTURED)):
        if size in ends:
            assert parse(CAPTURED[:size])
        else:
            with pytest.raises(ProtocolError):
                parse(CAPTURED[:size])


@given(st.binary(max_size=200))
def test_noise_is_read_or_refused(data: bytes) -> None:
    for each in (data, CAPTURED[:52] + data):
        try:
            parse(each)
        except ProtocolError:
            continue


@pytest.mark.parametrize(
    "data",
    [
        "80ca0000",  # a description comes first
        "40c90001 00000001",  # version 1
        "a0c90001 00000004",  # the first is padded
        "80c90001 00000001 a0cb0001 00000000",  # padding of no bytes
        "80c90001 00000001 a0cb0001 00000008",  # more padding than there is
        "80c90001 00000001 a1cb0002 00000001 00000004 80c90001 00000001",  # padded in the middle
        "80c90001 00000001 82cb0001 00000001",  # two sources said, one there
        "80c90001 00000001 81ca0002 00000001 01ff6100",  # an item longer than the packet
        "80c90001 00000001 81ca0001 00000001",  # a source with no items and no end
        "81c90001 00000001",  # a block is said to follow
    ],
)
def test_what_breaks_the_rules_is_refused(data: str) -> None:
    with pytest.raises(ProtocolError):
        parse(bytes.fromhex(data.replace(" ", "")))


def test_the_last_part_may_be_padded() -> None:
    data = bytes.fromhex("80c9000100000001a1cb00020000000100000004")
    assert parse(data) == [Statement(1), Goodbye((1,))]

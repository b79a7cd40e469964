"""MLLP frames alone, however the stream is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.hl7v2.mllp import HEAD_BYTES, Frame, Framer, looks_like_hl7
from tests.connectors.hl7v2.sample import siu
from tests.connectors.hl7v2.talk import framed, numbered


@given(st.lists(st.binary(max_size=40).map(lambda body: body.replace(b"\x1c", b"").replace(b"\x0b", b"")), max_size=5),
       st.data())  # fmt: skip
def test_frames_come_out_however_the_stream_is_cut(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(framed(body) for body in bodies)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    framer = Framer()
    found: list[Frame] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += framer.feed(stream[start:end])
    assert found == [Frame(body) for body in bodies]


def test_a_stream_cut_at_any_byte_yields_the_whole_frames_only() -> None:
    stream = framed(siu()) + framed(numbered(2))
    for end in range(len(stream) + 1):
        whole = [siu()] * (end >= len(siu()) + 2) + [numbered(2)] * (end >= len(stream) - 1)
        assert [frame.body for frame in Framer().feed(stream[:end])] == whole


@pytest.mark.parametrize(
    ("stream", "bodies"),
    [
        (b"junk\x0ba\x1c\rjunk\x0bb\x1c\r", [b"a", b"b"]),
        (b"\x0ba\x1c\x0bb\x1c", [b"a", b"b"]),
        (b"\x0ba\x1c\n\x0bb\x1c\r\n", [b"a", b"b"]),
        (b"MSH|no frame\r", []),
        (b"\x0bMSH|cut off\x0bMSH|again\x1c\r", [b"MSH|again"]),
        (b"\x0bodd \x0b one\x1c\r", [b"odd \x0b one"]),
        (b"\x1c\r\x1c\r\x0ba\x1c\r", [b"a"]),
    ],
)
def test_what_senders_do_to_frames(stream: bytes, bodies: list[bytes]) -> None:
    assert [frame.body for frame in Framer().feed(stream)] == bodies


def test_only_the_beginning_of_a_long_frame_is_kept() -> None:
    framer = Framer(limit=10_000)
    found = [frame for _ in range(100) for frame in framer.feed(b"\x0bMSH|" + b"x" * 1000)]
    assert found == []
    (frame,) = framer.feed(b"\x1c\r")
    assert (frame.oversize, len(frame.body)) == (True, HEAD_BYTES)
    assert list(framer.feed(framed(b"next"))) == [Frame(b"next")]


def test_the_limit_itself_is_allowed() -> None:
    for body, oversize in ((b"x" * 5000, False), (b"x" * 5001, True)):
        for cut in (1, 3000, len(body) + 1):
            framer = Framer(limit=5000)
            frames = [*framer.feed(framed(body)[:cut]), *framer.feed(framed(body)[cut:])]
            assert [frame.oversize for frame in frames] == [oversize]


@pytest.mark.parametrize("body", [b"MSH|^~\\&|", b"\r\nMSH|^", b"\xef\xbb\xbfMSH$%*?@$", b"FHS|^~\\&|", b"BHS|^~\\&|"])
def test_what_looks_like_hl7(body: bytes) -> None:
    assert looks_like_hl7(body)

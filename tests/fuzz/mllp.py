"""MLLP: however the bytes are cut, the same frames come out; each can be answered, in either mode."""

from datetime import UTC, datetime

from connectors.hl7v2.ack import Answers, Code, control_id_of, header_of
from connectors.hl7v2.er7 import Message
from connectors.hl7v2.mllp import TAIL, Frame, Framer, looks_like_hl7

AT = datetime(2026, 3, 2, 14, 0, tzinfo=UTC)
LIMIT = 1024
ANSWERS = Answers()


def one(data: bytes) -> None:
    """Take the first four bytes for where to cut, the rest for what a sender sends."""
    cuts, stream = data[:4], data[4:]
    frames = fed(stream, [len(stream)])
    assert fed(stream, [1]) == frames
    assert fed(stream, [cut + 1 for cut in cuts]) == frames
    for frame in frames:
        assert len(frame.body) <= LIMIT or frame.oversize
        answered(frame.body)
    bodies = [body for body in stream.split(b"\x1c") if b"\x0b" not in body and len(body) <= LIMIT]
    sent = b"".join(b"\x0b" + body + TAIL for body in bodies)
    for sizes in ([len(sent) + 1], [cut + 1 for cut in cuts]):
        assert [frame.body for frame in fed(sent, sizes)] == bodies


def fed(stream: bytes, sizes: list[int]) -> list[Frame]:
    """Return the frames of `stream`, handed over in pieces of these sizes, again and again."""
    frames: list[Frame] = []
    framer, at, turn = Framer(LIMIT), 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)] if sizes else 1
        frames += framer.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    return frames


def answered(body: bytes) -> None:
    """Answer a frame, in every way there is."""
    looks_like_hl7(body)
    header = header_of(body)
    for code in Code:
        answer = ANSWERS.to(header, code, AT, "not-hl7")
        assert answer.endswith(b"\r")
        assert b"\x1c" not in answer
        assert b"\x0b" not in answer
        said = Message.parse(answer).segment("MSA")
        assert said is not None
        assert said.value(1) == code
    assert control_id_of(body) == header.control_id

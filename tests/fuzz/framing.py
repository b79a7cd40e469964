"""SIP over a connection: however the bytes are cut, the same messages come out, or the same end."""

from media.sip.message import MAX_BYTES
from media.sip.transport.framing import MAX_HEAD, PING, Framer, FramingError


def one(data: bytes) -> None:
    """Take the first four bytes for where to cut, the rest for what a peer sends."""
    cuts, stream = data[:4], data[4:]
    whole = fed(stream, [len(stream) + 1])
    assert fed(stream, [1]) == whole
    assert fed(stream, [cut + 1 for cut in cuts]) == whole
    messages, fault = whole
    for message in messages:
        assert message == PING or b"\r\n\r\n" in message
        assert len(message) <= MAX_HEAD + MAX_BYTES
        # What came out once comes out again by itself.
        assert message == PING or fed(message, [3]) == ([message], 0)
    assert fault in (0, 400, 513)
    assert sum(map(len, messages)) <= len(stream)


def fed(stream: bytes, sizes: list[int]) -> tuple[list[bytes], int]:
    """Return the messages of `stream`, handed over in pieces of these sizes, and the status of what ends it."""
    messages: list[bytes] = []
    framer, at, turn = Framer(), 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)] if sizes else 1
        try:
            messages += framer.feed(stream[at : at + size])
        except FramingError as error:
            return messages, error.reply
        at, turn = at + size, turn + 1
    return messages, 0

"""RTCP: whatever compound comes, it is read or refused, and what was read says the same when it is written."""

from media.errors import ProtocolError
from media.rtcp import Description, Goodbye, Statement, compound, parse


def one(data: bytes) -> None:
    """Take `data` for a compound packet."""
    try:
        parts = parse(data)
    except ProtocolError:
        return
    assert len(parts) <= len(data) // 4
    assert all(isinstance(part, Statement | Description | Goodbye) for part in parts)
    assert isinstance(parts[0], Statement)
    for part in parts:
        if isinstance(part, Statement):
            assert all(-0x800000 <= block.lost <= 0x7FFFFF and 0 <= block.fraction <= 255 for block in part.blocks)
    # Names that were no UTF-8, and longer for it, are cut: all else comes again as it was.
    if all(len(name.encode()) <= 255 for part in parts if isinstance(part, Description) for _, name in part.names):
        assert parse(compound(parts)) == parts

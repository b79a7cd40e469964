"""What goes over the vault's Unix socket: u32 big-endian length, msgpack array (docs/reference/vault-protocol.md)."""

import os
import re
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec

VERSION = 1
MAX_FRAME = 1 << 20
"Bytes of one message."

MAX_OBJECTS = 500
MAX_GROUPS = 100
"Of one request; a reader with more asks again."

MAX_WORD = 128
"Characters of an actor, a role, a purpose or a session."

MAX_REASON = 500

ID_BYTES = 16
LANE_BYTES = 80
"HPKE: 32 encapsulated key, 32 secret, 16 tag (RFC 9180 section 5.1)."

OBJECT = struct.Struct(">H16s")
"Table number and row id: what an object key is derived from."

NUDGE = 0
"Id of a message that nobody asked for: the vault tells its courier to look now."

_HEAD = struct.Struct(">I")
_ACT = re.compile(r"[a-z][a-z0-9.-]{0,63}")
_CODE = re.compile(r"(?!\+[0-9]{7,15}$)[!-~]{0,160}")
MAX_DETAILS = 16


class Op(IntEnum):
    """What is asked of the vault."""

    UNWRAP = 1
    APPEND = 2
    BOOT = 3
    SHRED = 4
    POOL = 5
    HEALTH = 6
    SETTLE = 8
    "Answered once every intent committed before it is in the log."


class Status(IntEnum):
    """How it went."""

    OK = 0
    AUDIT_DOWN = 1
    EXPIRED = 2
    DENIED = 3
    MALFORMED = 4
    BUSY = 5


Id = Annotated[bytes, msgspec.Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
Word = Annotated[str, msgspec.Meta(max_length=MAX_WORD)]
U32 = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
Detail = str | int


class Asked(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Objects of one subject, all sealed through one lane."""

    kid: Id
    subject: Id
    lane: Annotated[bytes, msgspec.Meta(max_length=LANE_BYTES)]
    "The HPKE blob; empty where no key is asked for."

    objects: Annotated[
        tuple[Annotated[bytes, msgspec.Meta(min_length=OBJECT.size, max_length=OBJECT.size)], ...],
        msgspec.Meta(max_length=MAX_OBJECTS),
    ]


class Request(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One request; the fields after `groups` are left out of an unwrap."""

    v: int
    id: U32
    op: Op
    deadline: Annotated[int, msgspec.Meta(ge=0)]
    "CLOCK_MONOTONIC, microseconds; what is not durable by then is dropped."

    actor: Word
    role: Word
    purpose: Word
    session: Word
    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON)] | None
    groups: Annotated[list[Asked], msgspec.Meta(max_length=MAX_GROUPS)]
    act: Annotated[str, msgspec.Meta(max_length=64)] = ""
    detail: dict[str, Detail] = {}
    intent: bytes = b""
    "Id of the drained row, so that a record written twice is seen as one."

    at: int = 0
    "When the drained row was written, Unix microseconds."

    @property
    def weight(self) -> int:
        """How many objects are asked for."""
        groups = self.groups
        if len(groups) == 1:
            return len(groups[0].objects)
        return sum([len(group.objects) for group in groups])


class Reply(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The answer to the request of the same id."""

    id: U32
    status: Status
    seq: int
    "The audit record of the request; 0 where it has none."

    keys: list[list[bytes]]
    "In the order asked; an empty key where the lane does not open for that subject."

    detail: dict[str, Any] = {}


class Intent(msgspec.Struct, array_like=True, frozen=True):
    """The body of an intent row, on its way to the log: ids and codes only."""

    actor: str
    role: str
    purpose: str
    session: str
    reason: str | None
    act: str
    subjects: list[tuple[bytes, bytes, list[bytes]]]
    "Key id, subject, objects (table u16, row id)."

    detail: dict[str, str | int]
    at: int
    "Unix microseconds."


Buffer = bytes | memoryview

_encoder = msgspec.msgpack.Encoder()
_requests = msgspec.msgpack.Decoder(Request)
_replies = msgspec.msgpack.Decoder(Reply)
_anything = msgspec.msgpack.Decoder(list[msgspec.Raw])
_number = msgspec.msgpack.Decoder(int)


def frame(message: object) -> bytes:
    """Return `message` as it goes over the socket."""
    body = _encoder.encode(message)
    return _HEAD.pack(len(body)) + body


def only(data: bytes) -> memoryview | None:
    """Return the message if `data` is exactly one: what nearly every receive is, and no reason to copy it."""
    if len(data) < _HEAD.size or _HEAD.unpack_from(data)[0] != len(data) - _HEAD.size:
        return None
    return memoryview(data)[_HEAD.size :]


def frames(buffer: bytearray) -> Iterator[bytes]:
    """Take every whole message out of `buffer`; leave the rest.

    Raises:
        ValueError: a length no message may have.
    """
    start, end = 0, len(buffer)
    try:
        while end - start >= _HEAD.size:
            (length,) = _HEAD.unpack_from(buffer, start)
            if length > MAX_FRAME:
                raise ValueError("frame too long")
            stop = start + _HEAD.size + length
            if stop > end:
                return
            body = bytes(buffer[start + _HEAD.size : stop])
            start = stop
            yield body
    finally:
        del buffer[:start]


def request_of(body: Buffer) -> Request:
    """Parse one request.

    Raises:
        msgspec.DecodeError: not one (`ValidationError` where it is msgpack of another shape).
    """
    request = _requests.decode(body)
    if request.v != VERSION:
        raise msgspec.ValidationError("version")
    if len(request.groups) > 1 and request.weight > MAX_OBJECTS:
        raise msgspec.ValidationError("too many objects")
    return request


def reply_of(body: Buffer) -> Reply:
    """Parse one reply.

    Raises:
        msgspec.DecodeError: not one.
    """
    return _replies.decode(body)


def number_of(body: Buffer) -> int:
    """Return the id of a request that does not parse, so that its sender learns which one; 0 when it has none.

    Raises:
        msgspec.DecodeError: not even a msgpack array.
    """
    parts = _anything.decode(body)
    try:
        number = _number.decode(parts[1])
    except (IndexError, msgspec.DecodeError):
        return 0
    return number if 0 <= number < 1 << 32 else 0


def check_note(act: str, detail: Mapping[str, Detail]) -> None:
    """Refuse an audit note that could hold more than ids and codes.

    Raises:
        ValueError: an act that is no code, too many details, one with a space, or an E.164 number.
    """
    if not _ACT.fullmatch(act):
        raise ValueError("an act is a lower-case code")
    if len(detail) > MAX_DETAILS:
        raise ValueError("too many details")
    for name, value in detail.items():
        if not _ACT.fullmatch(name.replace("_", "-")):
            raise ValueError("a detail's name is a lower-case code")
        if isinstance(value, str) and not _CODE.fullmatch(value):
            raise ValueError(f"detail {name} is no id or code")


@contextmanager
def address(path: Path) -> Iterator[str]:
    """Yield an address for the socket `path` that fits sun_path, however deep the directory lies (unix(7))."""
    if len(os.fsencode(path)) < 108:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def peer(connection: socket.socket) -> tuple[int, int]:
    """Return the process and user at the other end, as they were when it connected (SO_PEERCRED, unix(7))."""
    pid, uid, _gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid

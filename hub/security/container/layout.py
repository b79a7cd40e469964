"""How a container lies in its file, and the key and nonces of its segments (docs/reference/container.md)."""

import struct
from dataclasses import dataclass
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from hub.errors import ChartlineError, UnavailableError

MAGIC = b"CLMC"
VERSION = 1
AES_256_GCM = 1
"Cipher suite: AES-256-GCM, its key made by HKDF-SHA256."

SEGMENT = 65536
"Bytes of plain text in a full segment."

TAG = 16
_FIELDS = struct.Struct(">4sBB2x16s32s7sx")
FIELDS = _FIELDS.size
HEADER = FIELDS + TAG
"Bytes before the first segment: the fields and a tag over them."

HEAD = 4
"Bytes before a segment's cipher text: its flag and the length of its plain text."

MORE, LAST, RECOVERED, OPENING = 0, 1, 2, 0xFF
"Flags: a segment of sound; the end, set by the writer or by a recovery; the header's own tag."

OPENING_INDEX = 0xFFFFFFFF
_CONTEXT = b"chartline/container/v1\0"


class ContainerError(ChartlineError):
    """The file is damaged, was changed, or belongs to another key or object; nothing of it is to be believed."""

    code = "container-damaged"


class ContainerUnsealedError(ContainerError):
    """The file has no end: it is still being written, a crash ended it, or somebody shortened it."""

    code = "container-unsealed"
    status = 409


class ContainerWriteError(UnavailableError):
    """The disk did not take it; what was flushed before stays readable as a prefix."""

    code = "container-not-written"


@dataclass(frozen=True, slots=True)
class Header:
    """The plain fields at the beginning; believed only once the key has authenticated them."""

    lane_id: bytes
    "Which lane's secret the object key comes from, 16 bytes."

    salt: bytes
    "32 random bytes: no two files have one key, not even two of the same object."

    prefix: bytes
    "7 random bytes that each nonce begins with."

    def __post_init__(self) -> None:
        if (len(self.lane_id), len(self.salt), len(self.prefix)) != (16, 32, 7):
            raise ValueError("a lane id has 16 bytes, a salt 32, a prefix 7")

    @classmethod
    def parse(cls, data: bytes) -> "Header":
        """Parse the fields; the tag behind them is the cipher's to check.

        Raises:
            ContainerError: no container, cut off, or of a later version.
        """
        if len(data) < FIELDS or data[:4] != MAGIC:
            raise ContainerError("not a media container")
        _, version, suite, lane_id, salt, prefix = _FIELDS.unpack_from(data)
        if (version, suite) != (VERSION, AES_256_GCM):
            raise ContainerError(f"a media container of version {version}, suite {suite}")
        return cls(lane_id, salt, prefix)

    def __bytes__(self) -> bytes:
        return _FIELDS.pack(MAGIC, VERSION, AES_256_GCM, self.lane_id, self.salt, self.prefix)


class Cipher:
    """The key of one file, and its nonces: prefix, index, flag."""

    def __init__(self, key: bytes, fields: bytes, aad: bytes) -> None:
        """`fields` are the header's 64 bytes exactly as they lie in the file, so that each of them is authenticated.

        Raises:
            ContainerError: these are no container's fields.
        """
        header = Header.parse(fields)
        self._gcm = AESGCM(HKDF(SHA256(), 32, header.salt, _CONTEXT + fields + aad).derive(key))
        self._prefix = header.prefix

    def seal(self, index: int, flag: int, bound: bytes, plain: bytes | bytearray) -> bytes:
        """Return cipher text and tag."""
        return self._gcm.encrypt(self._nonce(index, flag), plain, bound)

    def open(self, index: int, flag: int, bound: bytes, sealed: bytes) -> bytes:
        """Return the plain text.

        Raises:
            ContainerError: not authentic.
        """
        try:
            return self._gcm.decrypt(self._nonce(index, flag), sealed, bound)
        except InvalidTag:
            where = "the header" if flag == OPENING else f"segment {index}"
            raise ContainerError(f"{where} is not authentic") from None

    def _nonce(self, index: int, flag: int) -> bytes:
        return self._prefix + index.to_bytes(4) + bytes((flag,))


def binding_of(tenant: bytes, table: int, object_id: UUID) -> bytes:
    """Return the associated data that ties a container to its object: it opens as no other."""
    return tenant + table.to_bytes(2) + object_id.bytes


def head_of(flag: int, length: int) -> bytes:
    """Return the four bytes before a segment."""
    return bytes((flag,)) + length.to_bytes(3)

"""Blind indexes: equal values find each other in the database without being there.

HMAC-SHA256 under a key of its own for each kind of column, cut to 16 bytes. With the key the 10^10 phone numbers can be
tried one by one, so it counts as protected health information itself.
"""

import hashlib
import hmac
import re
import unicodedata
from datetime import date

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

INDEX_BYTES = 16
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_NOT_LETTER = re.compile(r"[^\w]|_")


class BlindIndex:
    """Makes the index values of one practice; `key` is the 32-byte index root."""

    def __init__(self, key: bytes) -> None:
        if len(key) != 32:
            raise ValueError("this process has no right to the index key")
        self._keys = {
            column: HKDFExpand(SHA256(), 32, b"chartline/v1/index/" + column.encode()).derive(key)
            for column in ("phone", "identifier", "name", "birth", "digest")
        }

    def _of(self, column: str, *parts: str) -> bytes:
        # Lengths go in, so that no two lists of parts read alike.
        said = b"".join(len(part := value.encode()).to_bytes(4, "big") + part for value in parts)
        return hmac.digest(self._keys[column], said, hashlib.sha256)[:INDEX_BYTES]

    def phone(self, e164: str) -> bytes:
        """Return the index of a phone number.

        Raises:
            ValueError: not E.164; the message does not repeat it.
        """
        if not _E164.fullmatch(e164):
            raise ValueError("not an E.164 number")
        return self._of("phone", e164)

    def identifier(self, system: str, type: str, value: str) -> bytes:
        """Return the index of an identifier: naming system or authority, type code (HL7 table 0203), value as told."""
        return self._of("identifier", system, type, value.strip())

    def name(self, family: str, given: str) -> bytes:
        """Return the index of a name; case, accents, spaces and hyphens make no difference."""
        return self._of("name", folded(family), folded(given))

    def birth(self, born: date) -> bytes:
        """Return the index of a date of birth."""
        return self._of("birth", born.isoformat())

    def digest(self, raw: bytes) -> bytes:
        """Return the keyed hash of a raw message: the same bytes are known again, and tell nothing."""
        return hmac.digest(self._keys["digest"], raw, hashlib.sha256)[:INDEX_BYTES]


def folded(name: str) -> str:
    """Return `name` without case, accents or punctuation."""
    parts = unicodedata.normalize("NFKD", name).casefold()
    return _NOT_LETTER.sub("", "".join(letter for letter in parts if not unicodedata.combining(letter)))

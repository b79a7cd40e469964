"""Encryption of everything that Temporal keeps: payloads, failure messages and stack traces (AES-256-GCM).

Ids, type names and times stay readable to whoever reads Temporal's database; nothing about a person goes there. What
comes back without our encryption is refused: a value that anybody could have written is not taken for our own.
"""

import hashlib
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import TypeAdapter
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
    PayloadCodec,
)

from hub.errors import ChartlineError

ENCODING = b"binary/encrypted"
"The name that Temporal's own samples and tools give to an encrypted payload."

KEY_BYTES = 32
NONCE_BYTES = 12
"NIST SP 800-38D section 8.2.2: a random nonce of 96 bits."


class PayloadRefusedError(ChartlineError):
    """A payload is not encrypted, or not under a key of this instance."""

    code = "payload-refused"


def key_id(key: bytes) -> bytes:
    """Return the public name of a codec key: 16 hexadecimal digits."""
    return hashlib.sha256(b"chartline temporal codec" + key).hexdigest()[:16].encode()


class Codec(PayloadCodec):
    """Encrypts with the first key, decrypts with any of them."""

    def __init__(self, key: bytes, *retired: bytes) -> None:
        if any(len(each) != KEY_BYTES for each in (key, *retired)):
            raise ValueError("a codec key has 32 bytes")
        self._current = key_id(key)
        self._ciphers = {key_id(each): AESGCM(each) for each in (key, *retired)}

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Return `payloads`, encrypted with their metadata."""
        return [self._seal(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Return what was encrypted.

        Raises:
            PayloadRefusedError: not encrypted, changed, or under a key that this instance does not have.
        """
        return [self._open(payload) for payload in payloads]

    def _seal(self, payload: Payload) -> Payload:
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._ciphers[self._current].encrypt(nonce, payload.SerializeToString(), _bound(self._current))
        return Payload(metadata={"encoding": ENCODING, "key-id": self._current}, data=nonce + sealed)

    def _open(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            raise PayloadRefusedError("a payload is not encrypted")
        named = payload.metadata.get("key-id", b"")
        cipher = self._ciphers.get(named)
        if cipher is None:
            raise PayloadRefusedError("a payload is encrypted under an unknown key")
        nonce, sealed = payload.data[:NONCE_BYTES], payload.data[NONCE_BYTES:]
        try:
            return Payload.FromString(cipher.decrypt(nonce, sealed, _bound(named)))
        except (InvalidTag, ValueError):
            raise PayloadRefusedError("a payload was changed") from None


def _bound(named: bytes) -> bytes:
    return ENCODING + b"\0" + named


@lru_cache(maxsize=256)
def _adapter_of(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint)


class _Json(PydanticJSONPlainPayloadConverter):
    """Pydantic's JSON, with the schemas of types built once.

    Temporal makes a converter for each workflow, and the one it comes with builds them each time: 2 ms of every call.
    """

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        return _adapter_of(Any if type_hint is None else type_hint).validate_json(payload.data)


class _Values(CompositePayloadConverter):
    """Temporal's own encodings, with ours for JSON."""

    def __init__(self) -> None:
        standard = DefaultPayloadConverter.default_encoding_payload_converters
        super().__init__(*(_Json() if isinstance(each, JSONPlainPayloadConverter) else each for each in standard))


def data_converter(key: bytes, *retired: bytes) -> DataConverter:
    """Return how this instance writes values to Temporal: pydantic's JSON, encrypted, failures included."""
    return DataConverter(
        payload_converter_class=_Values,
        payload_codec=Codec(key, *retired),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )

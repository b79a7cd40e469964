import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.exceptions import ApplicationError

from hub.temporal.codec import ENCODING, Codec, PayloadRefusedError, data_converter, key_id

KEY = bytes(range(32))
OLD = bytes(range(32, 64))

payloads = st.builds(
    Payload,
    metadata=st.dictionaries(st.text(max_size=12), st.binary(max_size=20), max_size=3),
    data=st.binary(max_size=200),
)


@given(st.lists(payloads, max_size=4))
async def test_what_was_encrypted_comes_back(plain: list[Payload]) -> None:
    codec = Codec(KEY)
    sealed = await codec.encode(plain)
    assert all(payload.metadata["encoding"] == ENCODING for payload in sealed)
    assert await codec.decode(sealed) == plain


@given(st.binary(min_size=12, max_size=100))
async def test_nothing_readable_is_left(secret: bytes) -> None:
    plain = Payload(metadata={"encoding": b"json/plain"}, data=secret)
    (sealed,) = await Codec(KEY).encode([plain])
    assert secret not in sealed.data
    assert b"json/plain" not in sealed.data


@given(payloads, st.data())
async def test_a_changed_byte_is_refused(plain: Payload, data: st.DataObject) -> None:
    codec = Codec(KEY)
    (sealed,) = await codec.encode([plain])
    at = data.draw(st.integers(0, len(sealed.data) - 1))
    flipped = bytearray(sealed.data)
    flipped[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(PayloadRefusedError):
        await codec.decode([Payload(metadata=sealed.metadata, data=bytes(flipped))])


async def test_a_payload_cut_short_anywhere_is_refused() -> None:
    codec = Codec(KEY)
    (sealed,) = await codec.encode([Payload(data=b"x")])
    for length in range(len(sealed.data)):
        with pytest.raises(PayloadRefusedError):
            await codec.decode([Payload(metadata=sealed.metadata, data=sealed.data[:length])])


async def test_a_plain_payload_is_refused() -> None:
    with pytest.raises(PayloadRefusedError, match="not encrypted"):
        await Codec(KEY).decode([Payload(metadata={"encoding": b"json/plain"}, data=b'"stop"')])


async def test_a_payload_of_another_instance_is_refused() -> None:
    sealed = await Codec(OLD).encode([Payload(data=b"x")])
    with pytest.raises(PayloadRefusedError, match="unknown key"):
        await Codec(KEY).decode(sealed)


async def test_the_key_named_cannot_be_swapped() -> None:
    (sealed,) = await Codec(KEY).encode([Payload(data=b"x")])
    named = Payload(metadata={"encoding": ENCODING, "key-id": key_id(OLD)}, data=sealed.data)
    with pytest.raises(PayloadRefusedError, match="changed"):
        await Codec(KEY, OLD).decode([named])


async def test_after_a_rotation_old_payloads_still_open_and_new_ones_use_the_new_key() -> None:
    before = await Codec(OLD).encode([Payload(data=b"before")])
    rotated = Codec(KEY, OLD)
    (after,) = await rotated.encode([Payload(data=b"after")])
    assert after.metadata["key-id"] == key_id(KEY)
    assert await rotated.decode([*before, after]) == [Payload(data=b"before"), Payload(data=b"after")]


async def test_a_failure_keeps_its_type_readable_and_nothing_else() -> None:
    converter = data_converter(KEY)
    secret = os.urandom(8).hex()
    failure = Failure()
    await converter.encode_failure(ApplicationError(f"told {secret}", type="rejected"), failure)
    assert secret.encode() not in failure.SerializeToString()
    assert failure.application_failure_info.type == "rejected"
    back = await converter.decode_failure(failure)
    assert str(back) == f"rejected: told {secret}"


def test_a_key_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Codec(b"short")


def test_a_key_id_tells_nothing_of_the_key() -> None:
    assert key_id(KEY) != key_id(OLD)
    assert KEY.hex()[:16].encode() != key_id(KEY)

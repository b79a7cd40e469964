"""Subjects' keys and lanes: only the right subject and object give the right key, and a shredded one gives none."""

import os
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from hub.vault.keys import Root
from hub.vault.layout import derive, pool_message
from hub.vault.ring import KeysBrokenError, Ring
from hub.vault.wire import OBJECT, Asked
from tests.hub.vault.house import PATIENT, lane_for

ROOT = Root(UUID(int=1), bytes(32))


def ring_at(directory: Path, *, lanes: int = 100, wrap: bytes = bytes(32)) -> Ring:
    path = directory / "keys.db"
    return Ring(path, bytes(32), wrap=wrap, signer=ROOT.signer("pool"), tenant=ROOT.tenant, lanes=lanes)


@pytest.fixture
def ring(tmp_path: Path) -> Ring:
    return ring_at(tmp_path)


def asked(kid: bytes, subject: UUID, lane: bytes, *rows: tuple[int, UUID]) -> Asked:
    return Asked(kid, subject.bytes, lane, tuple(OBJECT.pack(table, row.bytes) for table, row in rows))


def test_key_of_an_object_is_what_its_writer_derives(ring: Ring) -> None:
    row = uuid4()
    group, secret = lane_for(ROOT, ring, [row])
    item = OBJECT.pack(PATIENT, row.bytes)
    ((key,),) = ring.keys([asked(group.kid, group.subject, group.lane, (PATIENT, row))])
    assert key == derive(HMAC(secret, SHA256()), item)
    assert len(key) == 32


def test_another_row_or_table_has_another_key(ring: Ring) -> None:
    row = uuid4()
    group, _ = lane_for(ROOT, ring)
    ((one, other_table, other_row),) = ring.keys(
        [asked(group.kid, group.subject, group.lane, (1, row), (2, row), (1, uuid4()))]
    )
    assert len({one, other_table, other_row}) == 3


def test_lane_opens_for_no_other_subject_and_no_other_key(ring: Ring) -> None:
    group, _ = lane_for(ROOT, ring)
    other, _ = lane_for(ROOT, ring)
    row = (PATIENT, uuid4())
    assert ring.keys([asked(group.kid, other.subject, group.lane, row)]) == [[b""]]
    assert ring.keys([asked(other.kid, group.subject, group.lane, row)]) == [[b""]]
    assert ring.keys([asked(bytes(16), group.subject, group.lane, row)]) == [[b""]]


def test_lane_of_another_practice_does_not_open(ring: Ring) -> None:
    group, _ = lane_for(Root(uuid4(), bytes(32)), ring)
    assert ring.keys([asked(group.kid, group.subject, group.lane, (PATIENT, uuid4()))]) == [[b""]]


@pytest.mark.parametrize("place", [0, 40, 79])
def test_changed_or_cut_lane_does_not_open(ring: Ring, place: int) -> None:
    group, _ = lane_for(ROOT, ring)
    flipped = bytearray(group.lane)
    flipped[place] ^= 1
    for blob in (bytes(flipped), group.lane[:place], b""):
        assert ring.keys([asked(group.kid, group.subject, blob, (PATIENT, uuid4()))]) == [[b""]]


def test_failed_group_leaves_the_others_whole(ring: Ring) -> None:
    group, _ = lane_for(ROOT, ring)
    good = asked(group.kid, group.subject, group.lane, (PATIENT, uuid4()))
    bad = asked(group.kid, uuid4(), group.lane, (PATIENT, uuid4()), (PATIENT, uuid4()))
    first, second = ring.keys([bad, good])
    assert first == [b"", b""]
    assert second[0]


def test_pool_keys_are_signed_by_the_vault(ring: Ring) -> None:
    for kid, public, signature in ring.mint(3):
        assert kid[0] == 1
        ROOT.signer("pool").public_key().verify(signature, pool_message(ROOT.tenant.bytes, kid, public))


def test_keys_outlive_the_process(tmp_path: Path) -> None:
    ring = ring_at(tmp_path)
    group, _ = lane_for(ROOT, ring)
    question = [asked(group.kid, group.subject, group.lane, (PATIENT, uuid4()))]
    before = ring.keys(question)
    ring.close()
    again = ring_at(tmp_path)
    assert again.keys(question) == before
    again.close()


def test_shredded_subject_is_gone_from_file_and_memory(tmp_path: Path) -> None:
    ring = ring_at(tmp_path)
    group, _ = lane_for(ROOT, ring)
    other, _ = lane_for(ROOT, ring)
    question = [asked(group.kid, group.subject, group.lane, (PATIENT, uuid4()))]
    assert ring.keys(question)[0][0]
    ring.shred(group.kid)
    assert ring.keys(question) == [[b""]]
    ring.shred(group.kid)  # once more changes nothing
    assert ring.keys([asked(other.kid, other.subject, other.lane, (PATIENT, uuid4()))])[0][0]
    assert (tmp_path / "keys.db-wal").stat().st_size == 0
    ring.close()
    again = ring_at(tmp_path)
    assert again.keys(question) == [[b""]]
    again.close()


def test_lanes_beyond_the_cache_open_again(tmp_path: Path) -> None:
    ring = ring_at(tmp_path, lanes=2)
    questions = []
    for _ in range(5):
        group, _ = lane_for(ROOT, ring)
        questions.append(asked(group.kid, group.subject, group.lane, (PATIENT, uuid4())))
    first = ring.keys(questions)
    assert ring.keys(questions) == first
    assert all(key for (key,) in first)
    ring.close()


def test_private_keys_open_only_under_the_root_they_were_wrapped_under(tmp_path: Path) -> None:
    ring = ring_at(tmp_path)
    ring.mint(1)
    ring.close()
    with pytest.raises(KeysBrokenError):
        ring_at(tmp_path, wrap=os.urandom(32))

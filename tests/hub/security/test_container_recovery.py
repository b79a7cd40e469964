"""Containers that a crash left: the authentic prefix is recovered and sealed, and nothing else."""

from pathlib import Path

import pytest

from hub.errors import ConflictError
from hub.security.container import (
    Writer,
    read,
    recover,
)
from tests.hub.security.test_container import AAD, HEADER, KEY, LANE, PLAIN, SEGMENTS, make, starts, whole


def test_a_crash_leaves_an_authentic_prefix_at_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "live.clm"
    sealed = make(path, seal=False)
    edges = starts()[:-1]
    cuts = {edge + by for edge in edges for by in range(-3, 6)} | set(range(HEADER, len(sealed), 1009))
    for cut in sorted(cut for cut in cuts if HEADER <= cut <= len(sealed)):
        path.write_bytes(sealed[:cut])
        complete = sum(edge <= cut for edge in edges) - 1
        expected = PLAIN[: sum(SEGMENTS[:complete])]
        with read(path, KEY, AAD, unsealed=True) as reader:
            assert reader.read() == expected
            assert not reader.sealed
        found = recover(path, KEY, AAD)
        assert (found.size, found.lost, found.kept) == (len(expected), cut - edges[complete], None)
        with read(path, KEY, AAD) as reader:
            assert (reader.read(), reader.recovered) == (expected, True)


def test_recovery_done_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "live.clm"
    make(path, seal=False)
    recover(path, KEY, AAD)
    once = path.read_bytes()
    # Cut short in the middle of its own write, and run again: the same bytes, so the same nonce sealed the same thing.
    path.write_bytes(once[:-9])
    recover(path, KEY, AAD)
    assert path.read_bytes() == once
    assert recover(path, KEY, AAD).lost == 0
    assert path.read_bytes() == once


def test_recovery_leaves_a_sealed_container_alone(tmp_path: Path) -> None:
    path = tmp_path / "one.clm"
    sealed = make(path)
    assert recover(path, KEY, AAD).size == len(PLAIN)
    assert path.read_bytes() == sealed


def test_recovery_keeps_what_it_cannot_authenticate(tmp_path: Path) -> None:
    path = tmp_path / "live.clm"
    sealed = bytearray(make(path, seal=False))
    broken = starts()[2] + 50
    sealed[broken] ^= 1
    path.write_bytes(sealed)
    found = recover(path, KEY, AAD)
    assert found.size == sum(SEGMENTS[:2])
    assert found.kept is not None
    assert found.kept.read_bytes() == bytes(sealed[starts()[2] :])
    assert whole(path) == PLAIN[: found.size]


def test_a_tail_of_zeros_after_a_power_loss_is_no_sound(tmp_path: Path) -> None:
    path = tmp_path / "live.clm"
    path.write_bytes(make(path, seal=False) + bytes(4096))
    assert recover(path, KEY, AAD).size == len(PLAIN)
    assert whole(path) == PLAIN


def test_a_container_that_is_being_written_is_not_recovered(tmp_path: Path) -> None:
    path = tmp_path / "live.clm"
    with Writer(path, KEY, AAD, lane_id=LANE) as writer:
        writer.write(b"so far")
        writer.flush()
        with pytest.raises(ConflictError):
            recover(path, KEY, AAD)
        with read(path, KEY, AAD, unsealed=True) as reader:
            assert reader.read() == b"so far"
    assert whole(path) == b"so far"

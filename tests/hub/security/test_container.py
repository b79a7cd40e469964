"""The sealed container: what is written is read, and whatever is changed, missing or added is found."""

import errno
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.errors import NotFoundError
from hub.security.container import (
    SEGMENT,
    ContainerError,
    ContainerUnsealedError,
    ContainerWriteError,
    Writer,
    binding_of,
    ended,
    header_of,
    read,
    recover,
)

KEY = bytes(range(32))
LANE = b"lane-id-of-16-by"
AAD = binding_of(b"t" * 16, 4, UUID(int=7))
HEADER, HEAD, TAG = 80, 4, 16
PIECES = [b"a" * 300, b"b" * 70_000, b"c", b"d" * 5_000]
"Flushed one by one: segments of 300, 65536, 4464, 1 and 5000 bytes."

SEGMENTS = [300, 65_536, 4_464, 1, 5_000]
PLAIN = b"".join(PIECES)


def make(path: Path, pieces: list[bytes] = PIECES, *, seal: bool = True) -> bytes:
    writer = Writer(path, KEY, AAD, lane_id=LANE)
    for piece in pieces:
        writer.write(piece)
        writer.flush()
    if seal:
        writer.close()
    else:
        writer.abandon()
    return path.read_bytes()


def starts() -> list[int]:
    """Where each segment and then the end begins, and where the file ends."""
    at = [HEADER]
    for length in [*SEGMENTS, 0]:
        at.append(at[-1] + HEAD + length + TAG)
    return at


def whole(path: Path) -> bytes:
    with read(path, KEY, AAD) as reader:
        return reader.read()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "one.clm"
    make(path)
    assert whole(path) == PLAIN
    with read(path, KEY, AAD) as reader:
        assert (reader.size, reader.sealed, reader.recovered) == (len(PLAIN), True, False)
        reader.verify()
    assert ended(path)
    assert header_of(path).lane_id == LANE
    assert path.stat().st_mode & 0o777 == 0o600


def test_layout_is_the_documented_one(tmp_path: Path) -> None:
    sealed = make(tmp_path / "one.clm")
    assert len(sealed) == starts()[-1]
    assert sealed[:8] == b"CLMC\x01\x01\x00\x00"
    assert sealed[8:24] == LANE
    assert [sealed[at : at + HEAD] for at in starts()[:-1]] == [b"\0" + length.to_bytes(3) for length in SEGMENTS] + [
        b"\x01\0\0\0"
    ]


def test_an_empty_container_holds_nothing(tmp_path: Path) -> None:
    assert len(make(tmp_path / "empty.clm", [])) == HEADER + HEAD + TAG
    assert whole(tmp_path / "empty.clm") == b""


def test_nothing_of_the_plain_text_is_in_the_file(tmp_path: Path) -> None:
    sealed = make(tmp_path / "one.clm")
    assert b"aaaa" not in sealed
    assert b"bbbb" not in sealed


def test_two_containers_of_one_object_share_neither_salt_nor_cipher_text(tmp_path: Path) -> None:
    one, two = make(tmp_path / "one.clm"), make(tmp_path / "two.clm")
    assert one[24:56] != two[24:56]
    assert one[HEADER:][:100] != two[HEADER:][:100]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(st.tuples(st.binary(max_size=400), st.integers(1, 400), st.booleans()), max_size=8),
    places=st.lists(st.tuples(st.integers(0, 400_000), st.integers(0, 70_000)), max_size=5),
)
def test_any_place_can_be_sought(
    tmp_path: Path, pieces: list[tuple[bytes, int, bool]], places: list[tuple[int, int]]
) -> None:
    path = tmp_path / "sought.clm"
    path.unlink(missing_ok=True)
    plain = b""
    with Writer(path, KEY, AAD, lane_id=LANE) as writer:
        for piece, times, flushed in pieces:
            writer.write(piece * times)
            plain += piece * times
            if flushed:
                writer.flush()
        assert writer.size == len(plain)
    with read(path, KEY, AAD) as reader:
        for at, length in places:
            assert reader.seek(at) == at
            assert reader.read(length) == plain[at : at + length]
            assert reader.tell() == at + len(plain[at : at + length])
        reader.seek(-10, os.SEEK_END)
        assert reader.read() == plain[-10:]


def test_truncation_at_every_interesting_byte_is_found_on_opening(tmp_path: Path) -> None:
    path = tmp_path / "one.clm"
    sealed = make(path)
    edges = {0, HEADER, 64, *starts()}
    cuts = {edge + by for edge in edges for by in range(-TAG - HEAD - 1, HEAD + 2)} | set(range(0, len(sealed), 97))
    for cut in sorted(cut for cut in cuts if 0 <= cut < len(sealed)):
        path.write_bytes(sealed[:cut])
        with pytest.raises(ContainerError):
            read(path, KEY, AAD)


def test_truncation_at_a_segment_says_that_the_end_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "one.clm"
    sealed = make(path)
    for cut in starts()[:-1]:
        path.write_bytes(sealed[:cut])
        with pytest.raises(ContainerUnsealedError):
            read(path, KEY, AAD)
        assert not ended(path)


def test_a_flip_in_any_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "one.clm"
    sealed = make(path)
    everywhere = {*range(HEADER + HEAD + TAG), *range(0, len(sealed), 331)}
    near_edges = {edge + by for edge in starts()[:-1] for by in range(HEAD + TAG)}
    for at in sorted(everywhere | near_edges):
        changed = bytearray(sealed)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        with pytest.raises(ContainerError):
            whole(path)


def pieces_of(sealed: bytes) -> list[bytes]:
    return [sealed[a:b] for a, b in zip([0, *starts()[:-1]], starts(), strict=True)]


@pytest.mark.parametrize(
    "change",
    [
        lambda p: [p[0], p[2], p[1], *p[3:]],
        lambda p: [*p[:3], *p[4:]],
        lambda p: [*p[:3], p[2], *p[3:]],
        lambda p: [p[0], *p[2:]],
        lambda p: [*p, b"\0"],
        lambda p: [*p, p[-1]],
        lambda p: [*p[:-2], p[-1]],
        lambda p: [p[0], p[-1]],
        lambda p: [*p[:2], b"\0" + (65_535).to_bytes(3) + p[2][4:], *p[3:]],
        lambda p: [*p[:-1], b"\x02" + p[-1][1:]],
    ],
    ids=[
        "swapped",
        "one dropped",
        "one repeated",
        "first dropped",
        "bytes added",
        "a second end",
        "end before the last",
        "end first",
        "a head that claims less",
        "recovered for sealed",
    ],
)
def test_segments_out_of_place_are_found(tmp_path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path = tmp_path / "one.clm"
    path.write_bytes(b"".join(change(pieces_of(make(path)))))
    with pytest.raises(ContainerError):
        whole(path)


def test_a_segment_of_another_container_of_the_same_object_is_found(tmp_path: Path) -> None:
    ours, theirs = make(tmp_path / "one.clm"), make(tmp_path / "two.clm")
    mixed = pieces_of(ours)
    mixed[1] = pieces_of(theirs)[1]
    (tmp_path / "one.clm").write_bytes(b"".join(mixed))
    with pytest.raises(ContainerError):
        whole(tmp_path / "one.clm")


@pytest.mark.parametrize(
    ("key", "aad"),
    [
        (bytes(32), AAD),
        (KEY, binding_of(b"t" * 16, 4, UUID(int=8))),
        (KEY, binding_of(b"t" * 16, 9, UUID(int=7))),
        (KEY, binding_of(b"u" * 16, 4, UUID(int=7))),
    ],
    ids=["key", "object", "table", "tenant"],
)
def test_another_key_or_object_opens_nothing_and_recovers_nothing(tmp_path: Path, key: bytes, aad: bytes) -> None:
    path = tmp_path / "one.clm"
    make(path, seal=False)
    before = path.read_bytes()
    for opened in (lambda: read(path, key, aad, unsealed=True), lambda: recover(path, key, aad)):
        with pytest.raises(ContainerError, match="header"):
            opened()
    assert path.read_bytes() == before


def test_what_is_no_container_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read(tmp_path / "none.clm", KEY, AAD)
    with pytest.raises(NotFoundError):
        recover(tmp_path / "none.clm", KEY, AAD)
    other = tmp_path / "other.clm"
    for content in (b"", b"CLMC", b"RIFF" + bytes(100), b"CLMC\x02\x01" + bytes(100), b"CLMC\x01\x02" + bytes(100)):
        other.write_bytes(content)
        with pytest.raises(ContainerError):
            read(other, KEY, AAD)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.binary(max_size=300), kept=st.integers(0, 400))
def test_no_bytes_make_the_reader_do_anything_but_refuse(tmp_path: Path, junk: bytes, kept: int) -> None:
    path = tmp_path / "junk.clm"
    path.unlink(missing_ok=True)
    path.write_bytes(make(path, [b"a" * 300])[:kept] + junk)
    with pytest.raises(ContainerError):
        read(path, KEY, AAD)


def test_an_exception_leaves_no_end(tmp_path: Path) -> None:
    path = tmp_path / "live.clm"
    writer = Writer(path, KEY, AAD, lane_id=LANE)
    writer.write(b"x" * SEGMENT)
    with pytest.raises(ZeroDivisionError), writer:
        raise ZeroDivisionError
    assert not ended(path)
    assert recover(path, KEY, AAD).size == SEGMENT


def test_a_file_that_exists_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "one.clm"
    sealed = make(path)
    with pytest.raises(ContainerWriteError):
        Writer(path, KEY, AAD, lane_id=LANE)
    assert path.read_bytes() == sealed


def test_a_closed_container_takes_nothing_more(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "one.clm", KEY, AAD, lane_id=LANE)
    writer.close()
    writer.close()
    with pytest.raises(ContainerWriteError):
        writer.write(b"x" * SEGMENT)


FULL_DISK = """
import resource, sys
from pathlib import Path
from hub.security.container import ContainerWriteError, Writer
writer = Writer(Path(sys.argv[1]), bytes(range(32)), bytes.fromhex(sys.argv[2]), lane_id=b"lane-id-of-16-by")
writer.write(b"a" * 1000)
writer.flush(durable=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
writer.write(b"b" * 5000)
failures = 0
for attempt in (writer.flush, lambda: writer.write(b"c" * 70000), lambda: writer.flush(durable=True), writer.flush):
    try:
        attempt()
    except ContainerWriteError as error:
        print(error)
"""


def test_a_full_disk_ends_the_container_for_good_and_keeps_what_was_flushed(tmp_path: Path) -> None:
    path = tmp_path / "full.clm"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, path, AAD.hex()], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.splitlines() == [os.strerror(errno.EFBIG)] + ["the container is closed"] * 3
    assert path.stat().st_size == 2000
    assert recover(path, KEY, AAD).size == 1000
    assert whole(path) == b"a" * 1000


VECTOR = bytes.fromhex(
    "434c4d43010100006c616e652d69642d6f662d31362d62796465666768696a6b6c6d6e6f707172737475767778797a7b"
    "7c7d7e7f80818283c8c9cacbcccdce00543f420911900130998eebee28502df60000000ca7524adb9e6c3a112fb06983"
    "6f8bed310b0f75adc4dd39b032753cd70000000c98d5cb6c17796ead151dc187677c14867b5aa149235195fadcb7c5f2"
    "010000001546c446c67d7393289b5763f096f1d0"
)
"Two segments and the end, made after docs/reference/container.md without this project's code."


def read_by_the_page(data: bytes) -> list[bytes]:
    """Read a container as docs/reference/container.md says, and nothing else."""
    fields, salt, prefix = data[:64], data[24:56], data[56:63]
    info = b"chartline/container/v1\0" + fields + AAD
    gcm = AESGCM(HKDF(SHA256(), 32, salt, info).derive(KEY))
    assert gcm.decrypt(prefix + b"\xff" * 5, data[64:80], fields) == b""
    plain: list[bytes] = []
    heads, at, index = b"", 80, 0
    while data[at] == 0:
        head, behind = data[at : at + 4], at + 4 + int.from_bytes(data[at + 1 : at + 4]) + 16
        plain.append(gcm.decrypt(prefix + index.to_bytes(4) + b"\0", data[at + 4 : behind], head))
        heads, at, index = heads + head, behind, index + 1
    end = data[at : at + 4]
    assert end in (b"\1\0\0\0", b"\2\0\0\0")
    bound = end + hashlib.sha256(heads).digest()
    assert gcm.decrypt(prefix + index.to_bytes(4) + end[:1], data[at + 4 :], bound) == b""
    return plain


def test_a_file_made_elsewhere_is_read(tmp_path: Path) -> None:
    path = tmp_path / "vector.clm"
    path.write_bytes(VECTOR)
    assert whole(path) == b"first secondand the next"
    assert read_by_the_page(VECTOR) == [b"first second", b"and the next"]


def test_our_files_are_read_by_who_only_knows_the_page(tmp_path: Path) -> None:
    sealed = make(tmp_path / "one.clm")
    assert [len(piece) for piece in read_by_the_page(sealed)] == SEGMENTS
    assert b"".join(read_by_the_page(sealed)) == PLAIN
    make(tmp_path / "live.clm", seal=False)
    recover(tmp_path / "live.clm", KEY, AAD)
    assert b"".join(read_by_the_page((tmp_path / "live.clm").read_bytes())) == PLAIN

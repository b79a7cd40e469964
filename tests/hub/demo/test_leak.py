import base64
import json
import os
import socket
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.demo import leak
from hub.demo.leak import Leak, kind_of, leaks, notations

FAMILY, NUMBER, BORN = "Peñalosada", "2125550110", "19700312"
MARKS = frozenset({FAMILY, NUMBER, BORN, "1970-03-12"})


def found_in(tmp_path: Path, content: bytes) -> list[Leak]:
    (tmp_path / "file").write_bytes(content)
    return leaks([tmp_path], MARKS)


@pytest.mark.parametrize(
    "content",
    [
        FAMILY.encode(),
        FAMILY.upper().encode(),
        FAMILY.lower().encode("latin-1"),
        FAMILY.encode("utf-16-le"),
        FAMILY.upper().encode("utf-16-be"),
        json.dumps(FAMILY).encode(),
        FAMILY.encode().hex().encode(),
        FAMILY.encode().hex().upper().encode(),
        *(
            base64.b64encode(b"x" * before + FAMILY.encode() + b"y" * after)
            for before in range(3)
            for after in range(3)
        ),
    ],
)
def test_a_name_is_found_however_it_is_written(tmp_path: Path, content: bytes) -> None:
    assert {(one.file, one.kind) for one in found_in(tmp_path, b"\x00\xff|" + content + b"|\n")} == {("file", "name")}


@pytest.mark.parametrize("written", list(notations("+12125550110")))
def test_a_number_is_found_in_each_notation(tmp_path: Path, written: str) -> None:
    (tmp_path / "file").write_text(f"tel:+1{written};")
    found = leaks([tmp_path], notations("+12125550110"))
    assert [(one.kind, one.form) for one in found] == [("number", "utf-8")]


def test_where_it_is_and_in_what_form_is_told_but_not_what_it_is(tmp_path: Path) -> None:
    (one,) = found_in(tmp_path, b"PID|" + BORN.encode())
    assert one == Leak("file", "birth-date", "utf-8", 4)
    assert BORN not in repr(one)


def test_a_date_in_the_middle_of_an_id_is_chance(tmp_path: Path) -> None:
    assert found_in(tmp_path, str(UUID(f"{BORN}-0a00-7000-8000-00000000000f")).encode()) == []
    assert found_in(tmp_path, f"PID|{BORN}120000|".encode()) != []


def test_the_practice_and_its_own_numbers_are_nobody(tmp_path: Path) -> None:
    assert found_in(tmp_path, b"(212) 555-0100 +12125550100 Quiet Cove") == []


def test_a_files_own_name_may_hold_nobody_either(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / f"call-{NUMBER}.wav").write_bytes(b"")
    assert leaks([tmp_path], MARKS) == [Leak(f"below/call-{NUMBER}.wav", "number", "utf-8", -1)]


def test_what_lies_across_two_chunks_is_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leak, "CHUNK", 64)
    for at in range(40, 90):
        assert [one.at for one in found_in(tmp_path, b"." * at + NUMBER.encode() + b"." * 200)] == [at]


def test_sockets_pipes_and_links_are_passed_over(tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.write_text(NUMBER)
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(away)
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "s"))
        assert leaks([root], MARKS) == []
    assert [one.file for one in leaks([away], MARKS)] == ["away"]


@settings(max_examples=200)
@given(st.binary(max_size=300), st.binary(max_size=300), st.sampled_from(sorted(MARKS)))
def test_whatever_stands_around_a_mark_it_is_found(
    tmp_path_factory: pytest.TempPathFactory, before: bytes, after: bytes, mark: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "file").write_bytes(before + b"|" + mark.encode() + b"|" + after)
    assert len(before) + 1 in {one.at for one in leaks([folder], MARKS)}


def test_kinds() -> None:
    assert [kind_of(mark) for mark in ("Orlena", "03/12/1970", "1970-03-12", BORN, NUMBER, "HFM712345")] == [
        "name",
        *["birth-date"] * 3,
        *["number"] * 2,
    ]

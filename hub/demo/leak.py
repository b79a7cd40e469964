"""Looks for people in files that must not hold any: every byte, in the forms that programs write text in.

A mark is a name, a number or a birth date as somebody writes it. It is searched for whatever its case, as UTF-8,
Latin-1 and UTF-16, escaped as in JSON, in base64 at each of its three places, and as hexadecimal. Contents that are
compressed are not opened: nothing of the product compresses what it keeps.
"""

import base64
import json
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CHUNK = 1 << 24
"Bytes looked at together."

SHORTEST = 6
"Bytes of a form; anything shorter is found by chance in what is encrypted."

EIGHT = 8
"Digits: so many, such as a date's, do stand by chance in some id of a busy instance; more do not."

HEAD = 3
"Bytes by which all places that cannot begin a form are passed over at once."

_DATE = re.compile(r"\d{8}|\d{4}-\d{2}-\d{2}|\d{2}/\d{2}/\d{4}")
_TOKEN = frozenset(b"0123456789abcdef-")


@dataclass(frozen=True, slots=True)
class Leak:
    """One place where somebody can be read."""

    file: str
    "Below the path that was looked at."

    kind: str
    "name, number or birth-date: what it is is not told again."

    form: str
    "How it is written: utf-8, base64 ..."

    at: int
    "Offset in bytes; -1 where the file's own name holds it."


@dataclass(frozen=True, slots=True)
class _Form:
    text: bytes
    "Lower case."

    kind: str
    name: str
    digits: bool
    "It could stand by chance in an id written in hexadecimal."


def leaks(paths: Iterable[Path], marks: Iterable[str]) -> list[Leak]:
    """Return every place in the files below `paths` that holds one of `marks`; what is no plain file is passed over.

    A file may be written meanwhile.
    """
    forms = list(_forms(marks))
    heads: dict[bytes, list[_Form]] = {}
    for form in forms:
        heads.setdefault(form.text[:HEAD], []).append(form)
    table = np.zeros(1 << 8 * HEAD, dtype=bool)
    table[[int.from_bytes(head) for head in heads]] = True
    longest = max((len(form.text) for form in forms), default=HEAD)
    found: dict[tuple[str, str, str, int], Leak] = {}
    for root in paths:
        for path in files_of(root):
            name = str(path.relative_to(root)) if path != root else path.name
            for at, form in _in_file(path, name, heads, table, longest):
                found[name, form.kind, form.name, at] = Leak(name, form.kind, form.name, at)
    return list(found.values())


def files_of(root: Path) -> Iterator[Path]:
    """Yield the plain files below `root`, or `root` itself where it is one."""
    for path in sorted([root, *root.rglob("*")]):
        try:
            if stat.S_ISREG(path.lstat().st_mode):
                yield path
        except FileNotFoundError:
            continue  # a process put away what it wrote


def notations(e164: str) -> Iterator[str]:
    """Yield a North American number as people and programs write it; each is found within longer ones."""
    area, exchange, line = e164[-10:-7], e164[-7:-4], e164[-4:]
    yield area + exchange + line
    yield f"({area}) {exchange}-{line}"
    for gap in "-. ":
        yield f"{area}{gap}{exchange}{gap}{line}"


def kind_of(mark: str) -> str:
    """Return what a mark tells of somebody."""
    if _DATE.fullmatch(mark):
        return "birth-date"
    return "number" if any(letter.isdigit() for letter in mark) else "name"


def _forms(marks: Iterable[str]) -> Iterator[_Form]:
    for mark in sorted(set(marks)):
        kind, seen = kind_of(mark), set[bytes]()
        for name, written in _written(mark):
            text = written.lower()
            if len(text) >= SHORTEST and text not in seen:
                seen.add(text)
                yield _Form(text, kind, name, digits=text.isdigit() and len(text) <= EIGHT)


def _written(mark: str) -> Iterator[tuple[str, bytes]]:
    for text in (mark, mark.lower(), mark.upper()):
        plain = text.encode()
        yield "utf-8", plain
        yield "json", json.dumps(text)[1:-1].encode()
        yield "latin-1", text.encode("latin-1", "replace")
        yield "utf-16", text.encode("utf-16-le")
        yield "utf-16", text.encode("utf-16-be")
        yield "hex", plain.hex().encode()
        for before, cut in ((0, 0), (1, 2), (2, 3)):
            whole = (before + len(plain)) * 8 // 6  # characters that nothing after the mark can change
            yield "base64", base64.b64encode(bytes(before) + plain)[cut:whole]


def _in_file(
    path: Path, name: str, heads: Mapping[bytes, list[_Form]], table: np.ndarray, longest: int
) -> Iterator[tuple[int, _Form]]:
    yield from ((-1, form) for _, form in _in_bytes(name.encode(errors="surrogateescape").lower(), heads, table))
    try:
        with path.open("rb") as file:
            kept, before = b"", 0
            while data := file.read(CHUNK):
                block = kept + data.lower()
                for at, form in _in_bytes(block, heads, table):
                    yield before + at, form
                kept = block[-2 * longest :]
                before += len(block) - len(kept)
    except FileNotFoundError:
        return


def _in_bytes(block: bytes, heads: Mapping[bytes, list[_Form]], table: np.ndarray) -> Iterator[tuple[int, _Form]]:
    if len(block) < HEAD:
        return
    view = np.frombuffer(block, dtype=np.uint8)
    first, second, third = (view[skip : len(view) - HEAD + 1 + skip] for skip in range(HEAD))
    places = np.flatnonzero(table[first.astype(np.uint32) << 16 | second.astype(np.uint32) << 8 | third])
    for at in places.tolist():
        for form in heads[block[at : at + HEAD]]:
            if block.startswith(form.text, at) and not (form.digits and _in_an_id(block, at, len(form.text))):
                yield at, form


def _in_an_id(block: bytes, at: int, length: int) -> bool:
    """Return whether digits stand in a run of hexadecimal digits that also has letters."""
    start, end = at, at + length
    while start > 0 and block[start - 1] in _TOKEN:
        start -= 1
    while end < len(block) and block[end] in _TOKEN:
        end += 1
    return any(block[place] in b"abcdef" for place in range(start, end))

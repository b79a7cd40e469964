"""Character sets that change inside of a message (ISO 2022), as they are and as HL7 escapes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.hl7v2.charset import SETS, decode
from connectors.hl7v2.er7 import Message


def named(charset: str, name: bytes) -> str:
    """Return PID-5.1 and .2 of a message whose name is these bytes."""
    head = f"MSH|^~\\&|A|B|C|D|20260302090000||ADT^A08|1|P|2.5||||||{charset}|ja|ISO 2022-1994\r".encode()
    pid = Message.parse(head + b"PID|||1^^^H^MR||" + name + b"|Next^Field\rPV1|1|O\r").segment("PID")
    assert pid is not None
    assert pid.field(6) == "Next^Field"
    return f"{pid.composite(5)[1]} {pid.composite(5)[2]}"


JIS = "iso2022_jp_ext"


@pytest.mark.parametrize(
    ("charset", "name", "expected"),
    [
        ("~ISO IR87", "山田^太郎".encode(JIS), "山田 太郎"),
        ("ISO IR6~ISO IR87", "本^次".encode(JIS), "本 次"),  # bytes of these look like delimiters
        ("ISO IR14~ISO IR87~ISO IR159", "山田^太郎".encode(JIS), "山田 太郎"),
        ("", "山田^太郎".encode(JIS), "山田 太郎"),
        ("~ISO IR159", "丂^丄".encode(JIS), "丂 丄"),
        ("~ISO IR14", b"\x1b(I\x54\x4f\x40\x5e\x1b(B^\x1b(I\x40\x1b(B", "ﾔﾏﾀﾞ ﾀ"),
        ("~KS X 1001", b"\x1b$)C" + "김".encode("euc_kr") + b"^" + "희중".encode("euc_kr"), "김 희중"),
        ("8859/1~8859/5", b"M\xfcller^\x1b-L" + "Иван".encode("iso8859-5"), "Müller Иван"),
        ("UNICODE UTF-8~ISO IR87", "Müller^".encode() + "太郎".encode(JIS), "Müller 太郎"),
        ("~ISO IR87", b"\\M2442\\" + "山田".encode(JIS)[3:-3] + b"\\C2842\\^\\M2442\\" + "太郎".encode(JIS)[3:-3] +
         b"\\C2842\\", "山田 太郎"),
        ("~8859/1", b"\\C2D41\\M\xfcller^J\xf6rg", "Müller Jörg"),
    ],
)  # fmt: skip
def test_a_message_may_change_its_character_set(charset: str, name: bytes, expected: str) -> None:
    assert named(charset, name) == expected


def test_a_switch_ends_with_its_segment() -> None:
    raw = b"MSH|^~\\&|A\rPID|\x1b$B;3\rPV1|plain\r"
    assert decode(raw) == "MSH|^~\\&|A\rPID|山\rPV1|plain\r"


@pytest.mark.parametrize("text", [b"\\C2ZZZ\\", b"\\C2\\", b"\\M2442", b"C:\\C2842\x00"])
def test_what_only_looks_like_a_switch_stays(text: bytes) -> None:
    assert decode(b"MSH|^~\\&|A|" + text + b"\r") == f"MSH|^~\\&|A|{text.decode()}\r"


def test_a_switch_to_a_set_that_nobody_knows_stays() -> None:
    assert decode(b"MSH|^~\\&|A\x1b(~B\r") == "MSH|^~\\&|A\x1b(~B\r"


def test_every_set_has_a_codec_that_reads_ascii_or_its_own() -> None:
    for codec, first in SETS.values():
        assert isinstance((first + b"0000").decode(codec, "replace"), str)


@given(
    st.lists(
        st.sampled_from([b"\x1b" + mark for mark in SETS] + [b"\x1b", b"\r", b"|^", b"\xff\xa4", b"AB", b"\\M2442\\"])
    )
)
def test_every_mixture_has_a_text(parts: list[bytes]) -> None:
    text = decode(b"MSH|^~\\&|A\r" + b"".join(parts))
    assert text.startswith("MSH|^~\\&|A\r")

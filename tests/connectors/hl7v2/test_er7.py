"""The lazy reader: whatever a sender does to delimiters, terminators, escapes and character sets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.api import RejectedError
from connectors.hl7v2.er7 import NULL, Delimiters, Message, delimiters_of, escape, messages_in, unescape
from tests.connectors.hl7v2.sample import SIU, adt, siu

HEAD = "MSH|^~\\&|A|B|C|D|20260302090000||ADT^A08|1|P|2.5\r"

DELIMITERS = (
    Delimiters(),
    Delimiters("|", "^", "~", "\\", "&", "#"),
    Delimiters("$", "%", "*", "?", "@"),
    Delimiters("!", "r", "s", "t", "u"),
)

terminators = st.sampled_from(["\r", "\n", "\r\n"])
plain_texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


def pid(text: str, head: str = HEAD) -> Message:
    return Message.parse(f"{head}PID|{text}\r".encode())


def test_fields_are_numbered_as_in_the_standard() -> None:
    message = Message.parse(siu())
    assert [message.header.field(number) for number in (1, 2, 3, 9, 10)] == [
        "|", "^~\\&", "SCHED", "SIU^S12^SIU_S12", "M0001",
    ]  # fmt: skip
    sch = message.segment("SCH")
    assert sch is not None
    assert (sch.value(1), sch.composite(1)[2], sch.value(25)) == ("P100", "SCHED", "Booked")
    assert len(sch) == 25
    assert sch.field(26) == ""
    assert sch.value(99) == ""


def test_a_segment_that_is_not_there_is_none() -> None:
    assert Message.parse(siu()).segment("ZZZ") is None


def test_every_segment_of_a_name_comes_in_order() -> None:
    raw = siu() + b"AIL|2|A|WEST\rAIL|3|A|NORTH\r"
    assert [ail.value(3) for ail in Message.parse(raw).segments("AIL")] == ["EAST", "WEST", "NORTH"]


@pytest.mark.parametrize("terminator", ["\r", "\n", "\r\n"])
def test_any_line_ending_ends_a_segment(terminator: str) -> None:
    raw = terminator.join(SIU.values()).encode()
    read = Message.parse(raw)
    assert [segment.text for segment in read.lines()] == list(SIU.values())
    assert bytes(read) == raw


def test_line_endings_may_be_mixed() -> None:
    read = Message.parse(b"MSH|^~\\&|A\nPID|1\r\nPV1|2\rZZ1|3\n\n")
    assert [segment.text for segment in read.lines()] == ["MSH|^~\\&|A", "PID|1", "PV1|2", "ZZ1|3"]


def test_a_line_that_begins_with_no_segment_name_goes_on_with_the_one_before() -> None:
    read = Message.parse(b"MSH|^~\\&|A\rNTE|1|first line\nsecond line|4\rthird\rPID|1\r")
    assert [segment.name for segment in read.lines()] == ["MSH", "NTE", "PID"]
    note = read.segment("NTE")
    assert note is not None
    assert (note.field(2), note.field(3)) == ("first line\rsecond line", "4\rthird")


def test_blank_lines_and_bare_names_break_nothing() -> None:
    read = Message.parse(b"MSH|^~\\&|A\r\r\rMSA\rPID|1\r")
    assert [segment.name for segment in read.lines()] == ["MSH", "MSA", "PID"]


@pytest.mark.parametrize("junk", [b"\x0b", b"\r\n", b"  ", b"\xef\xbb\xbf", b"\0\0"])
def test_what_stands_before_the_message_is_passed_over(junk: bytes) -> None:
    raw = junk + siu()
    read = Message.parse(raw)
    assert read.control_id == "M0001"
    assert bytes(read) == raw


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("|^~\\&", Delimiters()),
        ("|^~\\&#", Delimiters(truncation="#")),
        ("!$r?@", Delimiters("!", "$", "r", "?", "@")),
        ("|^~", Delimiters(escape="", subcomponent="")),
        ("|^", Delimiters(repetition="", escape="", subcomponent="")),
        ("|", Delimiters()),
        ("|^~\\\\&", Delimiters()),
        ("|^&&^", Delimiters("|", "^", "&", "", "")),
    ],
)
def test_delimiters_are_those_declared(head: str, expected: Delimiters) -> None:
    assert delimiters_of(head) == expected


@pytest.mark.parametrize("head", ["", "A^~\\&", " ^~\\&", "é^~\\&", "|^~\\&#x", "|^|\\&", "|^é"])
def test_delimiters_that_cannot_be_told_apart_are_refused(head: str) -> None:
    with pytest.raises(RejectedError):
        delimiters_of(head)


@pytest.mark.parametrize("raw", [b"", b"MSH", b"MSH\r", b"PID|1\r", b"GET / HTTP/1.1\r\n\r\n", b"msh|^~\\&|", b"\xff"])
def test_what_is_not_hl7_is_refused(raw: bytes) -> None:
    with pytest.raises(RejectedError):
        Message.parse(raw)


def test_custom_delimiters_split_everything() -> None:
    read = Message.parse(
        b"MSH$%*?@$A$B$C$D$20260302090000$$ADT%A08$7$P$2.5\rPID$1$$1%%%X@1.2@ISO%MR*2%%%Y$$Ri?S?vera\r"
    )
    found = read.segment("PID")
    assert found is not None
    assert read.type == ("ADT", "A08")
    assert [(cx[1], cx.subs(4), cx[5]) for cx in found.composites(3)] == [
        ("1", ["X", "1.2", "ISO"], "MR"),
        ("2", ["Y"], ""),
    ]
    assert found.value(5) == "Ri%vera"


def test_a_delimiter_that_was_not_declared_splits_nothing() -> None:
    read = Message.parse(b"MSH|^|A|B|C|D|20260302090000||ADT^A08|7\rPID|1||1~2^3&4\\F\\\r")
    found = read.segment("PID")
    assert found is not None
    assert [found.composites(3)[0][number] for number in (1, 2)] == ["1~2", "3&4\\F\\"]


def test_empty_says_nothing_and_null_says_deleted() -> None:
    found = pid('1||""|||""^x').segment("PID")
    assert found is not None
    assert (found.deleted(3), found.deleted(2), found.deleted(9)) == (True, False, False)
    assert found.composites(3) == []
    assert found.value(3) == found.composite(3)[1] == ""
    assert (found.composite(6)[1], found.composite(6)[2]) == ("", "x")
    assert NULL == '""'


def test_empty_repetitions_say_nothing() -> None:
    found = pid('1||~7^^^A~~""~8').segment("PID")
    assert found is not None
    assert [cx[1] for cx in found.composites(3)] == ["7", "8"]
    assert found.composite(3)[1] == ""


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a\\F\\b", "a|b"),
        ("a\\S\\b\\T\\c\\R\\d\\E\\e", "a^b&c~d\\e"),
        ("\\E\\F\\E\\", "\\F\\"),
        ("\\X41\\\\X4243\\", "ABC"),
        ("\\XC3A9\\", "é"),
        ("\\X00D\\|", "\r|"),
        ("\\X000d\\", "\r"),
        ("line\\.br\\line", "line\nline"),
        ("a\\.sp2\\b", "a\n\nb"),
        ("a\\.sp99999999\\b", "a\\.sp99999999\\b"),
        ("\\H\\bold\\N\\", "bold"),
        ("AT\\T", "AT\\T"),
        ("A\\B and C\\F\\D", "A\\B and C|D"),
        ("\\Zlocal\\", "\\Zlocal\\"),
        ("\\X4G\\", "\\X4G\\"),
        ("\\P\\", "\\P\\"),
        ("\\", "\\"),
        ("\\\\", "\\\\"),
    ],
)
def test_escape_sequences(text: str, meant: str) -> None:
    assert unescape(text, Delimiters()) == meant


def test_the_truncation_character_has_an_escape_where_it_is_declared() -> None:
    assert unescape("\\P\\", Delimiters(truncation="#")) == "#"


@given(plain_texts, st.sampled_from(DELIMITERS))
def test_unescape_is_the_inverse_of_escape(text: str, delimiters: Delimiters) -> None:
    written = escape(text, delimiters)
    assert unescape(written, delimiters) == text
    assert not {"\r", "\n", "\x0b", "\x1c", delimiters.field, delimiters.component} & set(written)


@given(
    st.lists(st.lists(st.lists(plain_texts, min_size=1, max_size=3), min_size=1, max_size=3), min_size=1, max_size=5),
    st.sampled_from(DELIMITERS),
    terminators,
)
def test_what_is_written_is_read(said: list[list[list[str]]], delimiters: Delimiters, end: str) -> None:
    written = [
        delimiters.repetition.join(
            delimiters.component.join(escape(part, delimiters) for part in parts) for parts in repetitions
        )
        for repetitions in said
    ]
    encoding = f"{delimiters.component}{delimiters.repetition}{delimiters.escape}{delimiters.subcomponent}"
    head = delimiters.field.join(["MSH", encoding + delimiters.truncation, "A"])
    raw = end.join([head, delimiters.field.join(["ZZZ", *written]), ""]).encode()
    read = Message.parse(raw)
    assert bytes(read) == raw
    assert read.delimiters == delimiters
    segment = read.segment("ZZZ")
    assert segment is not None
    for number, repetitions in enumerate(said, 1):
        assert segment.field(number) == written[number - 1]
        first = segment.composite(number)
        assert [first[place] for place in range(1, len(repetitions[0]) + 1)] == [
            "" if part == NULL else part for part in repetitions[0]
        ]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    for head in (b"", b"MSH|^~\\&|", b"MSH"):
        try:
            read = Message.parse(head + raw)
        except RejectedError:
            continue
        assert bytes(read) == head + raw
        assert isinstance(read.type, tuple)
        assert all(isinstance(line.value(1), str) for line in read.lines())


def test_the_event_comes_from_evn_where_the_header_leaves_it_out() -> None:
    assert Message.parse(adt().replace(b"ADT^A08^ADT_A01", b"ADT")).type == ("ADT", "A08")


@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        ("UNICODE UTF-8", "utf-8"),
        ("", "utf-8"),
        ("ASCII", "utf-8"),
        ("8859/1", "iso8859-1"),
        ("8859/1", "utf-8"),
        ("8859/15", "iso8859-15"),
        ("8859/1~ISO IR87", "iso8859-1"),
        ("unknown", "cp1252"),
        ("ASCII", "cp1252"),
    ],
)
def test_the_character_set_is_the_one_named_or_the_one_that_fits(charset: str, codec: str) -> None:
    head = f"MSH|^~\\&|A|B|C|D|20260302090000||ADT^A08|1|P|2.5||||||{charset}\r"
    found = Message.parse((head + "PID|1||7||Muñoz^Zoé\r").encode(codec)).segment("PID")
    assert found is not None
    assert (found.value(5), found.composite(5)[2]) == ("Muñoz", "Zoé")


@pytest.mark.parametrize(
    ("charset", "codec", "name"),
    [
        ("ISO IR87", "iso2022_jp", "山田"),
        ("ISO IR14", "shift_jis", "表示"),  # the second byte of 表 is a backslash
        ("BIG-5", "big5", "許功蓋"),  # and so it is here
        ("GB 18030-2000", "gb18030", "王小明"),
        ("KS X 1001", "euc_kr", "김철수"),
    ],
)
def test_characters_of_two_bytes_are_not_taken_for_delimiters(charset: str, codec: str, name: str) -> None:
    head = f"MSH|^~\\&|A|B|C|D|20260302090000||ADT^A08|1|P|2.5||||||{charset}\r"
    found = Message.parse(f"{head}PID|1||7||{name}^X\r".encode(codec)).segment("PID")
    assert found is not None
    assert (found.value(5), found.composite(5)[2]) == (name, "X")


def test_the_source_s_own_character_set_stands_in_for_an_empty_msh_18() -> None:
    raw = (HEAD + "PID|1||7||Мария\r").encode("iso8859-5")
    found = Message.parse(raw, charset="8859/5").segment("PID")
    assert found is not None
    assert found.value(5) == "Мария"


def test_bytes_that_fit_no_character_set_are_read_all_the_same() -> None:
    found = Message.parse(HEAD.encode() + b"PID|1||7||\x81\x8d\xff\r").segment("PID")
    assert found is not None
    assert len(found.value(5)) == 3


def test_each_message_of_a_batch_is_found() -> None:
    batch = b"FHS|^~\\&|A\rBHS|^~\\&|A\r" + siu() + adt() + b"BTS|2\rFTS|1\r"
    parts = messages_in(batch)
    assert [Message.parse(part).control_id for part in parts] == ["M0001", "M0002"]
    assert b"".join(parts) == batch[batch.index(b"MSH") :]


def test_msh_inside_a_field_begins_no_message() -> None:
    raw = siu() + b"NTE|1|see MSH|MSHA\r"
    assert messages_in(raw) == [raw]


def test_one_message_is_returned_as_it_is() -> None:
    assert messages_in(siu()) == [siu()]
    assert messages_in(b"garbage") == [b"garbage"]


def test_blank_lines_belong_to_no_segment() -> None:
    message = Message.parse(b"MSH|^~\\&|A\r\r\rPID|1\r\r\rH1|x|y\rZ\r")
    assert [line.text for line in message.lines()][:2] == ["MSH|^~\\&|A", "PID|1"]
    assert not any(line.text.startswith("\r") for line in message.lines())

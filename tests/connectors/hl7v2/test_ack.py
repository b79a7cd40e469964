"""Acknowledgments, to the byte."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.hl7v2.ack import Answers, Code, control_id_of, header_of
from connectors.hl7v2.er7 import Message
from tests.connectors.hl7v2.sample import siu

AT = datetime(2026, 3, 2, 14, 0, 5, tzinfo=UTC)


def answer(raw: bytes, code: Code = Code.ACCEPT, reason: str = "") -> Message:
    return Message.parse(Answers().to(header_of(raw), code, AT, reason))


def test_an_acknowledgment_goes_back_the_way_the_message_came() -> None:
    said = answer(siu())
    header = said.header
    assert [header.field(number) for number in (3, 4, 5, 6, 7, 9, 11, 12)] == [
        "CHARTLINE", "HARBOR", "SCHED", "HARBOR", "20260302140005+0000", "ACK^S12^ACK", "P", "2.5.1",
    ]  # fmt: skip
    msa = said.segment("MSA")
    assert msa is not None
    assert (msa.text, bytes(said)[-1:]) == ("MSA|AA|M0001", b"\r")


def test_a_refusal_says_why() -> None:
    msa = answer(siu(), Code.ERROR, "not-stored").segment("MSA")
    assert msa is not None
    assert msa.text == "MSA|AE|M0001|not-stored"


def test_each_acknowledgment_has_a_control_id_of_its_own() -> None:
    answers = Answers()
    ids = {Message.parse(answers.to(header_of(siu()), Code.ACCEPT, AT)).control_id for _ in range(1000)}
    assert len(ids) == 1000
    assert all(0 < len(control_id) <= 20 for control_id in ids)


def test_the_sender_s_own_delimiters_and_bytes_come_back() -> None:
    raw = "MSH$%*?@$Größe$Ä$B$C$20260302090000$$ADT%A08$?F?7$D$2.3\rPID$1\r".encode("iso8859-1")
    said = Answers().to(header_of(raw), Code.ACCEPT, AT)
    head, msa, _ = said.split(b"\r")
    assert head.startswith("MSH$%*?@$B$C$Größe$Ä$20260302140005+0000$$ACK%A08%ACK$".encode("iso8859-1"))
    assert head.endswith(b"$D$2.3")
    assert msa == b"MSA$AA$?F?7"


@pytest.mark.parametrize("raw", [b"", b"x", b"MSH", b"MSH|", b"MSH\x01^~\\&|", b"PID|1\r", b"\xff\xfe"])
def test_what_has_no_header_is_answered_in_the_standard_s_delimiters(raw: bytes) -> None:
    said = answer(raw, Code.REJECT, "not-hl7")
    msa = said.segment("MSA")
    assert msa is not None
    assert (msa.value(1), msa.value(2), msa.value(3)) == ("AR", "", "not-hl7")
    assert said.type == ("ACK", "")
    assert (said.header.field(11), said.header.field(12)) == ("P", "2.5.1")


def asking(accept: str, application: str) -> bytes:
    return siu().replace(b"|P|2.5.1", f"|P|2.5.1|||{accept}|{application}".encode())


A, E, R = Code.ACCEPT, Code.ERROR, Code.REJECT
CA, CE, CR = Code.COMMIT_ACCEPT, Code.COMMIT_ERROR, Code.COMMIT_REJECT


@pytest.mark.parametrize(
    ("accept", "application", "answers"),
    [
        ("", "", [(A,), (E,), (R,)]),  # original mode
        ("AL", "", [(CA,), (CE,), (CR,)]),
        ("AL", "NE", [(CA,), (CE,), (CR,)]),
        ("AL", "AL", [(CA, A), (CE,), (CR,)]),
        ("AL", "ER", [(CA,), (CE,), (CR,)]),
        ("ER", "NE", [(), (CE,), (CR,)]),
        ("SU", "NE", [(CA,), (), ()]),
        ("ER", "AL", [(A,), (CE,), (CR,)]),
        ("SU", "ER", [(CA,), (E,), (R,)]),
        ("SU", "SU", [(CA, A), (), ()]),
        ("NE", "NE", [(), (), ()]),
        ("NE", "", [(), (), ()]),
        ("NE", "AL", [(A,), (E,), (R,)]),  # is original mode
        ("", "AL", [(A,), (E,), (R,)]),
        ("NE", "ER", [(), (E,), (R,)]),
        ("", "SU", [(A,), (), ()]),
        (" al ", "", [(CA,), (CE,), (CR,)]),
        ("Y", "", [(CA,), (CE,), (CR,)]),  # no code of table 0155: asked for something
        ('""', '""', [(A,), (E,), (R,)]),
    ],
)
def test_a_sender_gets_the_acknowledgments_that_it_asks_for(
    accept: str, application: str, answers: list[tuple[Code, ...]]
) -> None:
    header = header_of(asking(accept, application))
    assert [header.answers(code) for code in (A, E, R)] == answers


def test_an_acknowledgment_is_acknowledged_only_where_it_asks_for_that() -> None:
    said = Answers().to(header_of(siu()), Code.ACCEPT, AT)
    assert header_of(said).answers(Code.ACCEPT) == ()
    asked = said.replace(b"|P|2.5.1", b"|P|2.5.1|||AL|NE")
    assert header_of(asked).answers(Code.ACCEPT) == (Code.COMMIT_ACCEPT,)


def test_an_accept_acknowledgment_asks_for_none_itself() -> None:
    raw = asking("AL", "NE")
    (code,) = header_of(raw).answers(Code.ACCEPT)
    assert code is Code.COMMIT_ACCEPT
    said = answer(raw, code)
    assert (said.header.field(15), said.header.field(16)) == ("", "")
    msa = said.segment("MSA")
    assert msa is not None
    assert msa.text == "MSA|CA|M0001"


def test_a_header_says_who_sent_it() -> None:
    assert header_of(siu()).sender == ("SCHED", "HARBOR")
    assert header_of(siu().replace(b"|HARBOR|", b"|HARBOR^2.16.840.1.113883.19.5^ISO|", 1)).sender == (
        "SCHED",
        "HARBOR",
    )
    assert header_of(b"FHS|^~\\&|MSHOSP|MSH|\r" + siu()).sender == ("SCHED", "HARBOR")
    assert header_of(b"junk").sender == ("", "")


def test_what_begins_a_frame_is_not_sent_back() -> None:
    said = Answers().to(header_of(siu().replace(b"M0001", b"M\x0b1")), Code.ACCEPT, AT)
    assert said.endswith(b"MSA|AA|M1\r")
    assert b"\x0b" not in said


@pytest.mark.parametrize("encoding", [b"^^^^^^", b"\x01^", b"^~\\&#abc", b"\xff", b"^~\x0b"])
def test_delimiters_that_cannot_be_told_apart_are_not_sent_back(encoding: bytes) -> None:
    said = answer(siu().replace(b"^~\\&", encoding, 1), Code.REJECT, "not-hl7")
    msa = said.segment("MSA")
    assert msa is not None
    assert msa.text == "MSA|AR|M0001|not-hl7"


def test_a_message_without_an_event_is_acknowledged_without_one() -> None:
    assert answer(b"MSH|^~\\&|A|B|C|D|20260302090000||ADT|7|P|2.3\r").header.field(9) == "ACK"


@pytest.mark.parametrize(
    ("raw", "control_id"),
    [
        (siu(), "M0001"),
        (siu().replace(b"\r", b"\n"), "M0001"),
        (b"\r\n" + siu(), "M0001"),
        (b"FHS|^~\\&|A\rBHS|^~\\&|A\r" + siu(), "M0001"),
        (b"MSH|^~\\&|A|B", ""),
        (b"", ""),
    ],
)
def test_control_ids(raw: bytes, control_id: str) -> None:
    assert control_id_of(raw) == control_id


@given(st.binary(max_size=100))
def test_anything_can_be_answered(junk: bytes) -> None:
    for raw in (junk, b"MSH" + junk, siu()[: len(junk)] + junk):
        said = Answers().to(header_of(raw), Code.REJECT, AT, "not-hl7")
        assert b"\x1c" not in raw or said
        assert said.startswith(b"MSH")
        assert said.endswith(b"\r")

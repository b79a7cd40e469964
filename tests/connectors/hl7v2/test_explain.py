"""What is wrong with a message, said without a word of it."""

import random
import re
import time

import pytest

from connectors.hl7v2.explain import LONGEST_S, MOST_FINDINGS, Finding, explain
from tests.connectors.hl7v2.sample import ADT, adt, fields, siu

KINDS = {
    "missing", "too-many", "too-long", "not-in-table", "data-type", "not-expected", "unknown-segment",
    "unknown-version", "not-understood", "not-hl7", "field-separator-invalid", "encoding-characters-invalid",
}  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "finding"),
    [
        (b"junk", Finding("MSH", 1, "", "not-hl7")),
        (b"MSH|^^^^^^|A", Finding("MSH", 1, "MSH-2", "encoding-characters-invalid")),
        (adt(MSH=ADT["MSH"].replace("2.5.1", "9.9")), Finding("MSH", 1, "MSH-12", "unknown-version")),
        (adt(MSH=ADT["MSH"].replace("|2.5.1", "")), Finding("MSH", 1, "MSH-12", "missing")),
        (adt(PID=fields("PID", f5="Rivera^Ana")), Finding("PID", 1, "PID-3", "missing")),
        (adt(PID=fields("PID", f3="7^^^H^MR", f5="Rivera^Ana", f8="QQ")), Finding("PID", 1, "PID-8", "not-in-table")),
        (adt(PID=fields("PID", f3="7", f5="R", f40="x", f41="y")), Finding("PID", 1, "", "not-expected")),
        (adt(PID=None), Finding("PID", 1, "", "missing")),
        (siu(SCH=None), Finding("SCH", 1, "", "missing")),
        (siu(RGS=None, AIL=None, AIP=None), Finding("RGS", 1, "", "missing")),
        (adt(ANA="ANA|1"), Finding("line", 4, "", "unknown-segment")),
        (siu() + adt(PID=None), Finding("PID", 1, "", "missing")),
        (adt("A40"), Finding("MRG", 1, "", "missing")),
    ],
)
def test_faults_are_found_by_their_place(raw: bytes, finding: Finding) -> None:
    assert finding in explain(raw)


def test_segments_of_a_site_s_own_are_no_fault() -> None:
    assert not [found for found in explain(adt(ZPM="ZPM|1|x")) if found.segment in {"line", "ZPM"}]


@pytest.mark.parametrize("seed", range(6))
def test_no_value_of_a_message_is_in_its_explanation(seed: int) -> None:
    """Whatever a message is cut and garbled into."""
    chance = random.Random(seed)
    for raw in (siu(), adt(NK1="NK1|1|Rivera^Luz|MTH", XX="RIV|Ana")):
        garbled = bytearray(raw)
        for _ in range(chance.randrange(1, 12)):
            garbled[chance.randrange(8, len(garbled))] = chance.choice(b'|^~&\r\n"9AZ\xff')
        for found in explain(bytes(garbled)):
            assert found.what in KINDS
            assert re.fullmatch(r"|line|[A-Z][A-Z0-9]{2}", found.segment)
            assert found.segment != "RIV"
            assert re.fullmatch(rf"|{found.segment}-\d+(\.\d+)*", found.field)


def test_an_explanation_takes_a_bounded_time() -> None:
    """Segments by the hundred, repetitions by the thousand: about as bad as it can be."""
    wide = fields("PID", f3="~".join(["1^^^H&1.2.3&ISO^MR"] * 420), f5="Rivera^Ana")
    raw = adt(PID=wide) + f"{wide}\r".encode() * 300 + b"OBX|1|ED|" + b"A" * (1 << 20) + b"\r"
    began = time.process_time()
    found = explain(raw)
    assert time.process_time() - began < 3 * LONGEST_S
    assert 0 < len(found) <= MOST_FINDINGS

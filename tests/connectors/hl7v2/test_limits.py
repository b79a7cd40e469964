"""Messages as long as a frame may be, made to be slow or large: read or refused, in a bounded time."""

import time

import pytest

from connectors.api import RejectedError
from connectors.hl7v2.pid import MOST_PATIENTS
from connectors.hl7v2.settings import MAX_FRAME
from tests.connectors.hl7v2.sample import NEW_YORK, adt, connector, siu

LONGEST_S = 10.0
"Of processor time, on a busy machine; what grows with the square of the length takes minutes."


def many(line: bytes, count: int) -> bytes:
    return b"".join(line % number for number in range(count))


@pytest.mark.parametrize(
    "raw",
    [
        adt() + b"NTE|1||" + b"\x1b$B;3\x1b(B" * 900_000,
        adt() + b"NTE|1||" + b"\\M2442\\ab" * 800_000,
        adt() + b"NTE|1||" + b"\nab" * 2_500_000,
        adt() + b"\r" * 8_000_000,
        adt().replace(b"MRN77", b"1^^^H^MR~" * 400_000 + b"MRN77"),
        adt().replace(b"Rivera", b"\\F\\" * 2_000_000),
        adt().replace(b"|es", b"|es" + b"|" * 8_000_000),
        adt("A40", MRG="MRG|1^^^H^MR") + many(b"MRG|%d^^^H^MR\r", 100_000),
        adt() + many(b"NK1|%d|Rivera^Luz|MTH\r", 50_000),
    ],
    ids=["switches", "escaped-switches", "lines", "blank-lines", "ids", "escapes", "fields", "merges", "relations"],
)
def test_a_long_message_takes_a_bounded_time(raw: bytes) -> None:
    assert 1_000_000 < len(raw) <= MAX_FRAME
    began = time.process_time()
    assert connector().read(raw, timezone=NEW_YORK, region="US")
    assert time.process_time() - began < LONGEST_S


@pytest.mark.parametrize(
    "raw",
    [
        siu() + many(b"PID|||%d^^^H^MR\r", 100_000),
        adt("A40", MRG="MRG|x^^^H^MR") + many(b"PID|||%d^^^H^MR\rMRG|y^^^H^MR\r", 100_000),
    ],
    ids=["booked", "merged"],
)
def test_a_message_with_patients_without_number_is_refused(raw: bytes) -> None:
    with pytest.raises(RejectedError, match="too-many-patients"):
        connector().read(raw, timezone=NEW_YORK, region="US")


def test_a_message_may_have_many_patients() -> None:
    raw = siu(PID=None) + many(b"PID|||%d^^^H^MR\r", MOST_PATIENTS)
    assert len(connector().read(raw, timezone=NEW_YORK, region="US")) == MOST_PATIENTS

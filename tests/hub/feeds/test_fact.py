"""What a row of the inbox means: facts that were asked for come back as they were."""

from uuid import UUID

import pytest

from connectors.api import (
    AppointmentFacts,
    Change,
    RejectedError,
    Version,
)
from connectors.hl7v2 import Hl7v2
from connectors.hl7v2.settings import Hl7v2Settings
from hub.feeds import NotAFactError, arrival_of, read_row
from hub.record.inbox import Arrival, Form, InboxMessage, State
from tests.connectors.hl7v2.sample import siu
from tests.hub.feedhouse import NOON, Postbox
from tests.hub.feeds.said import FACTS, PATIENT, ZONE, Told


def row_of(arrival: Arrival) -> InboxMessage:
    return InboxMessage(
        id=UUID(int=1),
        connection=arrival.connection,
        control_id=arrival.control_id,
        digest=b"",
        form=arrival.form,
        received_at=NOON,
        state=State.STORED,
        sealed=b"",
    )


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: type(fact).__name__)
def test_a_fact_comes_back_from_its_row(box: Postbox, fact: Change) -> None:
    arrival = arrival_of("ehr", fact, box.instance.index)
    connector = Hl7v2(Hl7v2Settings(listen="127.0.0.1:0"))
    assert arrival.form is Form.FACT
    assert read_row(connector, row_of(arrival), arrival.raw, timezone=ZONE, region="US") == [fact]


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: type(fact).__name__)
def test_the_same_statement_makes_the_same_row(box: Postbox, fact: Change) -> None:
    again = type(fact).model_validate_json(fact.model_dump_json())
    assert arrival_of("ehr", again, box.instance.index) == arrival_of("ehr", fact, box.instance.index)


def test_a_new_version_makes_another_row_and_no_id_stands_in_clear(box: Postbox) -> None:
    index = box.instance.index
    newer = PATIENT.model_copy(update={"version": Version(at=NOON, tag="8")})
    first, second = arrival_of("ehr", PATIENT, index), arrival_of("ehr", newer, index)
    assert first.control_id != second.control_id
    assert len(first.control_id) == 32
    assert "77" not in first.control_id or b"77" in first.raw


def test_a_message_is_read_by_its_connector() -> None:
    row = row_of(Arrival("adt", "M0001", siu()))
    (said,) = read_row(Hl7v2(Hl7v2Settings(listen="127.0.0.1:0")), row, siu(), timezone=ZONE, region="US")
    assert isinstance(said, AppointmentFacts)
    with pytest.raises(RejectedError):
        read_row(Hl7v2(Hl7v2Settings(listen="127.0.0.1:0")), row, b"junk", timezone=ZONE, region="US")
    with pytest.raises(RejectedError, match="connector-cannot-read"):
        read_row(Told([]), row, siu(), timezone=ZONE, region="US")


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[]", b'{"kind":"dream","fact":{}}', b'{"kind":"patient","fact":{"x":1}}']
)
def test_a_row_that_holds_no_fact_says_so(raw: bytes) -> None:
    row = row_of(Arrival("ehr", "1", raw, Form.FACT))
    with pytest.raises(NotAFactError):
        read_row(Hl7v2(Hl7v2Settings(listen="127.0.0.1:0")), row, raw, timezone=ZONE, region="US")

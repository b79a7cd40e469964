"""Stored histories run through the flows as they are now: a change that would break a running flow fails here."""

import base64
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from hub.temporal import Flow, data_converter
from hub.temporal.codec import ENCODING
from tests.workflows.env import HISTORIES, KEY
from tests.workflows.record import SCENARIOS
from workflows.worker import FLOWS

ENCRYPTED = base64.b64encode(ENCODING).decode()

MARKER = {
    *("seq", "attempt", "activity_id", "activity_type", "activation_index"),
    *("complete_time", "original_schedule_time", "backoff"),
}
"What the SDK itself notes in clear of a local activity."

STORED = sorted(HISTORIES.glob("*.json"))


def history_of(path: Path) -> WorkflowHistory:
    kept = json.loads(path.read_text())
    return WorkflowHistory.from_json(kept["workflow_id"], kept["history"])


def replayer(flows: Sequence[type] = FLOWS) -> Replayer:
    return Replayer(workflows=flows, data_converter=data_converter(KEY))


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
async def test_a_stored_history_replays(path: Path) -> None:
    result = await replayer().replay_workflow(history_of(path))
    assert result.replay_failure is None


def test_every_flow_has_a_stored_history() -> None:
    kinds = {
        history_of(path).events[0].workflow_execution_started_event_attributes.workflow_type.name for path in STORED
    }
    assert kinds == {flow.value for flow in Flow}
    assert len(STORED) >= len(SCENARIOS)


def test_every_flow_has_a_name_in_the_lower_packages() -> None:
    named = {workflow._Definition.must_from_class(flow).name for flow in FLOWS}
    assert named == set(Flow)


@workflow.defn(name=Flow.TEXT, sandboxed=False)
class ChangedFlow:
    """A TextFlow that sleeps first."""

    @workflow.run
    async def run(self, start: object) -> str:
        await workflow.sleep(1)
        return str(start)


async def test_a_flow_that_was_changed_would_be_found() -> None:
    with pytest.raises(workflow.NondeterminismError):
        await replayer([ChangedFlow]).replay_workflow(history_of(HISTORIES / "text.json"))


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_a_history_shows_ids_names_and_times_only(path: Path) -> None:
    raw = path.read_text()
    for word in ("reschedule", "within-a-day", "wb-1", "no connection", "+12125550100", "visit-3d", "spanish"):
        assert word not in raw
    payloads = list(_payloads(json.loads(raw)["history"]))
    assert payloads
    for payload in payloads:
        if payload["metadata"]["encoding"] != ENCRYPTED:
            assert json.loads(base64.b64decode(payload["data"])).keys() <= MARKER


def _payloads(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict) and "encoding" in (node.get("metadata") or {}):
        yield node
    elif isinstance(node, dict):
        for value in node.values():
            yield from _payloads(value)
    elif isinstance(node, list):
        for value in node:
            yield from _payloads(value)

"""Ways of writing a status back: chosen by profile and declaration, and answered by an AppointmentResponse."""

from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from fhirclient.models.appointmentresponse import AppointmentResponse
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from connectors.api import (
    AppointmentStatus,
    ConflictError,
    ConnectorError,
    RejectedError,
    TransientError,
    UnknownOutcomeError,
)
from connectors.fhir.capability import Capabilities
from connectors.fhir.profile import Profile
from connectors.fhir.writing import RESPONSE_SYSTEM, way_of
from tests.connectors.fhir.test_writing import CALL, VISIT, visit, writes
from tests.connectors.fhir.world import World

READS = [{"code": "read"}, {"code": "search-type"}]


def statement(appointment: list[Any], response: list[Any] | None, *, conditional: bool = False) -> dict[str, Any]:
    kinds: list[dict[str, Any]] = [
        {"type": "Appointment", "interaction": appointment},
        {"type": "Communication", "interaction": READS},
    ]
    if response is not None:
        kinds.append({"type": "AppointmentResponse", "interaction": response, "conditionalCreate": conditional})
    return {
        "resourceType": "CapabilityStatement",
        "fhirVersion": "4.0.1",
        "patchFormat": ["application/json-patch+json"],
        "rest": [{"mode": "server", "resource": kinds}],
    }


@dataclass
class Desk:
    """A server whose Appointments only their owner changes: it takes answers, and acts on them."""

    world: World
    inner: ASGIApp
    conditional: bool = False
    losing: bool = False
    "Whether the answer to a create is lost on its way back."

    answers: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        answer: ASGIApp = self.inner
        if request.method not in {"GET", "POST"}:
            answer = Response(status_code=405)
        elif scope["path"] == "/fhir/metadata":
            answer = JSONResponse(statement(READS, [*READS, {"code": "create"}], conditional=self.conditional))
        elif scope["path"] == "/fhir/AppointmentResponse" and request.method == "GET":
            answer = self._search(request)
        elif scope["path"] == "/fhir/AppointmentResponse":
            answer = await self._take(request)
        await answer(scope, receive, send)

    def _with(self, token: str) -> list[dict[str, Any]]:
        system, _, value = token.partition("|")
        return [one for one in self.answers if {"system": system, "value": value} in one["identifier"]]

    def _search(self, request: Request) -> Response:
        entries = [{"resource": one} for one in self._with(request.query_params["identifier"])]
        return JSONResponse({"resourceType": "Bundle", "type": "searchset", "entry": entries})

    async def _take(self, request: Request) -> Response:
        said = orjson.loads(await request.body())
        AppointmentResponse(said, strict=True)
        unless = Request({"type": "http", "query_string": request.headers.get("if-none-exist", "").encode()})
        found = self._with(unless.query_params["identifier"]) if unless.query_params else []
        if not found:
            said["id"] = f"r{len(self.answers) + 1}"
            self.answers.append(said)
            self._act(said)
        if self.losing:
            return Response(status_code=504)
        return JSONResponse(found[0] if found else said, 200 if found else 201)

    def _act(self, said: dict[str, Any]) -> None:
        """Change the Appointment as its owner."""
        own = self.world.store.get("Appointment", said["appointment"]["reference"].removeprefix("Appointment/"))
        assert own is not None
        for participant in own["participant"]:
            if participant["actor"]["reference"] == said["actor"]["reference"]:
                participant["status"] = said["participantStatus"]
        if said["participantStatus"] == "declined":
            own["status"] = "cancelled"
        self.world.store.put(own)


def answered(world: World, **how: Any) -> Desk:
    """Put such a server in the world."""
    desk = Desk(world, world.app, **how)
    world.app = desk
    return desk


@pytest.mark.parametrize("conditional", [True, False])
async def test_a_confirmation_is_the_patients_own_answer_and_a_repeat_none(world: World, conditional: bool) -> None:
    desk = answered(world, conditional=conditional)
    connector = world.connector()
    ctx = world.context(connector)
    receipt = await connector.set_status(ctx, VISIT, "confirmed", if_version="1", key="k1")
    assert (receipt.external_id, receipt.version) == ("a3", None)
    again = await connector.set_status(ctx, VISIT, "confirmed", if_version=None, key="k1")
    assert again.external_id == "a3"
    (said,) = desk.answers
    assert said["participantStatus"] == "accepted"
    assert said["appointment"] == {"reference": "Appointment/a3"}
    assert said["actor"] == {"reference": "Patient/p03"}
    assert said["identifier"] == [{"system": RESPONSE_SYSTEM, "value": "k1"}]
    assert writes(world) == ["POST AppointmentResponse"]


@pytest.mark.parametrize("conditional", [True, False])
async def test_an_answer_whose_receipt_was_lost_is_not_given_twice(world: World, conditional: bool) -> None:
    desk = answered(world, conditional=conditional, losing=True)
    connector = world.connector()
    ctx = world.context(connector)
    was = visit(world)
    kind: type[ConnectorError] = TransientError if conditional else UnknownOutcomeError
    with pytest.raises(kind):
        await connector.set_status(ctx, VISIT, "confirmed", if_version=None, key="k1")
    world.store.put(was)  # its owner has not acted on it yet, so that only the key can tell
    desk.losing = False
    await connector.set_status(ctx, VISIT, "confirmed", if_version=None, key="k1")
    assert len(desk.answers) == 1


async def test_a_patient_who_cancels_declines(world: World) -> None:
    desk = answered(world)
    connector = world.connector()
    await connector.set_status(world.context(connector), VISIT, AppointmentStatus.CANCELLED, if_version="1", key="k1")
    assert [one["participantStatus"] for one in desk.answers] == ["declined"]
    assert visit(world)["status"] == "cancelled"


async def test_what_is_no_answer_of_a_patient_is_refused(world: World) -> None:
    desk = answered(world)
    connector = world.connector()
    with pytest.raises(RejectedError, match="not-a-patients-answer"):
        await connector.set_status(world.context(connector), VISIT, AppointmentStatus.ARRIVED, if_version="1", key="k1")
    assert desk.answers == []


async def test_an_appointment_that_changed_since_is_not_answered(world: World) -> None:
    desk = answered(world)
    world.store.put(visit(world) | {"description": "moved to the annex"})
    connector = world.connector()
    with pytest.raises(ConflictError):
        await connector.set_status(world.context(connector), VISIT, "confirmed", if_version="1", key="k1")
    assert desk.answers == []


async def test_a_server_that_takes_nothing_is_not_asked_to(world: World) -> None:
    connector = world.connector(profile="epic")
    ctx = world.context(connector)
    with pytest.raises(RejectedError) as caught:
        await connector.set_status(ctx, VISIT, "confirmed", if_version="1", key="k1")
    assert (caught.value.reason, caught.value.field) == ("write-back-not-supported", "Appointment.status")
    silent = world.connector(override={"communication": "no"})
    with pytest.raises(RejectedError, match="write-back-not-supported"):
        await silent.log(ctx, CALL, key="call-1")
    assert writes(world) == []


async def test_the_operator_chooses_the_way(world: World) -> None:
    connector = world.connector(profile="epic", override={"write_back": "put"})
    await connector.set_status(world.context(connector), VISIT, "confirmed", if_version="1", key="k1")
    assert writes(world) == ["PUT Appointment/a3"]


async def test_an_unconditional_create_is_looked_for_among_what_the_patient_has(world: World) -> None:
    connector = world.connector(override={"conditional_create": "no"})
    ctx = world.context(connector)
    first = await connector.log(ctx, CALL, key="call-1")
    assert await connector.log(ctx, CALL, key="call-1") == first
    looked = [one.query for one in world.asked if one.method == "GET" and one.path == "/fhir/Communication"]
    assert len(looked) == 2
    assert all("patient=p03" in query for query in looked)


PATCH, UPDATE, CREATE = {"code": "patch"}, {"code": "update"}, {"code": "create"}


@pytest.mark.parametrize(
    ("said", "appointment", "response", "way"),
    [
        ("auto", [*READS, PATCH, UPDATE], [CREATE], "patch"),
        ("auto", [*READS, UPDATE], [CREATE], "put"),
        ("auto", READS, [CREATE], "response"),
        ("auto", READS, READS, "none"),
        ("auto", READS, None, "none"),
        ("auto", [], None, "put"),
        ("none", [*READS, PATCH, UPDATE], [CREATE], "none"),
        ("response", [*READS, PATCH], None, "response"),
        ("put", [*READS, PATCH], None, "put"),
    ],
)
def test_the_way_is_the_first_that_is_there(said: str, appointment: list[Any], response: Any, way: str) -> None:
    vendor = Profile.model_validate({"title": "x", "write_back": said})
    assert way_of(vendor, Capabilities.of(statement(appointment, response))) == way

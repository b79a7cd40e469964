"""A connection that signs in by an assertion, as the hub runs it: key from a file, both hosts through the gate."""

from collections.abc import Iterator

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from connectors.api import Checks, RejectedError
from connectors.sandbox import ehr
from connectors.sandbox.store import Store
from hub.outside import Line
from hub.security.address import DestinationDeniedError
from tests.connectors.fhir.smart import CLIENT, Authority, behind, pair
from tests.connectors.stage import Clock, served
from tests.hub.api.office import NOW, POLICY, Office, opened

EHR = """
[[connection]]
name = "ehr"
connector = "fhir"
settings = {{ base_url = "{base}/fhir", client_id = "{client}", private_key = "file:secrets/ehr.pem"{more} }}

[[agreement]]
counterparty = "ehr"
basis = "treatment"
data = ["chart"]
"""


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with opened(tmp_path_factory.mktemp("signing")) as office:
        (office.instance.paths.root / "secrets" / "ehr.pem").write_text(pair("p384").private)
        yield office


class House:
    """An EHR, and the door to it on a port of its own."""

    def __init__(self) -> None:
        self.clock = Clock(NOW)
        self.authority = Authority(self.clock, pair("p384"))
        self.asked: list[str] = []
        self._app = behind(self.authority, ehr.app(Store(self.clock)))

    def app(self, name: str) -> ASGIApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                self.asked.append(f"{name} {scope['path']}")
            await self._app(scope, receive, send)

        return app


async def checked(office: Office) -> None:
    line: Line
    async with office.app.state.outside.open("ehr", "chart", "treatment") as line:
        assert isinstance(line.connector, Checks)
        await line.connector.check(line.ctx)


async def test_a_token_endpoint_of_the_settings_is_reached_and_no_other(office: Office) -> None:
    house = House()
    async with served(house.app("ehr")) as base, served(house.app("door")) as door:
        house.authority.token_url = f"{door}/token"
        office.publish(POLICY + EHR.format(base=base, client=CLIENT, more=f', token_url = "{door}/token"'))
        await checked(office)
        assert house.asked.count("door /token") == 1
        assert {one for one in house.asked if one.startswith("door")} == {"door /token"}
        office.publish(POLICY + EHR.format(base=base, client=CLIENT, more=""))
        with pytest.raises(RejectedError, match="token-endpoint-not-in-settings"):
            await checked(office)
        assert house.asked.count("door /token") == 1
    assert house.authority.refused == []


async def test_a_key_never_goes_over_a_network_in_clear(office: Office) -> None:
    more = ', token_url = "http://ehr.example.org/token"'
    office.publish(POLICY + EHR.format(base="https://ehr.example.org", client=CLIENT, more=more))
    with pytest.raises(DestinationDeniedError):
        await checked(office)

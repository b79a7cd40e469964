"""Where calls come from, as their rows keep it: signatures of carriers, and telephones that sent the call on."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlmodel import Session

from hub.cli import setup
from hub.cli.instance import opened
from hub.db import now
from hub.instance import Instance
from hub.record import call
from hub.settings import Paths
from media.offer import offer_audio
from media.sip.endpoint import Endpoint
from media.sip.hop import Hop
from media.sip.uri import Address, Uri
from tests.media.office import ACCESS, Office, opened_office, policy
from tests.media.trunk.test_stir import Issuer, identity

pytestmark = pytest.mark.xdist_group("gateway")

AUTHORITY = Issuer("authority", at=now())
CARRIER = Issuer("carrier", AUTHORITY, ca=False, spc=True, at=now())


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    root = tmp_path_factory.mktemp("provenance") / "i"
    setup.make(Paths(root), policy())
    (root / "authority.pem").write_bytes(AUTHORITY.pem)
    (root / "carrier.pem").write_bytes(CARRIER.pem)
    with opened(root) as instance:
        yield instance


@pytest.fixture
async def office(instance: Instance) -> AsyncIterator[Office]:
    async with opened_office(instance) as office:
        yield office


async def test_a_call_that_came_in_is_kept_with_who_was_called_first_and_what_its_carrier_answers_for(
    office: Office,
) -> None:
    endpoint = Endpoint([Hop("127.0.0.9", 0)], credentials=lambda _: None, trunks=lambda _: None)
    await endpoint.start()
    headers = {
        "Identity": identity(CARRIER, iat=int(now().timestamp())),
        "Diversion": "<sip:+12125550188@c>;reason=user-busy",
    }
    own = Address(Uri.parse("sip:+12125550123@127.0.0.9"))
    line = Uri.parse(f"sip:+12125550100@127.0.0.1:{office.port}")
    dialled = endpoint.call(line, offer_audio(("127.0.0.9", 40_002)), from_=own, headers=headers)
    await dialled.answered
    await endpoint.close(0.5)

    key = office.instance.index.phone("+12125550123")
    rows = await office.rows(lambda rows: any(row.caller_key == key and row.ended_at for row in rows), call.IN)
    (row,) = [row for row in rows if row.caller_key == key]
    assert row.attestation == "A"

    def look(db: Session) -> dict[str, Any]:
        return office.instance.opener.open(db, ACCESS, [call.sealed_of(row)])[0]

    said = await office.instance.db.run(look, write=True)
    assert said == {
        "number": "+12125550123",
        "name": None,
        "attestation": "A",
        "first_called": "+12125550188",
        "first_reason": "user-busy",
    }


async def test_a_carrier_that_calls_our_account_names_the_number_elsewhere(office: Office) -> None:
    endpoint = Endpoint([Hop("127.0.0.9", 0)], credentials=lambda _: None, trunks=lambda _: None)
    await endpoint.start()
    account = Uri.parse(f"sip:u100@127.0.0.1:{office.port}")
    own = Address(Uri.parse("sip:+12125550124@127.0.0.9"))
    called = Address(Uri.parse("sip:+12125550100@127.0.0.1"))
    offer = offer_audio(("127.0.0.9", 40_002))
    dialled = endpoint.call(account, offer, from_=own, to=called)
    assert await dialled.answered is not None
    dialled.bye()
    named = endpoint.call(account, offer, from_=own, headers={"P-Called-Party-ID": "<sip:+12125550100@127.0.0.1>"})
    assert await named.answered is not None
    named.bye()
    stranger = endpoint.call(account, offer, from_=own)
    await stranger.ended
    assert stranger.status == 404
    await endpoint.close(0.5)

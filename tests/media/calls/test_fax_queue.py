"""A fax machine that is heard while its caller waits for somebody goes to those who see to faxes."""

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest
from sqlmodel import Session as Db
from sqlmodel import select

from hub.audio import tone
from hub.cli import setup
from hub.cli.instance import opened
from hub.instance import Instance
from hub.record.queue import Entry, EntryState
from hub.settings import Paths
from media.hearing.calling import CNG_HZ
from media.offer import offer_audio
from media.sip.endpoint import Endpoint
from media.sip.uri import Address, Uri
from tests.media.farend import far_end
from tests.media.hearing.test_inband import quiet
from tests.media.office import Office, policy, port_of

pytestmark = pytest.mark.xdist_group("gateway")

QUEUED = "+12125550102"
MORE = """
[recording]
calls = false

[fax]
queue = "$fax"

[[number]]
did = "+12125550102"
queue = "desk"

[[queue]]
name = "desk"

[[queue]]
name = "papers"

[[staff]]
email = "dora@cove.example"
roles = ["front-desk"]
queues = ["desk", "papers"]
"""


@pytest.fixture(scope="module", params=["papers", "desk"])
def instance(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    root = tmp_path_factory.mktemp("papers") / "i"
    text = policy(MORE).replace('extension = "102"', 'extension = "102"\nqueues = ["$fax"]')
    setup.make(Paths(root), text.replace("$fax", request.param))
    for name in ("authority.pem", "carrier.pem"):
        (root / name).write_text("of nobody")
    with opened(root) as instance:
        yield instance


def _waiting(db: Db) -> bool:
    return any(row.state is EntryState.WAITING for row in db.exec(select(Entry)))


async def test_a_fax_that_is_heard_in_a_queue_rings_at_those_who_see_to_faxes(
    office: Office, carrier: Endpoint
) -> None:
    async with office.phone("102") as clerk, far_end(host="127.0.0.9") as phone:
        uri = Uri.parse(f"sip:{QUEUED}@127.0.0.1:{office.port}")
        sent = carrier.call(uri, offer_audio(phone.address), from_=Address(Uri.parse("sip:+12125550123@127.0.0.9")))
        async with asyncio.timeout(40):
            place = "127.0.0.1", port_of(await sent.answered)
            while not await office.instance.db.run(_waiting):  # noqa: ASYNC110 - the rows say so
                await asyncio.sleep(0.02)
            await phone.say(place, np.concatenate((quiet(0.1), tone(CNG_HZ, seconds=0.5), quiet(0.1))))
            await clerk.register()
            taken = await clerk.rung.get()
        taken.answer(clerk.offer())
        await taken.acked
        sent.bye()
        await taken.ended
        await clerk.register(0)

"""Who has a number: however it was typed in, everybody who shares it, and nobody else."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.api import ConnectorError, RejectedError, TransientError
from connectors.salesforce.person import escaped, is_id, statement
from tests.connectors.salesforce.language import matches, phrases, sosl, tokens
from tests.connectors.salesforce.schema import record_id
from tests.connectors.salesforce.server import INSTANCE, Fault
from tests.connectors.salesforce.world import World
from tests.connectors.salesforce.world import world as made

PHONE = "+12125550111"
WRITTEN = ["(212) 555-0111", "212-555-0111", "212.555.0111", "2125550111", "+1 212-555-0111", "+12125550111"]


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("name", ["Phone", "MobilePhone", "HomePhone", "OtherPhone"])
async def test_a_contact_is_found_however_the_number_was_typed_in(world: World, written: str, name: str) -> None:
    own = world.org.add("Contact", FirstName="Ada", LastName="Sample", **{name: written})
    connector = world.connector()
    (found,) = await connector.find_patients(world.context(connector), PHONE)
    assert found.id == own
    assert found.url == f"{INSTANCE}/lightning/r/Contact/{own}/view"
    assert [one.e164 for one in found.facts.phones] == [PHONE]


async def test_a_shared_number_gives_everyone_who_has_it(world: World) -> None:
    org = world.org
    org.add("Contact", FirstName="Ada", LastName="Sample", HomePhone="(212) 555-0111", MobilePhone="212-555-0112")
    org.add("Contact", FirstName="Ben", LastName="Sample", Phone="2125550111")
    org.add("Lead", FirstName="Cleo", LastName="Sample", MobilePhone="+12125550111")
    org.add("Account", FirstName="Dan", LastName="Sample", PersonMobilePhone="212.555.0111")
    org.add("Account", LastName="Office", Phone="2125550111", IsPersonAccount=False)
    org.add("Lead", FirstName="Ada", LastName="Sample", Phone="2125550111", IsConverted=True)  # she is a contact now
    org.add("Contact", FirstName="Eve", LastName="Other", Phone="212-555-0113", Fax="212-555-0111")
    connector = world.connector()
    found = await connector.find_patients(world.context(connector), PHONE)
    assert sorted(str(ref.facts.given) for ref in found) == ["Ada", "Ben", "Cleo", "Dan"]
    assert {ref.facts.ids[0].system for ref in found} == {
        "salesforce/Contact",
        "salesforce/Lead",
        "salesforce/Account",
    }
    ada = next(ref for ref in found if ref.facts.given == "Ada")
    assert [(one.e164, one.use, one.rank) for one in ada.facts.phones] == [
        ("+12125550112", "mobile", 1),
        ("+12125550111", "home", 2),
    ]


async def test_what_only_looks_like_the_number_is_nobody(world: World) -> None:
    world.org.add("Contact", LastName="Abroad", Phone="+44 212 555 0111")  # the search finds its words
    connector = world.connector()
    ctx = world.context(connector)
    assert await connector.find_patients(ctx, PHONE) == []
    assert await connector.find_patients(ctx, "anonymous") == []


async def test_only_name_and_numbers_are_asked_for(world: World) -> None:
    world.org.add("Contact", FirstName="Ada", LastName="Sample", Phone=PHONE, Birthdate="1980-02-03")
    connector = world.connector()
    (found,) = await connector.find_patients(world.context(connector), PHONE)
    said = found.facts.model_dump(exclude_defaults=True)
    assert said.keys() == {"ids", "version", "family", "given", "phones"}
    assert found.facts.version.at.isoformat() == "2026-11-20T14:03:00+00:00"
    assert b"Birthdate" not in b"".join(world.org.bodies)


async def test_without_an_agreement_no_number_is_looked_up(world: World) -> None:
    connector = world.connector(agreed=())
    with pytest.raises(RejectedError, match="field-not-agreed"):
        await connector.find_patients(world.context(connector), PHONE)
    assert world.org.asked == []


async def test_objects_that_the_org_does_not_have_are_not_asked_for(world: World) -> None:
    world.org.add("Lead", LastName="Sample", Phone=PHONE)
    connector = world.connector(objects=["Contact"])
    assert await connector.find_patients(world.context(connector), PHONE) == []


@given(st.text(min_size=1))
def test_an_escaped_text_is_read_back_as_it_was(text: str) -> None:
    assert phrases(f'"{escaped(text)}"') == (tokens(text),)


@pytest.mark.parametrize("phone", [PHONE, "+442079460018", "+4930123456", 'anonymous"} IN ALL FIELDS'])
def test_every_statement_parses_as_published(phone: str) -> None:
    said = sosl(statement(phone, ("Contact", "Lead", "PersonAccount")))
    assert said.group == "PHONE"
    assert [one.sobject for one in said.returning] == ["Contact", "Lead", "Account"]
    assert any(matches(one, phone) for one in said.phrases)


def test_ids_are_told_from_other_texts() -> None:
    assert is_id(record_id("Contact", 4711))
    assert is_id(record_id("Contact", 4711)[:15])
    assert not any(is_id(text) for text in ("", "12345", "003/../../query000", None, 5))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["searchRecords", "attributes", "type", "Id", "Phone", "errorCode", "fields"]), inner
        )
    ),
    max_leaves=12,
)


@given(body=_JSON, status=st.sampled_from([200, 300, 400, 403, 404, 409]))
async def test_whatever_comes_back_ends_in_people_or_in_one_of_our_errors(body: Any, status: int) -> None:
    world = made()
    connector = world.connector()
    world.org.faults.extend([Fault(status, body, on="GET")] * 2)
    try:
        found = await connector.find_patients(world.context(connector), PHONE)
    except ConnectorError:
        return
    assert found == []


async def test_half_an_answer_is_asked_for_again_later(world: World) -> None:
    connector = world.connector()
    ctx = world.context(connector)
    world.org.faults.append(Fault(200, orjson.dumps({"searchRecords": [{"Id": "003"}]})[:-4], on="GET"))
    with pytest.raises(TransientError):
        await connector.find_patients(ctx, PHONE)


@pytest.mark.parametrize("body", [{}, {"searchRecords": None}, {"resourceType": "OperationOutcome"}])
async def test_an_answer_without_what_was_asked_for_is_not_nobody(world: World, body: Any) -> None:
    connector = world.connector()
    world.org.faults.append(Fault(200, body, on="GET"))
    with pytest.raises(RejectedError, match="not-understood"):
        await connector.find_patients(world.context(connector), PHONE)

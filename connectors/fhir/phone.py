"""Who has this number: one search for each way of writing it, the first alone and the others at once."""

import asyncio
from collections.abc import Sequence
from typing import get_args

from connectors.api import ConnectorError, ways_of_writing
from connectors.fhir.client import Client
from connectors.fhir.profile import PhoneFormat
from connectors.fhir.reading import Resource

HITS = 5
"Pages of one search; more people than that do not share a number."


async def with_number(client: Client, phone: str) -> list[Resource]:
    """Return the Patients that the server finds for `phone` (E.164), each once.

    Servers match the characters as they were typed in, so every way of writing is asked for; families type
    differently, so the first hit is not the end. A server that ignores the parameter returns anybody. Where one finds
    nobody by a number alone, it is not asked.
    """
    vendor = client.settings.vendor
    if not vendor.phone_parameter or not vendor.phone_formats:
        return []
    first, *others = ways_in(phone, vendor.phone_formats)
    found = [await _search(client, first)]  # alone: where this fails the others would, too
    failed: BaseException | None = None
    searches: list[asyncio.Task[list[Resource]]] = []
    try:
        async with asyncio.TaskGroup() as group:
            searches = [group.create_task(_search(client, written)) for written in others]
    except* ConnectorError as errors:
        failed = errors.exceptions[0]
    if failed is not None:
        raise failed
    found += [search.result() for search in searches]
    return list({str(one.get("id")): one for matches in found for one in matches}.values())


async def _search(client: Client, written: str) -> list[Resource]:
    params = ((client.settings.vendor.phone_parameter, written), ("_count", str(client.settings.page)))
    return [one async for page in client.pages("Patient", params, most=HITS) for one in page.matches]


def ways_in(phone: str, formats: Sequence[PhoneFormat]) -> list[str]:
    """Return an E.164 number as it is written in each of `formats`; none twice."""
    ways = dict(zip(get_args(PhoneFormat), ways_of_writing(phone), strict=True))
    return list(dict.fromkeys(ways[one] for one in formats))

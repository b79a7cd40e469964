"""Who has this number: one search for each way of writing it, the first alone and the others at once."""

import asyncio
from collections.abc import Sequence
from typing import get_args

import phonenumbers

from connectors.api import ConnectorError
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
    first, *others = ways_of_writing(phone, vendor.phone_formats)
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


def ways_of_writing(phone: str, formats: Sequence[PhoneFormat] = get_args(PhoneFormat)) -> tuple[str, ...]:
    """Return how people and programs write an E.164 number: itself, digits, dashes, parentheses; none twice."""
    try:
        parsed = phonenumbers.parse(phone, None)
    except phonenumbers.NumberParseException:
        return (phone,)
    digits = phonenumbers.national_significant_number(parsed)
    if parsed.country_code == 1 and len(digits) == 10:
        area, exchange, line = digits[:3], digits[3:6], digits[6:]
        dashes, parentheses = f"{area}-{exchange}-{line}", f"({area}) {exchange}-{line}"
    else:
        dashes = parentheses = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL)
    ways: dict[PhoneFormat, str] = {"e164": phone, "digits": digits, "dashes": dashes, "parentheses": parentheses}
    return tuple(dict.fromkeys(ways[one] for one in formats))

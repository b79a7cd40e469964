"""Whether the tables of calls to the outside hold together: trunks, dialling, locations and certificates."""

from collections.abc import Callable, Iterator

import phonenumbers

from hub.rules.emergency import emergency_of
from hub.settings.draft import Draft
from hub.settings.position import Path
from hub.settings.practice import Number, PracticeInfo, Queue, Staff
from hub.settings.telephony import Dialling, Fax, Location, Stir, Trunk
from hub.settings.value import near

Faults = Iterator[tuple[Path, str]]


def dialling(draft: Draft) -> Faults:
    """Yield a fault for each trunk, number and country that calls to the outside name and that is not there."""
    outward = {trunk.name for _, trunk in draft.each("trunk", Trunk) if trunk.servers}
    numbers = draft.names("number", "did")
    for _, table in draft.each("dialling", Dialling):
        for at, name in enumerate(table.trunks):
            if name not in outward:
                yield ("dialling", "trunks", at), f'no [[trunk]] with servers is named "{name}"{near(name, outward)}'
        if table.caller_id is not None and table.caller_id not in numbers:
            yield ("dialling", "caller_id"), "caller_id in [dialling] is no [[number]] of the practice"
        for at, country in enumerate(table.countries):
            if country not in phonenumbers.SUPPORTED_REGIONS:
                yield ("dialling", "countries", at), f'no country has the code "{country}"'
        if (table.countries or table.prefixes or table.services) and not outward:
            yield ("dialling",), "[dialling] allows calls to the outside, and no [[trunk]] has servers"


def extensions(draft: Draft) -> Faults:
    """Yield a fault for each extension that would stand in the way of an emergency call."""
    region = next((info.region for _, info in draft.each("practice", PracticeInfo)), "US")
    prefix = next((table.outside_prefix for _, table in draft.each("dialling", Dialling)), "")
    for at, person in draft.each("staff", Staff):
        if person.extension and emergency_of(person.extension, region, prefix):
            yield ("staff", at, "extension"), f'"{person.extension}" in [[staff]] is dialled for help in an emergency'


def queues(draft: Draft) -> Faults:
    """Yield a fault for each extension of a queue that a phone would reach somebody else by."""
    region = next((info.region for _, info in draft.each("practice", PracticeInfo)), "US")
    table = next((table for _, table in draft.each("dialling", Dialling)), Dialling())
    owners = dict.fromkeys(draft.names("staff", "extension"), "somebody of [[staff]]")
    owners |= dict.fromkeys(table.services, "one of the services of [dialling]")
    owners |= {_national(number.did): f'[[number]] "{number.did}"' for _, number in draft.each("number", Number)}
    found = list(draft.each("queue", Queue))
    named = {queue.name: f'[[queue]] "{queue.name}"' for _, queue in found}
    for at, queue in found:
        extension = queue.extension
        if extension is None:
            continue
        path: Path = ("queue", at, "extension")
        if emergency_of(extension, region, table.outside_prefix):
            yield path, f'"{extension}" in [[queue]] is dialled for help in an emergency'
        elif extension in owners:
            yield path, f'"{extension}" in [[queue]] "{queue.name}" is {owners[extension]} already'
        elif extension in named and extension != queue.name:
            yield path, f'"{extension}" in [[queue]] "{queue.name}" is the name of {named[extension]}'
        owners.setdefault(extension, named[queue.name])


def _national(did: str) -> str:
    """Return a number of the practice (E.164) as it is dialled in its own country."""
    return phonenumbers.national_significant_number(phonenumbers.parse(did))


def locations(draft: Draft) -> Faults:
    """Yield a fault for each phone that stands at two locations, or that nobody has."""
    known = draft.names("staff", "extension")
    owners: dict[str, str] = {}
    for at, location in draft.each("location", Location):
        for position, extension in enumerate(location.extensions):
            path: Path = ("location", at, "extensions", position)
            if extension not in known:
                yield path, f'nobody of [[staff]] has the extension "{extension}"'
            elif owners.setdefault(extension, location.name) != location.name:
                yield path, f'"{extension}" stands at [[location]] "{owners[extension]}" already'


def fax(draft: Draft) -> Faults:
    """Yield a fault for each place for faxes that is not there."""
    outward = any(trunk.servers for _, trunk in draft.each("trunk", Trunk))
    for _, table in draft.each("fax", Fax):
        for kind in ("queue", "voicemail"):
            name = getattr(table, kind)
            if name is not None and name not in draft.names(kind):
                yield ("fax", kind), f'no [[{kind}]] is named "{name}"{near(name, draft.names(kind))}'
        if table.extension is not None and table.extension not in draft.names("staff", "extension"):
            yield ("fax", "extension"), f'nobody of [[staff]] has the extension "{table.extension}"'
        if table.number is not None and not outward:
            yield ("fax", "number"), "[fax] names a number, and no [[trunk]] has servers"


def references(draft: Draft) -> Iterator[tuple[Path, str]]:
    """Yield each secret and file that these tables refer to."""
    for at, trunk in draft.each("trunk", Trunk):
        if trunk.password:
            yield ("trunk", at, "password"), trunk.password
    for _, stir in draft.each("stir", Stir):
        if stir.authorities:
            yield ("stir", "authorities"), stir.authorities
        for url, file in stir.certificates.items():
            yield ("stir", "certificates", url), file


CHECKS: tuple[Callable[[Draft], Faults], ...] = (dialling, extensions, queues, locations, fax)

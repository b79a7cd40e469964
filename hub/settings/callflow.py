"""Whether the tables of a call hold together: numbers, menus, voicemails, queues, staff and routes."""

from collections.abc import Callable, Iterator

from hub.errors import SettingsError
from hub.rules.expression import compile_expression
from hub.settings.draft import Draft
from hub.settings.position import Path
from hub.settings.practice import Menu, Number, PracticeInfo, Queue, Route, Staff, Target, Then, Voicemail
from hub.settings.value import near

Faults = Iterator[tuple[Path, str]]

_UNIQUE = (
    ("trunk", "name"),
    ("location", "name"),
    ("number", "did"),
    ("menu", "name"),
    ("voicemail", "name"),
    ("queue", "name"),
    ("route", "name"),
    ("staff", "email"),
    ("staff", "extension"),
    ("connection", "name"),
    ("reminder", "name"),
    ("webhook", "url"),
)
_PLACES = ("queue", "menu", "voicemail")


def names(draft: Draft) -> Faults:
    """Yield a fault for each name that is given twice."""
    for table, key in _UNIQUE:
        elements = draft.document.get(table, [])
        seen: set[str] = set()
        for index, element in enumerate(elements if isinstance(elements, list) else []):
            value = element.get(key) if isinstance(element, dict) else None
            if isinstance(value, str) and value in seen:
                yield (table, index, key), f'another [[{table}]] has the {key} "{value}" already'
            elif isinstance(value, str):
                seen.add(value)
    for name in sorted(draft.names("trunk") & draft.names("connection")):
        yield ("connection",), f'a [[trunk]] and a [[connection]] are both named "{name}"; agreements could mean either'


def places(draft: Draft) -> Faults:
    """Yield a fault for each queue, menu or voicemail that is named and does not exist."""
    for at, number in draft.each("number", Number):
        yield from _unknown(draft, ("number", at), number)
    for at, menu in draft.each("menu", Menu):
        for key, target in menu.choices.items():
            yield from _unknown(draft, ("menu", at, "choices", key), target)
    for at, queue in draft.each("queue", Queue):
        for position, overflow in enumerate(queue.overflow):
            path: Path = ("queue", at, "overflow", position)
            yield from _missing(draft, "queue", overflow.queue, (*path, "queue"))
            yield from _missing(draft, "voicemail", overflow.voicemail, (*path, "voicemail"))
            if overflow.queue == queue.name:
                yield (*path, "queue"), f'[[queue]] "{queue.name}" overflows into itself'
    for at, route in draft.each("route", Route):
        yield from _unknown(draft, ("route", at, "then"), route.then)
    for at, person in draft.each("staff", Staff):
        for position, name in enumerate(person.queues):
            yield from _missing(draft, "queue", name, ("staff", at, "queues", position))


def menus(draft: Draft) -> Faults:
    """Yield a fault for each menu from which no key leads to a queue or a voicemail."""
    known = {menu.name: menu for _, menu in draft.each("menu", Menu)}
    for at, menu in draft.each("menu", Menu):
        # A menu that is missing or cannot be read has a fault of its own, and may well lead somewhere.
        ends = any(
            target.queue or target.voicemail or target.menu not in known
            for name in _reached(menu, known)
            for target in known[name].choices.values()
        )
        if not ends:
            yield ("menu", at, "name"), f'[[menu]] "{menu.name}" leads nowhere: no key ends in a queue or a voicemail'


def queues(draft: Draft) -> Faults:
    """Yield a fault for each queue that no one serves."""
    staff = draft.document.get("staff")
    people = [person for person in staff if isinstance(person, dict)] if isinstance(staff, list) else []
    served = [name for person in people if isinstance(person.get("queues"), list) for name in person["queues"]]
    for at, queue in draft.each("queue", Queue):
        if queue.name not in served:
            yield ("queue", at, "name"), f'nobody serves [[queue]] "{queue.name}"; name it in the queues of a [[staff]]'


def routes(draft: Draft) -> Faults:
    """Yield a fault for each route whose condition is no CEL or reads what a route may not know."""
    for at, route in draft.each("route", Route):
        try:
            compile_expression(route.when)
        except SettingsError as error:
            for problem in error.problems:
                yield ("route", at, "when"), f'"when" in [[route]]: {problem}'


def languages(draft: Draft) -> Faults:
    """Yield a fault for each language that the practice does not have, and each menu that is silent in its first."""
    practice = next((info for _, info in draft.each("practice", PracticeInfo)), None)
    if practice is None:
        return
    spoken = practice.languages
    for path, language in _languages(draft):
        if language not in spoken:
            yield path, f'the practice has no language "{language}"; it has {", ".join(spoken)}'
    for at, menu in draft.each("menu", Menu):
        if spoken[0] not in menu.say:
            yield (
                ("menu", at, "say"),
                f'[[menu]] "{menu.name}" says nothing in "{spoken[0]}", the practice\'s first language',
            )


def _languages(draft: Draft) -> Iterator[tuple[Path, str]]:
    for at, menu in draft.each("menu", Menu):
        yield from ((("menu", at, "say", language), language) for language in menu.say)
        for key, target in menu.choices.items():
            if target.language:
                yield ("menu", at, "choices", key, "language"), target.language
    for at, box in draft.each("voicemail", Voicemail):
        yield from ((("voicemail", at, "say", language), language) for language in box.say)
    for at, route in draft.each("route", Route):
        if route.then.language:
            yield ("route", at, "then", "language"), route.then.language


def _unknown(draft: Draft, path: Path, target: Number | Target | Then) -> Faults:
    for kind in _PLACES:
        yield from _missing(draft, kind, getattr(target, kind), (*path, kind))


def _missing(draft: Draft, kind: str, name: str | None, path: Path) -> Faults:
    known = draft.names(kind)
    if name is not None and name not in known:
        yield path, f'no [[{kind}]] is named "{name}"{near(name, known)}'


def _reached(menu: Menu, known: dict[str, Menu]) -> set[str]:
    """Return the names of the menus that keys lead to, itself included."""
    reached: set[str] = set()
    waiting = [menu.name]
    while waiting:
        name = waiting.pop()
        if name in known and name not in reached:
            reached.add(name)
            waiting += [target.menu for target in known[name].choices.values() if target.menu]
    return reached


CHECKS: tuple[Callable[[Draft], Faults], ...] = (names, places, menus, queues, routes, languages)

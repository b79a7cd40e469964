"""What a key does in a menu: the next thing to say, or the place to go."""

from collections import deque
from dataclasses import dataclass, replace
from typing import Final, Literal

from hub.rules.routing import Plan
from hub.settings.practice import Menu, Practice, Target

URGENT: Final = 1000
"The priority of a caller who pressed the urgent key; above anything that a route can set."


@dataclass(frozen=True, slots=True)
class Ask:
    """Say this menu in this language and wait for one key."""

    menu: str
    language: str
    priority: int
    misses: int = 0
    "How often the caller pressed a wrong key or none, in this menu."

    notice: Literal["", "invalid", "timeout"] = ""
    "What to say first, about the last try."


@dataclass(frozen=True, slots=True)
class Go:
    """Leave the menus: to the queue, or where there is none to the voicemail."""

    queue: str | None
    voicemail: str | None
    "Also the queue's way out."

    language: str
    priority: int
    why: Literal["plan", "choice", "urgent", "fallback"]


Step = Ask | Go


def begin(practice: Practice, plan: Plan) -> Step:
    """Return the first step of a call that follows `plan`."""
    if plan.menu is not None and practice.find_menu(plan.menu) is not None:
        return Ask(plan.menu, plan.language, plan.priority)
    return Go(plan.queue, plan.voicemail, plan.language, plan.priority, "plan")


def press(practice: Practice, plan: Plan, ask: Ask, key: str | None) -> Step:
    """Return what follows when the caller presses `key`, or None for too long."""
    menu = practice.find_menu(ask.menu)
    if menu is None:  # a later policy dropped it while the caller listened
        return _fallback(practice, plan, ask, "fallback")
    target = menu.choices.get(key) if key is not None else None
    if key is not None and key == menu.urgent:
        ask = replace(ask, priority=URGENT)
        return _follow(practice, plan, ask, target, "urgent") if target else _fallback(practice, plan, ask, "urgent")
    if target is not None:
        return _follow(practice, plan, ask, target, "choice")
    if ask.misses + 1 >= menu.tries:
        return _fallback(practice, plan, ask, "fallback")
    return replace(ask, misses=ask.misses + 1, notice="timeout" if key is None else "invalid")


def ways_out(practice: Practice, menu: str) -> tuple[list[str], list[str]]:
    """Return the queues and the voicemails that can be reached from a menu, the fewest keys first."""
    queues: list[str] = []
    boxes: list[str] = []
    seen = {menu}
    waiting = deque([menu])
    while waiting:
        found = practice.find_menu(waiting.popleft())
        for target in _choices(found):
            if target.queue and target.queue not in queues:
                queues.append(target.queue)
            elif target.voicemail and target.voicemail not in boxes:
                boxes.append(target.voicemail)
            elif target.menu and target.menu not in seen:
                seen.add(target.menu)
                waiting.append(target.menu)
    return queues, boxes


def _choices(menu: Menu | None) -> list[Target]:
    return [menu.choices[key] for key in sorted(menu.choices)] if menu else []


def _follow(practice: Practice, plan: Plan, ask: Ask, target: Target, why: Literal["choice", "urgent"]) -> Step:
    language = target.language or ask.language
    if target.menu is not None:
        if practice.find_menu(target.menu) is None:
            return _fallback(practice, plan, ask, "fallback")
        return Ask(target.menu, language, ask.priority)
    if target.queue is not None:
        return Go(target.queue, plan.voicemail, language, ask.priority, why)
    return Go(None, target.voicemail, language, ask.priority, why)


def _fallback(practice: Practice, plan: Plan, ask: Ask, why: Literal["urgent", "fallback"]) -> Go:
    """Return the number's own way out, or the nearest that the menu has; a person before a machine."""
    queues, boxes = ways_out(practice, ask.menu)
    everywhere = [queue.name for queue in practice.queues]
    voicemail = plan.voicemail or next(iter(boxes), None)
    queue = plan.queue or next(iter(queues), None)
    if queue is None and (voicemail is None or why == "urgent"):
        queue = next(iter(everywhere), None)
    return Go(queue, voicemail, ask.language, ask.priority, why)

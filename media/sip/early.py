"""Early dialogs: what each phone behind a fork said before one of them answers (RFC 3261 section 12.1, RFC 3262)."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from media.sdp import Session
from media.sip.dialog import Dialog
from media.sip.reliable import Order


@dataclass(slots=True)
class Early:
    """One phone's dialog before it answers."""

    dialog: Dialog
    order: Order = field(default_factory=Order)
    remote: Session | None = None
    "What it answered our offer with, in a reliable response: that stands (RFC 3262 section 5)."


class Forks:
    """The early dialogs of one INVITE by the tag that each phone gave itself."""

    def __init__(self) -> None:
        self._by_tag: dict[str, Early] = {}

    def __iter__(self) -> Iterator[Early]:
        return iter(self._by_tag.values())

    def get(self, tag: str) -> Early | None:
        """Return the dialog of a tag."""
        return self._by_tag.get(tag)

    def add(self, tag: str, dialog: Dialog) -> Early:
        """Keep a new one."""
        self._by_tag[tag] = Early(dialog)
        return self._by_tag[tag]

    def only(self) -> Early | None:
        """Return the one there is, None where there are several: nobody knows which of them will answer."""
        return next(iter(self._by_tag.values())) if len(self._by_tag) == 1 else None

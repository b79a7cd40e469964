"""The sandbox server's resources in memory, with versions, and who wants to know of a change."""

import base64
import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from connectors.sandbox.resource import Resource, stamp

Watch = Callable[[Resource | None, Resource], None]
"Is told (what was, what is) after each change."


class PreconditionError(Exception):
    """It is not the version that the caller saw."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a resource stands in the order of changes; a page begins after one."""

    number: int

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Read what `str` wrote.

        Raises:
            ValueError: it did not write this.
        """
        return cls(int.from_bytes(base64.b64decode(text, altchars=b"-_", validate=True), "big"))

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(self.number.to_bytes(8, "big")).decode()


class Store:
    """Resources by type and id; meta.versionId counts up, meta.lastUpdated is the clock's."""

    def __init__(self, clock: Callable[[], datetime], resources: Iterable[Resource] = ()) -> None:
        self._clock = clock
        self._kinds: dict[str, dict[str, tuple[int, Resource]]] = {}
        self._changes = 0
        self.watches: list[Watch] = []
        self.deletions: list[tuple[str, str, datetime]] = []
        "Resource type and id of what was deleted, and when."

        for resource in resources:
            self.put(resource)

    def get(self, kind: str, logical_id: str) -> Resource | None:
        """Return a copy of the resource."""
        found = self._kinds.get(kind, {}).get(logical_id)
        return copy.deepcopy(found[1]) if found else None

    def all(self, kind: str) -> Iterator[tuple[Place, Resource]]:
        """Yield every resource of a type, in the order of its last change."""
        for number, resource in sorted(self._kinds.get(kind, {}).values(), key=lambda one: one[0]):
            yield Place(number), resource

    def put(self, resource: Resource, *, if_match: str | None = None) -> Resource:
        """Store a new version of `resource`, which gets an id if it has none, and return it.

        Raises:
            PreconditionError: `if_match` (an ETag, weak or strong, or *) is not its version.
        """
        kind, own = str(resource["resourceType"]), str(resource.get("id") or uuid4())
        was = self._kinds.setdefault(kind, {}).get(own)
        before = int(was[1]["meta"]["versionId"]) if was else 0
        if if_match is not None and not _matches(if_match, before):
            raise PreconditionError
        self._changes += 1
        meta = dict(resource.get("meta") or {}) | {
            "versionId": str(before + 1),
            "lastUpdated": stamp(self._clock().astimezone(UTC)),
        }
        stored = copy.deepcopy(resource) | {"id": own, "meta": meta}
        self._kinds[kind][own] = (self._changes, stored)
        for watch in self.watches:
            watch(was[1] if was else None, stored)
        return copy.deepcopy(stored)

    def delete(self, kind: str, logical_id: str) -> bool:
        """Forget a resource; return whether there was one."""
        there = self._kinds.get(kind, {}).pop(logical_id, None) is not None
        if there:
            self.deletions.append((kind, logical_id, self._clock().astimezone(UTC)))
        return there

    def kinds(self) -> tuple[str, ...]:
        """Return the resource types of which there is something."""
        return tuple(sorted(kind for kind, found in self._kinds.items() if found))


def _matches(if_match: str, version: int) -> bool:
    asked = {one.strip().removeprefix("W/").strip('"') for one in if_match.split(",")}
    return version > 0 and (str(version) in asked or "*" in asked)

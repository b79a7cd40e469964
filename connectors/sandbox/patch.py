"""JSON Patch: add, remove, replace and test (RFC 6902 section 4), by JSON Pointer (RFC 6901)."""

import copy
from typing import Any


class PatchError(ValueError):
    """The patch cannot be applied; nothing of it was."""


class PatchTestError(PatchError):
    """A test in it does not hold."""


def apply(document: Any, operations: Any) -> Any:
    """Return `document` as `operations` leave it; the original stays.

    Raises:
        PatchTestError: a test does not hold.
        PatchError: it is no patch, or leads nowhere.
    """
    if not isinstance(operations, list):
        raise PatchError("a patch is a list")
    found = copy.deepcopy(document)
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise PatchError("an operation has op and path")
        found = _one(found, operation)
    return found


def _one(document: Any, operation: dict[str, Any]) -> Any:
    kind, path = operation.get("op"), _pointer(operation["path"])
    if kind != "remove" and "value" not in operation:
        raise PatchError("value is missing")
    if kind not in {"add", "remove", "replace", "test"}:
        raise PatchError("an operation that is not supported")
    if not path:
        if kind == "test" and document != operation["value"]:
            raise PatchTestError("a test does not hold")
        if kind == "remove":
            raise PatchError("the whole cannot be removed")
        return document if kind == "test" else operation["value"]
    parent = document
    for name in path[:-1]:
        parent = _child(parent, name)
    _change(parent, path[-1], str(kind), operation.get("value"))
    return document


def _change(parent: Any, name: str, kind: str, value: Any) -> None:
    if kind == "add" and isinstance(parent, list):
        at = len(parent) if name == "-" else _index(name)
        if at > len(parent):
            raise PatchError("beyond the end of a list")
        parent.insert(at, value)
        return
    if kind == "add" and isinstance(parent, dict):
        parent[name] = value
        return
    now = _child(parent, name)
    if kind == "test":
        if now != value:
            raise PatchTestError("a test does not hold")
        return
    key = _index(name) if isinstance(parent, list) else name
    if kind == "remove":
        del parent[key]
    else:
        parent[key] = value


def _pointer(text: str) -> list[str]:
    if text and not text.startswith("/"):
        raise PatchError("a path starts with /")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _index(name: str) -> int:
    if not name.isdigit() or (len(name) > 1 and name.startswith("0")):
        raise PatchError("no place in a list")
    return int(name)


def _child(parent: Any, name: str) -> Any:
    if isinstance(parent, dict) and name in parent:
        return parent[name]
    if isinstance(parent, list) and _index(name) < len(parent):
        return parent[_index(name)]
    raise PatchError("a path that leads nowhere")

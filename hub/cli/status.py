"""What state an instance is in: which processes run, and what waits for a person."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import typer
from sqlmodel import Session, col, func, select

from hub.cli.instance import DirOption, JsonOption, answers, opened, paths_of, show
from hub.cli.run import Part, Ready, alive
from hub.instance import Instance
from hub.record import event, inbox, policy
from hub.record.call import Call, CallState
from hub.record.event import DeliveryState
from hub.record.task import Task, TaskState
from hub.record.writeback import Writeback, WritebackState
from hub.settings import Paths
from hub.vault.client import Vault, VaultUnavailableError


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command()(status)


def status(directory: DirOption, as_json: JsonOption = False) -> None:
    """Say which processes run and what waits for a person; the record is looked at only while the vault runs."""
    paths = paths_of(directory)
    said: dict[str, Any] = {"processes": asyncio.run(_processes(paths)), "vault": _vault(paths)}
    said["trunks"] = _trunks(paths) if said["processes"][Part.MEDIA.value]["pid"] is not None else []
    if answers(paths):
        with opened(directory) as instance:
            said |= _work(instance)
    show(said, as_json=as_json, text="\n".join(_lines(said)))


async def _processes(paths: Paths) -> dict[str, dict[str, Any]]:
    found = {}
    for part in Part:
        pid = alive(part, paths)
        found[part.value] = {"pid": pid, "ready": pid is not None and await Ready(part, paths)()}
    return found


def _vault(paths: Paths) -> dict[str, Any] | None:
    with Vault(paths.vault_socket) as vault:
        try:
            return vault.health()
        except VaultUnavailableError:
            return None


def _trunks(paths: Paths) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = json.loads(paths.trunks.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return found


def _work(instance: Instance) -> dict[str, Any]:
    with instance.inbox.read() as db:
        feeds = {each.name: _feed(db, each.name) for each in instance.policy()[1].connections}
    with instance.db.read() as db:
        return {
            "policy": _policy(db, instance.paths),
            "feeds": feeds,
            "calls": db.exec(select(func.count()).where(Call.state != CallState.ENDED)).one(),
            "tasks": _tasks(db),
            "deliveries": _deliveries(db),
            "writebacks": _writebacks(db),
        }


def _feed(db: Session, connection: str) -> dict[str, Any]:
    return {**inbox.counts(db, connection), "quarantine": inbox.reasons(db, connection)}


def _policy(db: Session, paths: Paths) -> dict[str, Any]:
    version, text = policy.current(db)
    try:
        same = paths.practice_toml.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        same = False
    row = policy.get(db, version)
    return {"version": version, "by": row.by, "published_at": row.published_at.isoformat(), "applied": same}


def _tasks(db: Session) -> dict[str, int]:
    query = select(Task.kind, func.count()).where(Task.state == TaskState.OPEN).group_by(Task.kind)
    return dict(list(db.exec(query)))


def _deliveries(db: Session) -> dict[str, int]:
    found: Counter[DeliveryState] = Counter()
    for (_, state), count in event.standing(db).items():
        found[state] += count
    return {state.value: found[state] for state in (DeliveryState.PENDING, DeliveryState.FAILED)}


def _writebacks(db: Session) -> dict[str, int]:
    query = select(Writeback.state, func.count()).group_by(col(Writeback.state))
    found = {WritebackState(state): count for state, count in db.exec(query)}
    return {state.value: found.get(state, 0) for state in (WritebackState.PENDING, WritebackState.FAILED)}


def _lines(said: dict[str, Any]) -> Iterator[str]:
    for part, each in said["processes"].items():
        state = "down" if each["pid"] is None else "up" if each["ready"] else "starting"
        yield f"{part:10} {state:8} {each['pid'] or ''}".rstrip()
    for trunk in said["trunks"]:
        silent = ", ".join(server for server, answers in trunk["servers"].items() if not answers)
        state = f"{'up' if trunk['up'] else 'down'}, {trunk['code'] or 'trying'}"
        yield f"trunk      {trunk['name']}: {state}" + (f"; silent: {silent}" if silent else "")
    if "policy" not in said:
        yield "the vault is down: nothing else can be told"
        return
    audit = said["vault"] or {}
    yield f"audit      {audit.get('records', 0)} records, {audit.get('audit', 'down')}"
    yield f"policy     version {said['policy']['version']} of {said['policy']['published_at']}"
    if not said["policy"]["applied"]:
        yield "           practice.toml says something else; chartline apply publishes it"
    yield f"calls      {said['calls']} now"
    for name, feed in said["feeds"].items():
        counts = ", ".join(f"{feed[state]} {state}" for state in ("stored", "applied", "quarantined"))
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(feed["quarantine"].items()))
        yield f"feed       {name}: {counts}" + (f" ({reasons})" if reasons else "")
    yield f"tasks      {', '.join(f'{count} {kind}' for kind, count in sorted(said['tasks'].items())) or 'none open'}"
    for what in ("deliveries", "writebacks"):
        yield f"{what:10} {', '.join(f'{count} {state}' for state, count in said[what].items())}"

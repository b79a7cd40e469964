"""The practice's policy as versioned data, and the agreements in it."""

from datetime import date, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query

from hub.api.caller import GUARDED, InstanceDep, needs
from hub.api.page import LIMIT, Answer, LimitParam
from hub.api.problem import declared
from hub.errors import NotFoundError, SettingsError
from hub.record import policy
from hub.security.access import Scope
from hub.settings import DataClass, diff, load

router = APIRouter(responses=GUARDED, dependencies=[needs(Scope.POLICIES_READ)])

Version = Annotated[int, Path(ge=1, description="Of the policy.")]


class PolicyHead(Answer):
    """One published version."""

    version: int
    published_at: datetime
    by: str
    "Staff id, or the operating system's user: os:<uid>."

    in_force: bool


class Policy(PolicyHead):
    """One published version with its text."""

    text: str
    "practice.toml; secrets are only named in it."


class PolicyPage(Answer):
    """Versions, newest first."""

    items: list[PolicyHead]
    next: int | None


class PolicyDiff(Answer):
    """What changes from one version to another."""

    version: int
    base: int
    changes: list[str]
    "One line each; a changed listener says that it needs a restart."


class Agreement(Answer):
    """What may leave to whom, and on what ground."""

    counterparty: str
    "A trunk or a connection."

    basis: str
    "agreement (45 CFR 164.504(e)) or treatment (164.502(e)(1)(ii)(A))."

    data: list[DataClass]
    expires: date | None
    "The last day it holds."

    document: str | None
    in_force: bool


class AgreementPage(Answer):
    """All agreements."""

    items: list[Agreement]
    next: None = None


@router.get("/policies", summary="List policies", tags=["policies"])
async def policies(
    instance: InstanceDep,
    limit: LimitParam = LIMIT,
    cursor: Annotated[int | None, Query(ge=1, description="`next` of the page before.")] = None,
) -> PolicyPage:
    """Return the published versions, newest first."""
    current, _ = instance.policy()
    rows = await instance.db.run(lambda db: policy.history(db, before=cursor, limit=limit + 1))
    items = [_head(row, current) for row in rows[:limit]]
    return PolicyPage(items=items, next=items[-1].version if len(rows) > limit else None)


@router.get("/policies/current", summary="Get the policy in force", tags=["policies"])
async def in_force(instance: InstanceDep) -> Policy:
    """Return the version that holds now."""
    current, _ = instance.policy()
    return _whole(await instance.db.run(lambda db: policy.get(db, current)), current)


@router.get("/policies/{version}", summary="Get a policy", tags=["policies"], responses=declared(NotFoundError))
async def one(version: Version, instance: InstanceDep) -> Policy:
    """Return one version."""
    current, _ = instance.policy()
    return _whole(await instance.db.run(lambda db: policy.get(db, version)), current)


@router.get(
    "/policies/{version}/diff",
    summary="Compare policies",
    tags=["policies"],
    responses=declared(NotFoundError, SettingsError),
)
async def changes(
    version: Version,
    instance: InstanceDep,
    base: Annotated[
        int | None, Query(ge=1, description="Compared with; the version before where it is left out.")
    ] = None,
) -> PolicyDiff:
    """Return what `version` changes of `base`."""
    old = base or max(version - 1, 1)
    texts = await instance.db.run(lambda db: [policy.get(db, each).text for each in (old, version)])
    before, after = (load(text) for text in texts)
    return PolicyDiff(version=version, base=old, changes=diff(before, after))


@router.get("/agreements", summary="List agreements", tags=["agreements"])
async def agreements(instance: InstanceDep) -> AgreementPage:
    """Return the agreements of the policy in force, those that have run out too."""
    _, practice = instance.policy()
    today = instance.clock().astimezone(practice.practice.zone).date()
    items = [
        Agreement(
            counterparty=each.counterparty,
            basis=each.basis,
            data=list(each.data),
            expires=each.expires,
            document=each.document,
            in_force=each.expires is None or today <= each.expires,
        )
        for each in practice.agreements
    ]
    return AgreementPage(items=items)


def _head(row: policy.Policy, current: int) -> PolicyHead:
    return PolicyHead(version=row.version, published_at=row.published_at, by=row.by, in_force=row.version == current)


def _whole(row: policy.Policy, current: int) -> Policy:
    return Policy(**_head(row, current).model_dump(), text=row.text)

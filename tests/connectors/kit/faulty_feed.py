# ruff: noqa: ARG002 - what is wrong with a connector often is what it does not look at
"""Connectors whose feed has one fault each."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson

from connectors.api import (
    AppointmentFacts,
    AuthExpiredError,
    Change,
    Checkpoint,
    Context,
    PatientFacts,
    RejectedError,
    ResetError,
    Version,
)
from tests.connectors.kit.clinic import Clinic, Row, text


class LosesTheType(Clinic):
    """feed"""

    def visit(self, row: Row, ctx: Context) -> AppointmentFacts | None:
        fact = super().visit(row, ctx)
        return fact and fact.model_copy(update={"type": None})


class RemembersWhereItWas(Clinic):
    """resume"""

    told = False

    async def changes(self, ctx: Context, cursor: bytes | None) -> AsyncIterator[Change | Checkpoint]:
        self.place(cursor)
        if cursor is not None and not self.told:
            yield Checkpoint(cursor=cursor)
            return
        self.told = True
        async for one in super().changes(ctx, cursor):
            yield one


class CheckpointFirst(Clinic):
    """checkpoint-order"""

    async def changes(self, ctx: Context, cursor: bytes | None) -> AsyncIterator[Change | Checkpoint]:
        page: list[Change] = []
        last: Checkpoint | None = None
        async for one in super().changes(ctx, cursor):
            if not isinstance(one, Checkpoint):
                page.append(one)
                continue
            yield one
            for change in page:
                yield change
            page, last = [], one
        if last is not None:
            yield last


class RemembersBeforeTheCommit(Clinic):
    """kill-mid-page"""

    def facts(self, rows: list[Row], ctx: Context) -> Iterator[Change]:
        for fact in super().facts(rows, ctx):
            mark = fact.model_dump_json()
            if mark not in self.__dict__:
                self.__dict__[mark] = True
                yield fact


class PutsTheClockIntoVersions(Clinic):
    """replay-five"""

    def version(self, row: Row, at: datetime, ctx: Context) -> Version:
        return Version(at=at + (ctx.clock() - at) / 1_000_000, tag="")


class LastOneWins(Clinic):
    """reorder"""

    def facts(self, rows: list[Row], ctx: Context) -> Iterator[Change]:
        yield from super().facts(list({(str(row.get("kind")), str(row.get("id"))): row for row in rows}.values()), ctx)


class RefusesARepeat(Clinic):
    """duplicate"""

    def facts(self, rows: list[Row], ctx: Context) -> Iterator[Change]:
        seen: list[Row] = []
        for row in rows:
            if row in seen:
                raise RejectedError("duplicate-record")
            seen.append(row)
        yield from super().facts(rows, ctx)


class EndsQuietlyWhenRefused(Clinic):
    """auth-mid-stream"""

    async def changes(self, ctx: Context, cursor: bytes | None) -> AsyncIterator[Change | Checkpoint]:
        try:
            async for one in super().changes(ctx, cursor):
                yield one
        except AuthExpiredError:
            return


class TrustsPageTokens(Clinic):
    """cursor-size"""

    def short(self, page: str) -> bool:
        return True


class StartsOverOnAnyCursor(Clinic):
    """foreign-cursor"""

    def place(self, cursor: bytes | None) -> tuple[str, str]:
        try:
            return super().place(cursor)
        except ResetError:
            return "", ""


class TakesLocalTimesForUtc(Clinic):
    """zone-less"""

    def time(self, value: Any, ctx: Context) -> datetime | None:
        at = datetime.fromisoformat(value) if isinstance(value, str) and len(value) > 10 else None
        return at.replace(tzinfo=at.tzinfo or UTC) if at else None


class TakesTodaysOffset(Clinic):
    """dst"""

    def time(self, value: Any, ctx: Context) -> datetime | None:
        offset = ctx.clock().astimezone(ctx.timezone).utcoffset() or timedelta()
        at = datetime.fromisoformat(value) if isinstance(value, str) and len(value) > 10 else None
        return at.replace(tzinfo=at.tzinfo or timezone(offset)) if at else None


class TrustsAField(Clinic):
    """null-fields"""

    def given(self, row: Row) -> str | None:
        return str(row.get("given", "").title()) or None


class TrustsAList(Clinic):
    """empty-lists"""

    def given(self, row: Row) -> str | None:
        if row.get("phones") is not None and not row["phones"][0]:
            return None
        return text(row.get("given"))


class OneBadRecordStopsAll(Clinic):
    """null-fields"""

    def patient(self, row: Row, ctx: Context) -> PatientFacts | None:
        if row.get("family", "") is None:
            raise RejectedError("name-missing", field="family")
        return super().patient(row, ctx)


class DropsThePage(Clinic):
    """null-fields"""

    def facts(self, rows: list[Row], ctx: Context) -> Iterator[Change]:
        if all(row.get("version", "") is not None for row in rows):
            yield from super().facts(rows, ctx)


class PutsANameInTheCursor(Clinic):
    """phi-in-cursor"""

    def facts(self, rows: list[Row], ctx: Context) -> Iterator[Change]:
        self.__dict__["last"] = rows[-1].get("family") if rows else None
        yield from super().facts(rows, ctx)

    def cursor(self, since: str, page: str) -> bytes:
        return orjson.dumps([since, page, self.__dict__.get("last")])

    def place(self, cursor: bytes | None) -> tuple[str, str]:
        if cursor is None:
            return "", ""
        try:
            return tuple(orjson.loads(cursor)[:2])
        except (ValueError, TypeError):
            raise ResetError("the cursor does not read") from None


FAULTY = (
    LosesTheType,
    RemembersWhereItWas,
    CheckpointFirst,
    RemembersBeforeTheCommit,
    PutsTheClockIntoVersions,
    LastOneWins,
    RefusesARepeat,
    EndsQuietlyWhenRefused,
    TrustsPageTokens,
    StartsOverOnAnyCursor,
    TakesLocalTimesForUtc,
    TakesTodaysOffset,
    TrustsAField,
    TrustsAList,
    OneBadRecordStopsAll,
    DropsThePage,
    PutsANameInTheCursor,
)

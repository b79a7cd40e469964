# ruff: noqa: ARG002 - what is wrong with a connector often is what it does not look at
"""Connectors with one fault each in how they ask, find and write."""

import asyncio
import logging
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar
from uuid import uuid4

import orjson
import structlog
from pydantic import HttpUrl, SecretStr

from connectors.api import (
    AuthExpiredError,
    CommunicationFacts,
    ConnectorError,
    Context,
    PatientFacts,
    PatientRef,
    RateLimitedError,
    Receipt,
    Scope,
    Section,
    Settings,
    Sms,
    TransientError,
    UnknownOutcomeError,
)
from tests.connectors.kit.clinic import Clinic, Row

EMPTY = b'{"items": [], "next": null, "until": "t-1001", "sections": {}, "id": "1"}'


class OpenSettings(Settings):
    base_url: HttpUrl
    token: str
    secret: SecretStr


class KeepsASecretInClear(Clinic):
    """secret-settings"""

    Settings: ClassVar[Any] = OpenSettings

    async def token(self, ctx: Context) -> str:
        return str(self.settings.token)


class SaysMoreThanItDeclares(Clinic):
    """undeclared-field"""

    scopes: ClassVar[Any] = frozenset(Scope) - {Scope.PATIENT_CONTACT}


class TellsAStranger(Clinic):
    """undeclared-host"""

    async def check(self, ctx: Context) -> None:
        await super().check(ctx)
        with suppress(ConnectorError):
            await ctx.http.get("https://statistics.example/count")


class OpensASocket(Clinic):
    """own-socket"""

    async def check(self, ctx: Context) -> None:
        await super().check(ctx)
        with suppress(OSError), socket.socket() as own:
            own.connect(("127.0.0.1", 9))


class LooksUpAName(Clinic):
    """own-socket"""

    async def check(self, ctx: Context) -> None:
        await super().check(ctx)
        with suppress(OSError):
            await asyncio.to_thread(socket.getaddrinfo, "clinic.example", 443)


class ChecksWhatIsNotThere(Clinic):
    """check"""

    async def check(self, ctx: Context) -> None:
        await self.ask(ctx, "GET", "whoami")


class PassesWithABadKey(Clinic):
    """bad-key"""

    async def check(self, ctx: Context) -> None:
        with suppress(AuthExpiredError):
            await super().check(ctx)


class KnowsBetterHowLongToWait(Clinic):
    """rate-limit"""

    async def fetched(self, ctx: Context, method: str, url: str, **how: Any) -> bytes:
        try:
            return await super().fetched(ctx, method, url, **how)
        except RateLimitedError:
            raise RateLimitedError(60) from None


class TakesDownForEmpty(Clinic):
    """unavailable"""

    async def fetched(self, ctx: Context, method: str, url: str, **how: Any) -> bytes:
        try:
            return await super().fetched(ctx, method, url, **how)
        except TransientError as error:
            if "503" in str(error):
                return EMPTY
            raise


class TakesGoneForEmpty(Clinic):
    """unreachable"""

    async def fetched(self, ctx: Context, method: str, url: str, **how: Any) -> bytes:
        try:
            return await super().fetched(ctx, method, url, **how)
        except TransientError as error:
            if "no connection" in str(error):
                return EMPTY
            raise


class Impatient(Clinic):
    """slow"""

    async def fetched(self, ctx: Context, method: str, url: str, **how: Any) -> bytes:
        async with asyncio.timeout(5):
            return await super().fetched(ctx, method, url, **how)


class TakesTornForEmpty(Clinic):
    """truncated"""

    def document(self, content: bytes) -> Row:
        try:
            orjson.loads(content)
        except orjson.JSONDecodeError:
            if content.startswith(b"{"):
                return dict(orjson.loads(EMPTY))
        return super().document(content)


class TakesAnErrorForEmpty(Clinic):
    """error-document"""

    def document(self, content: bytes) -> Row:
        said = orjson.loads(content) if b"issue" in content else None
        return said if isinstance(said, dict) else super().document(content)

    def rows(self, said: Row) -> list[Row]:
        return super().rows(said | {"items": said.get("items") or []})


class ExpectsAnObject(Clinic):
    """foreign-answer"""

    def document(self, content: bytes) -> Row:
        if content == b"null":
            return dict(orjson.loads(content))
        return super().document(content)


class SwallowsACancellation(Clinic):
    """cancel"""

    async def fetched(self, ctx: Context, method: str, url: str, **how: Any) -> bytes:
        try:
            return await super().fetched(ctx, method, url, **how)
        except asyncio.CancelledError:
            raise TransientError("stopped") from None


class NamesPatientsItsOwnWay(Clinic):
    """find"""

    def chosen(self, refs: list[PatientRef]) -> list[PatientRef]:
        return [ref.model_copy(update={"id": f"patient-{ref.id}"}) for ref in refs]


class AsksInOneWay(Clinic):
    """phone-formats"""

    def written(self, phone: str) -> Sequence[str]:
        return (phone,)


class TakesTheFirst(Clinic):
    """shared-phone"""

    def chosen(self, refs: list[PatientRef]) -> list[PatientRef]:
        return refs[:1]


class TrustsTheSearch(Clinic):
    """ignored-parameter"""

    def hit(self, facts: PatientFacts, phone: str) -> bool:
        return True


class TellsTheWholeChart(Clinic):
    """chart"""

    def asked_sections(self, sections: frozenset[Section]) -> frozenset[Section]:
        return frozenset(Section)


class GivesNoReceipt(Clinic):
    """write"""

    async def log(self, ctx: Context, communication: CommunicationFacts, *, key: str) -> Receipt:
        return (await super().log(ctx, communication, key=key)).model_copy(update={"external_id": ""})


class NewKeyEachTime(Clinic):
    """write-twice"""

    def key(self, key: str) -> dict[str, str]:
        return {"Idempotency-Key": str(uuid4())}


class SendsAgainByItself(Clinic):
    """lost-answer"""

    async def send(self, ctx: Context, sms: Sms, *, key: str) -> Receipt:
        try:
            return await super().send(ctx, sms, key=key)
        except UnknownOutcomeError:
            return await super().send(ctx, sms, key=f"{key}-again")


class OverwritesWhatChanged(Clinic):
    """stale-version"""

    def if_match(self, version: str | None) -> dict[str, str]:
        return {}


class LogsAName(Clinic):
    """phi-in-log"""

    def hit(self, facts: PatientFacts, phone: str) -> bool:
        logging.getLogger("clinic").debug("looking at %s", facts.family)
        return super().hit(facts, phone)


class LogsANumber(Clinic):
    """phi-in-log"""

    def written(self, phone: str) -> Sequence[str]:
        structlog.get_logger().info("search", digits=phone[2:])
        return super().written(phone)


class PrintsABirthDate(Clinic):
    """phi-in-log"""

    def hit(self, facts: PatientFacts, phone: str) -> bool:
        print(facts.birth_date)
        return super().hit(facts, phone)


class LogsItsHeaders(Clinic):
    """secret-in-log"""

    async def fetched(self, ctx: Context, method: str, url: str, **how: Any) -> bytes:
        logging.getLogger("clinic").info("asking with %s", how["headers"])
        return await super().fetched(ctx, method, url, **how)


class QuotesTheAnswer(Clinic):
    """phi-in-error"""

    def document(self, content: bytes) -> Row:
        try:
            return super().document(content)
        except TransientError:
            raise TransientError(f"cannot read {content[:300]!r}") from None


class QuotesTheCause(Clinic):
    """phi-in-error"""

    def document(self, content: bytes) -> Row:
        try:
            return super().document(content)
        except TransientError:
            try:
                return {"count": int(content)}
            except ValueError as error:
                raise TransientError("cannot read the answer") from error


class QuotesTheKey(Clinic):
    """secret-in-error"""

    async def fetched(self, ctx: Context, method: str, url: str, **how: Any) -> bytes:
        try:
            return await super().fetched(ctx, method, url, **how)
        except AuthExpiredError:
            raise AuthExpiredError(f"refused: {await self.token(ctx)}") from None


FAULTY = (
    KeepsASecretInClear,
    SaysMoreThanItDeclares,
    TellsAStranger,
    OpensASocket,
    LooksUpAName,
    ChecksWhatIsNotThere,
    PassesWithABadKey,
    KnowsBetterHowLongToWait,
    TakesDownForEmpty,
    TakesGoneForEmpty,
    Impatient,
    TakesTornForEmpty,
    TakesAnErrorForEmpty,
    ExpectsAnObject,
    SwallowsACancellation,
    NamesPatientsItsOwnWay,
    AsksInOneWay,
    TakesTheFirst,
    TrustsTheSearch,
    TellsTheWholeChart,
    GivesNoReceipt,
    NewKeyEachTime,
    SendsAgainByItself,
    OverwritesWhatChanged,
    LogsAName,
    LogsANumber,
    PrintsABirthDate,
    LogsItsHeaders,
    QuotesTheAnswer,
    QuotesTheCause,
    QuotesTheKey,
)

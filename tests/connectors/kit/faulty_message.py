"""Connectors with one fault each in what they read and prove."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import orjson

from connectors.api import AppointmentFacts, Callback, Change, Identifier, RejectedError, ReplyFacts
from tests.connectors.kit.clinic import Clinic


class MistakesWhoWrites(Clinic):
    """read"""

    def read(self, raw: bytes, *, timezone: ZoneInfo, region: str) -> Sequence[Change]:
        said = super().read(raw, timezone=timezone, region=region)
        return [one.model_copy(update={"sender": one.to}) if isinstance(one, ReplyFacts) else one for one in said]


class SkipsWhatItReadBefore(Clinic):
    """read-pure"""

    def read(self, raw: bytes, *, timezone: ZoneInfo, region: str) -> Sequence[Change]:
        said = super().read(raw, timezone=timezone, region=region)
        return said if self.__dict__.setdefault(repr(raw), raw) is raw and not self._before(raw) else []

    def _before(self, raw: bytes) -> bool:
        seen: set[bytes] = self.__dict__.setdefault("seen", set())
        known = raw in seen
        seen.add(raw)
        return known


class ExpectsAHeader(Clinic):
    """read-damaged"""

    def read(self, raw: bytes, *, timezone: ZoneInfo, region: str) -> Sequence[Change]:
        if raw.startswith(b"MSH") and not raw.split(b"|")[8]:
            raise RejectedError("message-type-missing", field="MSH-9")
        return super().read(raw, timezone=timezone, region=region)


class KnowsOnlyCarriageReturns(Clinic):
    """read-endings"""

    def read(self, raw: bytes, *, timezone: ZoneInfo, region: str) -> Sequence[Change]:
        if raw.startswith(b"MSH") and b"\n" in raw:
            raise RejectedError("line-feed")
        return super().read(raw, timezone=timezone, region=region)


class DropsEscapes(Clinic):
    """read-escapes"""

    def read(self, raw: bytes, *, timezone: ZoneInfo, region: str) -> Sequence[Change]:
        return super().read(re.sub(rb"\\[FSTRE]\\", b"", raw), timezone=timezone, region=region)


class ReadsTheFirst(Clinic):
    """read-bundled"""

    def read(self, raw: bytes, *, timezone: ZoneInfo, region: str) -> Sequence[Change]:
        return super().read(raw, timezone=timezone, region=region)[:1]


class PadsIdentifiers(Clinic):
    """read-standard"""

    def read(self, raw: bytes, *, timezone: ZoneInfo, region: str) -> Sequence[Change]:
        return [_padded(one) for one in super().read(raw, timezone=timezone, region=region)]


def _padded(fact: Change) -> Change:
    if not isinstance(fact, AppointmentFacts) or fact.patient is None:
        return fact
    ids = tuple(Identifier(system=one.system, value=one.value.zfill(8)) for one in fact.patient.ids)
    return fact.model_copy(update={"patient": fact.patient.model_copy(update={"ids": ids})})


class TakesUtcForLocal(Clinic):
    """zone-less"""

    def read(self, raw: bytes, *, timezone: ZoneInfo, region: str) -> Sequence[Change]:  # noqa: ARG002 - that is it
        return super().read(raw, timezone=ZoneInfo("UTC"), region=region)


class TakesWinterForEver(Clinic):
    """dst"""

    def read(self, raw: bytes, *, timezone: ZoneInfo, region: str) -> Sequence[Change]:
        return super().read(raw, timezone=ZoneInfo("EST") if timezone.key else timezone, region=region)


class NamesCallbacksWrong(Clinic):
    """verify"""

    def verify(self, callback: Callback) -> str:
        return super().verify(callback).upper()


class TakesAnyMark(Clinic):
    """forged"""

    def verify(self, callback: Callback) -> str:
        stamp = callback.headers.get("clinic-time", "")
        if not stamp.isdigit() or abs(callback.received_at - datetime.fromtimestamp(int(stamp), UTC)).days:
            raise RejectedError("stale")
        try:
            return str(orjson.loads(callback.body)["message"])
        except (ValueError, KeyError):
            raise RejectedError("not-understood") from None


class TakesOldCallbacks(Clinic):
    """stale-callback"""

    def verify(self, callback: Callback) -> str:
        stamp = callback.headers.get("clinic-time", "")
        if self.mark(stamp.encode() + b"." + callback.body) != callback.headers.get("clinic-mark", "").encode():
            raise RejectedError("signature")
        return str(orjson.loads(callback.body)["message"])


FAULTY = (
    MistakesWhoWrites,
    SkipsWhatItReadBefore,
    ExpectsAHeader,
    KnowsOnlyCarriageReturns,
    DropsEscapes,
    ReadsTheFirst,
    PadsIdentifiers,
    TakesUtcForLocal,
    TakesWinterForEver,
    NamesCallbacksWrong,
    TakesAnyMark,
    TakesOldCallbacks,
)

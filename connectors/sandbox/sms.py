"""The connector to the sandbox's SMS carrier: sends, proves callbacks, reads replies and receipts."""

import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import orjson
from pydantic import HttpUrl, SecretStr

from connectors.api import (
    Callback,
    Change,
    Connector,
    Context,
    Receipt,
    ReceiptFacts,
    RejectedError,
    ReplyFacts,
    Scope,
    Settings,
    Sms,
    UnknownOutcomeError,
)

FRESH_S = 300
"Seconds between the carrier's clock and ours at most; a repeat is signed anew."


class SandboxSmsSettings(Settings):
    """Where the carrier is, and what the two ends know of each other."""

    base_url: HttpUrl
    token: SecretStr
    "Proves us to the carrier."

    secret: SecretStr
    "Proves the carrier's callbacks to us."


class SandboxSms(Connector[SandboxSmsSettings]):
    """Sends SMS through the sandbox's carrier, and nobody gets any."""

    name: ClassVar = "sandbox-sms"
    kind: ClassVar = "carrier"
    scopes: ClassVar = frozenset({Scope.PATIENT_CONTACT, Scope.MESSAGE_BODY})
    Settings: ClassVar = SandboxSmsSettings

    async def check(self, ctx: Context) -> None:
        """Ask for the account, which needs the token."""
        await ctx.http.get(self._url("account"), headers=self._headers())

    async def send(self, ctx: Context, sms: Sms, *, key: str) -> Receipt:
        """Hand `sms` over; the carrier answers a repeat of `key` with the first answer."""
        answer = await ctx.http.post(
            self._url("messages"),
            json={"to": sms.to, "from": sms.sender, "text": sms.body},
            headers=self._headers() | {"Idempotency-Key": key},
        )
        try:
            own = _object(answer.content).get("id")
        except RejectedError:
            own = None
        if not isinstance(own, str):
            raise UnknownOutcomeError("taken, and not named")
        return Receipt(external_id=own)

    def verify(self, callback: Callback) -> str:
        """Return the callback's id, if it was signed with our secret.

        Raises:
            RejectedError: it was not, or was changed on the way.
        """
        stamp = callback.headers.get("sandbox-timestamp", "")
        wanted = signature(self.settings.secret.get_secret_value(), stamp, callback.body)
        if not hmac.compare_digest(wanted.encode(), callback.headers.get("sandbox-signature", "").encode()):
            raise RejectedError("signature", field="Sandbox-Signature")
        if abs(callback.received_at.timestamp() - int(stamp)) > FRESH_S:
            raise RejectedError("stale", field="Sandbox-Timestamp")  # somebody repeats what they overheard
        own = _object(callback.body).get("id")
        if not isinstance(own, str) or not own:
            raise RejectedError("not-understood", field="id")
        return own

    def read(self, raw: bytes, *, timezone: ZoneInfo, region: str) -> Sequence[Change]:  # noqa: ARG002 - times and numbers come complete
        """Return the reply or receipt in a callback's body."""
        said = _object(raw)
        try:
            own, at = str(said["message"]), datetime.fromisoformat(said["at"])
            if said["type"] == "reply":
                return [ReplyFacts(external_id=own, at=at, sender=said["from"], to=said["to"], body=said["text"])]
            if said["type"] == "receipt":
                code = str(said.get("code", ""))
                return [ReceiptFacts(external_id=own, at=at, status=said["status"], code=code)]
        except (KeyError, TypeError, ValueError):
            pass  # the fault may quote the text; what is raised below does not
        raise RejectedError("not-understood", field="type")

    def _url(self, path: str) -> str:
        return f"{str(self.settings.base_url).rstrip('/')}/{path}"

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.settings.token.get_secret_value()}"}


def signature(secret: str, stamp: str, body: bytes) -> str:
    """Return the proof of a callback: HMAC-SHA256 over `stamp.body`, in hexadecimal."""
    return hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _object(raw: bytes) -> dict[str, Any]:
    try:
        said = orjson.loads(raw)
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, dict):
        raise RejectedError("not-understood", field="body")
    return said

"""The good connector behind a token endpoint that takes signed assertions; and what can be wrong with those."""

from dataclasses import replace
from typing import Any, ClassVar
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import HttpUrl, SecretStr

from connectors.api import AuthExpiredError, Context, RejectedError, Settings, TransientError
from connectors.kit import Case
from connectors.kit.case import Assertion, Auth
from connectors.kit.token import KIND
from tests.connectors.kit.clinic import Clinic

AUDIENCE = "https://clinic.example/token"


class SignedSettings(Settings):
    base_url: HttpUrl
    client_id: str
    private_key: SecretStr
    secret: SecretStr


class Signed(Clinic):
    """nothing"""

    Settings: ClassVar[Any] = SignedSettings
    held = ""

    async def token(self, ctx: Context) -> str:
        if not self.held:
            claims = self.claims(ctx.clock().timestamp())
            key = self.settings.private_key.get_secret_value()  # type: ignore[attr-defined]
            form = {
                "grant_type": "client_credentials",
                "client_assertion_type": KIND,
                "client_assertion": jwt.encode(claims, key, "ES384"),
            }
            try:
                self.held = str(self.document(await self.fetched(ctx, "POST", AUDIENCE, data=form))["access_token"])
            except RejectedError:
                raise AuthExpiredError("the key is refused") from None
            except KeyError:
                raise TransientError("no token in the answer") from None
        return self.held

    def claims(self, now: float) -> dict[str, Any]:
        own = self.settings.client_id  # type: ignore[attr-defined]
        return {"iss": own, "sub": own, "aud": AUDIENCE, "exp": int(now) + 240, "jti": str(uuid4())}


class LivesAnHour(Signed):
    """assertion"""

    def claims(self, now: float) -> dict[str, Any]:
        return super().claims(now) | {"exp": int(now) + 3600}


class MeansAnother(Signed):
    """assertion"""

    def claims(self, now: float) -> dict[str, Any]:
        return super().claims(now) | {"aud": "https://clinic.example/api"}


class RepeatsItsNumber(Signed):
    """assertion"""

    def claims(self, now: float) -> dict[str, Any]:
        return super().claims(now) | {"jti": "1"}


class GivesUpForGood(Signed):
    """bad-key"""

    async def token(self, ctx: Context) -> str:
        try:
            return await super().token(ctx)
        except AuthExpiredError:
            raise RejectedError("token-refused") from None


def signed_case(case: Case) -> Case:
    """Return the good case with a token endpoint before it."""
    key = ec.generate_private_key(ec.SECP384R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    settings = {name: case.plan.settings[name] for name in ("base_url", "secret")}
    settings |= {"client_id": "chartline", "private_key": key.decode()}
    rules = Assertion(path="/token", audience=AUDIENCE, client="{client_id}", key="{private_key}")
    return replace(case, plan=case.plan.model_copy(update={"settings": settings, "auth": Auth(assertion=rules)}))


FAULTY: tuple[type[Signed], ...] = (LivesAnHour, MeansAnother, RepeatsItsNumber, GivesUpForGood)

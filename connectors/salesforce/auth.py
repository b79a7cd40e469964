"""Access tokens: one at a time, kept until refused (RFC 7523 JWT bearer, RFC 6749 section 4.4 client credentials)."""

import asyncio
from datetime import datetime, timedelta

import jwt
import orjson

from connectors.api import AuthExpiredError, Context, RejectedError, TransientError, UnknownOutcomeError
from connectors.salesforce.refusal import token_error_of
from connectors.salesforce.settings import SalesforceSettings

LIFE = timedelta(minutes=2)
"How long an assertion is good for. Accounts of the most that is taken differ, three minutes or five."

HELD = timedelta(seconds=30)
"How long a refusal stands: whoever asks meanwhile is told the same, so that nobody is locked out for trying."

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
CLIENT_CREDENTIALS = "client_credentials"


class Tokens:
    """The access token of one connection, shared by everybody who asks for it."""

    def __init__(self, settings: SalesforceSettings) -> None:
        self._settings = settings
        self._lock = asyncio.Lock()
        self._token = ""
        self._refusal = ""
        self._refused_at: datetime | None = None

    async def current(self, ctx: Context) -> str:
        """Return the token that stands, or ask for one."""
        return self._token or await self.renewed(ctx, "")

    async def renewed(self, ctx: Context, refused: str) -> str:
        """Return a token other than `refused`; who waits while another asks takes what that one got.

        Raises:
            AuthExpiredError: Salesforce gives none, or the key does not sign.
            RejectedError: the token is for another org than that of the settings.
        """
        async with self._lock:
            if self._token and self._token != refused:
                return self._token
            now = ctx.clock()
            if self._refused_at is not None and self._refused_at <= now < self._refused_at + HELD:
                raise AuthExpiredError(self._refusal)
            self._token, self._refused_at = "", None
            try:
                self._token = await self._ask(ctx)
            except AuthExpiredError as error:
                self._refusal, self._refused_at = str(error), now
                raise
            return self._token

    async def _ask(self, ctx: Context) -> str:
        try:
            answer = await ctx.http.post(
                f"{self._settings.login}/services/oauth2/token",
                data=self._form(ctx),
                headers={"Accept": "application/json"},
                extensions={"answers": {400}},
            )
            if answer.status_code != 200:
                raise token_error_of(answer)
        except UnknownOutcomeError:
            answer = None  # a second token does no harm
        if answer is None:
            raise TransientError("no answer from the token endpoint")
        return self._token_in(answer.content)

    def _form(self, ctx: Context) -> dict[str, str]:
        settings = self._settings
        if settings.client_secret is not None:
            secret = settings.client_secret.get_secret_value()
            return {"grant_type": CLIENT_CREDENTIALS, "client_id": settings.client_id, "client_secret": secret}
        return {"grant_type": JWT_BEARER, "assertion": self._assertion(ctx)}

    def _assertion(self, ctx: Context) -> str:
        """Return the assertion (RFC 7523 section 3): RS256, the only algorithm that Salesforce takes."""
        settings = self._settings
        claims = {
            "iss": settings.client_id,
            "sub": settings.username,
            "aud": settings.login,
            "exp": int((ctx.clock() + LIFE).timestamp()),
        }
        key = settings.private_key.get_secret_value() if settings.private_key is not None else ""
        try:
            return jwt.encode(claims, key, algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError):
            pass  # its text may quote the key
        raise AuthExpiredError("the private key does not sign")

    def _token_in(self, content: bytes) -> str:
        try:
            said = orjson.loads(content)
        except orjson.JSONDecodeError:
            said = None
        if not isinstance(said, dict) or not isinstance(said.get("access_token"), str) or not said["access_token"]:
            raise TransientError("an answer without a token")
        if str(said.get("instance_url")).rstrip("/").lower() != self._settings.instance.lower():
            raise RejectedError("token-for-another-instance", field="instance_url")
        return str(said["access_token"])

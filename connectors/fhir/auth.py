"""What a request shows to be let in: nothing, HTTP Basic, a bearer token, or a token of SMART Backend Services."""

from base64 import b64encode
from typing import Protocol

from connectors.api import Context, RejectedError
from connectors.fhir.settings import FhirSettings

Headers = dict[str, str]


class Authorization(Protocol):
    """The credentials of one connection; it lives as long as the connector, so that a token is asked for once."""

    async def headers(self, ctx: Context) -> Headers:
        """Return the headers that let a request in at the FHIR base; they must go to no other host."""
        ...

    async def renewed(self, ctx: Context, refused: Headers) -> Headers | None:
        """Return other headers after `refused` were answered by 401, None where there are none to be had."""
        ...


class Fixed:
    """Credentials that stand in the settings; refused once, they stay refused."""

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    async def headers(self, ctx: Context) -> Headers:  # noqa: ARG002 - another authorization needs it
        """Return the same for every request."""
        return self._headers

    async def renewed(self, ctx: Context, refused: Headers) -> Headers | None:  # noqa: ARG002 - see headers
        """Return None: there are no others."""
        return None


def authorization(settings: FhirSettings) -> Authorization:
    """Return the credentials that the settings name.

    Raises:
        RejectedError: this version cannot use them.
    """
    if settings.client_id:
        raise RejectedError("smart-backend-services-not-available", field="client_id")
    if settings.password is not None:
        shown = f"{settings.username}:{settings.password.get_secret_value()}".encode()
        return Fixed({"Authorization": f"Basic {b64encode(shown).decode()}"})  # RFC 7617 section 2
    if settings.token is not None:
        return Fixed({"Authorization": f"Bearer {settings.token.get_secret_value()}"})  # RFC 6750 section 2.1
    return Fixed({})

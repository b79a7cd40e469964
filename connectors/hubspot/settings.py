"""What the operator writes under `settings` of a hubspot connection (docs/connectors/hubspot.md)."""

from typing import Annotated

from pydantic import Field, HttpUrl, SecretStr

from connectors.api import Settings, for_browsers


class HubspotSettings(Settings):
    """Which account, how to sign in, and what its administrator set up for us."""

    token: SecretStr
    "The access token of a private app, with crm.objects.contacts.read and .write."

    portal: Annotated[int, Field(ge=1)]
    "The account's id (portalId); the token must be of the same."

    key_property: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,99}$")] = "chartline_key"
    "A property with unique values (hasUniqueValue) of calls and of communications, which holds our key."

    api_version: Annotated[str, Field(pattern=r"^20\d\d-(03|09)$")] = "2026-03"
    base_url: HttpUrl = HttpUrl("https://api.hubapi.com")
    app_url: HttpUrl = for_browsers(HttpUrl("https://app.hubspot.com"))
    "Where the agent's browser shows a contact; another one for accounts outside the United States."

    searches_per_second: Annotated[int, Field(ge=1, le=20)] = 5
    "How many searches HubSpot takes from the account in a second; a further one waits."

    @property
    def base(self) -> str:
        """The address of the API without a slash at its end."""
        return str(self.base_url).rstrip("/")

    @property
    def app(self) -> str:
        """The address of the web application without a slash at its end."""
        return str(self.app_url).rstrip("/")

"""What the operator writes under `settings` of a salesforce connection (docs/connectors/salesforce.md)."""

from typing import Annotated, Literal, Self

from pydantic import Field, HttpUrl, SecretStr, model_validator

from connectors.api import Settings

SearchedObject = Literal["Contact", "Lead", "PersonAccount"]


class SalesforceSettings(Settings):
    """Which org, how to sign in, and what its administrator set up for us."""

    instance_url: HttpUrl
    "The org's My Domain address; the token answer must name the same."

    login_url: HttpUrl = HttpUrl("https://login.salesforce.com")
    "Who gives tokens for an assertion, and its audience; https://test.salesforce.com for a sandbox."

    client_id: Annotated[str, Field(min_length=1)]
    "The consumer key of the app."

    username: str = ""
    private_key: SecretStr | None = None
    "With `username`: OAuth 2.0 JWT bearer flow (RFC 7523); the RSA key in PEM."

    client_secret: SecretStr | None = None
    "OAuth 2.0 client credentials flow (RFC 6749 section 4.4), at the instance itself."

    api_version: Annotated[str, Field(pattern=r"^\d{2,3}\.0$")] = "67.0"
    objects: Annotated[tuple[SearchedObject, ...], Field(min_length=1)] = ("Contact", "Lead")
    "Where a number is looked up; PersonAccount only in an org that has person accounts switched on."

    external_id_field: Annotated[str, Field(pattern=r"^([A-Za-z]\w{0,79}__c)?$")] = ""
    "A unique external id field of Task, which holds our key; without one, CallObject is looked for first."

    task_status: Annotated[str, Field(min_length=1, max_length=40)] = "Completed"
    "Task.Status of a contact that is over, as this org calls it."

    api_reserve: Annotated[float, Field(ge=0, lt=1)] = 0.1
    "The share of the org's daily API requests that is left to others."

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if bool(self.username) != (self.private_key is not None):
            raise ValueError("username and private_key go together")
        if bool(self.username) == (self.client_secret is not None):
            raise ValueError("give either username with private_key, or client_secret")
        return self

    @property
    def instance(self) -> str:
        """The org's address without a slash at its end."""
        return str(self.instance_url).rstrip("/")

    @property
    def login(self) -> str:
        """Who gives tokens, without a slash at its end: the instance itself where there is a client secret."""
        return self.instance if self.client_secret is not None else str(self.login_url).rstrip("/")

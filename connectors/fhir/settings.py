"""What the operator writes under `settings` of a fhir connection (docs/connectors/fhir.md)."""

from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, HttpUrl, SecretStr, field_validator, model_validator

from connectors.api import Settings

Fed = Literal["patients", "appointments", "requests"]


class FhirSettings(Settings):
    """Address, credentials, and what this server needs to be asked differently."""

    base_url: HttpUrl
    "The service base URL (FHIR R4 http.html)."

    username: str = ""
    password: SecretStr | None = None
    "With `username`: HTTP Basic authentication."

    token: SecretStr | None = None
    "A bearer token."

    client_id: str = ""
    private_key: SecretStr | None = None
    "For SMART Backend Services, which this version cannot use: it refuses to connect rather than connect without."

    timezone: str = ""
    "IANA zone of times that come without one; the practice's where this is empty."

    patient_identifier_systems: tuple[str, ...] = ()
    "Only identifiers of these systems name a patient; where empty, all but the numbers of the state's (SSN, licence)."

    systems: dict[str, str] = {}
    "What this server calls the assigning authorities of the practice's HL7 v2 feed: HD.1 to Identifier.system."

    feed: tuple[Fed, ...] = ("patients", "appointments", "requests")
    "What `changes` asks for; leave appointments out where the same appointments come as SIU messages."

    refill_codes: tuple[str, ...] = ("refill", "refill-request", "renewal", "prescription-renewal")
    "Task.code codes or words that mean a refill request."

    message_bodies: bool = False
    "Whether a Communication carries the text of the message."

    page_size: Annotated[int, Field(ge=1, le=1000)] = 100
    overlap_seconds: Annotated[int, Field(ge=0, le=86_400)] = 120
    "How far before the last poll the next one asks again: what was committed late carries an earlier time."

    window_days: Annotated[int, Field(ge=1, le=365)] = 30
    "How far ahead appointments are compared where the server ignores _lastUpdated."

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        if name:
            try:
                ZoneInfo(name)
            except (KeyError, ValueError, OSError):
                raise ValueError("no such time zone in the IANA list") from None
        return name

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if bool(self.username) != (self.password is not None):
            raise ValueError("username and password go together")
        if sum((bool(self.username), self.token is not None, bool(self.client_id))) > 1:
            raise ValueError("give one of username with password, token, client_id with private_key")
        if bool(self.client_id) != (self.private_key is not None):
            raise ValueError("client_id and private_key go together")
        return self

    @property
    def base(self) -> str:
        """The base URL without a slash at its end."""
        return str(self.base_url).rstrip("/")

"""What the operator writes under `settings` of a fhir connection (docs/connectors/fhir.md)."""

from functools import cached_property
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote
from zoneinfo import ZoneInfo

import httpx
from pydantic import Field, HttpUrl, SecretStr, field_validator, model_validator

from connectors.api import Settings, for_browsers
from connectors.fhir.profile import GENERIC, Profile, profiles

Fed = Literal["patients", "related", "appointments", "requests"]
FeedBy = Literal["auto", "subscription", "updated", "window", "export"]


class FhirSettings(Settings):
    """Address, credentials, and what this server needs to be asked differently."""

    base_url: HttpUrl
    "The service base URL (FHIR R4 http.html)."

    profile: str = GENERIC
    "What make of server it is: a name of profiles.toml."

    override: dict[str, Any] = {}
    "What the operator knows better than the profile and the server, by the profile's keys."

    search_parameters: dict[str, str] = {}
    "Sent with every search; some servers find nothing without (`Profile.parameters`)."

    locations: tuple[str, ...] = ()
    "Logical ids of the practice's Locations, for a server whose Appointments are searched by place."

    practitioners: tuple[str, ...] = ()
    "Logical ids of the practice's Practitioners, for a server whose Appointments are searched by person."

    patient_url: str = for_browsers("")
    "The patient's page in the EHR for the agent's browser; wins over the profile's (`Profile.patient_url`)."

    username: str = ""
    password: SecretStr | None = None
    "With `username`: HTTP Basic authentication."

    token: SecretStr | None = None
    "A bearer token."

    client_id: str = ""
    private_key: SecretStr | None = None
    "With `client_id`: SMART Backend Services. PEM; RSA signs RS384, an elliptic curve of P-384 ES384."

    key_id: str = ""
    "`kid` of the public key as the server knows it; without it the header has none."

    token_url: HttpUrl | None = None
    "The token endpoint; needed where it is on another host than the base URL: nothing goes to a host that is not here."

    scope: str = ""
    "Asked for as it stands, in the place of what the connector would ask for by `feed` and the profile."

    launch_client_id: str = ""
    launch_client_secret: SecretStr | None = None
    "The app that the EHR launches (SMART App Launch); without a secret it is a public client."

    timezone: str = ""
    "IANA zone of times that come without one; the practice's where this is empty."

    patient_identifier_systems: tuple[str, ...] = ()
    "Only identifiers of these systems name a patient; where empty, all but the numbers of the state's (SSN, licence)."

    systems: dict[str, str] = {}
    "What this server calls the assigning authorities of the practice's HL7 v2 feed: HD.1 to Identifier.system."

    feed: tuple[Fed, ...] = ("patients", "related", "appointments", "requests")
    "What `changes` asks for; leave appointments out where the same appointments come as SIU messages."

    feed_by: FeedBy = "auto"
    "How changes are found; `auto` takes the best way that the profile and the server allow (connectors.fhir.feed)."

    callback_url: HttpUrl | None = for_browsers(None)
    "Where the server reaches /carriers/{connection}/... of this hub; with it there is a Subscription."

    callback_secret: SecretStr | None = None
    "What the server shows there."

    subscription_topic: str = ""
    "Canonical URL of the topic; where empty, the declared one whose URL speaks of appointments."

    export_group: str = ""
    "Logical id of the Group that is exported; where empty, all patients."

    export_files: HttpUrl | None = None
    "Where the files of an export lie, if not on the host of the base URL."

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

    @field_validator("profile")
    @classmethod
    def _described(cls, name: str) -> str:
        if name not in profiles():
            raise ValueError(f"no such profile; there are {', '.join(profiles())}")
        return name

    @field_validator("base_url", "token_url")
    @classmethod
    def _plain(cls, url: HttpUrl | None) -> HttpUrl | None:
        if url is not None and (url.username or url.password or url.fragment or url.query):
            raise ValueError("an address only: no user, password, query or fragment")
        return url

    @field_validator("patient_url")
    @classmethod
    def _for_one_patient(cls, template: str) -> str:
        if template and not (template.startswith(("https://", "http://", "{origin}/")) and "{id}" in template):
            raise ValueError("begins with https:// or {origin}/, and has {id} where the id goes")
        return template

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if bool(self.username) != (self.password is not None):
            raise ValueError("username and password go together")
        if sum((bool(self.username), self.token is not None, bool(self.client_id))) > 1:
            raise ValueError("give one of username with password, token, client_id with private_key")
        if bool(self.client_id) != (self.private_key is not None):
            raise ValueError("client_id and private_key go together")
        if (self.callback_url is None) != (self.callback_secret is None):
            raise ValueError("callback_url and callback_secret go together")
        if self.feed_by == "subscription" and self.callback_url is None:
            raise ValueError("feed_by subscription needs callback_url")
        if self.launch_client_secret is not None and not self.launch_client_id:
            raise ValueError("launch_client_secret goes with launch_client_id")
        return self

    @model_validator(mode="after")
    def _fits_profile(self) -> Self:
        missing = [name for name in self.vendor.parameters if name not in self.search_parameters]
        if missing:
            raise ValueError(f"this server wants search_parameters: {', '.join(missing)}")
        return self

    @cached_property
    def vendor(self) -> Profile:
        """What is known of this server: its profile, with what the operator overrides."""
        return profiles()[self.profile].altered(self.override)

    @property
    def base(self) -> str:
        """The base URL without a slash at its end."""
        return str(self.base_url).rstrip("/")

    def at_base(self, url: str | httpx.URL) -> bool:
        """Whether `url` leads to the base URL's host, by its scheme and port: only there go its credentials."""
        there, here = httpx.URL(url), httpx.URL(self.base)
        return (there.scheme, there.host, there.port) == (here.scheme, here.host, here.port) and not there.userinfo

    @property
    def page(self) -> int:
        """`_count` of a search: `page_size`, as far as the server takes it."""
        return min(self.page_size, self.vendor.page_size or self.page_size)

    def patient_page(self, logical_id: str) -> str | None:
        """Return the address of a patient's page in the EHR; None where nobody says how it is made."""
        template = self.patient_url or self.vendor.patient_url
        if not template:
            return None
        origin = "/".join(self.base.split("/", 3)[:3])
        return template.replace("{origin}", origin).replace("{id}", quote(logical_id, safe=""))

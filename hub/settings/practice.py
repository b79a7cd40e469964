"""The practice's policy as values: the frozen tree that practice.toml is read into.

Each model is one table of practice.toml; docs/reference/practice-toml.md describes every key. What one table alone
can say about itself is checked here; what needs two tables stands in `callflow` and `outside`.
"""

from datetime import date
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, StringConstraints, model_validator

from connectors.api import Scope
from hub.settings.browser import Browser
from hub.settings.speech import Speech
from hub.settings.table import Table
from hub.settings.telephony import Dialling, Fax, FileRef, Location, Stir, Trunk
from hub.settings.value import (
    Address,
    BaseUrl,
    Did,
    Digit,
    Email,
    Extension,
    Hours,
    Language,
    Name,
    PortRange,
    Region,
    Said,
    SecretRef,
    Url,
    ZoneName,
)

Role = Literal["front-desk", "nurse", "provider", "billing", "privacy-officer", "admin"]
"What a person may do at the practice; reference/words.md says what each one sees."

DataClass = Literal[
    "phone-number",
    "call-audio",
    "call-events",
    "message-body",
    "chart",
    "appointments",
    "communications",
]
"What an agreement lets out, by kind."

AgreedField = Literal["communication.topic", "communication.body", "communication.phone", "patient.phone"]
"What a CRM is told only where its agreement names it (connectors.scoping)."

EVENTS = (
    "call.ringing",
    "call.offered",
    "call.answered",
    "call.held",
    "call.transferred",
    "call.ended",
    "call.missed",
    "call.abandoned",
    "voicemail.received",
    "voicemail.transcribed",
    "message.received",
    "message.status",
    "reminder.sent",
    "reminder.answered",
    "appointment.changed",
    "connection.down",
    "connection.up",
    "queue.target_missed",
)
"Every webhook event (docs/reference/webhooks.md)."


class PracticeInfo(Table):
    """Who the practice is."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    timezone: ZoneName
    region: Region = "US"
    "ISO 3166-1 alpha-2: how numbers without a country code are read."
    languages: Annotated[tuple[Language, ...], Field(min_length=1)] = ("en",)
    "The first is what a caller hears where nothing else is known."
    text_name: Annotated[str, StringConstraints(min_length=1, max_length=40)] | None = None
    "The name that texts carry, where `name` would give a specialty away."

    @property
    def zone(self) -> ZoneInfo:
        """The practice's time zone."""
        return ZoneInfo(self.timezone)

    @property
    def named_in_texts(self) -> str:
        """The name a text message may carry."""
        return self.text_name or self.name


class Http(Table):
    """Where the API and the pages are served."""

    bind: Address = Address("127.0.0.1:8080")
    url: BaseUrl | None = None
    "What others call this hub, where a proxy stands before it; goes into pop links."

    @property
    def base_url(self) -> str:
        """The address that links start with, without a slash at the end."""
        return self.url or f"http://{self.bind}"


class Sip(Table):
    """Where calls come in."""

    udp: Address = Address("127.0.0.1:5060")
    tcp: Address | None = None
    tls: Address | None = None
    certificate: FileRef | None = None
    key: FileRef | None = None
    authorities: FileRef | None = None
    "PEM: who vouches for those we call over TLS; without it those whom the operating system believes."

    rtp_ports: PortRange = PortRange("20000-29999")
    cores: int | None = Field(default=None, ge=0, le=64)
    "Media core processes; 0 carries sound in the signalling process, nothing is one for each CPU core."

    rtpengine: tuple[Address, ...] = ()
    "The ng ports of those that stand between us and the far ends; none is needed."

    session_seconds: int = Field(default=1800, ge=90, le=86_400)
    "How long a call goes on without its sides having asked each other anew (RFC 4028 sections 4 and 5)."


class Target(Table):
    """Where a caller goes next: exactly one of queue, menu and voicemail."""

    queue: Name | None = None
    menu: Name | None = None
    voicemail: Name | None = None
    language: Language | None = None
    "Spoken from here on."

    @model_validator(mode="after")
    def _one(self) -> Self:
        places = [kind for kind in ("queue", "menu", "voicemail") if getattr(self, kind) is not None]
        if not places:
            raise ValueError("leads nowhere; give one of queue, menu, voicemail")
        if len(places) > 1:
            raise ValueError(f"leads to {' and '.join(places)}; give one")
        return self


class Number(Table):
    """A dialled number. The menu comes first where there is one; queue and voicemail are then its ways out."""

    did: Did
    menu: Name | None = None
    queue: Name | None = None
    voicemail: Name | None = None

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.menu is None and self.queue is None and self.voicemail is None:
            raise ValueError("leads nowhere; give menu, queue or voicemail")
        return self


class Menu(Table):
    """What a caller hears and may press."""

    name: Name
    say: Said
    urgent: Digit | None = None
    "The key that goes to a person at once."
    choices: dict[Digit, Target] = {}
    timeout_seconds: Annotated[float, Field(ge=1, le=30)] = 5.0
    tries: Annotated[int, Field(ge=1, le=5)] = 3


class Voicemail(Table):
    """A box that several people share."""

    name: Name
    roles: Annotated[tuple[Role, ...], Field(min_length=1)]
    say: Said = {}
    silence_seconds: Annotated[float, Field(ge=0, le=60)] = 5.0
    "After which a message is over; 0: only a key or the caller ends it."
    longest_seconds: Annotated[int, Field(ge=5, le=3600)] = 180


class Overflow(Table):
    """What happens to a caller who has waited long: exactly one of offer, voicemail and queue."""

    after_seconds: Annotated[int, Field(ge=0, le=7200)]
    offer: Literal["callback"] | None = None
    voicemail: Name | None = None
    queue: Name | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(given is not None for given in (self.offer, self.voicemail, self.queue)) != 1:
            raise ValueError("give exactly one of offer, voicemail, queue")
        return self


class Queue(Table):
    """Callers who wait for a person."""

    name: Name
    strategy: Literal["longest-idle", "top-down"] = "longest-idle"
    target_seconds: Annotated[int, Field(ge=1, le=3600)] = 20
    "The service level's threshold."
    overflow: tuple[Overflow, ...] = ()
    ring_seconds: Annotated[int, Field(ge=5, le=120)] = 20
    "How long one agent's phone rings before the next is tried."
    wrap_up_seconds: Annotated[int, Field(ge=0, le=600)] = 0
    "How long after a call an agent is left alone."
    record: bool = True
    "Whether its talks are recorded, where the practice records at all."
    announce_seconds: Annotated[int, Field(ge=0, le=600)] = 60
    "How often who waits is told that somebody will come; 0 tells it never."
    announce_place: bool = False
    "Whether they are also told how many are before them."
    extension: Extension | None = None
    "What phones of the practice send a caller to it by."


class Recording(Table):
    """Whether talks are recorded, and what callers must have said to it."""

    calls: bool = True
    consent: Literal["notice", "opt-in"] = "notice"
    "`opt-in` asks every caller for a key; who calls from where that is the rule is asked in any case."


class Then(Table):
    """What a route sets; at most one of queue, menu and voicemail."""

    queue: Name | None = None
    menu: Name | None = None
    voicemail: Name | None = None
    language: Language | None = None
    priority: Annotated[int, Field(ge=0, le=100)] | None = None
    "Higher is answered first."

    @model_validator(mode="after")
    def _some(self) -> Self:
        places = [kind for kind in ("queue", "menu", "voicemail") if getattr(self, kind) is not None]
        if len(places) > 1:
            raise ValueError(f"leads to {' and '.join(places)}; give one")
        if not places and self.language is None and self.priority is None:
            raise ValueError("sets nothing; give queue, menu, voicemail, language or priority")
        return self


class Route(Table):
    """A rule: when the CEL expression holds, set what `then` says."""

    name: Name | None = None
    when: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    then: Then


class Staff(Table):
    """A person who works here."""

    email: Email
    roles: Annotated[tuple[Role, ...], Field(min_length=1)]
    queues: tuple[Name, ...] = ()
    extension: Extension | None = None


class Connection(Table):
    """One outside system, through one connector; the connector checks `settings` itself."""

    name: Name
    connector: Name
    settings: dict[str, Any] = {}
    scopes: tuple[Scope, ...] | None = None
    "What of the connector's scopes the practice grants; all of them where it is left out."


class Webhook(Table):
    """Who is told of events, signed as Standard Webhooks 1.0.0 says."""

    url: Url
    events: Annotated[tuple[str, ...], Field(min_length=1)]
    secret: SecretRef


class Reminder(Table):
    """Texts before a visit."""

    name: Name
    offsets: Annotated[tuple[str, ...], Field(min_length=1)]
    'From the visit, in the patient\'s time zone: "-3d", "-1d", "-2h", "-30m".'
    text: dict[Language, str]
    hours: Hours = Hours("09:00-20:00")
    "When texts may arrive, on the patient's clock; outside of it they are held."
    voice: bool = False
    "Whether those whose number takes no texts are called."


class Agreement(Table):
    """What may leave to whom, and on what ground."""

    counterparty: Name
    "A trunk or a connection."
    basis: Literal["agreement", "treatment"] = "agreement"
    "`agreement` is a business associate agreement (45 CFR 164.504(e)); `treatment` needs none (164.502(e)(1)(ii)(A))."
    data: Annotated[tuple[DataClass, ...], Field(min_length=1)]
    fields: tuple[AgreedField, ...] = ()
    "What of a contact a CRM may be told; without a name here it learns when somebody called, and no more."
    expires: date | None = None
    "The last day it holds."
    document: str | None = None


class Practice(Table):
    """The whole of practice.toml."""

    practice: PracticeInfo
    http: Http = Http()
    sip: Sip = Sip()
    browser: Browser = Browser()
    trunks: tuple[Trunk, ...] = Field(default=(), alias="trunk")
    dialling: Dialling = Dialling()
    locations: tuple[Location, ...] = Field(default=(), alias="location")
    fax: Fax = Fax()
    stir: Stir = Stir()
    recording: Recording = Recording()
    speech: Speech = Speech()
    numbers: tuple[Number, ...] = Field(default=(), alias="number")
    menus: tuple[Menu, ...] = Field(default=(), alias="menu")
    voicemails: tuple[Voicemail, ...] = Field(default=(), alias="voicemail")
    queues: tuple[Queue, ...] = Field(default=(), alias="queue")
    routes: tuple[Route, ...] = Field(default=(), alias="route")
    staff: tuple[Staff, ...] = ()
    connections: tuple[Connection, ...] = Field(default=(), alias="connection")
    webhooks: tuple[Webhook, ...] = Field(default=(), alias="webhook")
    reminders: tuple[Reminder, ...] = Field(default=(), alias="reminder")
    agreements: tuple[Agreement, ...] = Field(default=(), alias="agreement")

    def find_number(self, did: str) -> Number | None:
        """Return what is known of a dialled number (E.164)."""
        return next((number for number in self.numbers if number.did == did), None)

    def find_menu(self, name: str) -> Menu | None:
        """Return the menu of that name."""
        return next((menu for menu in self.menus if menu.name == name), None)

    def find_queue(self, name: str) -> Queue | None:
        """Return the queue of that name."""
        return next((queue for queue in self.queues if queue.name == name), None)

    def find_voicemail(self, name: str) -> Voicemail | None:
        """Return the voicemail box of that name."""
        return next((box for box in self.voicemails if box.name == name), None)

    def find_trunk(self, name: str) -> Trunk | None:
        """Return the trunk of that name."""
        return next((trunk for trunk in self.trunks if trunk.name == name), None)

    def find_connection(self, name: str) -> Connection | None:
        """Return the connection of that name."""
        return next((connection for connection in self.connections if connection.name == name), None)

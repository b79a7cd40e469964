"""A case: what to ask a connector, what must come, and what the server answers (reference/connector-kit.md)."""

import tomllib
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from connectors.api import AnyConnector, Callback, Identifier, Section
from connectors.kit.error import CaseError
from connectors.kit.exchange import Exchange
from connectors.kit.telephone import Numbers

T = TypeVar("T")

ERROR = {
    "resourceType": "OperationOutcome",
    "issue": [{"severity": "error", "code": "exception"}],
    "error": {"code": "exception"},
}
"What a server answers with 200 when it means an error (FHIR R4 OperationOutcome), where the case names nothing else."


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("no such time zone in the IANA list") from None
    return name


class Part(BaseModel):
    """A part of kit.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Assertion(Part):
    """A token endpoint that takes a signed assertion (RFC 7523)."""

    path: str
    audience: str
    client: str
    key: str
    algorithms: tuple[str, ...] = ("RS384", "ES384")


class Auth(Part):
    """How the server knows who asks."""

    header: str = "Authorization"
    value: str = "Bearer {token}"
    open: tuple[str, ...] = ()
    assertion: Assertion | None = None


class Found(Part):
    """Whom a number finds."""

    phone: str = Field(pattern=r"^\+[1-9][0-9]{6,14}$")
    ids: tuple[str, ...]


class Charted(Part):
    """What sections of a chart say."""

    patient_ids: tuple[str, ...]
    sections: tuple[Section, ...]
    says: dict[Section, tuple[str, ...]] = {}


class StatusSet(Part):
    """An appointment to write to."""

    ids: tuple[str, ...]
    to: str
    if_version: str | None = None
    stale_version: str | None = None


class Logged(Part):
    """A contact to note."""

    patient_ids: tuple[str, ...]
    medium: str = "PHONE"
    inbound: bool = True
    sent_at: AwareDatetime
    topic: str
    body: str | None = None
    phone: str | None = None
    seconds: int | None = None


class Sent(Part):
    """A text to send."""

    to: str
    sender: str
    body: str


class Told(BaseModel):
    """A fact, as far as the case describes it: every key but `fact` and `id` is a field."""

    model_config = ConfigDict(extra="allow", frozen=True)
    fact: str = Field(pattern=r"^(patient|related|appointment|merge|request|reply|receipt)$")
    id: str = ""

    @property
    def fields(self) -> dict[str, Any]:
        """What the fields must hold."""
        return self.model_extra or {}


class ReadMessage(Part):
    """A message, and what it says."""

    file: str
    says: tuple[Told, ...] = ()
    rejected: str = ""


class Verified(Part):
    """A genuine callback."""

    file: str
    id: str
    dated: bool = False
    signed: bool = True


class Expected(Part):
    """What must come, by the connector's methods."""

    counts: dict[str, int] = {}
    changes: tuple[Told, ...] = ()
    find_patients: tuple[Found, ...] = ()
    chart: tuple[Charted, ...] = ()
    set_status: tuple[StatusSet, ...] = ()
    log: tuple[Logged, ...] = ()
    send: tuple[Sent, ...] = ()
    read: tuple[ReadMessage, ...] = ()
    verify: tuple[Verified, ...] = ()


class ServerHints(Part):
    """What the kit cannot guess of the server."""

    records: str = ""
    phone_search: str = Field("exact", pattern="^(exact|digits)$")
    once: tuple[str, ...] = ("Idempotency-Key", "If-None-Exist")
    error: Any = ERROR


class Plan(Part):
    """kit.toml."""

    clock: AwareDatetime
    timezone: Annotated[str, AfterValidator(_zone)]
    region: str = Field("US", pattern="^[A-Z]{2}$")
    settings: dict[str, Any]
    auth: Auth | None = None
    expect: Expected = Expected()
    server: ServerHints = ServerHints()
    skip: dict[str, str] = {}


class RecordedCallback(Part):
    """A file under callbacks/."""

    method: str = "POST"
    path: str = ""
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    body: Any = ""
    received_at: AwareDatetime

    def callback(self) -> Callback:
        """Return it as the host gives it to `verify`."""
        body = self.body.encode() if isinstance(self.body, str) else orjson.dumps(self.body)
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Callback(self.method, self.path, self.query, headers, body, self.received_at)


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that the kit knows of one connector's other side."""

    plan: Plan
    exchanges: tuple[Exchange, ...] = ()
    messages: tuple[tuple[ReadMessage, bytes], ...] = ()
    callbacks: tuple[tuple[Verified, Callback], ...] = ()

    @classmethod
    def load(cls, directory: Path) -> "Case":
        """Read a case directory.

        Raises:
            CaseError: a file is missing or does not read; the text says which.
        """
        toml = directory / "kit.toml"
        try:
            written = tomllib.loads(_bytes(toml).decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise CaseError(f"{toml.name}: {error}") from None
        plan = _valid(TypeAdapter(Plan), written, toml)
        exchanges: list[Exchange] = []
        for path in sorted((directory / "exchanges").glob("*.json")):
            found = _json(path)
            exchanges += _valid(TypeAdapter(list[Exchange]), found if isinstance(found, list) else [found], path)
        recorded = TypeAdapter(RecordedCallback)
        return cls(
            plan,
            tuple(exchanges),
            tuple((said, _bytes(directory / "messages" / said.file)) for said in plan.expect.read),
            tuple(
                (said, _valid(recorded, _json(path), path).callback())
                for said in plan.expect.verify
                for path in [directory / "callbacks" / said.file]
            ),
        )

    @property
    def zone(self) -> ZoneInfo:
        """The practice's time zone."""
        return ZoneInfo(self.plan.timezone)

    def fits(self, kind: type[AnyConnector]) -> None:
        """Prove that a connector takes the settings of the case.

        Raises:
            CaseError: it does not; the text says which, and why.
        """
        _valid(TypeAdapter(kind.Settings), self.plan.settings, Path("settings"), "kit.toml")

    def numbers(self) -> Numbers:
        """Return the phone numbers that the case names."""
        expect = self.plan.expect
        known = [one.phone for one in expect.find_patients] + [one.to for one in expect.send]
        return Numbers(known + [one.phone for one in expect.log if one.phone])

    def filled(self, template: str) -> str:
        """Return `template` with each {setting} in its place, and {basic:username:password} as RFC 7617 has it.

        Raises:
            CaseError: there is no such setting.
        """
        settings = self.plan.settings
        for name in names_in(template):
            given = name.removeprefix("basic:").split(":")
            if missing := [one for one in given if one not in settings]:
                raise CaseError(f"kit.toml: auth: no setting {missing[0]}")
            value = ":".join(str(settings[one]) for one in given)
            if name.startswith("basic:"):
                value = "Basic " + b64encode(value.encode()).decode()
            template = template.replace("{" + name + "}", value)
        return template


def names_in(template: str) -> list[str]:
    """Return what stands in braces."""
    return [piece.partition("}")[0] for piece in template.split("{")[1:]]


def identifier(text: str) -> Identifier:
    """Return an identifier that is written as system|value."""
    system, _, value = text.rpartition("|")
    return Identifier(system=system, value=value)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CaseError(f"{path.parent.name}/{path.name}: {error.strerror}") from None


def _json(path: Path) -> Any:
    try:
        return orjson.loads(_bytes(path))
    except orjson.JSONDecodeError as error:
        raise CaseError(f"{path.parent.name}/{path.name}: {error}") from None


def _valid(adapter: TypeAdapter[T], written: Any, path: Path, where: str = "") -> T:
    try:
        return adapter.validate_python(written)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_input=False)]
    raise CaseError(f"{where or path.parent.name}/{path.name}: {'; '.join(faults)}")

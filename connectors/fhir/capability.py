"""What a server declares that it can do (FHIR R4 CapabilityStatement); what it leaves out may work all the same."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from connectors.fhir.reading import Resource, inner, items, text

JSON_PATCH = "application/json-patch+json"

_BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"
TOPIC = _BACKPORT + "capabilitystatement-subscriptiontopic-canonical"
"Extension of CapabilityStatement.rest.resource that names a topic (Subscriptions R5 Backport IG)."

PROFILE = _BACKPORT + "backport-subscription"

_SYSTEM_EXPORT = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export"
_PATIENT_EXPORT = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/patient-export"
"Bulk Data Access IG: all that the server has, and all about its patients."


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The server's part of a CapabilityStatement."""

    fhir_version: str = ""
    kinds: frozenset[str] = frozenset()
    "Resource types that are there."

    patches_json: bool = False
    "CapabilityStatement.patchFormat, and the interaction with Appointment."

    interactions: Mapping[str, frozenset[str]] = field(default_factory=dict)
    "CapabilityStatement.rest.resource.interaction by resource type: read, search-type, create, update, patch."

    creates_conditionally: frozenset[str] = frozenset()
    "Resource types with CapabilityStatement.rest.resource.conditionalCreate."

    includes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    "CapabilityStatement.rest.resource.searchInclude by resource type; a type that declares none is left out."

    topics: tuple[str, ...] = ()
    "Canonical URLs of the subscription topics."

    subscribes_by_topic: bool = False
    "Whether Subscription can be created and stands under the backport profile, or topics are named."

    export: str | None = None
    "Path of the widest $export, `$export` or `Patient/$export`."

    @classmethod
    def of(cls, statement: Resource) -> "Capabilities":
        """Read a CapabilityStatement."""
        rest = next((one for one in items(statement.get("rest")) if one.get("mode") == "server"), {})
        kinds = {str(one.get("type")): one for one in items(rest.get("resource"))}
        formats = {str(said).lower() for said in _listed(statement.get("patchFormat"))}
        subscription = kinds.get("Subscription", {})
        topics = tuple(
            topic
            for one in items(subscription.get("extension"))
            if one.get("url") == TOPIC and (topic := text(one.get("valueCanonical")))
        )
        profiled = any(str(said).partition("|")[0] == PROFILE for said in _listed(subscription.get("supportedProfile")))
        return cls(
            fhir_version=str(statement.get("fhirVersion") or ""),
            kinds=frozenset(kinds),
            patches_json="patch" in _interactions(kinds.get("Appointment", {}))
            and bool(formats & {JSON_PATCH, "json-patch+json", "json"}),
            interactions={kind: frozenset(_interactions(one)) for kind, one in kinds.items()},
            creates_conditionally=frozenset(
                kind for kind, one in kinds.items() if one.get("conditionalCreate") is True
            ),
            includes={
                kind: frozenset(str(said) for said in declared)
                for kind, one in kinds.items()
                if (declared := _listed(one.get("searchInclude")))
            },
            topics=topics,
            subscribes_by_topic="create" in _interactions(subscription) and bool(topics or profiled),
            export=_export(rest, kinds.get("Patient", {})),
        )

    def included(self, kind: str, wanted: tuple[str, ...], usual: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of `wanted` that may be included in a search for `kind`; `usual` where nothing is declared."""
        declared = self.includes.get(kind)
        if declared is None:
            return usual
        return tuple(one for one in wanted if one in declared or "*" in declared or f"{kind}:*" in declared)


def _interactions(resource: Resource) -> set[str]:
    return {str(one.get("code")) for one in items(resource.get("interaction"))}


def _export(rest: Resource, patient: Resource) -> str | None:
    for where, path, definition in ((rest, "$export", _SYSTEM_EXPORT), (patient, "Patient/$export", _PATIENT_EXPORT)):
        for one in items(where.get("operation")):
            name = str(inner(one, "name") or "").removeprefix("$")
            if name in {"export", definition.rpartition("/")[2]} or str(one.get("definition")) == definition:
                return path
    return None


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [] if value is None else [value]

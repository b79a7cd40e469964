"""FHIR pages: the connector's reading beside what the JSON alone costs, and beside fhirclient.

The pages are the public data as a server answers the connector's own searches, up to 100 matches on each: Patient and
RelatedPerson; Appointment with the Patient, Slot, Schedule, Practitioner, PractitionerRole and Location that it refers
to and that the data has; and for each patient one search for each resource type of a chart. Local `urn:uuid:`
references read as a server rewrites them when it takes a transaction (FHIR R4 http.html#trules).

- floor: orjson.loads of the page, and nothing else.
- ours: orjson.loads; every match read into facts, or into its line of the chart.
- fhirclient: orjson.loads; a model of every resource on the page, with strict=False and without the warnings that it
  logs. It is asked for nothing further: no number is read, no time is put into a zone. (A model of the whole Bundle
  would be none: one resource that it refuses, and FHIRTogether's are all refused, takes the others with it.)

Rounds are interleaved; CPU time; the round that was disturbed least. Telephone numbers that an earlier round has read
are new again.
"""

import gc
import importlib
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import orjson
from fhirclient.models.fhirabstractresource import FHIRAbstractResource

from connectors.fhir import FhirSettings
from connectors.fhir.bundle import divided
from connectors.fhir.chart import SOURCES, line_of
from connectors.fhir.mapping import Reader
from connectors.fhir.reading import inner, reference
from connectors.telephone import e164
from tests.bench.figure import Figure
from tests.corpus import CORPUS

ROUNDS = 25
PEER_ROUNDS = 5
MATCHES = 100

FLOOR_TIMES = 0.25
FHIRCLIENT_TIMES = 8

TOLD = ("Patient", "Appointment", "RelatedPerson")
"Resource types that are facts by themselves and that the data has."

READER = Reader(
    FhirSettings.model_validate({"base_url": "http://ehr.test/fhir"}),
    ZoneInfo("America/New_York"),
    "US",
    datetime(2026, 11, 23, tzinfo=UTC),
)

CHART = {
    source.kind: [one for said in SOURCES.values() for one in said if one.kind == source.kind]
    for sources in SOURCES.values()
    for source in sources
    if source.kind not in TOLD
}
"How the lines of each resource type are said."

Resource = dict[str, Any]


class Page(NamedTuple):
    """One answer to one search."""

    raw: bytes
    kind: str
    patient: str
    "Whose chart it is; empty in a feed."

    resources: int


def figures() -> list[Figure]:
    """Measure; nothing where the public data is not beside the repository."""
    if CORPUS is None:
        return []
    pages = [page for source in sorted((CORPUS / "fhir").iterdir()) for page in pages_of(source)]
    return reading(pages)


# The pages.


def pages_of(source: Path) -> Iterator[Page]:
    """Yield what a server with the resources of one source answers."""
    held: dict[str, dict[str, Resource]] = defaultdict(dict)
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        for resource in resources_in(path):
            held[resource["resourceType"]][str(resource.get("id", len(held[resource["resourceType"]])))] = resource
    for kind in TOLD:
        for matches in in_pages(list(held[kind].values())):
            beside = list(referred(matches, held)) if kind == "Appointment" else []
            yield page_of(kind, "", matches, beside)
    for kind in CHART:
        charts: dict[str, list[Resource]] = defaultdict(list)
        for resource in held[kind].values():
            whose = reference(resource.get("subject", resource.get("patient", resource.get("beneficiary"))), "Patient")
            charts[whose or "nobody"].append(resource)
        for patient, found in charts.items():
            for matches in in_pages(found):
                yield page_of(kind, patient, matches, [])


def resources_in(path: Path) -> Iterator[Resource]:
    raw = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        documents = [orjson.loads(raw)]
    except orjson.JSONDecodeError:
        try:
            documents = [orjson.loads(line) for line in raw.splitlines()]
        except orjson.JSONDecodeError:
            return  # one file of the set is no JSON at all
    for document in documents:
        yield from inside(stored(document))


def stored(document: Any) -> Any:
    """Return a document with each local reference as it reads after the server has taken the transaction."""
    local = {
        entry["fullUrl"]: f"{entry['resource']['resourceType']}/{entry['resource']['id']}"
        for entry in (document.get("entry") or [] if isinstance(document, dict) else [])
        if str(entry.get("fullUrl")).startswith("urn:uuid:") and inner(entry, "resource", "id")
    }

    def rewritten(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                name: local.get(said, said) if name == "reference" and isinstance(said, str) else rewritten(said)
                for name, said in value.items()
            }
        return [rewritten(one) for one in value] if isinstance(value, list) else value

    return rewritten(document) if local else document


def inside(value: Any) -> Iterator[Resource]:
    """Yield the resources in a document: itself, or what its entries hold."""
    if isinstance(value, dict):
        if isinstance(value.get("resourceType"), str) and value["resourceType"] != "Bundle":
            yield value
        else:
            for one in value.values():
                yield from inside(one)
    elif isinstance(value, list):
        for one in value:
            yield from inside(one)


def in_pages(resources: list[Resource]) -> Iterator[list[Resource]]:
    for at in range(0, len(resources), MATCHES):
        yield resources[at : at + MATCHES]


def referred(matches: list[Resource], held: dict[str, dict[str, Resource]]) -> Iterator[Resource]:
    """Yield what `_include=*` and `_include:iterate=Slot:schedule` bring along."""
    seen: set[int] = set()
    found = list(matches)
    while found:
        for name in references(found.pop()):
            kind, _, own = name.rpartition("/")
            resource = held.get(kind.rpartition("/")[2], {}).get(own)
            if resource is not None and id(resource) not in seen:
                seen.add(id(resource))
                yield resource
                if resource["resourceType"] == "Slot":
                    found.append(resource)


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, said in value.items():
            if name == "reference" and isinstance(said, str):
                yield said
            else:
                yield from references(said)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def page_of(kind: str, patient: str, matches: list[Resource], beside: list[Resource]) -> Page:
    def entry(resource: Resource, mode: str) -> Resource:
        url = f"http://ehr.test/fhir/{resource['resourceType']}/{resource.get('id')}"
        return {"fullUrl": url, "resource": resource, "search": {"mode": mode}}

    bundle = {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": len(matches),
        "link": [{"relation": "self", "url": f"http://ehr.test/fhir/{kind}?_count={MATCHES}"}],
        "entry": [entry(one, "match") for one in matches] + [entry(one, "include") for one in beside],
    }
    return Page(orjson.dumps(bundle), kind, patient, len(matches) + len(beside))


# Reading them.


def load(pages: list[Page]) -> None:
    for page in pages:
        orjson.loads(page.raw)


def normalise(pages: list[Page]) -> int:
    """Read as the product does; return how much was said."""
    e164.cache_clear()
    said = 0
    for raw, kind, patient, _ in pages:
        matches, beside = divided(orjson.loads(raw), kind)
        if patient:
            said += sum(
                line_of(source, resource, READER, patient) is not None for source in CHART[kind] for resource in matches
            )
        else:
            said += sum(len(READER.changes(resource, beside.get)) for resource in matches)
    return said


@cache
def model_of(kind: str) -> type[FHIRAbstractResource]:
    """Return fhirclient's class of a resource type."""
    found: type[FHIRAbstractResource] = getattr(importlib.import_module(f"fhirclient.models.{kind.lower()}"), kind)
    return found


def build_by_fhirclient(pages: list[Page]) -> None:
    for page in pages:
        for entry in orjson.loads(page.raw)["entry"]:
            resource = entry["resource"]
            model_of(resource["resourceType"])(resource, strict=False)


def cpu_s(work: Callable[[list[Page]], object], pages: list[Page]) -> float:
    began = time.process_time()
    work(pages)
    return time.process_time() - began


def reading(pages: list[Page]) -> list[Figure]:
    logging.getLogger("fhirclient").setLevel(logging.ERROR)
    gc.collect()
    gc.freeze()  # what the bench itself has loaded is not the readers' garbage
    feed = [page for page in pages if not page.patient]
    works: dict[str, tuple[Callable[[list[Page]], object], list[Page]]] = {
        "floor": (load, pages),
        "ours": (normalise, pages),
        "feed floor": (load, feed),
        "feed": (normalise, feed),
        "fhirclient": (build_by_fhirclient, pages),
        "feed fhirclient": (build_by_fhirclient, feed),
    }
    best = dict.fromkeys(works, float("inf"))
    for number in range(ROUNDS):
        for name, (work, said) in works.items():
            if number < PEER_ROUNDS or "fhirclient" not in name:
                best[name] = min(best[name], cpu_s(work, said))
    per_s = {name: sum(page.resources for page in works[name][1]) / best[name] for name in works}
    unit = "resources/CPU-s"
    ours, floor, peer = per_s["ours"], per_s["floor"], per_s["fhirclient"]
    return [
        Figure(
            "fhir.normalise",
            ours,
            unit,
            floor,
            {"fhirclient": peer},
            f"{FLOOR_TIMES:g} x floor, {FHIRCLIENT_TIMES} x fhirclient",
            ours >= FLOOR_TIMES * floor and ours >= FHIRCLIENT_TIMES * peer,
        ),
        # A line of a chart is cheaper than a fact; these are the pages alone that are facts.
        Figure(
            "fhir.normalise.feed", per_s["feed"], unit, per_s["feed floor"], {"fhirclient": per_s["feed fhirclient"]}
        ),
    ]

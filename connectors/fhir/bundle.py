"""A page of a search taken apart (FHIR R4 bundle.html): what was asked for, and what came along."""

from connectors.fhir.reading import Resource


def divided(bundle: Resource, kind: str) -> tuple[list[Resource], dict[str, Resource]]:
    """Return the resources of type `kind` that match, and the others by relative reference and by fullUrl.

    Every resource can be found by what a reference calls it, whether that is Patient/42 or urn:uuid:... (FHIR R4
    bundle.html#references); a match can be referred to, too.
    """
    matches: list[Resource] = []
    beside: dict[str, Resource] = {}
    entries = bundle.get("entry")
    for entry in entries if isinstance(entries, list) else ():
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict):
            continue
        search = entry.get("search")
        mode = search.get("mode") if isinstance(search, dict) else None
        if resource.get("resourceType") == kind and mode != "include":
            matches.append(resource)
        else:
            beside[f"{resource.get('resourceType')}/{resource.get('id')}"] = resource
        url = entry.get("fullUrl")
        if isinstance(url, str) and url.startswith("urn:"):
            beside[url] = resource
    return matches, beside

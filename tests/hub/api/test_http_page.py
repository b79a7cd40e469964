"""docs/reference/http.md names every route with its scope, and its examples work."""

import json
import re
from pathlib import Path

from hub.record import staff
from tests.hub.api.office import Office
from tests.hub.api.test_openapi import routes, scopes_of

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "http.md").read_text()
ROW = re.compile(r"\| `([A-Z]+) (/[^`]*)` \|(.*?)\| .+ \|")


def test_every_route_stands_on_the_page_with_its_scope(office: Office) -> None:
    told = {(match[1].lower(), match[2]): match[3].strip() for line in PAGE.splitlines() if (match := ROW.match(line))}
    carriers = told.pop(("post", "/carriers/{connection}/{path}"))
    assert carriers == ""
    known = {}
    for method, path, operation in routes(office.app):
        scopes = " ".join(f"`{scope}`" for scope in scopes_of(operation))
        known[method, path] = scopes or ("any" if operation.get("security") else "")
    assert told == known


async def test_the_examples_log_somebody_in(office: Office) -> None:
    examples = re.findall(r"```http\nPOST (\S+)\n(.*?)```", PAGE, re.DOTALL)
    assert [path for path, _ in examples] == ["/v1/login", "/v1/login/password"]
    login, change = (json.loads(body) for _, body in examples)
    email = change["email"].replace("ana", "page")
    office.write(staff.add, email=email, roles=["nurse"], now=office.now, password=change["password"])
    async with office.http() as http:
        given = {"email": email, "password": change["password"]}
        assert (await http.post("/v1/login", json=login | given)).json()["code"] == "password-change-needed"
        opened = await http.post("/v1/login/password", json=change | {"email": email})
        assert opened.json().keys() == {"token", "expires_at"}
        own = {"email": email, "password": change["new_password"]}
        assert (await http.post("/v1/login", json=login | own)).status_code == 200

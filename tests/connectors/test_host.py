import os
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import HttpUrl, SecretStr

from connectors import host
from connectors.api import Connector, Context, Settings
from connectors.fhir import Fhir
from connectors.sandbox.sms import SandboxSms
from tests.connectors.stage import NOW, ZONE, online


class PostSettings(Settings):
    url: HttpUrl
    password: SecretStr
    spare: SecretStr | None = None


class Post(Connector[PostSettings]):
    name: ClassVar = "post"
    scopes: ClassVar = frozenset()
    Settings: ClassVar = PostSettings


def test_the_packages_own_connectors_are_installed() -> None:
    found = host.installed()
    assert found["fhir"] is Fhir
    assert found["sandbox-sms"] is SandboxSms
    assert set(host.names()) >= {"fhir", "hl7v2", "sandbox-sms"}


def test_a_name_that_is_not_installed_comes_with_a_near_one() -> None:
    with pytest.raises(host.UnknownConnectorError, match='did you mean "fhir"'):
        host.load("fihr")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Install a package that names one connector; its module's text is the parameter."""
    about = tmp_path / "acme-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1\n")
    module = f"acme_{abs(hash(request.param))}"
    (about / "entry_points.txt").write_text(f"[{host.GROUP}]\nacme = {module}:Acme\n")
    (tmp_path / f"{module}.py").write_text(request.param)
    monkeypatch.syspath_prepend(tmp_path)
    return "acme"


HEAD = "from connectors.api import Connector, Settings\n"


@pytest.mark.parametrize(
    "package",
    [
        "import nothing_of_that_name",
        "raise RuntimeError('no licence')",
        "Acme = 5",
        "class Acme: pass",
        HEAD
        + "class Acme(Connector[Settings]):\n api = 2\n name = 'acme'\n scopes = frozenset()\n Settings = Settings",
        HEAD + "class Acme(Connector[Settings]):\n name = 'acme'\n Settings = Settings",
    ],
    indirect=True,
)
def test_a_connector_that_does_not_fit_is_refused_alone(package: str) -> None:
    with pytest.raises(host.UnfitConnectorError):
        host.load(package)
    found = host.installed()
    assert package not in found
    assert "fhir" in found


@pytest.mark.parametrize(
    "package",
    [HEAD + "class Acme(Connector[Settings]):\n name = 'acme'\n scopes = frozenset()\n Settings = Settings"],
    indirect=True,
)
def test_a_connector_of_another_package_is_found(package: str) -> None:
    assert host.build(package, {}, host.secrets(Path(), {})).name == "acme"


def test_secrets_come_from_the_environment_or_a_file_of_the_instance(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from the file\n")
    resolve = host.secrets(tmp_path, {"POST": "from the environment"})
    written = {"url": "https://post.test", "password": "env:POST", "spare": "file:key"}
    settings = host.settings_of(Post, written, resolve)
    assert isinstance(settings, PostSettings)
    assert settings.password.get_secret_value() == "from the environment"
    assert settings.spare is not None
    assert settings.spare.get_secret_value() == "from the file"
    assert "from the" not in repr(settings)


@pytest.mark.parametrize("reference", ["hunter2", "env:ABSENT", "file:absent", "env:", 5, ["env:POST"]])
def test_a_secret_that_is_written_out_or_absent_is_refused_without_being_repeated(
    reference: Any, tmp_path: Path
) -> None:
    written = {"url": "https://post.test", "password": reference}
    with pytest.raises(host.ConnectionSettingsError) as caught:
        host.settings_of(Post, written, host.secrets(tmp_path, {"POST": "x"}))
    assert [path for path, _ in caught.value.problems] == [("password",)]
    assert "hunter2" not in str(caught.value)


def test_every_fault_of_the_settings_is_named_and_no_value_repeated() -> None:
    written = {"url": "https://user:hunter3@", "pasword": "env:X", "spare": "hunter2"}
    with pytest.raises(host.ConnectionSettingsError) as caught:
        host.settings_of(Post, written, host.secrets(Path(), os.environ))
    assert {path for path, _ in caught.value.problems} == {("url",), ("pasword",), ("password",), ("spare",)}
    assert 'did you mean "password"' in str(caught.value)
    assert "hunter" not in str(caught.value)


def test_references_can_be_checked_where_the_secrets_are_not() -> None:
    written = {"url": "https://post.test", "password": "env:ABSENT"}
    assert host.settings_of(Post, written, None) is not None


async def test_a_context_brings_what_the_connection_said() -> None:
    connector = Post(PostSettings(url=HttpUrl("https://post.test"), password=SecretStr("x")))
    async with online(connector) as ctx:
        assert ctx.clock() == NOW
    assert isinstance(ctx, Context)
    assert (ctx.connection, ctx.timezone, ctx.region, ctx.clock(), ctx.deliver) == ("ehr", ZONE, "US", NOW, None)


def test_what_a_connection_reaches_are_its_addresses_and_its_connectors_own_but_no_pages() -> None:
    written = {"token": "env:HUBSPOT", "portal": 7}
    assert host.addresses("hubspot", written) == {("https", "api.hubapi.com", 443)}
    sandbox = written | {"base_url": "http://127.0.0.1:8090"}
    assert host.addresses("hubspot", sandbox) == {("http", "127.0.0.1", 8090)}
    assert host.addresses("not-installed", {"base_url": "https://a.test"}) == {("https", "a.test", 443)}

"""The key tree: what init leaves on the disk, who may open it, and who gets which key."""

import base64
import json
import stat
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from hub.settings import Paths
from hub.vault import keys
from hub.vault.home import Home
from hub.vault.keys import KeysExistError, Root, RootKeyError
from tests.hub.vault.house import acts

TENANT = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


def test_root_key_is_for_its_owner_only(home: Home) -> None:
    assert stat.S_IMODE((home.keys / "root.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(home.keys.stat().st_mode) == 0o700
    assert stat.S_IMODE(home.audit.stat().st_mode) == 0o700


def test_the_log_begins_with_the_making_of_the_keys(home: Home) -> None:
    assert acts(home) == ["init"]


def test_public_signing_key_lies_beside_the_log(home: Home) -> None:
    public = keys.load(home).signer("audit").public_key().public_bytes_raw()
    assert base64.b64decode((home.audit / "public.key").read_text()) == public


def test_keys_are_never_made_twice(home: Home) -> None:
    before = keys.load(home).derive("database")
    with pytest.raises(KeysExistError):
        keys.init(home, uuid4())
    assert keys.load(home).derive("database") == before


def test_root_key_that_others_can_read_is_refused(home: Home) -> None:
    (home.keys / "root.key").chmod(0o640)
    with pytest.raises(RootKeyError, match="0600"):
        keys.load(home)


def test_missing_or_damaged_root_key_is_told(home: Home) -> None:
    path = home.keys / "root.key"
    path.write_text("{}")
    with pytest.raises(RootKeyError, match="damaged"):
        keys.load(home)
    path.unlink()
    with pytest.raises(RootKeyError, match="No such file"):
        keys.load(home)


def test_passphrase_seals_the_root_key(tmp_path: Path) -> None:
    home = Home(tmp_path)
    keys.init(home, TENANT, passphrase="correct horse")
    root = keys.load(home, passphrase="correct horse")
    assert base64.b64encode(root.secret).decode() not in (home.keys / "root.key").read_text()
    for wrong in ("incorrect", None):
        with pytest.raises(RootKeyError):
            keys.load(home, passphrase=wrong)


def test_passphrase_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARTLINE_PASSPHRASE", "correct horse")
    home = Home(tmp_path)
    keys.init(home, TENANT)
    assert "sealed" in json.loads((home.keys / "root.key").read_text())
    assert keys.load(home).tenant == TENANT
    monkeypatch.delenv("CHARTLINE_PASSPHRASE")
    with pytest.raises(RootKeyError, match="sealed"):
        keys.load(home)


def test_sealed_root_key_of_another_practice_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path)
    keys.init(home, TENANT, passphrase="p")
    kept = json.loads((home.keys / "root.key").read_text())
    (home.keys / "root.key").write_text(json.dumps(kept | {"tenant": str(uuid4())}))
    with pytest.raises(RootKeyError):
        keys.load(home, passphrase="p")


def test_keys_are_those_of_rfc_5869() -> None:
    # HKDF-SHA256 with the tenant as salt, recomputed here with hmac alone.
    import hashlib
    import hmac

    root = Root(TENANT, bytes(range(32)))
    extracted = hmac.digest(TENANT.bytes, root.secret, hashlib.sha256)
    expanded = hmac.digest(extracted, b"chartline/v1/index\x01", hashlib.sha256)
    assert root.derive("index") == expanded


def test_no_two_keys_are_alike() -> None:
    root = Root(TENANT, bytes(32))
    names = ("database", "inbox", "index", "codec", "pop", "audit", "keys", "wrap", "sign-audit", "sign-pool")
    derived = {root.derive(name) for name in names} | {Root(uuid4(), bytes(32)).derive("index")}
    assert len(derived) == len(names) + 1


@pytest.mark.parametrize("service", sorted(keys.RIGHTS))
def test_service_gets_its_keys_and_no_other(service: str) -> None:
    given = Root(TENANT, bytes(32)).service_keys(service)
    for name in ("database", "inbox", "index", "codec", "pop"):
        assert bool(getattr(given, name)) == (name in keys.RIGHTS[service])
    assert given.tenant == TENANT.bytes


def test_keys_are_not_shown_by_repr() -> None:
    root = Root(TENANT, b"secret-secret-secret-secret-secr")
    given = root.service_keys("hub")
    assert "secret" not in repr(root)
    assert repr(given.index) not in repr(given)


def test_vault_looks_where_the_rest_of_the_product_does(tmp_path: Path) -> None:
    home, paths = Home(tmp_path), Paths(tmp_path)
    for place in ("root", "keys", "audit", "db", "inbox", "vault_socket"):
        assert getattr(home, place) == getattr(paths, place)

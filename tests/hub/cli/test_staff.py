"""Accounts, phones and tokens: shown once, on record, gone when they are taken away."""

from uuid import uuid4

import pytest

from hub.cli.staff import REALM
from hub.record import staff, token
from hub.record.token import TokenError
from hub.security.login import LoginError
from tests.hub.cli.conftest import Shell


def somebody() -> str:
    return f"nora-{uuid4().hex[:8]}@harbor.example"


def lets_in(shell: Shell, secret: str) -> bool:
    with shell.opened() as instance, instance.db.read() as db:
        try:
            token.find(db, secret, instance.clock())
        except TokenError:
            return False
        return True


def test_an_account_begins_with_a_password_for_one_login(shell: Shell) -> None:
    email = somebody()
    said = shell("user", "add", email.upper(), "--role", "nurse", "--role", "billing", "--json").said
    assert said["email"] == email
    with shell.opened() as instance, instance.db.read() as db:
        row = staff.check_password(db, email, said["password"])
    assert (row.roles, row.must_change) == (["nurse", "billing"], True)
    noted = [record for record in shell.acts() if record["act"] == "staff.add"]
    assert noted[-1]["detail"] == {"staff": str(row.id)}
    again = shell("user", "add", email, "--role", "nurse")
    assert (again.code, again.out) == (1, "")
    assert again.err == "this address has an account\n"


def test_a_reset_replaces_the_password(shell: Shell) -> None:
    email = somebody()
    old = shell("user", "add", email, "--role", "nurse", "--json").said["password"]
    new = shell("user", "reset", email).out.strip()
    with shell.opened() as instance, instance.db.read() as db:
        assert staff.check_password(db, email, new).must_change
        with pytest.raises(LoginError):
            staff.check_password(db, email, old)


def test_a_disabled_account_opens_nothing(shell: Shell) -> None:
    email = somebody()
    shell("user", "add", email, "--role", "front-desk")
    shell("user", "device", email, "--extension", "731")
    secret = shell("token", "create", "--scopes", "pops", "--for", email).out.strip()
    assert lets_in(shell, secret)
    ran = shell("user", "disable", email)
    assert (ran.code, ran.out) == (0, f"{email} is disabled\n")
    assert not lets_in(shell, secret)
    with shell.opened() as instance, instance.db.read() as db:
        assert staff.device(db, "731") is None


def test_a_phone_gets_the_extension_of_the_policy(shell: Shell) -> None:
    said = shell("user", "device", "agent1@example.org", "--json").said
    assert (said["extension"], said["realm"]) == ("101", REALM)
    assert said["registrar"].startswith("sip:127.0.0.1:")
    with shell.opened() as instance, instance.db.read() as db:
        found = staff.device(db, "101")
    assert found is not None
    assert found[1].email == "agent1@example.org"
    email = somebody()
    shell("user", "add", email, "--role", "nurse")
    taken = shell("user", "device", email, "--extension", "101")
    assert (taken.code, taken.err) == (1, "extension 101 is taken\n")
    without = shell("user", "device", email)
    assert (without.code, without.err) == (1, "that person has no extension in practice.toml; give --extension\n")
    assert shell("user", "device", email, "--extension", "abc").code == 2


@pytest.mark.parametrize("verb", ["reset", "disable", "device"])
def test_nobody_is_nobody(shell: Shell, verb: str) -> None:
    ran = shell("user", verb, somebody(), *(["--extension", "199"] if verb == "device" else []))
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("nobody has that address")


def test_a_token_is_shown_once_listed_and_taken_back(shell: Shell) -> None:
    said = shell("token", "create", "--scopes", "calls:read, pops", "--days", "3", "--json").said
    assert lets_in(shell, said["token"])
    (item,) = [each for each in shell("token", "list", "--json").said["items"] if each["id"] == said["id"]]
    assert (item["for"], item["scopes"], item["expires_at"]) == (None, ["calls:read", "pops"], said["expires_at"])
    assert said["token"].startswith(item["begins"])
    listed = shell("token", "list").out
    assert said["id"] in listed
    assert said["token"] not in listed
    assert shell("token", "revoke", said["id"]).code == 0
    assert not lets_in(shell, said["token"])
    assert said["id"] not in shell("token", "list").out
    acts = [record["act"] for record in shell.acts() if record.get("detail") == {"token": said["id"]}]
    assert acts == ["token.create", "token.revoke"]


def test_a_token_says_which_of_its_scopes_have_no_effect(shell: Shell) -> None:
    email = somebody()
    shell("user", "add", email, "--role", "billing")
    lines = shell("token", "create", "--scopes", "pops,recordings:read", "--for", email).out.splitlines()
    assert lines[1:] == ["recordings:read has no effect: the roles of that person do not allow it"]


@pytest.mark.parametrize(
    "words",
    [
        ("token", "create", "--scopes", "calls:red"),
        ("token", "create", "--scopes", ","),
        ("token", "create", "--scopes", "pops", "--days", "0"),
        ("token", "create"),
        ("token", "revoke", "4711"),
        ("user", "add", "x@example.org", "--role", "doctor"),
        ("user", "add", "x@example.org"),
        ("user",),
    ],
)
def test_wrong_usage_is_told_apart_from_failure(shell: Shell, words: tuple[str, ...]) -> None:
    ran = shell(*words) if len(words) > 1 else shell.bare(*words)
    assert ran.code == 2


def test_a_token_that_never_was_cannot_be_taken_back(shell: Shell) -> None:
    ran = shell("token", "revoke", str(uuid4()))
    assert (ran.code, ran.err) == (1, "there is no such token\n")

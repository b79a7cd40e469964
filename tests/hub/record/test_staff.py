"""Accounts, phones, passwords and tokens: what a person is let in with, and that it ends when they go."""

import hashlib
from datetime import timedelta
from uuid import UUID

import pytest
from sqlmodel import Session, select

from hub.record import staff, token
from hub.record.staff import Device, ExtensionTakenError, Staff, StaffExistsError
from hub.record.token import PREFIX, Token, TokenError, TokenKind
from hub.security.login import LoginError
from tests.hub.record.conftest import Record
from tests.hub.record.floor import address, practice

PASSWORD = "correct horse battery staple"


def add(db: Session, record: Record, email: str = "Ana@Example.org", password: str | None = PASSWORD) -> Staff:
    return staff.add(db, email=email, roles=["front-desk"], password=password, now=record.now)


def test_a_given_password_is_good_for_setting_ones_own(record: Record, db: Session) -> None:
    row = add(db, record)
    assert row.password is not None
    assert row.password.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert staff.check_password(db, "ana@example.ORG ", PASSWORD).must_change
    staff.set_password(db, row.id, "my own words now")
    assert not staff.check_password(db, row.email, "my own words now").must_change
    with pytest.raises(LoginError):
        staff.check_password(db, row.email, PASSWORD)


@pytest.mark.parametrize("email", ["ana@example.org", "nobody@example.org", "none@example.org", "gone@example.org"])
def test_who_may_not_log_in_hears_the_same(record: Record, db: Session, email: str) -> None:
    add(db, record)
    add(db, record, "none@example.org", None)
    staff.disable(db, add(db, record, "gone@example.org").id, by="admin", now=record.now)
    said = "wrong" if email.startswith("ana") else PASSWORD
    with pytest.raises(LoginError) as caught:
        staff.check_password(db, email, said)
    assert (caught.value.status, str(caught.value)) == (401, "address and password do not belong together")


def test_an_address_has_one_account(record: Record, db: Session) -> None:
    add(db, record)
    with pytest.raises(StaffExistsError):
        add(db, record, "ana@example.org")


def test_accounts_follow_the_policy(record: Record, db: Session) -> None:
    own = add(db, record, "admin@localhost")
    staff.follow(db, practice("101", "102"), record.now)
    first, second = staff.find(db, address("101")), staff.find(db, address("102"))
    assert first is not None
    assert second is not None
    assert first.roles == ["front-desk"]
    staff.follow(db, practice("101"), record.now)
    assert (first.disabled_at, second.disabled_by) == (None, staff.POLICY)
    assert own.disabled_at is None
    staff.follow(db, practice("101", "102"), record.later(days=1))
    assert second.disabled_at is None
    staff.disable(db, second.id, by="admin", now=record.now)
    staff.follow(db, practice("101", "102"), record.now)
    assert second.disabled_by == "admin"
    staff.enable(db, second.id)
    assert second.disabled_at is None
    assert len(db.exec(select(Staff)).all()) == 3


def test_a_phone_keeps_only_what_digest_needs(record: Record, db: Session) -> None:
    row = add(db, record)
    secret = staff.add_device(db, row.id, "101", "harbor", record.now)
    found = staff.device(db, "101")
    assert found is not None
    device, owner = found
    assert owner is row
    said = f"101:harbor:{secret}".encode()
    assert device.ha1_sha256 == hashlib.sha256(said).hexdigest()
    assert device.ha1_md5 == hashlib.md5(said, usedforsecurity=False).hexdigest()
    assert len(secret) == 22
    assert staff.add_device(db, row.id, "101", "harbor", record.now) != secret
    assert len(db.exec(select(Device)).all()) == 1


def test_an_extension_is_one_persons(record: Record, db: Session) -> None:
    staff.add_device(db, add(db, record).id, "101", "harbor", record.now)
    other = add(db, record, "other@example.org")
    with pytest.raises(ExtensionTakenError):
        staff.add_device(db, other.id, "101", "harbor", record.now)


def test_a_phone_stops_with_its_owner(record: Record, db: Session) -> None:
    row = add(db, record)
    staff.add_device(db, row.id, "101", "harbor", record.now)
    assert [device.extension for device in staff.devices(db)] == ["101"]
    staff.disable(db, row.id, by="admin", now=record.now)
    assert staff.devices(db) == []
    assert staff.device(db, "101") is None


def make(
    db: Session, record: Record, kind: TokenKind = TokenKind.API, staff_id: UUID | None = None
) -> tuple[Token, str]:
    return token.create(db, scopes={"pops"}, now=record.now, lifetime=timedelta(days=30), staff_id=staff_id, kind=kind)


def test_a_token_is_shown_once_and_kept_as_a_hash(record: Record, db: Session) -> None:
    row, secret = make(db, record)
    assert secret.startswith(PREFIX)
    assert len(secret) == len(PREFIX) + 43
    assert row.hash == hashlib.sha256(secret.encode()).digest()
    assert secret not in str(row.model_dump())
    assert secret.startswith(row.prefix)
    assert token.find(db, secret, record.now) == (row, None)
    assert make(db, record)[1] != secret


def test_a_token_ends_by_time_by_revocation_and_with_its_owner(record: Record, db: Session) -> None:
    owner = add(db, record)
    expired, revoked, orphaned = (make(db, record, staff_id=owner.id) for _ in range(3))
    assert [row.id for row in token.of_staff(db, owner.id)] == [orphaned[0].id, revoked[0].id, expired[0].id]
    token.revoke(db, revoked[0].id, record.now)
    with pytest.raises(TokenError):
        token.find(db, revoked[1], record.now)
    assert token.find(db, expired[1], record.now + timedelta(days=30, seconds=-1))[1] is owner
    with pytest.raises(TokenError):
        token.find(db, expired[1], record.now + timedelta(days=30))
    staff.disable(db, owner.id, by="admin", now=record.now)
    with pytest.raises(TokenError) as caught:
        token.find(db, orphaned[1], record.now)
    assert caught.value.status == 401


@pytest.mark.parametrize("secret", ["", "cl_", "cl_" + "A" * 43])
def test_what_is_no_token_opens_nothing(record: Record, db: Session, secret: str) -> None:
    make(db, record)
    with pytest.raises(TokenError):
        token.find(db, secret, record.now)


def test_a_session_ends_when_it_is_idle_and_after_twelve_hours(record: Record, db: Session) -> None:
    row, secret = make(db, record, TokenKind.SESSION)
    assert row.expires_at == record.now + timedelta(hours=12)
    began = record.now
    while record.now < began + timedelta(hours=11, minutes=50):
        record.later(minutes=9)
        assert token.due(row, record.now)
        token.used(db, row.id, record.now)
    assert token.find(db, secret, record.now)[0] is row
    with pytest.raises(TokenError):
        token.find(db, secret, record.now + token.IDLE)
    with pytest.raises(TokenError):
        token.find(db, secret, began + timedelta(hours=12))


def test_not_every_use_is_written(record: Record, db: Session) -> None:
    row, _ = make(db, record)
    token.used(db, row.id, record.now)
    assert not token.due(row, record.later(seconds=29))
    assert token.due(row, record.later(seconds=1))
    token.used(db, row.id, record.now - timedelta(seconds=20))
    assert row.used_at == record.now - timedelta(seconds=20)


def test_a_login_token_lets_in_once(record: Record, db: Session) -> None:
    owner = add(db, record)
    _, secret = make(db, record, TokenKind.LOGIN, owner.id)
    assert token.redeem(db, secret, record.now) is owner
    with pytest.raises(TokenError):
        token.redeem(db, secret, record.now)
    with pytest.raises(TokenError):
        token.redeem(db, make(db, record, TokenKind.API, owner.id)[1], record.now)

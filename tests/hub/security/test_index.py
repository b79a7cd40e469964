"""Blind indexes: the same value finds itself, and the key is all that stands between a number and its index."""

import hashlib
import hmac
from datetime import date

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given
from hypothesis import strategies as st

from hub.security.index import BlindIndex, folded

INDEX = BlindIndex(bytes(range(32)))
OTHER = BlindIndex(bytes(32))


def test_index_is_hmac_sha256_under_the_columns_own_key() -> None:
    key = HKDFExpand(SHA256(), 32, b"chartline/v1/index/phone").derive(bytes(range(32)))
    whole = hmac.digest(key, b"\x00\x00\x00\x0c+12125550123", hashlib.sha256)
    assert INDEX.phone("+12125550123") == whole[:16]


def test_same_phone_finds_itself_and_no_other() -> None:
    assert INDEX.phone("+12125550123") == BlindIndex(bytes(range(32))).phone("+12125550123")
    assert len({INDEX.phone(f"+121255501{n:02}") for n in range(100)}) == 100


def test_another_practice_has_other_indexes() -> None:
    assert INDEX.phone("+12125550123") != OTHER.phone("+12125550123")
    assert INDEX.name("Example", "Robin") != OTHER.name("Example", "Robin")


@pytest.mark.parametrize(
    "number", ["", "2125550123", "+1 212 555 0123", "+0125550123", "+1212555012a", "+123456", "+1" * 9]
)
def test_number_that_is_not_e164_is_refused_without_being_repeated(number: str) -> None:
    with pytest.raises(ValueError, match=r"^not an E.164 number$"):
        INDEX.phone(number)


def test_identifier_is_of_its_system_and_type() -> None:
    values = {
        INDEX.identifier("urn:oid:1.2", "MR", "17"),
        INDEX.identifier("urn:oid:1.3", "MR", "17"),
        INDEX.identifier("urn:oid:1.2", "AN", "17"),
        INDEX.identifier("urn:oid:1.2", "MR", "18"),
    }
    assert len(values) == 4
    assert INDEX.identifier("urn:oid:1.2", "MR", " 17 ") in values


@given(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5), st.text(max_size=5))
def test_parts_never_run_together(a: str, b: str, c: str, d: str) -> None:
    same = (a, b.strip()) == (c, d.strip())
    assert (INDEX.identifier(a, "MR", b) == INDEX.identifier(c, "MR", d)) == same


@pytest.mark.parametrize(
    ("family", "given_name"),
    [("muñoz-lópez", "josé"), ("MUNOZ LOPEZ", "JOSE"), ("Mun\u0303oz López", "Jose\u0301"), ("Munoz_Lopez", "José.")],
)
def test_name_is_found_however_it_is_written(family: str, given_name: str) -> None:
    assert INDEX.name(family, given_name) == INDEX.name("Muñoz López", "José")


def test_family_and_given_name_are_not_confused() -> None:
    assert INDEX.name("Robin", "Example") != INDEX.name("Example", "Robin")
    assert INDEX.name("Ro", "bin") != INDEX.name("Rob", "in")


def test_names_of_other_scripts_are_kept() -> None:
    assert folded("Łukasz") == "łukasz"
    assert folded("王 小明") == "王小明"
    assert folded("STRASSE") == folded("Straße")


def test_birth_dates_differ() -> None:
    assert INDEX.birth(date(1970, 1, 2)) != INDEX.birth(date(1970, 2, 1))


def test_same_bytes_have_the_same_digest() -> None:
    assert INDEX.digest(b"MSH|1") == INDEX.digest(b"MSH|1") != INDEX.digest(b"MSH|2")
    assert INDEX.digest(b"MSH|1") != OTHER.digest(b"MSH|1")


def test_every_index_is_sixteen_bytes() -> None:
    made = (INDEX.phone("+12125550123"), INDEX.name("a", "b"), INDEX.birth(date(2000, 1, 1)), INDEX.digest(b""))
    assert {len(value) for value in made} == {16}


def test_process_without_the_right_gets_no_index() -> None:
    with pytest.raises(ValueError, match="no right"):
        BlindIndex(b"")

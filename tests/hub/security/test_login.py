"""Passwords: Argon2id at the documented cost, and as long a wait for who is not there."""

import time

import pytest

from hub.security import login


def test_the_cost_is_the_documented_one() -> None:
    assert login.hash_of("words").startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert login.hash_of("words") != login.hash_of("words")


def test_only_the_password_opens() -> None:
    kept = login.hash_of("words")
    assert login.verify(kept, "words")
    assert not login.verify(kept, "Words")
    assert not login.verify(None, "words")
    assert not login.verify(None, "nobody's password")


@pytest.mark.parametrize("kept", ["", "words", "$argon2id$v=19$m=19456"])
def test_a_hash_that_is_none_opens_nothing(kept: str) -> None:
    assert not login.verify(kept, "words")


def test_an_older_cost_is_noticed() -> None:
    assert not login.outdated(login.hash_of("words"))
    assert not login.outdated(login._NOBODY)
    assert login.outdated("$argon2id$v=19$m=8192,t=1,p=1$c29tZXNhbHQ$aGFzaGhhc2hoYXNoaGFzaA")


def test_who_is_not_there_takes_as_long() -> None:
    kept = login.hash_of("words")

    def seconds(hashed: str | None) -> float:
        times = []
        for _ in range(7):
            begin = time.process_time()
            login.verify(hashed, "other")
            times.append(time.process_time() - begin)
        return min(times)

    assert seconds(None) > seconds(kept) / 3

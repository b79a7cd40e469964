"""Who is next: small requests first, bounded batches, nobody passed over for ever, nothing for those who left."""

import socket
from collections.abc import Iterator

import pytest

from hub.vault.line import BATCH_OBJECTS, BATCH_REQUESTS, Connection, Line
from hub.vault.wire import Asked, Op, Request

ITEM = bytes(18)


def request(number: int, objects: int = 1, *, deadline: int = 100) -> Request:
    groups = [Asked(bytes(16), bytes(16), bytes(80), (ITEM,) * objects)]
    return Request(1, number, Op.UNWRAP, deadline, "a", "r", "p", "", None, groups)


@pytest.fixture
def peer() -> Iterator[Connection]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Connection(ours)


def taken(line: Line, now: int = 0) -> list[int]:
    return [waiting.request.id for waiting in line.next(now)[0]]


def test_small_requests_go_first(peer: Connection) -> None:
    line = Line()
    for number, objects in ((1, 500), (2, 1), (3, 100)):
        line.join(peer, request(number, objects))
    assert taken(line) == [2, 3, 1]
    assert len(line) == 0


def test_batch_is_bounded_by_requests(peer: Connection) -> None:
    line = Line()
    for number in range(BATCH_REQUESTS + 10):
        line.join(peer, request(number))
    assert taken(line) == list(range(BATCH_REQUESTS))
    assert taken(line) == list(range(BATCH_REQUESTS, BATCH_REQUESTS + 10))


def test_batch_is_bounded_by_objects(peer: Connection) -> None:
    line = Line()
    for number in range(6):
        line.join(peer, request(number, 500))
    assert len(taken(line)) == BATCH_OBJECTS // 500
    assert len(line) == 2


def test_large_request_is_not_passed_over_for_ever(peer: Connection) -> None:
    line = Line()
    line.join(peer, request(0, 500))
    turns = 0
    while True:
        for number in range(BATCH_REQUESTS):
            line.join(peer, request(number + 1))
        if 0 in taken(line):
            break
        turns += 1
        assert turns < 20
    assert turns > 0


def test_what_is_past_its_deadline_is_told_so_and_not_served(peer: Connection) -> None:
    line = Line()
    line.join(peer, request(1, deadline=10))
    line.join(peer, request(2, deadline=12))
    batch, expired = line.next(11)
    assert [waiting.request.id for waiting in batch] == [2]
    assert [waiting.request.id for waiting in expired] == [1]
    assert len(line) == 0


def test_requests_of_a_peer_that_left_are_dropped(peer: Connection) -> None:
    line = Line()
    line.join(peer, request(1))
    peer.open = False
    assert line.next(0) == ([], [])

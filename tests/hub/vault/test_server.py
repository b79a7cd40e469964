"""What the vault answers, and what stands in its log for it."""

import os
import socket
from uuid import uuid4

import pytest

from hub.vault import keys, verify, wire
from hub.vault.client import Access, Group, VaultDeniedError, VaultRequestError, VaultUnavailableError
from hub.vault.home import Home
from hub.vault.wire import Op, Status
from tests.hub.vault.house import NURSE, PATIENCE_S, PATIENT, Threaded, lane_for, logged, threaded


def records(one: Threaded) -> int:
    return int(one.vault.health()["records"])


def test_read_is_on_record_before_its_key_is_given(one: Threaded) -> None:
    row = uuid4()
    group, _ = lane_for(one.root, one.ring, [row])
    ((key,),) = one.vault.unwrap(NURSE, [group])
    assert len(key) == 32
    record = logged(one.home)[-1]
    assert record["act"] == "unwrap"
    assert (record["actor"], record["role"], record["purpose"], record["session"]) == (
        "staff-7",
        "nurse",
        "treatment",
        "call-1",
    )
    assert (record["uid"], record["pid"]) == (os.getuid(), os.getpid())
    assert record["obj"] == [[group.kid.hex(), group.subject.hex, "0001" + row.hex]]
    assert "reason" not in record


def test_broken_glass_is_on_record_with_its_reason(one: Threaded) -> None:
    group, _ = lane_for(one.root, one.ring)
    one.vault.unwrap(Access("staff-7", "nurse", "emergency", reason="unconscious in the waiting room"), [group])
    assert logged(one.home)[-1]["reason"] == "unconscious in the waiting room"


def test_attempt_on_a_lane_that_does_not_open_is_on_record_too(one: Threaded) -> None:
    group, _ = lane_for(one.root, one.ring)
    other, _ = lane_for(one.root, one.ring)
    wrong = type(group)(group.kid, other.subject, group.lane, group.objects)
    assert one.vault.unwrap(NURSE, [wrong]) == [[b""]]
    assert logged(one.home)[-1]["obj"][0][1] == other.subject.hex


def test_many_objects_come_back_in_order(one: Threaded) -> None:
    groups = [lane_for(one.root, one.ring, [uuid4() for _ in range(5)])[0] for _ in range(100)]
    together = one.vault.unwrap(NURSE, groups)
    assert [len(keys) for keys in together] == [5] * 100
    assert one.vault.unwrap(NURSE, groups[37:38]) == together[37:38]
    assert len({key for keys in together for key in keys}) == 500


def test_too_many_objects_are_refused(one: Threaded) -> None:
    group, _ = lane_for(one.root, one.ring, [uuid4() for _ in range(501)])
    before = records(one)
    with pytest.raises(VaultRequestError):
        one.vault.unwrap(NURSE, [group])
    assert records(one) == before


@pytest.mark.parametrize("service", ["hub", "feeds", "workflows", "media", "cli"])
def test_service_boots_with_its_keys_on_record(one: Threaded, service: str) -> None:
    assert one.vault.boot(service) == one.root.service_keys(service)
    record = logged(one.home)[-1]
    assert (record["act"], record["detail"]) == ("boot", {"service": service})


@pytest.mark.parametrize("service", ["nobody", "drain", ""])
def test_unknown_service_and_the_couriers_are_denied_on_record(one: Threaded, service: str) -> None:
    with pytest.raises(VaultDeniedError):
        one.vault.boot(service)
    record = logged(one.home)[-1]
    assert (record["act"], record["detail"]) == ("denied", {"op": "boot"})


def test_user_boots_only_what_it_may(home: Home) -> None:
    with threaded(home, allowed={os.getuid(): frozenset({"feeds"})}) as server:
        assert server.vault.boot("feeds").database
        with pytest.raises(VaultDeniedError):
            server.vault.boot("hub")


def test_other_users_get_no_connection(home: Home) -> None:
    with (
        threaded(home, allowed={os.getuid() + 1: frozenset(keys.RIGHTS)}) as server,
        pytest.raises(VaultUnavailableError),
    ):
        server.vault.health()


def test_note_is_appended(one: Threaded) -> None:
    row, subject = uuid4(), uuid4()
    seq = one.vault.append(
        NURSE, "disclosure", [(bytes(16), subject, [(PATIENT, row)])], {"to": "connection:ehr", "n": 2}
    )
    record = logged(one.home)[-1]
    assert record["seq"] == seq
    assert (record["act"], record["detail"]) == ("disclosure", {"to": "connection:ehr", "n": 2})
    assert record["obj"] == [["00" * 16, subject.hex, "0001" + row.hex]]


@pytest.mark.parametrize("act", ["unwrap", "boot", "shred", "mint", "init", "start", "denied"])
def test_acts_of_the_vault_cannot_be_noted_by_others(one: Threaded, act: str) -> None:
    with pytest.raises(VaultDeniedError):
        one.vault.append(NURSE, act)
    assert logged(one.home)[-1]["act"] == "denied"


def ask(one: Threaded, *fields: object) -> wire.Reply:
    """Say something that the client would not."""
    with socket.socket(socket.AF_UNIX) as end:
        end.settimeout(PATIENCE_S)
        end.connect(str(one.home.vault_socket))
        end.sendall(wire.frame(fields))
        buffer = bytearray()
        while True:
            data = end.recv(65536)
            assert data, "closed"
            buffer += data
            for body in wire.frames(buffer):
                return wire.reply_of(body)


LATER = 1 << 60
WHO = ("a", "r", "p", "", None)


@pytest.mark.parametrize(
    "fields",
    [
        (Op.APPEND, LATER, *WHO, [], "note", {"said": "with a space"}),
        (Op.APPEND, LATER, *WHO, [], "Note", {}),
        (Op.APPEND, LATER, *WHO, [], "note", {}, bytes(16), 1),
        (Op.POOL, LATER, *WHO, []),
        (Op.BOOT, LATER, *WHO, [], "", {"service": 7}),
        (Op.SHRED, LATER, *WHO, [(bytes(16), bytes(16), b"", [])]),
        (Op.SHRED, LATER, *WHO[:-1], "why", []),
    ],
)
def test_what_no_client_of_ours_would_ask_is_denied(one: Threaded, fields: tuple[object, ...]) -> None:
    reply = ask(one, 1, 9, *fields)
    assert (reply.id, reply.status, reply.keys, reply.detail) == (9, Status.DENIED, [], {})
    assert logged(one.home)[-1]["act"] == "denied"


def test_malformed_request_is_answered_by_its_number(one: Threaded) -> None:
    reply = ask(one, 1, 9, 99)
    assert (reply.id, reply.status) == (9, Status.MALFORMED)


def test_noise_ends_the_conversation_and_nothing_else(one: Threaded) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.settimeout(PATIENCE_S)
        end.connect(str(one.home.vault_socket))
        end.sendall(b"\xff\xff\xff\xff")
        assert end.recv(10) == b""
    assert one.vault.health()["audit"] == "ok"


def test_request_past_its_deadline_is_refused_without_a_record(one: Threaded) -> None:
    before = records(one)
    group, _ = lane_for(one.root, one.ring)
    reply = ask(one, 1, 9, Op.UNWRAP, 1, *WHO, [(group.kid, group.subject.bytes, group.lane, [])])
    assert reply.status is Status.EXPIRED
    assert records(one) == before


def frame_of(number: int, group: Group) -> bytes:
    items = [wire.OBJECT.pack(table, row.bytes) for table, row in group.objects]
    asked = (group.kid, group.subject.bytes, group.lane, items)
    return wire.frame((1, number, Op.UNWRAP, LATER, *WHO, [asked]))


def test_requests_sent_together_are_answered_each(one: Threaded) -> None:
    group, _ = lane_for(one.root, one.ring)
    seen: dict[int, wire.Reply] = {}
    with socket.socket(socket.AF_UNIX) as end:
        end.settimeout(PATIENCE_S)
        end.connect(str(one.home.vault_socket))
        end.sendall(b"".join(frame_of(number, group) for number in range(1, 601)))
        buffer = bytearray()
        while len(seen) < 600:
            buffer += end.recv(65536)
            seen |= {reply.id: reply for reply in map(wire.reply_of, wire.frames(buffer))}
    assert sorted(seen) == list(range(1, 601))
    assert len({reply.seq for reply in seen.values()}) == 600
    assert {key for reply in seen.values() for (key,) in reply.keys} == {one.vault.unwrap(NURSE, [group])[0][0]}


def test_peer_that_reads_slowly_gets_all_of_it(one: Threaded) -> None:
    group, _ = lane_for(one.root, one.ring, [uuid4() for _ in range(500)])
    wanted, answers = 40, 0  # 40 answers of 17 kB do not fit the socket's buffers
    with socket.socket(socket.AF_UNIX) as end:
        end.settimeout(PATIENCE_S)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        end.connect(str(one.home.vault_socket))
        end.sendall(b"".join(frame_of(number, group) for number in range(wanted)))
        assert one.vault.health()["audit"] == "ok"  # others are served meanwhile
        buffer = bytearray()
        while answers < wanted:
            data = end.recv(3000)
            assert data
            buffer += data
            answers += len(list(wire.frames(buffer)))


def test_shredded_subject_gives_no_key_any_more(one: Threaded) -> None:
    group, _ = lane_for(one.root, one.ring)
    assert one.vault.unwrap(NURSE, [group])[0][0]
    officer = Access("staff-1", "privacy-officer", "operations", reason="request 17")
    one.vault.shred(officer, group.kid, group.subject)
    assert one.vault.unwrap(NURSE, [group]) == [[b""]]
    record = logged(one.home)[-2]
    assert (record["act"], record["reason"], record["obj"][0][0]) == ("shred", "request 17", group.kid.hex())


def test_shredding_needs_a_reason(one: Threaded) -> None:
    group, _ = lane_for(one.root, one.ring)
    with pytest.raises(VaultDeniedError):
        one.vault.shred(NURSE, group.kid, group.subject)
    assert one.vault.unwrap(NURSE, [group])[0][0]


def test_health_is_not_on_record(one: Threaded) -> None:
    before = records(one)
    health = one.vault.health()
    assert (health["records"], health["audit"], health["drain"], health["pid"]) == (before, "ok", "down", os.getpid())


def test_settling_without_a_courier_is_refused(one: Threaded) -> None:
    with pytest.raises(VaultUnavailableError):
        one.vault.settle()


def test_dead_vaults_socket_is_taken_over(home: Home) -> None:
    for _ in range(2):
        with threaded(home) as server:
            assert server.vault.health()["audit"] == "ok"


def test_failing_log_gives_no_key_and_ends_the_vault(home: Home) -> None:
    with threaded(home) as server:
        group, _ = lane_for(server.root, server.ring)
        server.log._db.close()
        with pytest.raises(VaultUnavailableError):
            server.vault.unwrap(NURSE, [group])
        assert type(server.joined()).__name__ == "LogFailedError"


def test_full_log_gives_no_key_until_there_is_room(home: Home) -> None:
    with threaded(home) as server:
        group, _ = lane_for(server.root, server.ring)
        server.log._db.execute("PRAGMA max_page_count=8")  # to SQLite a full disk: SQLITE_FULL
        served = refused = 0
        while not refused and served < 1000:
            try:
                assert server.vault.unwrap(NURSE, [group])[0][0]
                served += 1
            except VaultUnavailableError:
                refused += 1
                assert server.vault.health()["audit"] == "full"
        assert refused
        assert server.vault.unwrap(NURSE, [group])[0][0]  # the file was opened anew, without the limit
        assert server.vault.health()["audit"] == "ok"
        assert [record["act"] for record in logged(home)].count("unwrap") == served + 1


def test_log_verifies_while_the_vault_writes_it(one: Threaded) -> None:
    path, key, public = verify.instance(one.home.root)
    assert verify.verify(verify.read(path, key), public).good


def test_full_line_tells_the_next_to_come_later(home: Home) -> None:
    with threaded(home, waiting=3), socket.socket(socket.AF_UNIX) as end:
        end.settimeout(PATIENCE_S)
        end.connect(str(home.vault_socket))
        end.sendall(b"".join(wire.frame((1, number, Op.APPEND, LATER, *WHO, [], "note")) for number in range(1, 8)))
        seen: dict[int, Status] = {}
        buffer = bytearray()
        while len(seen) < 7:
            buffer += end.recv(65536)
            seen |= {reply.id: reply.status for reply in map(wire.reply_of, wire.frames(buffer))}
        assert [seen[number] for number in range(1, 8)] == [Status.OK] * 3 + [Status.BUSY] * 4

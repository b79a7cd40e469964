"""DTLS handshakes between two of us, on a line that loses, repeats and forges."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from media.dtls import RECORDS, Dtls, HandshakeError, Identity, greets, identity
from media.handshake import Handshake
from media.keying import Fingerprint
from media.protection import Peer
from media.srtp import SUITES, Key


def two(*, trusts: Fingerprint | None = None) -> tuple[Dtls, Dtls]:
    one, other = identity(), Identity(datetime.now(UTC))
    client = Dtls(one, active=True, fingerprints=[trusts or other.fingerprint])
    return client, Dtls(other, active=False, fingerprints=[one.fingerprint])


def run(client: Dtls, server: Dtls) -> int:
    """Carry datagrams to and fro until there are no more; return how many there were."""
    count, waiting = 0, [(server, each) for each in client.start()]
    while waiting:
        to, datagram = waiting.pop(0)
        count += 1
        assert datagram[0] in RECORDS
        assert len(datagram) <= 1200
        waiting += [(client if to is server else server, each) for each in to.heard(datagram)]
    return count


def test_two_that_shake_hands_have_each_other_s_keys() -> None:
    client, server = two()
    assert server.start() == []
    assert run(client, server) == 4
    assert client.done
    assert server.done
    assert client.reads == server.writes
    assert client.writes == server.reads
    assert client.reads is not None
    assert client.reads.suite is SUITES[0]
    assert client.reads != client.writes
    assert client.due is server.due is None


def test_every_association_has_keys_of_its_own() -> None:
    first, second = two(), two()
    run(*first)
    run(*second)
    assert first[0].reads != second[0].reads


def test_no_step_holds_the_loop_up() -> None:
    longest = []
    for _ in range(5):
        client, server = two()
        took = []
        waiting = [(server, each) for each in client.start()]
        while waiting:
            to, datagram = waiting.pop(0)
            began = time.thread_time()
            made = to.heard(datagram)
            took.append(time.thread_time() - began)
            waiting += [(client if to is server else server, each) for each in made]
        longest.append(max(took))
    assert min(longest) < 0.005


class Ends:
    """Two handshakes over a line that loses the datagrams of some numbers."""

    def __init__(self, lost: set[int]) -> None:
        self._lost, self._count = lost, 0
        self.keys: dict[str, asyncio.Future[tuple[Key, Key]]] = {}
        self.failed: list[str] = []
        self._ends = {name: self._end(name, active=name == "client") for name in ("client", "server")}

    def _end(self, name: str, *, active: bool) -> Handshake:
        done = self.keys[name] = asyncio.get_running_loop().create_future()
        to = "server" if active else "client"
        return Handshake(
            Peer((identity().fingerprint,), active),
            lambda datagram: self._carry(to, datagram),
            lambda reads, writes: done.set_result((reads, writes)),
            lambda: self.failed.append(name),
        )

    def _carry(self, to: str, datagram: bytes) -> None:
        self._count += 1
        if self._count not in self._lost:
            asyncio.get_running_loop().call_soon(self._ends[to].heard, datagram)

    async def shake(self) -> None:
        for each in self._ends.values():
            each.start()
        async with asyncio.timeout(30):
            client, server = await self.keys["client"], await self.keys["server"]
        assert client == server[::-1]
        assert self.failed == []
        for each in self._ends.values():
            each.close()


async def test_a_flight_that_is_lost_is_sent_again() -> None:
    await asyncio.gather(*(Ends(lost).shake() for lost in ({1}, {2}, {3}, {4}, {1, 2})))


def test_another_certificate_than_was_said_gives_no_keys() -> None:
    client, server = two(trusts=Fingerprint("sha-256", bytes(32)))
    with pytest.raises(HandshakeError):
        run(client, server)
    assert client.reads is client.writes is None
    assert client.heard(b"\x16\xfe\xfd") == []


def test_noise_between_the_records_changes_nothing() -> None:
    client, server = two()
    waiting = [(server, each) for each in client.start()]
    numbered = b"\xfe\xfd" + bytes(7)  # version, epoch, and but for its last byte the sequence number
    empty, early = b"\x16" + numbered + b"\x05\0\0", b"\x14" + numbered + b"\x07\0\1\1"
    for noise in (b"", b"\x16", b"\x16\xfe", empty[:-1], b"\x17" * 300, b"\x16\x03\x03\0\0", empty, early):
        assert server.heard(noise) == []
    while waiting:
        to, datagram = waiting.pop(0)
        waiting += [(client if to is server else server, each) for each in to.heard(datagram)]
    assert client.reads == server.writes is not None
    assert client.heard(b"\x17" * 300) == []


def test_an_alert_that_nobody_has_authenticated_ends_nothing() -> None:
    client, server = two()
    alert = b"\x15\xfe\xfd" + bytes(7) + b"\x01\0\2\2\x28"
    waiting = [(server, each) for each in client.start()]
    while waiting:
        to, datagram = waiting.pop(0)
        assert to.heard(alert) == to.heard(alert[:-1] + b"\0") == []
        waiting += [(client if to is server else server, each) for each in to.heard(alert + datagram + alert)]
    assert client.reads == server.writes is not None
    assert not client.ended
    assert client.heard(alert) == []


def test_only_a_first_word_greets() -> None:
    client, server = two()
    (greeting,) = client.start()
    assert greets(greeting)
    for other in (
        greeting[:13],
        b"\x15" + greeting[1:],
        greeting[:3] + b"\0\1" + greeting[5:],
        server.heard(greeting)[0],
    ):
        assert not greets(other)


def test_it_says_good_bye_once() -> None:
    client, server = two()
    run(client, server)
    (bye,) = client.close()
    assert bye[0] == 21
    assert client.close() == []
    server.heard(bye)
    assert server.done


def test_the_certificate_is_the_process_s_and_made_anew_before_it_runs_out() -> None:
    assert identity() is identity()
    old = Identity(datetime.now(UTC) - timedelta(days=400))
    assert old.expires_at < datetime.now(UTC)
    assert old.fingerprint != identity().fingerprint

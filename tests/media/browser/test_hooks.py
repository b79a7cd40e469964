"""The canary: what we use of aioice is there, and does what we take it to do."""

import asyncio
import inspect
from collections import deque
from importlib.metadata import version

import pytest
from aioice import Connection
from aioice.ice import CandidatePair, StunProtocol

from media.browser.hooks import Ice
from media.latch import Address


def test_aioice_is_of_a_version_that_was_tried() -> None:
    assert version("aioice").startswith("0.13."), "run tests/peers/browser against it, then name it here"


async def test_a_connection_keeps_what_we_set_where_we_set_it() -> None:
    fresh = vars(Connection(ice_controlling=False))
    for name, kind in (
        ("_early_checks", deque),
        ("_local_candidates", list),
        ("_local_candidates_start", bool),
        ("_local_candidates_end", bool),
        ("_protocols", list),
        ("_nominated", dict),
        ("ice_controlling", bool),
    ):
        assert isinstance(fresh.get(name), kind), f"aioice.Connection.{name} is not what it was"


def test_the_methods_that_we_call_or_take_over_look_as_they_did() -> None:
    for function, parameters in (
        (Connection.check_complete, ["self", "pair"]),
        (Connection.request_received, ["self", "message", "addr", "protocol"]),
        (Connection.get_event, ["self"]),
        (StunProtocol.__init__, ["self", "receiver"]),
        (StunProtocol.connection_made, ["self", "transport"]),
        (StunProtocol.connection_lost, ["self", "exc"]),
        (StunProtocol.datagram_received, ["self", "data", "addr"]),
    ):
        assert list(inspect.signature(function).parameters) == parameters, function.__qualname__
    assert isinstance(inspect.getattr_static(CandidatePair, "remote_addr"), property)


class Pipe:
    """Two sessions whose datagrams go straight to each other."""

    def __init__(self) -> None:
        self.proven: dict[str, Address] = {}
        self.a = self._made("a", ("127.0.0.1", 1111), controlling=True)
        self.b = self._made("b", ("127.0.0.1", 2222), controlling=False)

    def _made(self, name: str, local: Address, *, controlling: bool) -> Ice:
        def send(datagram: bytes, to: Address) -> None:
            other = self.b if name == "a" else self.a
            assert to == (other.candidate.host, other.candidate.port)
            asyncio.get_running_loop().call_soon(other.heard, datagram, local)

        def nominated(remote: Address) -> None:
            self.proven[name] = remote

        return Ice(local, send, controlling=controlling, nominated=nominated)


async def test_a_session_finds_the_other_by_its_checks_alone_and_tells_where_it_is() -> None:
    pipe = Pipe()
    pipe.a.know(pipe.b.local_username, pipe.b.local_password)
    pipe.b.know(pipe.a.local_username, pipe.a.local_password)
    # One of the two is a browser, which knows where the other is.
    await pipe.a.add_remote_candidate(pipe.b.candidate)
    async with asyncio.timeout(20):
        await asyncio.gather(pipe.a.connect(), pipe.b.connect())
    assert pipe.proven == {"a": ("127.0.0.1", 2222), "b": ("127.0.0.1", 1111)}
    assert pipe.b.has_checked(("127.0.0.1", 1111))
    assert not pipe.b.has_checked(("127.0.0.1", 1112))
    for each in (pipe.a, pipe.b):
        await each.close()
        async with asyncio.timeout(20):
            await each.lost()


async def test_a_check_without_the_password_proves_nothing() -> None:
    pipe = Pipe()
    pipe.a.know(pipe.b.local_username, "x" * 22)
    pipe.b.know(pipe.a.local_username, pipe.a.local_password)
    await pipe.a.add_remote_candidate(pipe.b.candidate)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await pipe.a.connect()
    assert pipe.proven == {}
    assert not pipe.b.has_checked(("127.0.0.1", 1111))
    await asyncio.gather(pipe.a.close(), pipe.b.close())


async def test_a_check_that_comes_before_the_other_s_description_proves_where_it_is_from() -> None:
    pipe = Pipe()
    pipe.a.know(pipe.b.local_username, pipe.b.local_password)
    await pipe.a.add_remote_candidate(pipe.b.candidate)
    async with asyncio.timeout(20):
        await pipe.a.connect()
    assert pipe.b.has_checked(("127.0.0.1", 1111))
    assert not pipe.b.has_checked(("127.0.0.1", 1112))
    await asyncio.gather(pipe.a.close(), pipe.b.close())

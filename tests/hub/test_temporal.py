"""The connection and the embedded server, against the real program."""

import asyncio
import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from hub import embedded
from hub.demo.ports import free_port
from hub.settings import Paths
from hub.temporal import (
    CallStart,
    PlanUnavailableError,
    Reach,
    TemporalUnavailableError,
    appointment_answered,
    appointment_changed,
    call_ended,
    connect,
    outside,
    plan_call,
    start_upkeep,
    wake_feed,
)
from hub.vault.client import ServiceKeys

PATIENCE_S = 60.0
"For the server, on a busy machine."

KEYS = ServiceKeys(
    tenant=b"t" * 16,
    database=b"d" * 32,
    inbox=b"i" * 32,
    index=b"x" * 32,
    codec=b"c" * 32,
    pop=b"p" * 32,
    pool_public=b"",
)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path)


@contextmanager
def server(paths: Paths) -> Iterator[subprocess.Popen[bytes]]:
    """The embedded server as `chartline up` starts it."""
    with subprocess.Popen(embedded.command(paths), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


async def test_a_new_flow_survives_the_servers_death_and_the_client_finds_it_again(paths: Paths) -> None:
    with server(paths) as first:
        where = await embedded.until_ready(paths, seconds=PATIENCE_S)
        client = await connect(paths, KEYS, {})
        await wake_feed(client, "adt")
        await appointment_changed(client, "0198")
        first.kill()
        first.wait()
        with server(paths):
            assert await embedded.until_ready(paths, seconds=PATIENCE_S) == where
            await wake_feed(client, "adt")
            for flow in ("feed-adt", "appointment-0198"):
                history = await client.get_workflow_handle(flow).fetch_history()
                assert history.events[0].workflow_execution_started_event_attributes.workflow_id == flow


async def test_what_the_server_keeps_is_unreadable_but_for_ids(paths: Paths) -> None:
    with server(paths) as process:
        await embedded.until_ready(paths, seconds=PATIENCE_S)
        client = await connect(paths, KEYS, {})
        await appointment_answered(client, "0198-visit", "kind-of-answer")
        await call_ended(client, "0198-call")
        await start_upkeep(client)
        await start_upkeep(client)
        process.terminate()
        process.wait()
    kept = b"".join(path.read_bytes() for path in paths.root.glob("temporal.db*"))
    assert b"appointment-0198-visit" in kept
    assert b"binary/encrypted" in kept
    assert b"kind-of-answer" not in kept


async def test_the_files_are_the_owners_alone(paths: Paths) -> None:
    with server(paths):
        await embedded.until_ready(paths, seconds=PATIENCE_S)
        for path in (paths.temporal, embedded.address_file(paths), paths.run / "temporal.lock"):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


async def test_a_server_that_outlived_its_supervisor_is_ended_first(paths: Paths) -> None:
    with server(paths) as orphan:
        await embedded.until_ready(paths, seconds=PATIENCE_S)
        with server(paths) as heir:
            assert await asyncio.to_thread(orphan.wait, PATIENCE_S) == 0
            await embedded.until_ready(paths, seconds=PATIENCE_S)
            assert int((paths.run / "temporal.lock").read_text()) == heir.pid


async def test_a_server_that_hangs_is_killed(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "ORPHAN_PATIENCE_S", 0.2)
    with server(paths) as hung:
        await embedded.until_ready(paths, seconds=PATIENCE_S)
        hung.send_signal(signal.SIGSTOP)
        lock = await asyncio.to_thread(embedded.take_lock, paths)
        os.close(lock)
        assert hung.wait() == -signal.SIGKILL


def test_the_port_of_last_time_is_kept_unless_somebody_took_it() -> None:
    port = free_port()
    with socket.create_server((embedded.HOST, port)):
        assert embedded.choose_port(f"{embedded.HOST}:{port}") != port
    assert embedded.choose_port(f"{embedded.HOST}:{port}") == port


async def test_nobody_answers_before_the_first_start(paths: Paths) -> None:
    assert not await embedded.ready(paths)
    with pytest.raises(TemporalUnavailableError):
        await connect(paths, KEYS, {})


async def test_an_address_in_the_environment_means_an_outside_server(paths: Paths) -> None:
    with server(paths):
        where = await embedded.until_ready(paths, seconds=PATIENCE_S)
        elsewhere = Paths(paths.root / "elsewhere")
        client = await connect(elsewhere, KEYS, {"TEMPORAL_ADDRESS": where})
        assert client.service_client.config.target_host == where
        profile = paths.root / "temporal.toml"
        profile.write_text(f'[profile.clinic]\naddress = "{where}"\nnamespace = "harbor"\n')
        named = {"TEMPORAL_PROFILE": "clinic", "TEMPORAL_CONFIG_FILE": str(profile)}
        assert (await connect(elsewhere, KEYS, named)).namespace == "harbor"


async def test_the_process_s_own_environment_will_do(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:9")
    client = await connect(paths, KEYS, os.environ, lazy=True)
    assert client.service_client.config.target_host == "127.0.0.1:9"


def test_an_environment_without_a_word_on_temporal_means_the_embedded_server() -> None:
    assert not outside({"PATH": "/bin", "TEMPORAL_ADDRESS": ""})
    assert outside({"TEMPORAL_PROFILE": "clinic"})


def test_a_profile_meant_for_clients_does_not_reach_the_server() -> None:
    assert embedded.environment({"TEMPORAL_NAMESPACE": "x", "PATH": "/bin"}) == {"PATH": "/bin"}


async def test_a_plan_is_waited_for_no_longer_than_the_deadline(paths: Paths) -> None:
    with server(paths):  # a server, but no worker
        await embedded.until_ready(paths, seconds=PATIENCE_S)
        client = await connect(paths, KEYS, {})
        began = time.monotonic()
        with pytest.raises(PlanUnavailableError):
            await plan_call(client, CallStart("0198-call", "+12125550100"), deadline=1.0)
        assert 0.8 < time.monotonic() - began < 2.4


async def test_a_caller_who_hangs_up_ends_the_wait_for_the_plan(paths: Paths) -> None:
    with server(paths):
        await embedded.until_ready(paths, seconds=PATIENCE_S)
        client = await connect(paths, KEYS, {})
        asking = asyncio.create_task(plan_call(client, CallStart("0198-call"), deadline=5))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_without_temporal_every_request_says_so_soon() -> None:
    client = await _client_of_nobody()
    with pytest.raises(PlanUnavailableError):
        await plan_call(client, CallStart("0198-call"))
    for ask in (wake_feed(client, "adt"), call_ended(client, "0198-call"), start_upkeep(client)):
        with pytest.raises(TemporalUnavailableError) as caught:
            await ask
        assert caught.value.retry
        assert not isinstance(caught.value.__cause__, RPCError)


async def _client_of_nobody() -> Client:
    return await Client.connect(f"{embedded.HOST}:{free_port()}", lazy=True)


async def test_what_the_sdk_says_of_an_outage_goes_where_all_libraries_words_go(
    paths: Paths, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with server(paths) as process:
        await embedded.until_ready(paths, seconds=PATIENCE_S)
        client = await connect(paths, KEYS, {})
        await wake_feed(client, "adt")
        process.kill()
        process.wait()
    with pytest.raises(TemporalUnavailableError):
        await wake_feed(client, "adt")
    async with asyncio.timeout(PATIENCE_S):
        while not any(record.name.startswith("temporalio.core") for record in caplog.records):  # noqa: ASYNC110 - the SDK sets no event
            await asyncio.sleep(0.05)
    assert "Unavailable" not in capfd.readouterr().err


async def test_a_server_that_comes_late_or_moves_is_reached_all_the_same(paths: Paths) -> None:
    reach = Reach(paths, KEYS, {})
    with pytest.raises(TemporalUnavailableError):
        await reach.client()
    with server(paths) as first:
        where = await embedded.until_ready(paths, seconds=PATIENCE_S)
        await wake_feed(await reach.client(), "adt")
        before = await reach.client()
        assert await reach.client() is before
        first.kill()
        first.wait()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((embedded.HOST, int(where.rpartition(":")[2])))
        taken.listen()
        with server(paths):
            async with asyncio.timeout(PATIENCE_S):
                while await embedded.until_ready(paths, seconds=PATIENCE_S) == where:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.05)
            await wake_feed(await reach.client(), "adt")
            assert await reach.client() is not before

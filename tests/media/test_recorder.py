"""Recordings: both voices in their places, and what is left when the disk, the process or the clock fails."""

import asyncio
import io
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from hub.audio import frequencies, tone
from hub.g711 import RATE, Codec, Pcm, encode
from hub.security.container import binding_of, ended, read, recover
from hub.tape import AGENT, CALLER, Frame, channels, frames, stereo_wav
from media.recorder import BACKLOG, SUFFIX, Place, Recorder, Track
from media.rtp import FRAME
from tests.media.farend import EVENT, far_end, relay
from tests.media.kept import Kept

KEY, LANE = bytes(range(32)), b"lane-id-of-16-by"
AAD = binding_of(b"t" * 16, 4, UUID(int=9))


def place_in(directory: Path, name: str = "one") -> Place:
    return Place(directory / f"{name}{SUFFIX}", KEY, AAD, LANE)


def said(track: Track, pcm: Pcm, *, at: float, stamp: int = 0, ssrc: int = 1, codec: Codec = Codec.PCMU) -> None:
    """Let the leg hear `pcm`, its first packet at `at` on the loop's clock."""
    coded = encode(codec, pcm)
    for number, place in enumerate(range(0, len(coded), FRAME)):
        timestamp = stamp + place & 0xFFFFFFFF
        track.heard(codec, ssrc, timestamp, coded[place : place + FRAME], at + number * 0.02)


def now() -> float:
    return asyncio.get_running_loop().time()


def tape(path: Path) -> list[Frame]:
    with read(path, KEY, AAD) as reader:
        return list(frames(reader))


def hz(pcm: Pcm) -> list[int]:
    return [round(peak.hz / 10) * 10 for peak in frequencies(pcm)]


async def test_both_voices_are_on_their_sides_and_nothing_is_in_clear(tmp_path: Path) -> None:
    recorder = Recorder()
    recording = recorder.record(place_in(tmp_path))
    assert recording.state == "recording"
    began = recording._began_at
    said(recording.track(CALLER), tone(440, seconds=1), at=began, stamp=0xFFFFFF00)
    said(recording.track(AGENT), tone(620, seconds=0.5), at=began + 0.5, codec=Codec.PCMA)
    done = await recording.stop()
    assert (done.state, recording.state, done.reason) == ("sealed", "sealed", "")
    assert done.seconds == pytest.approx(1, abs=0.05)
    left, right = channels(tape(recording.path))
    assert (hz(left), hz(right[RATE // 2 :])) == ([440], [620])
    # A-law has no zero: its silence is 8.
    assert np.abs(right[: RATE // 2 - 400]).max() <= 8
    assert encode(Codec.PCMU, tone(440, seconds=1))[800:960] not in recording.path.read_bytes()
    await recorder.close()


async def test_sound_is_placed_by_its_timestamp_not_by_when_it_came(tmp_path: Path) -> None:
    recorder = Recorder()
    recording = recorder.record(place_in(tmp_path))
    track, began = recording.track(CALLER), now()
    for number in (0, 2, 1, 3, 9):
        jitter = 0.08 * (number % 2)
        track.heard(Codec.PCMU, 1, 5000 + number * FRAME, bytes([number]) * FRAME, began + number * 0.02 + jitter)
    await recording.stop()
    heard = tape(recording.path)
    first = heard[0].position
    assert [((frame.position - first) // FRAME, frame.payload[0]) for frame in heard] == [
        (0, 0),
        (2, 2),
        (1, 1),
        (3, 3),
        (9, 9),
    ]
    await recorder.close()


async def test_a_new_stream_or_a_leap_of_its_clock_is_placed_by_ours(tmp_path: Path) -> None:
    recorder = Recorder()
    recording = recorder.record(place_in(tmp_path))
    track, began = recording.track(CALLER), recording._began_at
    said(track, tone(440, seconds=0.1), at=began, stamp=100)
    said(track, tone(440, seconds=0.1), at=began + 1, stamp=3_000_000)
    said(track, tone(440, seconds=0.1), at=began + 2, stamp=50, ssrc=2)
    await recording.stop()
    assert {round(frame.position / RATE, 1) for frame in tape(recording.path)} == {0, 0.1, 1, 1.1, 2, 2.1}
    await recorder.close()


async def test_a_sender_whose_clock_runs_fast_stays_in_step(tmp_path: Path) -> None:
    recorder = Recorder()
    recording = recorder.record(place_in(tmp_path))
    track, began = recording.track(CALLER), now()
    for number in range(5000):
        track.heard(Codec.PCMU, 1, number * 164, b"\x11" * FRAME, began + number * 0.02)
    await recording.stop()
    strayed = [abs(frame.position - index * FRAME) for index, frame in enumerate(tape(recording.path))]
    assert max(strayed) < RATE * 0.6
    await recorder.close()


async def test_what_came_before_the_beginning_is_left_out(tmp_path: Path) -> None:
    recorder = Recorder()
    recording = recorder.record(place_in(tmp_path))
    track, began = recording.track(CALLER), now()
    track.heard(Codec.PCMU, 1, 1000, b"\x11" * FRAME, began)
    track.heard(Codec.PCMU, 1, 1000 - 5 * FRAME, b"\x22" * FRAME, began + 0.02)
    track.heard(Codec.PCMU, 2, 1000, b"\x33" * FRAME, began - 3)
    await recording.stop()
    assert [frame.payload[0] for frame in tape(recording.path)] == [0x11]
    await recorder.close()


async def test_stopping_twice_is_once_and_later_sound_is_left_out(tmp_path: Path) -> None:
    recorder = Recorder()
    recording = recorder.record(place_in(tmp_path))
    track = recording.track(CALLER)
    said(track, tone(440, seconds=0.2), at=now())
    first, second = await asyncio.gather(recording.stop(), recording.stop())
    assert first == second
    said(track, tone(440, seconds=0.2), at=now() + 0.2)
    assert await recording.stop() == first
    assert len(tape(recording.path)) == 10
    await recorder.close()


async def test_many_recordings_share_the_thread_and_closing_seals_them_all(tmp_path: Path) -> None:
    recorder = Recorder(flush_seconds=0.01)
    recordings = [recorder.record(place_in(tmp_path, f"{number}")) for number in range(20)]
    for recording in recordings:
        said(recording.track(CALLER), tone(440, seconds=0.1), at=now())
    await recorder.close()
    assert {recording.state for recording in recordings} == {"sealed"}
    assert {len(tape(recording.path)) for recording in recordings} == {5}


async def test_recordings_that_begin_together_do_not_go_to_the_disk_together(tmp_path: Path) -> None:
    recorder = Recorder(flush_seconds=10.0)
    recordings = [recorder.record(place_in(tmp_path, f"{number}")) for number in range(20)]
    for recording in recordings:
        said(recording.track(CALLER), tone(440, seconds=0.1), at=now())
    async with asyncio.timeout(20):
        while not any(recording.written for recording in recordings):  # noqa: ASYNC110 - the thread tells nobody
            await asyncio.sleep(0)
    assert sum(recording.written > 0 for recording in recordings) < 5
    await recorder.close()


async def test_a_place_that_cannot_be_written_fails_at_once_and_alone(tmp_path: Path) -> None:
    recorder = Recorder()
    (tmp_path / "file").touch()
    (tmp_path / f"taken{SUFFIX}").touch()
    bad = [recorder.record(place_in(tmp_path / "file")), recorder.record(place_in(tmp_path, "taken"))]
    wrong = recorder.record(Place(tmp_path / f"wrong{SUFFIX}", KEY, AAD, b"short"))
    good = recorder.record(place_in(tmp_path / "new", "good"))
    results = await asyncio.gather(*[recording.ended for recording in [*bad, wrong]])
    assert [result.state for result in results] == ["failed"] * 3
    assert [result.reason for result in results] == ["File exists", "File exists", "ValueError"]
    for recording in [*bad, wrong, good]:
        said(recording.track(CALLER), tone(440, seconds=0.2), at=now())
    assert (await bad[0].stop()).state == "failed"
    assert (await good.stop()).state == "sealed"
    assert good.path.parent.stat().st_mode & 0o777 == 0o700
    await recorder.close()


async def test_a_disk_that_does_not_keep_up_ends_the_recording_and_not_the_memory(tmp_path: Path) -> None:
    recorder = Recorder()
    recording = recorder.record(place_in(tmp_path))
    track = recording.track(CALLER)
    # The loop is not let go, so nothing is heard of what was written: as if the disk stood still.
    seconds = 0
    while recording.state == "recording":
        assert seconds < 2 * BACKLOG // 8000
        said(track, tone(440, seconds=1), at=now())
        recording.hand_over()
        seconds += 1
    assert (await recording.ended).reason == "the disk does not keep up"
    await recorder.close()
    assert recover(recording.path, KEY, AAD).size > 0


FULL_DISK = """
import asyncio, resource, sys
from pathlib import Path
from media.recorder import Place, Recorder
async def main():
    recorder = Recorder(flush_seconds=0.01)
    recording = recorder.record(Place(Path(sys.argv[1]), bytes(range(32)), bytes.fromhex(sys.argv[2]), b"l" * 16))
    track, heard = recording.track(0), 0
    loop = asyncio.get_running_loop()
    while not recording.ended.done():
        track.heard(0, 1, heard * 160, b"\\x11" * 160, loop.time())
        heard += 1
        if heard == 20:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
        await asyncio.sleep(0.001)
    track.heard(0, 1, heard * 160, b"\\x11" * 160, loop.time())
    print(recording.state, recording.ended.result().reason)
    await recorder.close()
asyncio.run(main())
"""


def test_a_full_disk_ends_the_recording_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / f"full{SUFFIX}"
    program = [sys.executable, "-c", FULL_DISK, str(path), AAD.hex()]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "failed File too large\n"
    found = recover(path, KEY, AAD)
    assert 15_000 < found.size < 20_000
    assert {frame.payload for frame in tape(path)} == {b"\x11" * 160}


KILLED = """
import asyncio, sys
from pathlib import Path
from hub.audio import tone
from hub.g711 import Codec, encode
from media.recorder import Place, Recorder
caller, agent = encode(Codec.PCMU, tone(440, seconds=60)), encode(Codec.PCMA, tone(620, seconds=60))
async def main():
    recorder = Recorder(flush_seconds=0.05)
    recording = recorder.record(Place(Path(sys.argv[1]), bytes(range(32)), bytes.fromhex(sys.argv[2]), b"l" * 16))
    tracks, began, said = (recording.track(0), recording.track(1)), asyncio.get_running_loop().time(), 0
    for number in range(3000):
        at = number * 160
        tracks[0].heard(Codec.PCMU, 1, at, caller[at:at + 160], began + number * 0.02)
        tracks[1].heard(Codec.PCMA, 2, at, agent[at:at + 160], began + number * 0.02)
        if recording.written != said:
            said = recording.written
            print(said, flush=True)
        await asyncio.sleep(0.002)
asyncio.run(main())
"""


def test_after_kill_9_all_that_was_flushed_is_there_and_can_be_sealed(tmp_path: Path) -> None:
    path = tmp_path / f"killed{SUFFIX}"
    flushed_bytes = 0
    with subprocess.Popen([sys.executable, "-c", KILLED, path, AAD.hex()], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        while flushed_bytes < 2 * 40 * 168:
            flushed_bytes = int(child.stdout.readline())
        child.kill()
    assert not ended(path)
    found = recover(path, KEY, AAD)
    assert found.size >= flushed_bytes
    assert found.kept is None
    assert ended(path)
    left, right = channels(tape(path))
    assert (hz(left), hz(right)) == ([440], [620])
    assert len(left) >= 40 * FRAME


async def test_a_bridged_call_is_recorded_with_both_voices(tmp_path: Path) -> None:
    recorder = Recorder()
    async with relay() as engine, far_end(Codec.PCMU, 1) as caller, far_end(Codec.PCMA, 2) as agent:
        to_caller, to_agent = await engine.allocate(), await engine.allocate()
        to_caller.connect(caller.address, Codec.PCMU, EVENT)
        to_agent.connect(agent.address, Codec.PCMA, EVENT)
        engine.bridge(to_caller, to_agent)
        late = Kept()
        recording = recorder.record(place_in(tmp_path))
        to_caller.tap(recording.track(CALLER))
        to_agent.tap(recording.track(AGENT))
        await asyncio.gather(
            caller.say(to_caller.local, tone(440, seconds=0.4)), agent.say(to_agent.local, tone(620, seconds=0.4))
        )
        await asyncio.gather(caller.hear(20), agent.hear(20))
        done = await recording.stop()
    await recorder.close()
    assert done.seconds == pytest.approx(0.4, abs=0.3 + late.seconds)
    left, right = channels(tape(recording.path))
    assert (hz(left), hz(right)) == ([440], [620])
    with read(recording.path, KEY, AAD) as reader:
        assert stereo_wav(io.BytesIO(reader.read()))[:4] == b"RIFF"


async def test_what_is_said_during_a_pause_is_not_kept_and_what_follows_stands_where_the_clock_says(
    tmp_path: Path,
) -> None:
    recorder = Recorder()
    recording = recorder.record(place_in(tmp_path))
    track, began = recording.track(CALLER), recording._began_at
    said(track, tone(440, seconds=0.2), at=began)
    recording.pause()
    recording.pause()
    said(track, tone(1000, seconds=0.4), at=began + 0.2, stamp=1600)
    recording.resume()
    said(track, tone(620, seconds=0.2), at=began + 0.6, stamp=4800)
    done = await recording.stop()
    assert done.seconds == pytest.approx(0.8, abs=0.02)
    kept = tape(recording.path)
    assert len(kept) == 20
    left, _ = channels(kept)
    assert [hz(left[at : at + RATE // 5]) for at in (0, 4800)] == [[440], [620]]
    assert not left[1600:4800].any()
    await recorder.close()


async def test_a_recording_that_ends_in_a_pause_is_as_long_as_what_was_heard(tmp_path: Path) -> None:
    recorder = Recorder()
    recording = recorder.record(place_in(tmp_path))
    track, began = recording.track(CALLER), recording._began_at
    said(track, tone(440, seconds=0.2), at=began)
    recording.pause()
    said(track, tone(440, seconds=1), at=began + 0.2, stamp=1600)
    done = await recording.stop()
    assert done.state == "sealed"
    assert done.seconds == pytest.approx(0.2, abs=0.02)
    await recorder.close()


def test_a_key_is_not_shown(tmp_path: Path) -> None:
    assert str(KEY) not in repr(place_in(tmp_path))

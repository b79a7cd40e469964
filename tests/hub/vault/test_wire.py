"""The vault's messages: their exact bytes, their limits, and every way to cut them."""

import socket
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.vault import wire
from hub.vault.wire import Asked, Op, Request, Status

KID, SUBJECT, LANE = b"\x01" * 16, b"\x02" * 16, b"\x03" * 80
OBJECT = b"\x00\x01" + b"\x04" * 16
UNWRAP = Request(1, 7, Op.UNWRAP, 99, "a", "r", "p", "", None, [Asked(KID, SUBJECT, LANE, (OBJECT,))])

BYTES = b"".join(
    [
        b"\x9a\x01\x07\x01\x63",  # array of 10: version 1, id 7, unwrap, deadline 99
        b"\xa1a\xa1r\xa1p\xa0\xc0",  # actor, role, purpose, no session, no reason
        b"\x91\x94\xc4\x10" + KID + b"\xc4\x10" + SUBJECT + b"\xc4\x50" + LANE,
        b"\x91\xc4\x12" + OBJECT,
    ]
)
"An unwrap as docs/reference/vault-protocol.md lays it out."


def encoded(*, groups: object = (), **changed: object) -> bytes:
    fields: dict[str, object] = {"v": 1, "id": 7, "op": 1, "deadline": 99, "actor": "a", "role": "r"}
    fields |= {"purpose": "p", "session": "", "reason": None}
    return msgspec.msgpack.encode([*(fields | changed).values(), groups])


def test_unwrap_is_read_from_its_documented_bytes() -> None:
    assert wire.request_of(BYTES) == UNWRAP


def test_a_request_round_trips() -> None:
    (body,) = wire.frames(bytearray(wire.frame(UNWRAP)))
    assert wire.request_of(body) == UNWRAP


def test_a_reply_is_read_from_its_documented_bytes() -> None:
    reply = wire.reply_of(b"\x94\x07\x00\xcd\x01\x00\x91\x91\xc4\x02ab")
    assert (reply.id, reply.status, reply.seq, reply.keys, reply.detail) == (7, Status.OK, 256, [[b"ab"]], {})


@pytest.mark.parametrize("length", range(len(BYTES)))
def test_a_request_cut_anywhere_is_refused(length: int) -> None:
    with pytest.raises(msgspec.DecodeError):
        wire.request_of(BYTES[:length])


@pytest.mark.parametrize(
    "changed",
    [
        {"v": 2},
        {"id": -1},
        {"id": 1 << 32},
        {"op": 99},
        {"deadline": -1},
        {"actor": "a" * 129},
        {"reason": "r" * 501},
        {"groups": [(KID[:15], SUBJECT, LANE, [OBJECT])]},
        {"groups": [(KID, SUBJECT + b"x", LANE, [OBJECT])]},
        {"groups": [(KID, SUBJECT, LANE + b"x", [OBJECT])]},
        {"groups": [(KID, SUBJECT, LANE, [OBJECT[:17]])]},
        {"groups": [(KID, SUBJECT, LANE, [])] * 101},
        {"groups": [(KID, SUBJECT, LANE, [OBJECT] * 251)] * 2},
    ],
)
def test_what_is_beyond_the_limits_is_refused_with_its_id(changed: dict[str, object]) -> None:
    body = encoded(**changed)
    with pytest.raises(msgspec.ValidationError):
        wire.request_of(body)
    assert wire.number_of(body) == (7 if "id" not in changed else 0)


def test_limits_themselves_are_allowed() -> None:
    groups = [(KID, SUBJECT, LANE, [OBJECT] * 5)] * 100
    assert wire.request_of(encoded(groups=groups)).weight == 500


@given(st.binary(max_size=64))
def test_noise_is_refused_and_nothing_else_happens(noise: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        wire.request_of(noise)


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 50))
def test_frames_come_out_whole_however_the_stream_is_cut(bodies: list[bytes], step: int) -> None:
    stream = b"".join(wire.frame(msgspec.Raw(body) if body else None) for body in bodies)
    buffer = bytearray()
    out: list[bytes] = []
    for at in range(0, len(stream), step):
        buffer += stream[at : at + step]
        out += wire.frames(buffer)
    assert out == [body or b"\xc0" for body in bodies]
    assert not buffer


def test_a_frame_longer_than_any_message_ends_the_conversation() -> None:
    buffer = bytearray(wire.frame(1) + (wire.MAX_FRAME + 1).to_bytes(4, "big"))
    with pytest.raises(ValueError, match="too long"):
        list(wire.frames(buffer))


def test_a_note_of_ids_and_codes_is_allowed() -> None:
    wire.check_note("appointment.write", {"connection": "ehr", "count": 3, "status": "SIU^S12", "digest": "a1" * 32})


@pytest.mark.parametrize(
    ("act", "detail"),
    [
        ("Write", {}),
        ("", {}),
        ("write it", {}),
        ("write", {"said": "Robin Example"}),
        ("write", {"phone": "+12125550123"}),
        ("write", {"long": "a" * 161}),
        ("write", {"Bad name": "x"}),
        ("write", {f"n{number}": number for number in range(17)}),
    ],
)
def test_a_note_that_could_hold_more_is_refused(act: str, detail: dict[str, str | int]) -> None:
    with pytest.raises(ValueError, match=r"code|details") as caught:
        wire.check_note(act, detail)
    assert "Robin" not in str(caught.value)


def test_a_socket_below_a_deep_directory_can_be_reached(tmp_path: Path) -> None:
    directory = tmp_path / ("deep" * 30)
    directory.mkdir()
    path = directory / "vault.sock"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as caller:
        with wire.address(path) as address:
            listener.bind(address)
        listener.listen()
        with wire.address(path) as address:
            caller.connect(address)
        with listener.accept()[0] as end:
            assert wire.peer(end) == wire.peer(caller)

"""What the gateway makes of what two pages say to each other of their keys."""

from dataclasses import replace

from media.browser import sealing
from media.offer import offer_audio


def test_what_is_too_long_for_a_key_is_not_passed_on() -> None:
    plain = offer_audio(("127.0.0.1", 20_000))
    assert sealing.said_in(sealing.told(plain, "commit abc")) == "commit abc"
    assert sealing.unsealed(sealing.told(plain, "commit abc")) == plain
    assert sealing.told(plain, "") is plain
    assert sealing.said_in(sealing.told(plain, "x" * 257)) == ""
    assert sealing.said_in(replace(plain, media=())) == ""
    assert sealing.said_in(None) == ""

"""ng: whatever comes for an answer of rtpengine's, it is read or refused, and figures are figures."""

from media.errors import ProtocolError
from media.rtpengine.ng import answer_in, request
from media.rtpengine.seen import seen_in


def one(data: bytes) -> None:
    """Take `data` for an answer."""
    try:
        cookie, answer = answer_in(data)
    except ProtocolError:
        return
    assert answer_in(request(cookie, answer)) == (cookie, answer)
    seen = seen_in(answer, "far", "gate")
    for quality in (seen.coming, seen.going):
        assert quality.lost >= 0
        assert quality.loss is None or isinstance(quality.loss, float)

"""SDP: whatever is offered, it is read or refused, says the same when it is written, and gets an answer that stands."""

from contextlib import suppress

from media.errors import ProtocolError, UnacceptableError
from media.offer import answer_audio, offer_audio, settle
from media.sdp import Session

HERE, THERE = ("192.0.2.1", 20000), ("198.51.100.7", 30000)


def one(data: bytes) -> None:
    """Take `data` for an offer, and for an answer to ours."""
    try:
        session = Session.parse(data)
    except ProtocolError:
        return
    assert Session.parse(bytes(session)) == session
    for media in session.media:
        _ = (media.held, media.codec("telephone-event"))
    with suppress(UnacceptableError):
        settle(offer_audio(HERE), session)
    with suppress(UnacceptableError):
        answer, agreed = answer_audio(session, HERE)
        assert len(answer.media) == len(session.media)
        assert Session.parse(bytes(answer)) == answer
        assert agreed.codec in next(media.codecs for media in answer.media if media.port)
        # Who offered this reads the answer as we mean it.
        theirs = settle(session, answer)
        assert (theirs.receives, theirs.sends) == (agreed.sends, agreed.receives)

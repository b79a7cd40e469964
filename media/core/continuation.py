"""What a leg that moved says to its far end: the session that it has always had, from another process."""

from dataclasses import replace

from media.sdp import Session


def continued(session: Session, before: Session | None, *, offer: bool) -> tuple[Session, int]:
    """Return what a core says, as the far end must hear it after `before`, and which section of it is the core's first.

    A leg that moved is new to its core, but not to its far end: there the session has its name and counts its versions,
    and an offer keeps the sections that were there (RFC 3264 section 8).
    """
    if before is None:
        return session, 0
    if session.origin.session_id != before.origin.session_id:
        session = replace(session, origin=before.origin.next())
    if not offer or len(session.media) != 1 or len(before.media) < 2:
        return session, 0
    used = next((place for place, media in enumerate(before.media) if media.port), 0)
    sections = [replace(media, port=0, attributes=()) for media in before.media]
    sections[used] = session.media[0]
    return replace(session, media=tuple(sections)), used


def section_of(answer: Session, place: int) -> Session:
    """Return what an answer says to the section of our offer that is the core's."""
    return replace(answer, media=answer.media[place : place + 1]) if place else answer

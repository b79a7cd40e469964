"""Bodies of several parts, read back by the standard library's own parser."""

from email import policy
from email.parser import BytesParser

from media.sip.multipart import Part, mixed


def test_parts_come_back_as_they_were() -> None:
    sdp, place = b"v=0\r\ns=-\r\n", b"<presence/>"
    content_type, body = mixed([Part("application/sdp", sdp), Part("application/pidf+xml", place, "here@example")])
    message = BytesParser(policy=policy.HTTP).parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    assert message.get_content_type() == "multipart/mixed"
    first, second = message.iter_parts()
    assert (first.get_content_type(), first.get_payload(decode=True)) == ("application/sdp", sdp)
    assert (second.get_content_type(), second.get_payload(decode=True)) == ("application/pidf+xml", place)
    assert (first["Content-ID"], second["Content-ID"]) == (None, "<here@example>")


def test_a_part_alone_is_no_multipart() -> None:
    assert mixed([Part("application/sdp", b"v=0\r\n")]) == ("application/sdp", b"v=0\r\n")

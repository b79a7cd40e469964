"""A call while it is happening: SIP and RTP."""

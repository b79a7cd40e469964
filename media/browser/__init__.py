"""The browser's side of a call: ICE and DTLS under the same sound as any other leg's (RFC 8834, RFC 8835)."""

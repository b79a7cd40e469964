"""Pieces that the policies of several tests are put together from; each begins with an empty line."""

HARBOR = """
[practice]
name = "Harbor Family Medicine"
timezone = "America/New_York"
"""

ADT = """
[[connection]]
name = "adt"
connector = "hl7v2"
settings = { listen = "127.0.0.1:2575", timezone = "America/New_York" }
"""


def sms(token: str, secret: str) -> str:
    """Return a carrier at port 9, which is nobody's (discard); its secrets are files of the instance."""
    return f"""
[[connection]]
name = "sms"
connector = "sandbox-sms"
settings = {{ base_url = "http://127.0.0.1:9", token = "file:{token}", secret = "file:{secret}" }}
"""

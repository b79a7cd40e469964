"""The sandbox practice: its policy with free ports, in a zone where it is mid-morning, and the secrets it names."""

import base64
import secrets
from datetime import UTC, datetime
from importlib import resources
from string import Template
from typing import Final

from connectors.sandbox.people import morning
from hub.demo.ports import free_port
from hub.settings import Paths

RTP_PORTS: Final = 2000
"How many ports a sandbox keeps for RTP."

SECRETS: Final = ("carrier.token", "carrier.secret", "pop.secret")
"Files in keys/ that the policy names."


def practice_toml(now: datetime | None = None) -> str:
    """Return the sandbox's practice.toml; ports are free now, and two sandboxes on one machine do not meet."""
    first = 20000 + secrets.randbelow(5) * RTP_PORTS
    words = {
        "timezone": morning(now or datetime.now(UTC)).key,
        "rtp": f"{first}-{first + RTP_PORTS - 1}",
        **{name: free_port() for name in ("sip", "http", "ehr", "mllp", "carrier", "crm")},
    }
    return Template(resources.files("hub.demo").joinpath("practice.toml").read_text()).substitute(words)


def make_secrets(paths: Paths) -> None:
    """Make the secrets that the sandbox's policy names."""
    for name in SECRETS:
        path = paths.keys / name
        path.touch(mode=0o600)
        prefix = "whsec_" if name == "pop.secret" else ""
        path.write_text(prefix + base64.b64encode(secrets.token_bytes(32)).decode() + "\n")

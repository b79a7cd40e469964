"""An org, the connector that speaks to it as the host built it, and the clock of both."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from connectors import host
from connectors.api import Context
from connectors.salesforce import Salesforce
from tests.connectors.salesforce.schema import KEY_FIELD
from tests.connectors.salesforce.server import CLIENT_SECRET, CONSUMER, INSTANCE, LOGIN, USERNAME, Org
from tests.connectors.stage import Clock, context

AGREED = ("patient.phone", "communication.topic", "communication.body", "communication.phone")
"An agreement that lets the CRM be told of everything it could be told of."


@cache
def pair(number: int) -> tuple[str, bytes]:  # noqa: ARG001 - it only tells them apart
    """Return a private key in PEM and its public half; `number` tells pairs apart, all are made for this run."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem.decode(), public


@dataclass
class World:
    org: Org
    clock: Clock

    def connector(self, *, agreed: tuple[str, ...] = AGREED, **changed: Any) -> Salesforce:
        """Return the connector of a connection with the settings of a JWT sign-in, but for what is `changed`."""
        written = {
            "instance_url": self.org.instance,
            "login_url": self.org.login,
            "client_id": CONSUMER,
            "username": USERNAME,
            "private_key": "env:KEY",
            "external_id_field": KEY_FIELD,
            "objects": ["Contact", "Lead", "PersonAccount"],
        } | changed
        kept = {name: value for name, value in written.items() if value is not None}
        secrets = {"env:KEY": pair(0)[0], "env:OTHER": pair(1)[0], "env:SECRET": CLIENT_SECRET, "env:NONE": "no key"}
        built = host.build("salesforce", kept, secrets.__getitem__, fields=agreed)
        assert isinstance(built, Salesforce)
        return built

    def context(self, connector: Salesforce) -> Context:
        return context(connector, self.org.app, clock=self.clock)


def world(*, instance: str = INSTANCE, login: str = LOGIN) -> World:
    clock = Clock()
    return World(Org(pair(0)[1], clock, instance, login), clock)

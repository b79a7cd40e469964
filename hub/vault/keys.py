"""The key tree: one root in a file; every other key is derived from it by HKDF or wrapped under it (file key provider).

keys/root.key        32 random bytes, or the same sealed under a passphrase; mode 0600
├── database, inbox  SQLCipher keys of chartline.db and inbox.db
├── index            root of the blind indexes
├── codec, pop       Temporal payloads; pop tokens
├── audit, keys      SQLCipher keys of audit/audit.db and keys/keys.db, which no other process gets
├── sign-audit       Ed25519, signs checkpoints; its public half lies in audit/public.key
├── sign-pool        Ed25519, signs the pool's public keys
└── wrap             AES-256-GCM over the key-encryption keys in keys.db, one an epoch, which wrap subjects' keys
"""

import base64
import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from hub.errors import ConflictError, UnavailableError
from hub.vault.client import ServiceKeys
from hub.vault.home import Places
from hub.vault.log import Log
from hub.vault.ring import Ring

KEY_BYTES = 32
PASSPHRASE = "CHARTLINE_PASSPHRASE"  # noqa: S105 - the name of the variable
ROOT_FILE = "root.key"
PUBLIC_FILE = "public.key"

ARGON2 = {"time_cost": 3, "memory_cost": 65536, "parallelism": 4}
"Second recommended option of RFC 9106 section 4; it costs a start about 0.1 s."

DRAIN = "drain"
"The vault's own courier; nobody else may boot as it."

_ALL = frozenset({"database", "inbox", "index", "codec", "pop"})
RIGHTS: dict[str, frozenset[str]] = {
    "hub": _ALL,
    "workflows": _ALL,
    "media": _ALL,
    "cli": _ALL,
    "feeds": _ALL - {"pop"},
    DRAIN: frozenset({"database", "inbox"}),
}
"Which keys a service gets at its start; docs/reference/vault-protocol.md says why."


class RootKeyError(UnavailableError):
    """The root key cannot be read: no file, another passphrase, or a file that others can read."""

    code = "root-key"
    retry = False


class KeysExistError(ConflictError):
    """The instance has keys already; making new ones would lose everything sealed under them."""

    code = "keys-exist"


@dataclass(frozen=True, slots=True)
class Root:
    """The root key of one practice."""

    tenant: UUID
    secret: bytes = field(repr=False)

    def derive(self, name: str) -> bytes:
        """Return the 32-byte key called `name` (HKDF-SHA256, RFC 5869; the tenant is the salt)."""
        info = b"chartline/v1/" + name.encode()
        return HKDF(SHA256(), KEY_BYTES, self.tenant.bytes, info).derive(self.secret)

    def signer(self, name: str) -> Ed25519PrivateKey:
        """Return the signing key called `name` (RFC 8032)."""
        return Ed25519PrivateKey.from_private_bytes(self.derive(f"sign-{name}"))

    def service_keys(self, service: str) -> ServiceKeys:
        """Return what `service` gets at its start.

        Raises:
            KeyError: there is no such service.
        """
        rights = RIGHTS[service]
        keys = {name: self.derive(name) if name in rights else b"" for name in _ALL}
        public = self.signer("pool").public_key().public_bytes_raw()
        return ServiceKeys(tenant=self.tenant.bytes, pool_public=public, **keys)

    def log(self, paths: Places) -> Log:
        """Open the audit log."""
        return Log(paths.audit / "audit.db", self.derive("audit"), self.signer("audit"))

    def ring(self, paths: Places) -> Ring:
        """Open the subjects' keys."""
        path = paths.keys / "keys.db"
        return Ring(path, self.derive("keys"), wrap=self.derive("wrap"), signer=self.signer("pool"), tenant=self.tenant)


def init(paths: Places, tenant: UUID, *, passphrase: str | None = None) -> None:
    """Make the keys of a new instance, and the first record of its audit log.

    With `passphrase` (or CHARTLINE_PASSPHRASE in the environment) the root key is sealed under it, and the vault
    needs it at every start.

    Raises:
        KeysExistError: there are keys.
    """
    passphrase = passphrase or os.environ.get(PASSPHRASE)
    for directory in (paths.keys, paths.audit):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
    root = Root(tenant, secrets.token_bytes(KEY_BYTES))
    _write_root(paths.keys / ROOT_FILE, root, passphrase)
    root.ring(paths).close()
    public = root.signer("audit").public_key().public_bytes_raw()
    (paths.audit / PUBLIC_FILE).write_text(base64.b64encode(public).decode() + "\n")
    log = root.log(paths)
    log.append([{"act": "init", "actor": "system:init", "role": "system", "purpose": "operations"}])
    log.close()


def load(paths: Places, *, passphrase: str | None = None) -> Root:
    """Read the root key; the passphrase comes from CHARTLINE_PASSPHRASE when it is not given.

    Raises:
        RootKeyError: no such file, others may read it, or the passphrase does not open it.
    """
    path = paths.keys / ROOT_FILE
    try:
        if path.stat().st_mode & 0o077:
            raise RootKeyError("keys/root.key must have mode 0600")
        kept = json.loads(path.read_bytes())
        return _opened(kept, passphrase or os.environ.get(PASSPHRASE))
    except OSError as error:
        raise RootKeyError(f"keys/root.key: {os.strerror(error.errno or 0)}") from None
    except (ValueError, KeyError, TypeError):
        raise RootKeyError("keys/root.key is damaged") from None
    except InvalidTag:
        raise RootKeyError("the passphrase does not open keys/root.key") from None


def _opened(kept: dict[str, Any], passphrase: str | None) -> Root:
    tenant = UUID(kept["tenant"])
    if "root" in kept:
        return Root(tenant, base64.b64decode(kept["root"], validate=True))
    if not passphrase:
        raise RootKeyError(f"keys/root.key is sealed: set {PASSPHRASE}")
    cost = {name: int(kept[name]) for name in ARGON2}
    key = _stretched(passphrase, base64.b64decode(kept["salt"]), cost)
    sealed = base64.b64decode(kept["sealed"])
    return Root(tenant, AESGCM(key).decrypt(sealed[:12], sealed[12:], tenant.bytes))


def _write_root(path: Path, root: Root, passphrase: str | None) -> None:
    kept: dict[str, Any] = {"v": 1, "tenant": str(root.tenant)}
    if passphrase:
        salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
        sealed = nonce + AESGCM(_stretched(passphrase, salt, ARGON2)).encrypt(nonce, root.secret, root.tenant.bytes)
        kept |= {**ARGON2, "salt": base64.b64encode(salt).decode(), "sealed": base64.b64encode(sealed).decode()}
    else:
        kept["root"] = base64.b64encode(root.secret).decode()
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KeysExistError("keys/root.key exists") from None
    with os.fdopen(file, "wb") as out:
        out.write(json.dumps(kept).encode() + b"\n")
        out.flush()
        os.fsync(out.fileno())
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)  # the name too: nothing can be made anew from what a power cut takes here
    finally:
        os.close(directory)


def _stretched(passphrase: str, salt: bytes, cost: dict[str, int]) -> bytes:
    return hash_secret_raw(passphrase.encode(), salt, hash_len=KEY_BYTES, type=Type.ID, **cost)

"""What writers and the vault must derive alike: the binding of lanes and pool keys, and the keys of objects.

lane secret S, HPKE-sealed to the subject's public key (RFC 9180: X25519, HKDF-SHA256, AES-256-GCM)
object key  = HMAC-SHA256(S, "rec1" | table u16 | object id)
"""

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.hmac import HMAC

SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
X25519 = 1
"First byte of a key id: which suite the key is of."

SECRET_BYTES = 32


def lane_info(tenant: bytes, kid: bytes, subject: bytes) -> bytes:
    """Return what binds a lane to its practice, key and subject (HPKE `info`)."""
    return b"hub/v1/lane" + tenant + kid + subject


def pool_message(tenant: bytes, kid: bytes, public: bytes) -> bytes:
    """Return what the vault signs for a public key of the pool."""
    return b"hub/v1/pub" + tenant + kid + public


def derive(state: HMAC, item: bytes) -> bytes:
    """Return the key of `item` (table u16, object id) in the lane whose keyed HMAC is `state`."""
    mac = state.copy()
    mac.update(b"rec1" + item)
    return mac.finalize()

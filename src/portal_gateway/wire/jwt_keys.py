"""The keys that tokens are verified with, all for one algorithm, which the configuration pins.

They are one secret, one public key, or a set of them that the issuer publishes (a JWK Set, RFC 7517
section 5). Each is made for the algorithm when it is read, so that nothing that a token says can
have a public key taken for a secret (RFC 8725 section 2.1). What the algorithms are, how keys look,
and the verifying itself is PyJWT's.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from jwt import PyJWK
from jwt.algorithms import get_default_algorithms
from jwt.exceptions import PyJWTError

from portal_gateway.wire.jwt_parsing import BadToken, read_json_object

__all__ = ["MAX_KEY_SET_BYTES", "KeySet", "UnusableKeySet", "UnusableVerifyingKey"]

MAX_KEY_SET_BYTES: Final = 256 * 1024
"""The largest JWK Set that is read. An issuer's has a few keys of about a kilobyte."""

_MOST_KEYS: Final = 100
"""Keys of one set: each takes some 0.1 ms to make."""

_RSA_BITS: Final = range(2048, 8192 + 1)
"""RFC 7518 section 3.3 has the least; above the most, verifying takes milliseconds."""

_REFUSALS: Final = (PyJWTError, ValueError, TypeError, KeyError, UnsupportedAlgorithm)
"""What PyJWT and cryptography raise for keys that they cannot use. Their messages quote keys."""


class UnusableKeySet(Exception):
    """What was fetched is no JWK Set, or has no key for the algorithm."""


class UnusableVerifyingKey(Exception):
    """The argument says why a key cannot be used, and quotes nothing of it."""


class KeySet:
    """Keys by their ``kid``. Its ``repr`` shows none."""

    __slots__ = ("_algorithm", "_by_name", "_only", "algorithm_name")

    def __init__(self, algorithm: str, by_name: Mapping[str, Any], only: Any = None) -> None:
        self.algorithm_name = algorithm
        self._algorithm: Any = get_default_algorithms()[algorithm]
        self._by_name = by_name
        self._only = only

    def __len__(self) -> int:
        return len(self._by_name) if self._only is None else 1

    @classmethod
    def of(cls, algorithm: str, key: bytes) -> "KeySet":
        """The one key that there is, whatever a token calls it: a secret or a public key in PEM.

        Raises `UnusableVerifyingKey`.
        """
        try:
            made = get_default_algorithms()[algorithm].prepare_key(key)
        except _REFUSALS:
            raise UnusableVerifyingKey(_NOT_FOR[algorithm]) from None
        reason = _why_unusable(algorithm, made)
        if reason:
            raise UnusableVerifyingKey(reason)
        return cls(algorithm, MappingProxyType({}), made)

    @classmethod
    def published(cls, algorithm: str, data: bytes) -> "KeySet":
        """The keys for ``algorithm`` of a JWK Set; others are left out (RFC 7517 section 5).

        Of two keys with one name the first counts. A key without one is found only where it is the
        only key. Raises `UnusableKeySet`.
        """
        try:
            keys = read_json_object(data).get("keys")
        except BadToken:
            raise UnusableKeySet("it is no JSON object") from None
        if not isinstance(keys, list) or len(keys) > _MOST_KEYS:
            raise UnusableKeySet(f"it has no list of at most {_MOST_KEYS} keys")
        made = [(key.get("kid"), _made(algorithm, key)) for key in keys if _is_for(algorithm, key)]
        usable = [(name, key) for name, key in made if key is not None]
        if not usable:
            raise UnusableKeySet(f"it has no key for {algorithm}")
        by_name: dict[str, Any] = {}
        for name, key in usable:
            if isinstance(name, str):
                by_name.setdefault(name, key)
        only = usable[0][1] if len(usable) == 1 and not by_name else None
        return cls(algorithm, MappingProxyType(by_name), only)

    def find(self, name: str | None) -> Any:
        """The key that a token names by its ``kid``, or ``None``.

        A token that names none means the only key there is.
        """
        if self._only is not None:
            return self._only
        if name is not None:
            return self._by_name.get(name)
        return next(iter(self._by_name.values())) if len(self._by_name) == 1 else None

    def verifies(self, key: Any, signed: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is that of ``signed`` by a key of this set."""
        return bool(self._algorithm.verify(signed, key, signature))


def _is_for(algorithm: str, key: object) -> bool:
    """Whether a member of a set says that it is for verifying by ``algorithm``."""
    if not isinstance(key, dict) or key.get("kty") != _KEY_TYPES[algorithm] or "d" in key:
        return False
    operations = key.get("key_ops", ["verify"])
    return (
        key.get("alg", algorithm) == algorithm
        and key.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
    )


def _made(algorithm: str, key: dict[str, Any]) -> Any:
    try:
        made = get_default_algorithms()[algorithm].prepare_key(PyJWK(key, algorithm).key)
    except _REFUSALS:
        return None
    return None if _why_unusable(algorithm, made) else made


def _why_unusable(algorithm: str, key: Any) -> str:
    """What is wrong with a key that PyJWT takes; empty when nothing is."""
    if algorithm == "HS256":
        return ""
    if hasattr(key, "private_numbers") or hasattr(key, "private_bytes"):
        return "this is a private key; the gateway needs the public one, and nobody else's secret"
    if algorithm == "RS256" and key.key_size not in _RSA_BITS:
        return f"an RSA key needs {_RSA_BITS.start} to {_RSA_BITS.stop - 1} bits"
    if isinstance(key, Ed448PublicKey):
        return _NOT_FOR[algorithm]
    return ""


_KEY_TYPES: Final = {"RS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}
"""``kty`` of the keys for each algorithm that has published ones (RFC 7518, RFC 8037)."""

_NOT_FOR: Final = {
    "HS256": "this is a public key, a certificate or a JWK: who has it could sign any token",
    "RS256": "RS256 needs an RSA public key in PEM",
    "ES256": "ES256 needs an EC public key on P-256 in PEM",
    "EdDSA": "EdDSA needs an Ed25519 public key in PEM",
}

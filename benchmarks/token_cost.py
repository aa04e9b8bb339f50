"""What a token costs: time to find out whose it is, and memory for those that are known.

Run it on a quiet machine::

    python benchmarks/token_cost.py

The time is that of the whole decision from the header fields to the caller, beside that of an API
key. A token that is not known is verified anew each time.
"""

import time
import timeit

import jwt
import psutil
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from portal_gateway.config.jwt_tokens import JWTAlgorithm, JWTClaims, JWTSection
from portal_gateway.config.model import ApiKey
from portal_gateway.policy.credentials import KeyTable, sent_credential
from portal_gateway.policy.jwt_table import TokenTable
from portal_gateway.wire.jwt_keys import KeySet
from portal_gateway.wire.jwt_parsing import MAX_TOKEN_LENGTH

CALLS = 20_000
KNOWN = 10_000
NOW = time.time()

SECRET = "a secret of the issuer's, of 32 bytes and more"

CLAIMS = {
    "iss": "https://login.example.com/",
    "aud": "portal-gateway",
    "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
    "iat": int(NOW),
    "exp": int(NOW) + 3600,
    "scope": "openid profile email read write",
    "jti": "8d7f0c9a-6a44-4f8e-9a51-0b4f6f1e2a3c",
}


def table(algorithm: JWTAlgorithm, key: bytes) -> TokenTable:
    claims = JWTClaims("https://login.example.com/", "portal-gateway")
    section = JWTSection(algorithm=algorithm, claims=claims)
    return TokenTable(section, KeySet.of(algorithm, key))


def best(decide: object, calls: int = CALLS) -> float:
    return min(timeit.repeat(decide, number=calls, repeat=7)) / calls * 1e6  # type: ignore[arg-type]


def time_of_keys() -> None:
    keys = KeyTable([ApiKey.of("sk_live_0123456789abcdefghijklmnop")])
    headers = [(b"Host", b"h"), (b"Authorization", b"Bearer sk_live_0123456789abcdefghijklmnop")]

    def decide() -> None:
        credential = sent_credential(headers)
        assert isinstance(credential, bytes)
        keys.look_up(credential, NOW)

    print(f"an API key: {best(decide):.2f} µs")


def time_of_tokens(algorithm: JWTAlgorithm, private: object, public: bytes) -> None:
    token = jwt.encode(CLAIMS, private, algorithm).encode()  # type: ignore[arg-type]
    judge = table(algorithm, public)
    headers = [(b"Host", b"h"), (b"Authorization", b"Bearer " + token)]

    def known() -> None:
        credential = sent_credential(headers, MAX_TOKEN_LENGTH)
        assert isinstance(credential, bytes)
        assert judge.look_up(credential, NOW)

    def unknown() -> None:
        judge.forget()
        known()

    found = best(known)
    print(f"{algorithm}, {len(token)} bytes: known {found:.2f} µs, not {best(unknown, 500):.0f} µs")


def memory() -> None:
    judge = table("HS256", SECRET.encode())
    process = psutil.Process()
    tokens = [
        jwt.encode({**CLAIMS, "sub": f"user-{number:026}"}, SECRET, "HS256").encode()
        for number in range(KNOWN)
    ]
    before = process.memory_info().rss
    for token in tokens:
        judge.look_up(token, NOW)
    used = process.memory_info().rss - before
    print(f"{len(judge):,} tokens that are known: {used / 1e6:.1f} MB")


def main() -> None:
    time_of_keys()
    time_of_tokens("HS256", SECRET, SECRET.encode())
    for algorithm, private in (
        ("RS256", rsa.generate_private_key(65537, 2048)),
        ("ES256", ec.generate_private_key(ec.SECP256R1())),
        ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
    ):
        pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
        time_of_tokens(algorithm, private, pem)  # type: ignore[arg-type]
    memory()


if __name__ == "__main__":
    main()

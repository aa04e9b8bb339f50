"""Signers of tokens, good and forged, and the sets in which they publish their keys."""

import base64
import hashlib
import hmac
import json
import warnings
from functools import cache

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import get_default_algorithms

SECRET = "a secret of the issuer's, of 32 bytes and more"

NOW = 1_800_000_000.0

ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")


def private_key(algorithm, which=0):
    """A key pair; ``which`` tells several from each other."""
    return _made(algorithm, which)


@cache
def _made(algorithm, which):
    if algorithm == "RS256":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate()


def public_pem(algorithm, which=0):
    """What a ``public_key_file`` holds."""
    key = private_key(algorithm, which).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private_pem(algorithm, which=0):
    key = private_key(algorithm, which)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def jwk(algorithm, kid=None, which=0, **more):
    """The public key as a member of a set."""
    key = private_key(algorithm, which).public_key()
    made = get_default_algorithms()[algorithm].to_jwk(key, as_dict=True)
    named = {} if kid is None else {"kid": kid}
    return {**made, **named, **more}


def key_set(*keys):
    return json.dumps({"keys": keys}).encode()


def claims(**more):
    """What a token says whose holder is alice; a claim that is ``...`` is left out."""
    found = {"sub": "alice", "exp": NOW + 300, **more}
    return {name: value for name, value in found.items() if value is not ...}


def token(algorithm="HS256", key=None, which=0, header=None, **more):
    """A good token with `claims`."""
    if key is None:
        key = SECRET if algorithm == "HS256" else private_key(algorithm, which)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
        made = jwt.encode(claims(**more), key, algorithm, headers=header)
    return made.encode()


def segment(value):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def forged(header, payload=None, sign=None):
    """Any three segments; ``sign`` makes the signature of the first two."""
    signed = segment(header) + b"." + segment(claims() if payload is None else payload)
    return signed + b"." + segment(b"" if sign is None else sign(signed))


def hmac_by(key):
    """Signs as HS256 does, whatever ``key`` is."""
    return lambda signed: hmac.new(key, signed, hashlib.sha256).digest()

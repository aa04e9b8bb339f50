"""Ways to write a secret down so that some reader would still find it."""

import base64

from portal_gateway.policy.api_key_text import key_text

__all__ = ["ENCODINGS", "KEY", "SECRETS", "TOKEN"]

KEY = key_text(bytes(range(32)))

TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIiwiZXhwIjo0MDAwMDAwMDAwfQ.c2lnbmF0dXJlLW9mLWEtdG9rZW4"

SECRETS = {
    "key": KEY,
    "short key": "sk_live_canary-7f3a91",
    "other": "sk-proj-0123ABcd",
    "token": TOKEN,
}
"""Secrets that are known by their look."""


def _percent(text, digits="%02x"):
    return "".join("%" + digits % byte for byte in text.encode())


def _base64(text, before=""):
    return base64.b64encode((before + text).encode()).decode()


ENCODINGS = {
    "as it is": lambda text: text,
    "percent": _percent,
    "percent in capitals": lambda text: _percent(text, "%02X"),
    "percent in mixed case": lambda text: "".join(
        _percent(c, "%02x" if n % 2 else "%02X") for n, c in enumerate(text)
    ),
    "percent in part": lambda text: text[:2] + _percent(text[2]) + text[3:],
    "percent of the first": lambda text: _percent(text[0]) + text[1:],
    "percent of each other": lambda text: "".join(
        _percent(c) if n % 2 else c for n, c in enumerate(text)
    ),
    "percent twice": lambda text: _percent(_percent(text)),
    "percent three times": lambda text: _percent(_percent(_percent(text))),
    "percent of percent": lambda text: _percent(text).replace("%", "%25"),
    "percent of percent, six times": lambda text: _percent(text).replace("%", "%" + "25" * 6),
    "behind an encoded slash": lambda text: f"a%2F{text}",
    "behind an encoded equals sign": lambda text: f"a%3D{text}",
    "base64": _base64,
    "base64 without padding": lambda text: _base64(text).rstrip("="),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64 as a password": lambda text: _base64(text, "user:"),
    "base64 behind one byte": lambda text: _base64(text, ":"),
    "base64 behind two": lambda text: _base64(text, "a:"),
    "base64 twice": lambda text: _base64(_base64(text)),
    "base64, percent": lambda text: _percent(_base64(text)),
    "hexadecimal": lambda text: text.encode().hex(),
    "hexadecimal in capitals": lambda text: text.encode().hex().upper(),
    "base64 of UTF-16": lambda text: base64.b64encode(text.encode("utf-16-le")).decode(),
    "base32": lambda text: base64.b32encode(text.encode()).decode(),
    "base32 in small letters": lambda text: base64.b32encode(text.encode()).decode().lower(),
    "escapes of JSON": lambda text: _percent("".join(f"\\u{ord(c):04x}" for c in text)),
    "escapes of JSON before digits": lambda text: _percent(text.replace("_", "\\u005f")),
    "escapes of JavaScript": lambda text: _percent("".join(f"\\u{{{ord(c):x}}}" for c in text)),
    "escapes of C": lambda text: _percent("".join(f"\\{ord(c):03o}" for c in text)),
    "percent of older browsers": lambda text: "".join(f"%u{ord(c):04X}" for c in text),
    "wide letters": lambda text: _percent("".join(chr(ord(c) + 0xFEE0) for c in text)),
}
"""By name. None but the first has the secret in it as it is, or those with something before it."""

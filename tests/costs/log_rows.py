"""The worst shapes for what is logged: secrets in any encoding, ids of requests, faults."""

from base64 import b16encode, b64encode

from portal_gateway.config import secret_looks
from portal_gateway.observe import masking, request_ids
from tests.costs.measuring import Row
from tests.costs.wire_rows import fields, fill

__all__ = ["ROWS"]


def in_base64(text, skipped=0):
    """Repeats of the text in base64, begun ``skipped`` characters later, and without an end."""

    def make(size):
        whole = text * ((size + skipped) // len(text) + 3)
        return b64encode(whole).decode()[skipped : skipped + size]

    return make


def twice_in_base64(text):
    return lambda size: in_base64(in_base64(text)(size).encode())(size)


HEADER = (2_000, 20_000)
"""Bytes of texts whose copies fit into what the allocator keeps: a header has 32 KiB at most."""

TEXTS = {
    "percent signs in each other": fill("25", "%", "41"),
    "percent signs in each other, broken": fill("25", "%"),
    "chains of percent signs": fill("%2525252541"),
    "chains of percent signs and letters": fill("%252541%25", "", "%41"),
    "escapes that make percent signs": fill("\\u0025", "", "41"),
    "escapes of backslashes": fill("\\x5c"),
    "escapes that make escapes": fill("\\u005cu0025"),
    "escapes of JSON in braces": fill("\\u{41}"),
    "escapes of HTML": fill("&#x65;"),
    "escapes of HTML in numbers": fill("&#0000101;"),
    "escapes of HTML without an end": fill("&#x"),
    "digits of HTML": fill("1", "&#"),
    "backslashes": fill("\\"),
    "base64 of letters": in_base64(b"a"),
    "base64 of almost keys": in_base64(b"sk_live_"),
    "base64 of almost tokens": in_base64(b"eyJ"),
    "base64 of keys that are too short": in_base64(b"sk_live_aaaaa."),
    "base64 of percent signs": in_base64(b"%25"),
    "base64 begun later": in_base64(b"sk_live_", 1),
    "base64 of base64": twice_in_base64(b"sk_live_"),
    "base64 of base64 of letters": twice_in_base64(b"a"),
    "runs of base64": fill("c2tfbGl2ZV9zayBsaXY-"),
    "runs that are too short": fill("a" * 19 + "-"),
    "runs and slashes": fill("a" * 20 + "/"),
    "base 16": fill(b16encode(b"sk_live_").decode()),
    "base 16 of an odd length": fill("a", "", "f"),
    "runs of base 16": fill("6b" * 10 + "-"),
    "segments": fill("%41/"),
    "keys that almost have their length": fill("sk_live_" + "a" * 39 + "."),
    "semicolons": fill(";"),
    "names in semicolons": fill("a=b;"),
    "secret names in semicolons": fill("key%3D;"),
    "encoded equals signs": fill("%3D"),
    "encoded letters without a name": fill("%41%"),
}

SECRETS = ["a" * 64, "ab" * 32, "sk_live", "%25252525", *("s" * 6 + str(n) for n in range(4))]
"""As many as are searched for; some are everywhere nearly."""
assert len(SECRETS) == masking._MOST_SECRETS


def mask_own(text):
    masking.without_secrets(text, SECRETS)


def key_protocols(size):
    """Credentials and a text that grow both: what multiplies when done badly."""
    members = b",".join(b"portal-key.a%05d" % number for number in range(size // 35))
    return {b"sec-websocket-protocol": members}, "a" * (size // 2)


def mask_sent(given):
    headers, text = given
    masking.without_secrets(text, masking.sent_secrets(headers))
    request_ids.offered_id([text[:128].encode()], headers)


CREDENTIALS = {
    "key subprotocols": key_protocols,
    "commas": lambda size: ({b"sec-websocket-protocol": b"portal-key.," + b"," * size}, ""),
    "spaces around a key": lambda size: (
        {b"x-api-key": b"a" + b" " * size + b"b" + b" " * size},
        "a",
    ),
    "a password": lambda size: (
        {b"authorization": b"Basic " + b64encode(b":" * (size * 3 // 4))},
        "a" * size,
    ),
    "a broken password": lambda size: ({b"authorization": b"Basic " + b"=" * size}, "a"),
    "a long key in a long text": lambda size: (
        {b"x-api-key": b"a" * (size // 2) + b"b"},
        "a" * size,
    ),
    "a short key everywhere": lambda size: ({b"x-api-key": b"a" * 6}, "a" * size),
    "many fields": lambda size: (dict(fields(size)), "a"),
}

LOOKS = {
    "letters": fill("a"),
    "digits": fill("1"),
    "colons": fill(":"),
    "equals signs": fill("a=b:"),
    "variables": fill("${A}"),
    "variables without an end": fill("${A"),
    "almost keys": fill("sk_live_"),
    "units": fill("1s"),
    "dates": fill("1.", "", "x"),
    "words": fill("a1b2-"),
    "addresses": fill("0:", "[", "]x"),
    "runs": fill("a" * 20 + "1 "),
}


def look(text):
    secret_looks.looks_secret(text)
    secret_looks.may_be_secret(text)


ROWS = [
    *(Row("observe.masking", shape, make, masking.masked) for shape, make in TEXTS.items()),
    *(
        Row("observe.masking", f"query of {shape}", make, masking.masked_query)
        for shape, make in TEXTS.items()
    ),
    *(
        Row("observe.masking", f"own credentials and {shape}", make, mask_own, HEADER)
        for shape, make in TEXTS.items()
    ),
    *(
        Row("observe.masking", f"credentials: {shape}", make, mask_sent)
        for shape, make in CREDENTIALS.items()
    ),
    *(
        Row("observe.request_ids", f"an id: {shape}", make, request_ids.request_id)
        for shape, make in TEXTS.items()
    ),
    *(Row("config.secret_looks", shape, make, look) for shape, make in LOOKS.items()),
]

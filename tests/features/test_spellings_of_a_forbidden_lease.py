"""However a path is spelled, a key that may not use a lease does not reach it.

Each spelling is tried with a key that the rules keep out and with one that they let in: what the
second reaches shows that the first was kept out by the rules, and not by the spelling.
"""

import pytest
from access_world import AccessWorld, id_of, outcome

OUTSIDER, OWNER = "sk_live_outsider", "sk_live_owner"

KEYS = """
gateway:
  listen: "127.0.0.1:8080"
  lease_host: "{lease}.leases.example"
auth:
  keys:
    - {key: "sk_live_outsider", id: "outsider"}
    - {key: "sk_live_owner", id: "owner"}
"""

OPEN = "public-a"

# %s is the name of the lease; {id} its id, and {low} that in lower case.
REACHING = [
    "/peer/secret/",
    "/peer/secret",
    "/peer/secret/x",
    "/peer/secret//x",
    "/peer/secret?x",
    "/peer/secret/?/../public-a/",
    "/peer/secret/a/../x",
    "/peer/secret/%2e/x",
    "/peer/%73ecret/",
    "/peer/%73%65%63%72%65%74/",
    "/peer/s%65cret",
    "http://gw.example:8080/peer/secret/",
    "HTTP://other.example/peer/secret/",
    "/ws/secret/",
    "host secret.leases.example",
    "host SECRET.leases.example",
    "host Secret.Leases.Example.:8080",
    "http://secret.leases.example/",
]
"""These lead to the lease, whatever is behind."""

BY_CASE = [
    "/peer/SECRET/",
    "/peer/Secret",
    "/peer/sEcReT/x",
    "/peer/%53ECRET/",
    # What a directory without case takes for an s.
    "/peer/%C5%BFecret/",
]
"""These lead to a lease that is configured or listed: a relay by path is asked for one spelling."""

BY_ID = ["/peer/{id}/", "/peer/{id}/x", "/peer/{hex}/", "/ws/{id}/"]
"""These to a lease at any relay with paths."""

NEVER = [
    "//peer/secret/",
    "/peer//secret/",
    "/peer/./secret/",
    "/./peer/secret/",
    "/peer/x/../secret/",
    "/peer/public-a/../secret/",
    "/peer/public-a/../../peer/secret/",
    "/peer/public-a/%2e%2e/secret/",
    "/peer/public-a/%2E%2E/secret/",
    "/peer/public-a/.%2e/secret/",
    "/peer/public-a/..%2fsecret/",
    "/peer/public-a/%2e%2e%2fsecret/",
    "/peer/public-a/..;/secret/",
    "/peer/public-a/..;x=y/secret/",
    "/peer/public-a/%2e%2e;/secret/",
    "/peer/public-a/..%5csecret/",
    "/peer/public-a/..\\secret/",
    "/peer/public-a/..%252fsecret/",
    "/peer/public-a/%252e%252e/secret/",
    "/peer/public-a/..%c0%afsecret/",
    "/peer/public-a%2f..%2fsecret/",
    "/peer/public-a%2fsecret/",
    "/peer/public-a%5c..%5csecret/",
    "/peer/public-a;/../secret/",
    "/peer/public-a?/../secret/",
    "/peer/public-a/?/../secret/",
    "/peer/public-a?/peer/secret/",
    "/peer/public-a/#/../../secret/",
    "/peer/public-a#/../secret/",
    "/peer/..%2fpeer%2fsecret/",
    "/peer/%2e%2e/peer/secret/",
    "/peer/%2e/secret/",
    "/peer/..;/peer/secret/",
    "/peer/%c0%ae%c0%ae/secret/",
    "/peer/%c1%b3ecret/",
    "/peer/%2573ecret/",
    "/peer/secret%00/",
    "/peer/secret%00public-a/",
    "/peer/public-a%00secret/",
    "/peer/secret%20/",
    "/peer/%20secret/",
    "/peer/secret%09/",
    "/peer/secret%0a/",
    "/peer/secret%0d%0aX:%20y/",
    "/peer/secret./",
    "/peer/secret../",
    "/peer/.secret/",
    "/peer/secret;/",
    "/peer/secret;x/",
    "/peer/secret%3bx/",
    "/peer/public-a;secret/",
    "/peer/secret%2f/",
    "/peer/secret%2fx",
    "/peer/secret%5c/",
    "/peer/secret\\",
    "/peer/\\secret/",
    "/peer/secret:80/",
    "/peer/x@secret/",
    "/peer/public-a,secret/",
    '/peer/"secret"/',
    "/peer/sec*/",
    "/peer/secre%3f/",
    "/peer/*/",
    "/peer/secret\uff0fx/",
    "/peer/\uff53\uff45\uff43\uff52\uff45\uff54/",
    "/peer/secr\u0435t/",
    "/peer/\u017fecret/",
    "/peer/secret%EF%BC%8Fx/",
    "/peer/%EF%BD%93%EF%BD%85%EF%BD%83%EF%BD%92%EF%BD%85%EF%BD%94/",
    "/peer/secr%D0%B5t/",
    "/peer/s%C2%ADecret/",
    "/peer/secret%E2%80%8B/",
    "/peer/secret%E2%80%AE/",
    "/peer/%EF%BB%BFsecret/",
    "/PEER/secret/",
    "/Peer/secret/",
    "/%70eer/secret/",
    "/peer%2fsecret/",
    "/peer\\secret/",
    "/peer;/secret/",
    "/peer/",
    "/peer//",
    "peer/secret/",
    "secret",
    "*",
    "/peer/" + "secret" * 2000 + "/",
    "/peer/{low}/",
    "/peer/{id}./",
    "/peer/{id};x/",
    "/peer/{id}%00/",
    "http://secret/",
    "http://secret/peer/public-a/",
    "host secret.leases.example.evil.example",
    "host x.secret.leases.example",
    "host leases.example /peer/secret.leases.example/",
]
"""These lead nowhere, or elsewhere."""

BESIDE = [
    "X-Original-URL: /peer/secret/",
    "X-Rewrite-URL: /peer/secret/",
    "X-Forwarded-Prefix: /peer/secret",
    "X-Forwarded-Host: secret.leases.example",
    "Forwarded: host=secret.leases.example",
    "X-Forwarded-Path: /peer/secret/",
    "Referer: http://gw.example/peer/secret/",
]
"""Fields that some services take for a path, beside one that leads to the open lease."""

ACL = {
    "exact": 'lease_acl: {"secret": ["owner"], "*": ["*"]}',
    "in other case": 'lease_acl: {"SECRET": ["owner"], "*": ["*"]}',
    "pattern": 'lease_acl: {"sec*": ["owner"], "*": ["*"]}',
    "the rest": 'lease_acl: {"public-*": ["*"], "*": ["owner"]}',
    "no rule": 'lease_acl: {"public-*": ["*"], "secret": ["owner"]}',
    "open by default": 'lease_acl: {"secret": ["owner"]}\nlease_acl_default: allow',
    "one of 101": 'lease_acl:\n  "secret": ["owner"]\n  "*": ["*"]\n'
    + "".join(f'  "team-{number}-*": ["*"]\n' for number in range(99)),
    "one of 10,001": 'lease_acl:\n  "secret": ["owner"]\n  "*": ["*"]\n'
    + "".join(f'  "team-{number}-*": ["*"]\n' for number in range(9_999)),
    "by id": f'lease_acl: {{"{id_of(1)}": ["owner"], "*": ["*"]}}',
}

KINDS = {
    "listed": {"published": ("secret", OPEN)},
    "origin": {"origins": ("secret", OPEN)},
    "by http": {"by_http": ("secret", OPEN)},
}

NUMBER_OF_SECRET = {"listed": 1, "origin": 1, "by http": 101}


ELSEWHERE = {
    "lease_access_denied",
    "lease_not_found",
    "invalid_path",
    "bad_request",
    "not_found",
    "uri_too_long",
    "upgrade_required",
    # From the open lease, from a relay that has no such lease, and to the open lease's root.
    OPEN,
    "nobody",
    "308",
}
"""What comes of the other spellings."""


def leading_to(kind):
    """The spellings that lead to a lease of this kind."""
    leading = {*REACHING}
    if kind != "by http":
        leading |= {*BY_CASE}
    if kind != "origin":
        leading |= {*BY_ID}
    return leading


def ask(world, spelling, kind, key):
    """Send the request as bytes; gives what came of it."""
    lease_id = id_of(NUMBER_OF_SECRET[kind])
    target = (
        spelling.replace("{id}", lease_id)
        .replace("{low}", lease_id.lower())
        .replace("{hex}", "".join(f"%{ord(character):02x}" for character in lease_id))
    )
    host = "gw.example:8080"
    if target.startswith("host "):
        _, host, *rest = target.split(" ")
        target = rest[0] if rest else "/"
    before = len(world.reached)
    wire = world.connect()
    wire.send(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {key}\r\n\r\n".encode())
    world.reactor.settle()
    names = [name for name, _ in world.reached[before:]]
    wire.transport.loseConnection()
    world.reactor.settle()
    world.reactor.links[:] = [link for link in world.reactor.links if link.connected]
    assert names.count("secret") in {0, 1}
    return "secret" in names, wire


def worlds():
    for acl in ACL:
        for kind in KINDS:
            if (acl, kind) not in {("by id", "origin"), ("by id", "by http")}:
                yield pytest.param(acl, kind, id=f"{acl}-{kind}")


@pytest.mark.parametrize(("acl", "kind"), list(worlds()))
def test_no_spelling_reaches_a_forbidden_lease(acl, kind):
    world = AccessWorld(ACL[acl] + KEYS, **KINDS[kind])
    for spelling in [*REACHING, *BY_CASE, *BY_ID, *NEVER]:
        reached, wire = ask(world, spelling, kind, OUTSIDER)
        assert not reached, spelling
        found = outcome(wire)
        if spelling in leading_to(kind):
            assert found == "lease_access_denied", spelling
        else:
            assert found in ELSEWHERE, (spelling, found)
    for field in BESIDE:
        wire = world.ask(f"/peer/{OPEN}/", key=OUTSIDER, fields=[field])
        assert outcome(wire) == OPEN, field
    assert "secret" not in {name for name, _ in world.reached}
    world.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_the_spellings_that_lead_there_reach_it_for_who_may_use_it(kind):
    world = AccessWorld(ACL["exact"] + KEYS, **KINDS[kind])
    leading = leading_to(kind)
    for spelling in [*REACHING, *BY_CASE, *BY_ID, *NEVER]:
        reached, wire = ask(world, spelling, kind, OWNER)
        found = outcome(wire)
        assert reached == (found == "secret"), spelling
        if spelling in leading:
            # Without the slash there is a redirect, and below /ws/ are only WebSockets.
            assert found in {"secret", "308", "upgrade_required"}, spelling
        else:
            assert not reached, spelling
    world.stop()


def test_there_are_enough_spellings():
    assert len({*REACHING, *BY_CASE, *BY_ID, *NEVER}) >= 60

"""Fields that would tell a lease or a client what no guard has judged."""

import pytest

from tests.frontend.lease_view_world import BOTH, LEASES, READER, VERSIONS, WAYS, LeaseView

TAKEN_FOR_OTHERS = [
    ("X_HTTP_Method_Override", "DELETE"),
    ("X-HTTP-Method_Override", "DELETE"),
    ("X_Forwarded_For", "203.0.113.9"),
    ("X.Real.IP", "203.0.113.9"),
    ("X!Real!IP", "203.0.113.9"),
    ("X_Real~IP", "203.0.113.9"),
    ("Content_Type", "text/plain"),
    ("Transfer_Encoding", "chunked"),
    ("X_API_Key", "sk_live_other"),
    ("_", "a"),
    ("A_", "a"),
]

STRANGERS_CLAIMS = [
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-User",
    "X-Forwarded-Ssl",
    "X-Forwarded-Anything",
    "X-Real-IP",
    "X-Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "X-Original-URL",
    "X-Rewrite-URL",
    "Remote-User",
    "X-Remote-User",
    "X-Original-Method",
    "X-Amzn-Mtls-Clientcert-Subject",
    "SSL-Client-DN",
    "Tailscale-App-Capabilities",
    "Forwarded-For",
    "X-ClientIP",
    "X-Backend-Host",
    "X-Envoy-Original-Dst-Host",
    "Proxy",
]

KEPT = [("Accept", "text/html"), ("X-Mine", "1"), ("Cookie", "a=1"), ("Origin", "http://a")]


@pytest.fixture
def make():
    made = []

    def build(*arguments, **options):
        made.append(LeaseView(*arguments, **options))
        return made[-1]

    yield build
    for world in made:
        world.stop()


@pytest.mark.parametrize("lease", LEASES)
@pytest.mark.parametrize("way", WAYS)
def test_names_that_can_be_taken_for_others_are_dropped_and_counted(make, way, lease):
    world = make(lease)
    world.request(way, fields=[*TAKEN_FOR_OTHERS, *KEPT])
    fields = world.got[1]
    for name, value in KEPT:
        assert (name.lower().encode(), value.encode()) in fields
    for name in world.got_names:
        assert name.replace(b"-", b"").isalnum()
    assert dict(fields)[b"x-forwarded-for"] == b"127.0.0.1"
    assert b"DELETE" not in world.origin.wires[-1].received
    assert world.hits("underscore_fields") == len(TAKEN_FOR_OTHERS)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("field", TAKEN_FOR_OTHERS)
def test_each_of_them_is_refused_where_the_configuration_says_so(make, way, field):
    world = make(gateway="underscore_fields: refuse")
    told = world.request(way, fields=[field])
    assert told.status == 400
    assert b'"ambiguous_field"' in told.body
    assert b"letters, digits and hyphens" in told.body
    assert not world.reached
    assert world.hits("underscore_fields") == 1


def test_a_refusal_leaves_the_connection(make):
    world = make(gateway="underscore_fields: refuse")
    wire = world.connect()
    assert world.request(fields=[("a_b", "c")], connection=wire).status == 400
    world.request(connection=wire)
    assert world.got[0] == b"GET /x HTTP/1.1"


@pytest.mark.parametrize("lease", LEASES)
@pytest.mark.parametrize("way", WAYS)
def test_they_pass_where_the_configuration_says_so(make, way, lease):
    world = make(lease, gateway="underscore_fields: pass")
    world.request(way, fields=[("My_Field", "1"), ("X_HTTP_Method_Override", "DELETE")])
    assert (b"my_field", b"1") in world.got[1]
    assert (b"x_http_method_override", b"DELETE") in world.got[1]
    assert world.hits("underscore_fields") == 0


@pytest.mark.parametrize("way", VERSIONS)
def test_one_that_passes_and_may_be_a_method_writes(make, way):
    world = make(gateway="underscore_fields: pass")
    fields = [("X_HTTP_Method_Override", "DELETE")]
    assert world.request(way, fields=fields, key=READER).status == 403
    assert not world.reached
    world.request(way, fields=[("My_Field", "1")], key=READER)
    assert world.reached


def test_another_rule_is_taken_up_by_a_reload(make):
    world = make()
    config = world.config
    world.request(fields=[("a_b", "c")])
    assert b"a_b" not in world.got_names
    assert world.reconfigure(config.replace("8080'", "8080', underscore_fields: pass"))
    world.request(fields=[("a_b", "c")])
    assert b"a_b" in world.got_names


@pytest.mark.parametrize("lease", LEASES)
@pytest.mark.parametrize("way", WAYS)
def test_what_a_stranger_says_for_a_proxy_is_dropped(make, way, lease):
    world = make(lease)
    world.request(way, fields=[*[(name, "forged") for name in STRANGERS_CLAIMS], *KEPT])
    assert b"forged" not in world.origin.wires[-1].received
    fields = dict(world.got[1])
    assert fields[b"x-forwarded-for"] == b"127.0.0.1"
    for name, value in KEPT:
        assert fields[name.lower().encode()] == value.encode()


@pytest.mark.parametrize("way", WAYS)
def test_a_trusted_proxy_may_tell_more_of_the_client(make, way):
    world = make(gateway="trusted_proxies: ['127.0.0.1']")
    told = [("X-Forwarded-User", "alice"), ("CF-Connecting-IP", "203.0.113.9"), ("Proxy", "evil")]
    world.request(way, fields=[("X-Forwarded-For", "203.0.113.9"), *told])
    fields = dict(world.got[1])
    assert fields[b"x-forwarded-user"] == b"alice"
    assert fields[b"cf-connecting-ip"] == b"203.0.113.9"
    assert fields[b"x-forwarded-for"] == b"203.0.113.9, 127.0.0.1"
    assert b"proxy" not in fields


def test_connection_cannot_bring_any_of_them_back(make):
    world = make()
    world.request(
        fields=[("Connection", "X_Real_IP, X-Forwarded-For"), ("X_Real_IP", "1"), ("X-A_B", "2")]
    )
    assert dict(world.got[1])[b"x-forwarded-for"] == b"127.0.0.1"
    assert not world.got_names & {b"x_real_ip", b"x-a_b"}


# Trailers.

UP_DROPPED = [
    ("X-HTTP-Method-Override", "DELETE"),
    ("X-Real-IP", "203.0.113.9"),
    ("Mcp-Method", "tools/list"),
    ("Sec-WebSocket-Protocol", "portal-key.sk_live_a"),
    ("X-Forwarded-For", "203.0.113.9"),
    ("X-API-Key", "sk_live_a"),
    ("Authorization", "Bearer a"),
    ("Cookie", "a=1"),
    ("Host", "evil"),
    ("Content-Type", "text/plain"),
    ("Remote-User", "root"),
    ("X-Original-URL", "/admin"),
    ("X-Request-ID", "forged"),
    ("Origin", "http://evil"),
    ("X_Checksum", "1"),
    ("X-Anything", "1"),
    ("Forwarded", "for=203.0.113.9"),
    ("TE", "trailers"),
]

UP_KEPT = [
    ("Content-Digest", "sha-256=:a:"),
    ("X-Amz-Checksum-Crc32c", "abcd"),
    ("X-Amz-Trailer-Signature", "abcd"),
    ("X-Sum", "9"),
    ("Grpc-Status", "0"),
    ("Signature", "sig=:a:"),
]


@pytest.mark.parametrize("lease", LEASES)
@pytest.mark.parametrize("way", VERSIONS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_only_trailers_that_belong_there_reach_a_lease(make, way, lease, method):
    world = make(lease)
    dropped = [field for field in UP_DROPPED if way == "HTTP/1.1" or field[0] != "TE"]
    announced = ", ".join(name for name, _ in (*dropped, *UP_KEPT))
    world.request(
        way,
        method=method,
        body=b"abc",
        fields=[("Trailer", announced)],
        trailers=[*dropped, *UP_KEPT, *dropped],
    )
    received = world.origin.wires[-1].received
    end = received.partition(b"\r\n\r\n")[2].partition(b"0\r\n")[2]
    found = [tuple(line.lower().split(b": ")) for line in end.split(b"\r\n") if line]
    assert found == [(name.lower().encode(), value.lower().encode()) for name, value in UP_KEPT]
    kept = b", ".join(name.lower().encode() for name, _ in UP_KEPT)
    assert dict(world.got[1])[b"trailer"] == kept
    assert world.hits("trailers") > 0


DOWN_DROPPED = [
    b"Set-Cookie",
    b"Location",
    b"Strict-Transport-Security",
    b"Content-Type",
    b"Access-Control-Allow-Origin",
    b"Cache-Control",
    b"Content-Security-Policy",
    b"Clear-Site-Data",
    b"Alt-Svc",
    b"Link",
    b"Refresh",
    b"WWW-Authenticate",
    b"X-Request-ID",
    b"RateLimit",
    b"X-Frame-Options",
    b"Service-Worker-Allowed",
    b"Set_Cookie",
    b"Via",
]

DOWN_KEPT = [
    b"Grpc-Status",
    b"Grpc-Message",
    b"Server-Timing",
    b"Content-Digest",
    b"Repr-Digest",
    b"ETag",
    b"X-Total",
    b"my_metadata",
]


@pytest.mark.parametrize("lease", LEASES)
@pytest.mark.parametrize("way", VERSIONS)
def test_trailers_of_an_answer_instruct_no_client(make, way, lease):
    world = make(lease)
    told = world.request(way)
    names = [*DOWN_DROPPED, *DOWN_KEPT]
    trailers = b"".join(b"%b: 1\r\n" % name for name in names)
    world.answers(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: %b\r\n\r\n"
        b"2\r\nok\r\n0\r\n%b\r\n" % (b", ".join(names), trailers)
    )
    kept = [name.lower() for name in DOWN_KEPT]
    assert sorted(told.trailers) == sorted(kept)
    assert told.fields[b"trailer"] == b", ".join(kept)


# OPTIONS with Max-Forwards.


@pytest.mark.parametrize("lease", LEASES)
@pytest.mark.parametrize("way", VERSIONS)
@pytest.mark.parametrize("value", ["0", "00"])
def test_the_last_recipient_of_an_options_is_the_gateway(make, way, lease, value):
    world = make(lease)
    told = world.request(way, method="OPTIONS", fields=[("Max-Forwards", value)])
    assert told.status == 200
    assert b"OPTIONS" in told.fields[b"allow"].split(b", ")
    assert told.fields[b"content-length"] == b"0"
    assert not world.reached


@pytest.mark.parametrize("lease", LEASES)
@pytest.mark.parametrize("way", VERSIONS)
@pytest.mark.parametrize(
    ("value", "passed_on"), [("1", b"0"), ("70", b"69"), ("9" * 4000, b"2147483646")]
)
def test_any_other_is_told_that_there_is_one_less(make, way, lease, value, passed_on):
    world = make(lease)
    world.request(way, method="OPTIONS", fields=[("Max-Forwards", value)])
    values = [value for name, value in world.got[1] if name == b"max-forwards"]
    assert values == [passed_on]


@pytest.mark.parametrize("way", VERSIONS)
@pytest.mark.parametrize(
    "fields",
    [[("Max-Forwards", value)] for value in ("-1", "a", "1, 0", "1.0", "+1", "0x1", "")]
    + [[("Max-Forwards", "1"), ("max-forwards", "0")]],
)
def test_what_two_recipients_would_count_differently_is_refused(make, way, fields):
    world = make()
    told = world.request(way, method="OPTIONS", fields=fields)
    assert told.status == 400
    assert not world.reached


@pytest.mark.parametrize("way", VERSIONS)
def test_other_methods_and_requests_without_a_limit_go_on(make, way):
    world = make()
    world.request(way, method="GET", fields=[("Max-Forwards", "0")])
    assert dict(world.got[1])[b"max-forwards"] == b"0"
    world.request(way, method="OPTIONS")
    assert world.got[0] == b"OPTIONS /x HTTP/1.1"


def test_connection_cannot_take_the_limit_away(make):
    world = make()
    fields = [("Connection", "Max-Forwards"), ("Max-Forwards", "0")]
    assert world.request(method="OPTIONS", fields=fields).status == 200
    fields = [("Connection", "Max-Forwards"), ("Max-Forwards", "5")]
    world.request(method="OPTIONS", fields=fields)
    assert dict(world.got[1])[b"max-forwards"] == b"4"


@pytest.mark.parametrize("way", VERSIONS)
def test_who_may_not_ask_the_lease_is_not_answered_for_it(make, way):
    world = make()
    fields = [("Max-Forwards", "0")]
    assert world.request(way, method="OPTIONS", key="", fields=fields).status == 401
    assert world.request(way, method="OPTIONS", key="sk_live_no", fields=fields).status == 401
    target = "/peer/unknown/x"
    assert world.request(way, method="OPTIONS", fields=fields, target=target).status == 404


def test_the_server_as_such_is_asked(make):
    world = make()
    told = world.request(method="OPTIONS", target="*", fields=[("Max-Forwards", "0")])
    assert told.status == 200
    assert not world.reached


# Requests for another method.

OVERRIDES = [
    ("/peer/tool/x", [("X-HTTP-Method-Override", "DELETE")]),
    ("/peer/tool/x", [("X-HTTP-Method", "POST")]),
    ("/peer/tool/x", [("X-Method-Override", "PUT")]),
    ("/peer/tool/x", [("X-HTTP-Verb", "PUT")]),
    ("/peer/tool/x?_method=DELETE", []),
    ("/peer/tool/x?a=1&%5fmethod=put", []),
    ("/peer/tool/x?X-HTTP-Method-Override=PATCH", []),
    ("/peer/tool/x?method=delete", []),
    ("/peer/tool/x?_method%00x=DELETE", []),
    ("/peer/tool/x?X-HTTP-Method-Override%00z=DELETE", []),
    ("/peer/tool/x?method%00z=delete", []),
    ("/peer/tool/x?method=DELETE%00", []),
    ("/peer/tool/x?_method[x]=DELETE", []),
    ("/peer/tool/x?%u005fmethod=DELETE", []),
]


@pytest.mark.parametrize("way", VERSIONS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize(("target", "fields"), OVERRIDES)
def test_a_reader_may_not_ask_for_another_method(make, way, method, target, fields):
    world = make()
    told = world.request(way, method=method, target=target, fields=fields, key=READER)
    assert told.status == 403
    assert not world.reached


def idle(world):
    """Have a connection to the lease that has served a request."""
    world.request(key=BOTH)
    world.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    return world.origin.wires[-1]


@pytest.mark.parametrize("lease", LEASES)
@pytest.mark.parametrize("way", VERSIONS)
@pytest.mark.parametrize(("target", "fields"), OVERRIDES)
def test_what_may_change_something_is_not_sent_twice(make, way, lease, target, fields):
    world = make(lease)
    reused = idle(world)
    before = len(reused.received)
    told = world.request(way, target=target, fields=fields)
    assert len(reused.received) > before
    reused.transport.loseConnection()
    world.settle()
    assert told.status == 502
    assert len(world.origin.wires) == 1


@pytest.mark.parametrize("lease", LEASES)
def test_the_opening_of_a_websocket_is_not_sent_twice(make, lease):
    world = make(lease)
    reused = idle(world)
    told = world.request("WebSocket")
    assert b"Upgrade: websocket" in reused.received
    reused.transport.loseConnection()
    world.settle()
    assert told.status == 502
    assert len(world.origin.wires) == 1


@pytest.mark.parametrize("lease", LEASES)
@pytest.mark.parametrize("way", VERSIONS)
def test_what_only_reads_is(make, way, lease):
    world = make(lease)
    reused = idle(world)
    told = world.request(way, target="/peer/tool/x?method=search&_method=GET")
    reused.transport.loseConnection()
    world.settle()
    assert told.status is None
    assert len(world.origin.wires) == 2
    assert world.got[0].endswith(b"/x?method=search&_method=GET HTTP/1.1")


@pytest.mark.parametrize("way", VERSIONS)
def test_a_get_with_a_body_is_not(make, way):
    world = make()
    reused = idle(world)
    told = world.request(way, body=b"_method=DELETE")
    reused.transport.loseConnection()
    world.settle()
    assert told.status == 502
    assert len(world.origin.wires) == 1


TRUSTED = "trusted_proxies: ['127.0.0.1']"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("told", [[], [("X-Forwarded-For", "203.0.113.9")]])
def test_a_trusted_proxy_is_believed_whether_it_says_who_asked_it_or_not(make, way, told):
    world = make(gateway=TRUSTED)
    world.request(way, fields=[*told, ("Remote-User", "alice"), ("Proxy", "http://a")])
    fields = dict(world.got[1])
    assert fields[b"remote-user"] == b"alice"
    assert b"proxy" not in fields
    assert fields[b"x-forwarded-for"] == b", ".join([*([b"203.0.113.9"] * len(told)), b"127.0.0.1"])


@pytest.mark.parametrize("way", WAYS)
def test_another_peer_is_not_believed(make, way):
    world = make(gateway="trusted_proxies: ['127.0.0.2']")
    world.request(way, fields=[("X-Forwarded-For", "127.0.0.2"), ("Remote-User", "alice")])
    assert b"remote-user" not in world.got_names


def test_what_a_proxy_says_still_tells_the_gateway_that_there_is_one(make):
    world = make(more="health: {local_details: true}\n")

    def status(*fields):
        wire = world.ask("/health/details", key=None, fields=fields, authority="localhost:8080")
        return int(wire.received.split(b" ", 2)[1])

    assert status() == 200
    for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded"):
        assert status(f"{name}: 203.0.113.9") == 401

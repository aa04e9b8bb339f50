"""What reaches a client of the fields that a lease answers with.

Below ``/peer/`` and ``/ws/`` all leases share the gateway's host: no lease may set policy for it.
"""

import pytest
from answers_world import CLIENTS, CONFIG, OK, WAYS, AnswersWorld, heads_of

from portal_gateway.frontend.limits import MAX_HINT_BYTES, MAX_HINTS
from portal_gateway.policy.origin_policies import NEVER_PASSED, ORIGIN_WIDE
from portal_gateway.wire.trailers import is_response_trailer
from tests.frontend.test_negotiation import ONE

HSTS = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")

FOR_THE_HOST = [
    b'Strict-Transport-Security: max-age=0',
    b'strict-transport-security: max-age=1',
    b'Clear-Site-Data: "*"',
    b'NEL: {"report_to": "a", "max_age": 2592000, "include_subdomains": true}',
    b'Report-To: {"group": "a", "max_age": 1, "endpoints": [{"url": "https://evil.example/"}]}',
    b'Public-Key-Pins: pin-sha256="AAAA"; max-age=1',
    b'Public-Key-Pins-Report-Only: pin-sha256="AAAA"; report-uri="https://evil.example/"',
    b'Expect-CT: max-age=1, report-uri="https://evil.example/"',
    b"Expect-Staple: max-age=1",
    b"Origin-Agent-Cluster: ?1",
    b"Accept-CH: Sec-CH-UA-Model",
    b"Accept-CH-Lifetime: 86400",
    b"Critical-CH: Sec-CH-UA-Model",
    b"Service-Worker-Allowed: /",
    b"Set-Login: logged-out",
    b"Login-Status: logged-out",
    b"IdP-SignIn-Status: action=signout-all",
    b'Use-As-Dictionary: match="/*"',
    b'Sec-Session-Registration: (ES256);path="/r"',
    b'Sec-Session-Challenge: "c";id="s"',
    b'Secure-Session-Registration: (ES256);path="/r"',
    b'Secure-Session-Challenge: "c";id="s"',
    b"Sec-Session-Skipped: unreachable",
    b"Secure-Session-Skipped: unreachable",
    b'Shared-Storage-Write: clear',
    b'Attribution-Reporting-Register-Source: {}',
    b'Attribution-Reporting-Register-Trigger: {}',
    b'Attribution-Reporting-Register-OS-Source: "https://evil.example/"',
    b'Attribution-Reporting-Register-OS-Trigger: "https://evil.example/"',
    b"Observe-Browsing-Topics: ?1",
    b"Sec-Private-State-Token: AAAA",
    b"Sec-Private-State-Token-Lifetime: 1",
    b"Sec-Trust-Token: AAAA",
    b"Sec-Trust-Token-Lifetime: 1",
]  # fmt: skip

FOR_NOBODY = [
    b'Alt-Svc: h3="evil.example:443"; ma=2592000; persist=1',
    b"alt-SVC: clear",
    b"X-Accel-Redirect: /internal/secret",
    b"X-Sendfile: /etc/passwd",
    b"X-Sendfile2: /etc/passwd 0-",
    b"X-Lighttpd-Send-File: /etc/passwd",
    b"X-Lighttpd-Send-Tempfile: /etc/passwd",
    b"X-Reproxy-URL: http://169.254.169.254/",
    b"X-Reproxy-File: /etc/passwd",
    b"X-Reproxy-Expected-Size: 1",
    b"X-Sendfile-Temporary: /etc/passwd",
    b"X-LiteSpeed-Location: /internal/secret",
    b"X-LiteSpeed-Purge: *",
    b"X-LiteSpeed-Purge2: *",
    b'Set-Cookie2: a=b; Version="1"; Path="/"',
]

FOR_THE_PAGE = [
    b"Content-Security-Policy: default-src *",
    b"Permissions-Policy: geolocation=()",
    b'Reporting-Endpoints: a="https://reports.example/"',
    b"Cross-Origin-Opener-Policy: same-origin",
    b"Cross-Origin-Embedder-Policy: require-corp",
    b"Cross-Origin-Resource-Policy: same-origin",
    b"Access-Control-Allow-Origin: *",
    b"Referrer-Policy: no-referrer",
    b"X-Robots-Tag: noindex",
    b"X-Accel-Buffering: no",
    b"X-LiteSpeed-Cache-Control: no-cache",
    b"Cache-Control: max-age=60",
    b'WWW-Authenticate: Basic realm="x"',
    b"No-Vary-Search: params",
    b"Alt-Svc-Like: 1",
]


def fields_of(lines):
    pairs = [line.split(b": ", 1) for line in lines]
    return [(name.lower(), value) for name, value in pairs]


def answer(lines, status=b"200 OK"):
    return b"HTTP/1.1 %b\r\n%b\r\nContent-Length: 0\r\n\r\n" % (status, b"\r\n".join(lines))


@pytest.fixture
def world(tmp_path):
    world = AnswersWorld(ONE, tmp_path)
    yield world
    world.stop()


def test_the_tables_name_every_field_that_is_dropped():
    assert {name for name, _ in fields_of(FOR_THE_HOST)} == ORIGIN_WIDE
    assert {name for name, _ in fields_of(FOR_NOBODY)} == NEVER_PASSED


@pytest.mark.parametrize("way", WAYS)
def test_nor_does_it_in_trailers(world, way):
    fields = FOR_THE_HOST + FOR_NOBODY
    wire = world.connect_tls(b"http/1.1")
    key = b"X-API-Key: sk_live_abc123..."
    wire.send(
        b"GET /peer/%b/ HTTP/1.1\r\nHost: gw.example\r\nTE: trailers\r\n%b\r\n\r\n"
        % (way.encode(), key)
    )
    world.settle()
    announced = b", ".join(line.partition(b":")[0] for line in fields)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Total, %b" % announced
    world.say(head + b"\r\n\r\n0\r\nX-Total: 1\r\n%b\r\n\r\n" % b"\r\n".join(fields))
    assert b"\r\nTrailer: x-total\r\n" in wire.received
    assert wire.received.endswith(b"\r\n\r\n0\r\nX-Total: 1\r\n\r\n")


@pytest.mark.parametrize("name", sorted(ORIGIN_WIDE | NEVER_PASSED))
def test_no_such_field_is_a_trailer_at_any_host(name):
    assert not is_response_trailer(name)
    assert not is_response_trailer(name.replace(b"-", b"_").upper())


@pytest.mark.parametrize("status", [b"200 OK", b"302 Found", b"404 Not Found", b"500 No"])
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("way", WAYS)
def test_below_a_path_a_lease_sets_no_policy_for_the_host(world, way, client, status):
    said = answer(FOR_THE_HOST + FOR_NOBODY + FOR_THE_PAGE, status)
    ((_, fields),) = world.heads(client, f"/peer/{way}/", said)
    refused = dict(fields_of(FOR_THE_HOST + FOR_NOBODY))
    assert [(name, value) for name, value in fields if name in refused] == [HSTS]
    assert [field for field in fields_of(FOR_THE_PAGE) if field not in fields] == []


def test_a_lease_whose_places_are_not_rewritten_sets_none_either(world):
    ((_, fields),) = world.heads("HTTP/1.1", "/peer/plain/", answer(FOR_THE_HOST + FOR_NOBODY))
    refused = dict(fields_of(FOR_THE_HOST + FOR_NOBODY))
    assert [(name, value) for name, value in fields if name in refused] == [HSTS]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("way", WAYS)
def test_at_its_own_host_a_lease_speaks_for_itself_but_names_no_other_server(world, way, client):
    said = answer(FOR_THE_HOST[1:] + FOR_NOBODY + FOR_THE_PAGE)
    ((_, fields),) = world.heads(client, "/", said, f"{way}.gw.example:8080")
    assert [
        field for field in fields_of(FOR_THE_HOST[1:] + FOR_THE_PAGE) if field not in fields
    ] == []
    assert not dict(fields).keys() & dict(fields_of(FOR_NOBODY)).keys()
    # Its own word stands, once.
    assert [value for name, value in fields if name == HSTS[0]] == [b"max-age=1"]


@pytest.mark.parametrize("space", ["peer", "ws"])
@pytest.mark.parametrize("way", WAYS)
def test_the_answer_to_a_websocket_s_opening_is_held_to_the_same(world, way, space):
    wire = world.connect_tls()
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13"
    wire.send(
        f"GET /{space}/{way}/ HTTP/1.1\r\nHost: gw.example:8080\r\nX-API-Key: sk_live_abc123...\r\n"
        f"{upgrade}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    world.settle()
    world.origin.wires[-1].send(b"HTTP/1.1 103 Early Hints\r\nSet-Cookie: a=b; Path=/\r\n\r\n")
    more = [b"Set-Cookie: a=b; Path=/", b"Link: </x>", *FOR_THE_HOST, *FOR_NOBODY, *FOR_THE_PAGE]
    world.accept(fields=more)
    world.settle()
    heads = heads_of(wire.received)
    assert [status for status, _ in heads] == [103, 101]
    assert heads[0][1] == []
    fields = heads[1][1]
    refused = dict(fields_of(FOR_THE_HOST + FOR_NOBODY))
    assert [(name, value) for name, value in fields if name in refused] == [HSTS]
    assert (b"set-cookie", f"a=b; Path=/{space}/{way}/".encode()) in fields
    assert (b"link", f"</{space}/{way}/x>".encode()) in fields
    assert (b"referrer-policy", b"no-referrer") in fields


@pytest.mark.parametrize("status", [b"101 Switching Protocols", b"200 OK", b"401 No", b"302 Found"])
@pytest.mark.parametrize("target", ["/peer/{}", "/ws/{}", "/peer/{}?a=/b/c"])
@pytest.mark.parametrize("way", WAYS)
def test_an_opening_without_the_slash_gives_no_other_lease_anything(world, way, target, status):
    prefix = target.format(way).partition("?")[0].encode()
    wire = world.connect_tls()
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13"
    wire.send(
        f"GET {target.format(way)} HTTP/1.1\r\nHost: gw.example:8080\r\n"
        f"X-API-Key: sk_live_abc123...\r\n{upgrade}\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    world.settle()
    said = [
        b"Set-Cookie: sid=evil",
        b"Set-Cookie: sid=evil; Path=x",
        b'Set-Cookie: sid=evil; Path="/"; Secure',
        b"Set-Cookie: sid=evil; HttpOnly",
        b"Location: login",
        b"Content-Location: ../other/",
        b"Refresh: 0; url=?q",
        b"Link: <x>; rel=preload",
    ]
    if status.startswith(b"101"):
        world.accept(fields=said)
    else:
        world.say(answer(said, status))
    world.settle()
    ((code, fields),) = heads_of(wire.received)
    assert code == int(status[:3])
    assert [value for name, value in fields if name == b"set-cookie"] == [
        b"sid=evil; Path=%b/" % prefix,
        b"sid=evil; Path=%b/" % prefix,
        b"sid=evil; Secure; Path=%b/" % prefix,
        b"sid=evil; HttpOnly; Path=%b/" % prefix,
    ]
    told = dict(fields)
    assert told[b"location"] == prefix + b"/login"
    assert told[b"content-location"] == prefix + b"/other/"
    assert told[b"refresh"] == b"0; url=%b/?q" % prefix
    assert told[b"link"] == b"<%b/x>; rel=preload" % prefix


COOKIES = [
    (b"a=b; Path=/", b"a=b; Path=%b/"),
    (b"a=b; Domain=gw.example; Path=/", b"a=b; Path=%b/"),
    (b"a=b; Path=/; domain=.example", b"a=b; Path=%b/"),
    (b"a=b; Path=/; Domain=gw.example.", b"a=b; Path=%b/"),
    (b'a=b; Path="/"', b"a=b; Path=%b/"),
    (b'a=b; Domain="gw.example"; Path=x', b"a=b; Path=%b/"),
    (b'=b; path="/', b"=b; path=%b/"),
    (b'__Host-a=b; Secure; Path="/"', b"__Host-a=b; Secure; Path=%b/"),
]


@pytest.mark.parametrize(("sent", "got"), COOKIES)
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("way", WAYS)
def test_no_cookie_comes_to_another_lease(world, way, client, sent, got):
    ((_, fields),) = world.heads(client, f"/peer/{way}/", answer([b"Set-Cookie: " + sent]))
    assert dict(fields)[b"set-cookie"] == got.replace(b"%b", b"/peer/" + way.encode())


def test_a_cookie_that_is_too_long_to_be_looked_at_is_dropped(world):
    long = b"Set-Cookie: a=b; Path=/; x=" + b"y" * 16_400
    for target in ("/peer/origin/",):
        ((status, fields),) = world.heads("HTTP/1.1", target, answer([long]))
        assert (status, b"set-cookie" in dict(fields)) == (200, False)
    long = long.replace(b"Path", b"Domain=gw.example; Path")
    ((status, fields),) = world.heads("HTTP/1.1", "/", answer([long]), "origin.gw.example")
    assert (status, b"set-cookie" in dict(fields)) == (200, False)


@pytest.mark.parametrize(
    ("sent", "got"),
    [
        (b"a=b; Path=/", b"a=b; Path=/"),
        (b"a=b; Domain=gw.example; Path=/", b"a=b; Path=/"),
        (b"a=b; domain = .GW.example", b"a=b"),
        (b"a=b; Domain=example.", b"a=b"),
        (b"a=b; Domain=origin.gw.example", b"a=b; Domain=origin.gw.example"),
        (b"a=b; Domain=.origin.gw.example", b"a=b; Domain=.origin.gw.example"),
        (b"a=b; Domain=evil.example", b"a=b; Domain=evil.example"),
        (b'a=b; Domain="gw.example"', b"a=b"),
    ],
)
@pytest.mark.parametrize("client", CLIENTS)
def test_at_its_own_host_a_lease_sets_no_cookie_for_the_hosts_beside_it(world, client, sent, got):
    said = answer([b"Set-Cookie: " + sent])
    ((_, fields),) = world.heads(client, "/", said, "origin.gw.example:8080")
    assert dict(fields)[b"set-cookie"] == got


# Informational responses.

HINTS = (
    b"HTTP/1.1 103 Early Hints\r\n"
    b"Link: </style.css>; rel=preload; as=style, <b.js>; rel=preload\r\n"
    b"link: <https://cdn.example/f>; rel=preconnect\r\nSet-Cookie: a=b; Path=/\r\n"
    b"Location: /elsewhere\r\nService-Worker-Allowed: /\r\nAlt-Svc: clear\r\n"
    b"Strict-Transport-Security: max-age=0\r\nX-Any: 1\r\nConnection: X-Hop\r\nX-Hop: 1\r\n"
    b"Content-Security-Policy: x\r\nX-Request-ID: theirs\r\n\r\n"
)

BELOW = [
    (b"link", b"</peer/%b/style.css>; rel=preload; as=style, <b.js>; rel=preload"),
    (b"link", b"<https://cdn.example/f>; rel=preconnect"),
]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("way", WAYS)
def test_of_early_hints_the_links_pass_and_are_rewritten(world, way, client):
    hints, final = world.heads(client, f"/peer/{way}/", HINTS + OK)
    expected = [(name, value.replace(b"%b", way.encode())) for name, value in BELOW]
    assert hints == (103, expected)
    assert final[0] == 200


@pytest.mark.parametrize("client", CLIENTS)
def test_at_its_own_host_the_links_pass_as_they_are(world, client):
    hints, final = world.heads(client, "/", HINTS + OK, "origin.gw.example:8080")
    assert hints[1][0] == (b"link", b"</style.css>; rel=preload; as=style, <b.js>; rel=preload")
    assert {name for name, _ in hints[1]} == {b"link"}
    assert final[0] == 200


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("status", [102, 104, 110, 199])
def test_other_informational_responses_are_a_status_alone(world, client, status):
    said = b"HTTP/1.1 %d A Word\r\n%b" % (status, HINTS.partition(b"\r\n")[2])
    first, final = world.heads(client, "/peer/relay/", said + OK)
    assert first == (status, [])
    assert final[0] == 200


@pytest.mark.parametrize("client", CLIENTS)
def test_a_100_that_nobody_waits_for_goes_nowhere(world, client):
    said = HINTS.replace(b"103 Early Hints", b"100 Continue")
    assert [status for status, _ in world.heads(client, "/peer/origin/", said + OK)] == [200]


def test_http_1_0_has_no_informational_responses(world):
    heads = world.heads("HTTP/1.0", "/peer/origin/", HINTS + OK)
    assert [status for status, _ in heads] == [200]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("way", WAYS)
def test_a_flood_of_informational_responses_is_dropped_and_counted(world, way, client):
    few = b"HTTP/1.1 102 Processing\r\n\r\n" * (MAX_HINTS + 5)
    heads = world.heads(client, f"/peer/{way}/", few + OK)
    assert [status for status, _ in heads] == [102] * MAX_HINTS + [200]
    assert world.gateway.site.limit_hits["informational"] == 5


@pytest.mark.parametrize("client", CLIENTS)
def test_a_flood_of_links_is_dropped_and_counted(world, client):
    link = b"Link: </" + b"x" * 5_000 + b">\r\n"
    said = b"HTTP/1.1 103 Early Hints\r\n" + link * 2 + b"\r\n"
    heads = world.heads(client, "/peer/origin/", said * 10 + OK)
    assert [status for status, _ in heads] == [103] * 10 + [200]
    links = [value for status, fields in heads for name, value in fields if name == b"link"]
    assert len(links) == 3
    assert sum(map(len, links)) <= MAX_HINT_BYTES
    # Once for the second and each later response.
    assert world.gateway.site.limit_hits["informational"] == 9


def test_the_links_of_the_final_answer_are_rewritten_too(world):
    said = answer([b"Link: </style.css>; rel=preload", b"Link: broken", b"SourceMap: /a.map"])
    ((_, fields),) = world.heads("HTTP/1.1", "/peer/relay/", said)
    assert [value for name, value in fields if name == b"link"] == [
        b"</peer/relay/style.css>; rel=preload"
    ]
    assert dict(fields)[b"sourcemap"] == b"/peer/relay/a.map"


def test_the_metrics_tell_of_the_flood(world):
    few = b"HTTP/1.1 102 Processing\r\n\r\n" * (MAX_HINTS + 1)
    world.heads("HTTP/1.1", "/peer/origin/", few + OK)
    told = world.gateway._measured._metrics.registry.get_sample_value(
        "portal_gateway_limit_hits_total", {"limit": "informational"}
    )
    assert told == 1


@pytest.mark.parametrize("client", CLIENTS)
def test_the_limit_can_be_set(tmp_path, client):
    config = CONFIG.replace("  tls:", "  limits: {informational: 1}\n  tls:", 1)
    world = AnswersWorld(ONE, tmp_path, config)
    heads = world.heads(client, "/peer/origin/", HINTS * 3 + OK)
    assert [status for status, _ in heads] == [103, 200]
    assert world.gateway.site.limit_hits["informational"] == 2
    world.stop()

"""Pages that are open to this machine without a key, asked for by other hosts (DNS rebinding)."""

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ResponseReceived

from tests.frontend.gateway_world import KEY, World, head_of
from tests.frontend.test_negotiation import ONE, SecureWorld

ADMIN = "sk_live_admin_0123"

CONFIG = f"""
gateway:
  listen: "127.0.0.1:8080"
  lease_host: "{{lease}}.leases.example.com"
auth:
  keys:
    - {{key: "{KEY}", id: tester}}
    - {{key: "{ADMIN}", id: ops, scopes: [admin]}}
leases:
  tool: {{url: "http://127.0.0.1:3000"}}
health: {{local_details: true}}
metrics: {{listen: "127.0.0.1:9090"}}
"""

TLS = CONFIG.replace("  lease_host", '  tls: {cert_file: "%s", key_file: "%s"}\n  lease_host')

ON_THE_GATEWAY = CONFIG.replace('{listen: "127.0.0.1:9090"}', "{auth: false}")

PAGES = [
    (CONFIG, "/health/details", 8080),
    (CONFIG, "/metrics", 9090),
    (ON_THE_GATEWAY, "/metrics", 8080),
    (CONFIG.replace("127.0.0.1:9090", "0.0.0.0:9090").replace('9090"}', '9090", auth: false}'),
     "/metrics", 9090),
]  # fmt: skip

ASKED_BY = ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"]


@pytest.fixture
def worlds():
    made = []

    def make(config):
        made.append(World(config))
        return made[-1]

    yield make
    for world in made:
        world.stop()


def status(world, target, port, **how):
    wire = world.connect(how.pop("host", "127.0.0.1"), port)
    world.ask(target, wire=wire, **how)
    return int(head_of(wire.received)[0].split()[1])


@pytest.mark.parametrize("host", ASKED_BY)
@pytest.mark.parametrize(("config", "target", "port"), PAGES)
def test_this_machine_sees_them_by_its_own_names_only(worlds, config, target, port, host):
    world = worlds(config)
    seen = {
        authority: status(world, target, port, key=None, host=host, authority=authority)
        for authority in (
            "localhost", f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", "gw.localhost",
            "leases.example.com", "evil.example", f"evil.example:{port}", "127.0.0.1.evil.example",
            "192.0.2.1",
        )
    }  # fmt: skip
    assert seen == {
        "localhost": 200,
        f"localhost:{port}": 200,
        f"127.0.0.1:{port}": 200,
        f"[::1]:{port}": 200,
        "gw.localhost": 200,
        "leases.example.com": 200,
        "evil.example": 401,
        f"evil.example:{port}": 401,
        "127.0.0.1.evil.example": 401,
        "192.0.2.1": 401,
    }


@pytest.mark.parametrize(
    "fields",
    [
        ["X-Forwarded-Host: localhost"],
        ["Forwarded: for=127.0.0.1;host=localhost"],
        ["X-Forwarded-For: 192.0.2.1"],
        ["X-Real-IP: 192.0.2.1"],
        ["Origin: http://localhost"],
    ],
)
@pytest.mark.parametrize("proxies", ["", '  trusted_proxies: ["127.0.0.0/8"]\n'])
@pytest.mark.parametrize(("config", "target", "port"), PAGES)
def test_no_field_that_a_script_may_send_opens_them(worlds, config, target, port, proxies, fields):
    world = worlds(config.replace("  lease_host", f"{proxies}  lease_host", 1))
    how = {"key": None, "authority": "evil.example", "fields": fields}
    assert status(world, target, port, **how) == 401


@pytest.mark.parametrize(("config", "target", "port"), PAGES)
def test_with_a_key_every_host_will_do(worlds, config, target, port):
    world = worlds(config)
    assert status(world, target, port, key=ADMIN, authority="evil.example") == 200
    assert status(world, target, port, key=KEY, authority="evil.example") == 403


@pytest.mark.parametrize(("config", "target", "port"), PAGES)
def test_without_a_host_nobody_knows_who_was_meant(worlds, config, target, port):
    world = worlds(config)
    wire = world.connect(port=port)
    wire.send(f"GET {target} HTTP/1.0\r\n\r\n".encode())
    world.reactor.settle()
    assert wire.received.startswith(b"HTTP/1.1 401 ")


def test_metrics_for_everybody_are_seen_from_elsewhere_by_any_name(worlds):
    """Prometheus asks by the name of a service."""
    config, target, port = PAGES[3]
    how = {"key": None, "host": "10.0.0.7", "authority": "gateway:9090"}
    assert status(worlds(config), target, port, **how) == 200


@pytest.mark.parametrize(("config", "target", "port"), PAGES)
def test_a_reload_keeps_them_closed(worlds, config, target, port):
    world = worlds(config)
    assert world.reconfigure(config.replace("id: tester", "id: other"))
    assert status(world, target, port, key=None, authority="evil.example") == 401
    assert status(world, target, port, key=None, authority="localhost") == 200


@pytest.mark.parametrize(
    ("authority", "expected"),
    [("localhost:8080", 200), ("leases.example.com", 200), ("evil.example:8080", 401)],
)
def test_over_http_2_the_authority_is_the_host(tmp_path, authority, expected):
    world = SecureWorld(TLS % ONE.write(tmp_path))
    wire = world.connect_tls(b"h2")
    h2 = H2Connection(H2Configuration(client_side=True))
    h2.initiate_connection()
    fields = {":method": "GET", ":scheme": "https", ":authority": authority}
    h2.send_headers(1, [*fields.items(), (":path", "/health/details")], end_stream=True)
    wire.send(h2.data_to_send())
    for _ in range(3):
        world.reactor.settle()
        world.reactor.advance(0)
    (head,) = [
        dict(event.headers)
        for event in h2.receive_data(wire.received)
        if isinstance(event, ResponseReceived)
    ]
    assert int(head[b":status"]) == expected
    world.stop()

"""Feature 3.3: health for probes and for people."""

import json
from datetime import UTC, datetime

import pytest
from twisted.internet.endpoints import TCP4ServerEndpoint

from portal_gateway import __version__
from portal_gateway.observe.memory import Memory, memory_now
from portal_gateway.testing.relay import EmbeddedRelay
from tests.frontend.gateway_world import CONFIG, World, head_of
from tests.frontend.test_negotiation import CONFIG as SECURE
from tests.frontend.test_negotiation import ONE, SecureWorld

ADMIN = "sk_live_admin_0123"

WITH_ADMIN = CONFIG.replace(
    "auth:\n  keys:\n", f'auth:\n  keys:\n    - {{key: "{ADMIN}", id: ops, scopes: [admin]}}\n'
)

LOCAL = WITH_ADMIN + "health: {local_details: true}\n"

RELAYS = WITH_ADMIN.partition("leases:")[0] + (
    "portal: {relays: [{url: 'ws://127.0.0.1:4017/relay'}]}\n"
)


START = datetime(2026, 11, 26, tzinfo=UTC).timestamp()


@pytest.fixture
def worlds():
    made = []

    def make(config=WITH_ADMIN, **options):
        made.append(World(config, **options))
        return made[-1]

    yield make
    for world in made:
        world.stop()


def answer(wire):
    first, _, body = head_of(wire.received)
    return int(first.split()[1]), json.loads(body)


def details(world, key=ADMIN, **options):
    return answer(world.ask("/health/details", key=key, **options))


def test_liveness_always_returns_quickly(worlds):
    """It asks nobody: it is the same while nothing upstream is there."""
    for world in (worlds(), worlds(RELAYS)):
        assert answer(world.ask("/health", key=None)) == (200, {"status": "ok"})


def test_readiness_checks_dependencies(worlds):
    world = worlds(RELAYS)
    status, told = answer(world.ask("/health/ready", key=None))
    assert (status, told["status"]) == (503, "not_ready")
    assert told["reasons"] == ["no relay session is up and no plain origin is configured"]
    assert answer(worlds().ask("/health/ready", key=None)) == (200, {"status": "ready"})


def test_detailed_health_requires_auth(worlds):
    world = worlds()
    assert details(world, key=None)[0] == 401
    assert details(world, key="sk_live_abc123...")[1]["error"] == "insufficient_scope"
    assert details(world)[0] == 200


def test_the_details(worlds):
    world = worlds()
    world.reactor.advance(90)
    status, told = details(world)
    assert (status, told["status"]) == (200, "healthy")
    assert told["checks"].pop("memory_usage") == memory_now().used
    assert told["checks"] == {
        "portal_connection": "not_configured",
        "redis_connection": "not_configured",
        "database_connection": "not_configured",
        "certificate": "not_configured",
        "configuration": "ok",
    }
    assert (told["version"], told["uptime_seconds"]) == (__version__, 90)
    assert told["memory"]["resident_bytes"] < told["memory"]["limit_bytes"]
    assert told["configuration"]["generation"] == 1
    assert (told["relays"], told["leases"], told["certificates"]) == ([], 0, [])


def test_a_relay_that_is_away(worlds):
    world = worlds(RELAYS)
    status, told = details(world)
    assert (status, told["status"]) == (503, "unhealthy")
    assert told["checks"]["portal_connection"] == "down"
    (relay,) = told["relays"]
    assert (relay["relay"], relay["state"], relay["round_trip_ms"]) == (
        "127.0.0.1:4017",
        "waiting",
        None,
    )
    assert relay["last_loss"] == "refused"


class Later(World):
    """A gateway with its relay, which comes when it is told to.

    The time of day runs on with the reactor's clock, from another beginning.
    """

    def __init__(self):
        super().__init__(RELAYS, wall_clock=self.wall)

    def wall(self):
        return START + self.reactor.seconds()

    def relay_comes(self):
        self.relay = EmbeddedRelay(self.reactor)
        self.relay.listen(TCP4ServerEndpoint(self.reactor, 4017))
        self.reactor.advance(60)

    def stop(self):
        self.relay.stop()
        return super().stop()


def test_a_relay_that_comes(worlds):
    world = Later()
    assert answer(world.ask("/health/ready", key=None))[0] == 503
    since = details(world)[1]["relays"][0]["since"]
    world.reactor.advance(100)
    # It is away since it was tried, however often it is tried again.
    assert details(world)[1]["relays"][0]["since"] == since
    world.relay_comes()
    came = world.gateway.upstreams.router.relays[0].session.since
    world.reactor.advance(100)
    status, told = details(world)
    assert (status, told["status"]) == (200, "healthy")
    assert told["checks"]["portal_connection"] == "ok"
    (relay,) = told["relays"]
    assert relay["state"] == "up"
    assert relay["round_trip_ms"] is not None
    assert datetime.fromisoformat(relay["since"]).timestamp() == int(START + came)
    assert answer(world.ask("/health/ready", key=None)) == (200, {"status": "ready"})
    world.stop()


def test_the_certificate_by_its_names_and_end(tmp_path):
    config = SECURE % ONE.write(tmp_path)
    secure = SecureWorld(config.replace("id: tester", "id: tester, scopes: [admin]"))
    wire = secure.ask_tls("/health/details", secure.connect_tls())
    told = answer(wire)[1]
    assert told["checks"]["certificate"] in {"ok", "expires_soon"}
    (certificate,) = told["certificates"]
    end = datetime.fromisoformat(certificate["not_after"])
    assert end == ONE.certificate.not_valid_after_utc.replace(microsecond=0)
    assert certificate["names"]
    secure.stop()


@pytest.mark.parametrize("target", ["/health/other", "/health/ready/x", "/health/details/x"])
def test_nothing_else_is_below(worlds, target):
    wire = worlds().ask(target, key=ADMIN)
    assert answer(wire)[1]["error"] == "not_found"


def test_no_secret_of_a_store_or_relay_is_told(worlds):
    config = RELAYS + (
        'rate_limit: {storage: {type: redis, redis: {addr: "127.0.0.1:6379",'
        " password: canary-redis}}}\n"
        "quotas: {storage: database, daily: {default: {requests: 5}}}\n"
        'database: {driver: postgres, dsn: "postgres://user:canary-dsn@127.0.0.1:5432/gateway"}\n'
    )
    told = details(worlds(config))[1]
    assert "canary" not in json.dumps(told)
    assert ADMIN not in json.dumps(told)


def test_a_reload_that_failed_is_told(worlds):
    world = worlds()
    assert not world.reconfigure("gateway: [")
    told = details(world)[1]
    assert told["status"] == "degraded"
    assert told["checks"]["configuration"] == "last_reload_failed"
    assert told["configuration"]["failed_reloads"] == 1
    assert world.reconfigure(WITH_ADMIN)
    told = details(world)[1]
    assert (told["status"], told["configuration"]["generation"]) == ("healthy", 2)


def test_redis_that_is_away(worlds):
    redis = 'rate_limit: {storage: {type: redis, redis: {addr: "127.0.0.1:6379", password: hush}}}'
    world = worlds(WITH_ADMIN + redis)
    told = details(world)[1]
    assert (told["status"], told["checks"]["redis_connection"]) == ("degraded", "down")
    assert "hush" not in json.dumps(told)
    assert "6379" not in json.dumps(told)


def test_a_database_that_was_asked(worlds, tmp_path):
    world = worlds(WITH_ADMIN + "quotas: {daily: {default: {requests: 5}}}\n", directory=tmp_path)
    assert details(world)[1]["checks"]["database_connection"] == "ok"


@pytest.mark.parametrize(
    ("host", "fields", "status"),
    [
        ("127.0.0.1", [], 200),
        ("::1", [], 200),
        ("192.0.2.1", [], 401),
        # A proxy on this machine brings others.
        ("127.0.0.1", ["X-Forwarded-For: 192.0.2.1"], 401),
        ("127.0.0.1", ["X-Forwarded-For: 127.0.0.1"], 401),
        ("127.0.0.1", ["Forwarded: for=127.0.0.1"], 401),
        ("127.0.0.1", ["Via: 1.1 nginx"], 401),
    ],
)
def test_clients_on_this_machine_need_no_key_where_that_is_configured(worlds, host, fields, status):
    how = {"key": None, "host": host, "fields": fields, "authority": "localhost:8080"}
    assert details(worlds(LOCAL), **how)[0] == status
    assert details(worlds(), **how)[0] == 401


def test_k8s_probes_work_correctly(worlds):
    """From the first moment of a drain on it is not ready, while it is alive and serves."""
    config = WITH_ADMIN.replace("gateway:", "gateway:\n  drain: {grace: 1s, timeout: 2s}")
    world = World(config)
    assert answer(world.ask("/health/ready", key=None))[0] == 200
    wires = [world.connect() for _ in range(3)]
    stopped = []
    world.gateway.stopService().addBoth(stopped.append)
    # Not a moment later: no time has passed.
    status, told = answer(world.ask("/health/ready", key=None, wire=wires[0]))
    assert (status, told["reasons"]) == (503, ["the gateway is stopping"])
    status, told = details(world, wire=wires[1])
    assert (status, told["status"]) == (503, "draining")
    assert answer(world.ask("/health", key=None, wire=wires[2]))[0] == 200
    world.reactor.advance(10)
    assert len(stopped) == 1
    assert world.reactor.getDelayedCalls() == []


def test_the_limit_of_a_container_counts(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    page = memory_now().resident and 4096
    (tmp_path / "proc/self/statm").write_text("900 250 30 4 0 100 0\n")
    limit = tmp_path / "sys/fs/cgroup/memory.max"
    limit.write_text("max\n")
    assert memory_now(tmp_path).resident == 250 * page
    limit.write_text(f"{1000 * page}\n")
    assert memory_now(tmp_path) == Memory(250 * page, 1000 * page)
    assert memory_now(tmp_path).used == "25%"
    # That of a unit is in its own group, that of a slice above it.
    unit = tmp_path / "sys/fs/cgroup/system.slice/gateway.service"
    unit.mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/system.slice/gateway.service\n")
    (unit / "memory.max").write_text(f"{500 * page}\n")
    assert memory_now(tmp_path).used == "50%"
    (unit.parent / "memory.max").write_text(f"{250 * page}\n")
    assert memory_now(tmp_path).used == "100%"
    (tmp_path / "proc/self/cgroup").write_text("0::/../../elsewhere\n")
    assert memory_now(tmp_path).used == "25%"
    (tmp_path / "proc/self/statm").unlink()
    assert memory_now(tmp_path) == Memory(0, 1)

"""M5 of the test plan: whatever clients send, one line a request, which can be read and says it."""

import json

import pytest
from gateway_world import CONFIG, KEY, World

CASES = [
    ("ansi", b"\x1b[31mred\x1b[0m", None),
    ("quotes", b'" onload="x', '" onload="x'),
    ("json", b'{"level": "error", "message": "x"}', '{"level": "error", "message": "x"}'),
    ("line separator", "\u2028".encode(), "\xe2\x80\xa8"),
    ("no utf-8", b"\xff\xfe\xc0\x80", "\xff\xfe\xc0\x80"),
    ("tab", b"a\tb", "a\tb"),
    ("nul", b"a\x00b", None),
    ("carriage return", b"a\rb", None),
    ("a new line", b"a\nX: b", None),
    ("long", b"x" * 4000, "x" * 2048 + "\u2026 (4000 characters)"),
    ("a megabyte", b"x" * 1_000_000, None),
    ("escape of percent", b"%0d%0a%1b", "%0d%0a%1b"),
    ("backslash", b"\\u001b\\n", "\\u001b\\n"),
]
"""What the user agent is, and what the line says; None where it is refused or does not matter."""


def lines_of(world):
    world.stop()
    text = world.log_text.getvalue()
    assert text.isascii()
    assert all(line.isprintable() for line in text.splitlines())
    events = [json.loads(line) for line in text.splitlines()]
    return [event for event in events if event["message"].startswith("request_")]


@pytest.mark.parametrize(("sent", "said"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_a_user_agent(sent, said):
    world = World()
    wire = world.connect()
    wire.send(
        b"GET /health HTTP/1.1\r\nHost: a\r\nUser-Agent: %b\r\nConnection: close\r\n\r\n" % sent
    )
    world.reactor.settle()
    assert wire.received.startswith(b"HTTP/1.1 ")
    (line,) = lines_of(world)
    assert line["status"] == int(wire.received.split()[1])
    if said is not None:
        assert (line["status"], line["user_agent"]) == (200, said)


@pytest.mark.parametrize(
    "target",
    [
        "/peer/tool/%0d%0aX:%20y",
        "/peer/tool/%1b[31m",
        "/peer/tool/%00",
        '/peer/tool/"quoted"',
        "/peer/tool/%e2%80%a8",
        "/peer/%22%2c%22status%22:200",
        "/peer/tool/" + "x" * 5000,
        "/%ff%fe",
    ],
)
def test_a_path(target):
    world = World()
    wire = world.ask(target, fields=["X-Request-ID: m5"])
    for origin in world.origin.wires:
        origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    world.reactor.settle()
    (line,) = lines_of(world)
    assert line["path"].startswith(target[:2048])
    assert line["status"] == int(wire.received.split()[1])
    assert line["request_id"] == "m5"


@pytest.mark.parametrize("offered", ['a"b', "a b", "\x1b[31m", "x" * 300, "{}"])
def test_an_id_that_is_none_is_replaced(offered):
    world = World()
    world.ask("/health", fields=[f"X-Request-ID: {offered}"])
    (line,) = lines_of(world)
    assert line["request_id"] != offered
    assert KEY not in world.log_text.getvalue()


def test_an_output_that_cannot_be_opened_leaves_everything_as_it_was(tmp_path):
    asked = []

    def refuse(logging):
        asked.append(logging.output)
        raise PermissionError(13, "Permission denied")

    world = World(directory=tmp_path)
    world.gateway._log.open_sink = refuse
    assert not world.reconfigure(CONFIG + "logging: {output: a.log, query: true}\n")
    assert asked == [tmp_path / "a.log"]
    world.ask("/nothing?a=b")
    (line,) = lines_of(world)
    assert line["path"] == "/nothing"


def test_a_query_is_written_without_its_secrets_where_that_is_configured():
    world = World(CONFIG + "logging: {query: true}\n")
    world.ask("/nothing?page=2&access_token=canary&q=a%20b")
    (line,) = lines_of(world)
    assert line["path"] == "/nothing?page=2&access_token=***&q=a%20b"

"""The commands as an operator types them: processes, signals, exit statuses."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys

import pytest

from tests.integration import programs

CURL_LINES = {
    "health/ready": '"ready"',
    "-i http://127.0.0.1:PORT/peer/agent/echo": "HTTP/1.1 401 Unauthorized",
    "echo?hello=portal": '"target": "/echo?hello=portal"',
    '"some text"': '"body": "some text"',
    "/tokens": "data: [DONE]",
    "tools/list": '"name": "echo"',
    "/peer/nobody/": '"error": "lease_not_found"',
}
"""A part of each line of the demo, and what its answer holds."""


TERMINAL = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from portal_gateway.cli import main
main()
"""
"""What a terminal does: a shell in the background starts its children with SIGINT ignored."""


def command(*arguments):
    return programs.Program(
        arguments[0],
        [sys.executable, "-c", TERMINAL, *arguments],
        environment={
            "PYTHONPATH": os.pathsep.join((str(programs.SOURCE), str(programs.ROOT))),
            "PYTHONUNBUFFERED": "1",
        },
        ours=True,
    )


@pytest.mark.parametrize("taken", [False, True], ids=["free-port", "taken-port"])
def test_the_demo_runs_and_each_of_its_curl_lines_works(taken):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        if taken:
            other.listen()
        else:
            other.close()
        demo = command("demo", "--port", str(port))
        demo.wait_for_line("Ctrl-C stops it")
    told = "\n".join(demo.lines)
    listens = int(re.search(r"listens on http://127\.0\.0\.1:(\d+)/", told)[1])
    assert (listens != port) == taken
    assert ("is taken" in told) == taken
    lines = [line for line in demo.lines if line.startswith("curl ")]
    assert len(lines) == len(CURL_LINES)
    for line, (part, answer) in zip(lines, CURL_LINES.items(), strict=True):
        assert part.replace("PORT", str(listens)) in line
        done = subprocess.run(
            [*shlex.split(line), "-sS", "--max-time", "20"],
            capture_output=True,
            encoding="utf-8",
            check=True,
        )
        assert answer in done.stdout, line
    demo.signal(signal.SIGINT)
    assert demo.process.wait(programs.STOP) == 0
    assert demo.lines[-1] == "Ctrl-C stops it."
    demo.stop()


def config(tmp_path, text):
    file = tmp_path / "gateway.yaml"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    return str(file)


def test_run_says_where_it_listens_and_ends_in_order_on_sigterm(tmp_path):
    file = config(tmp_path, "gateway: {listen: '127.0.0.1:0'}\n")
    gateway = command("run", "--config", file)
    gateway.wait_for_line(r"^Portal Gateway listens on http://127\.0\.0\.1:\d+/$")
    assert gateway.stop() == 0


def test_an_address_that_is_taken_ends_the_start_with_one_line(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        gateway = command("run", "--config", config(tmp_path, f"gateway: {{listen: '{address}'}}"))
        assert gateway.process.wait(programs.START) == 1
    assert gateway.lines == [f"portal-gateway: cannot listen on {address}: Address already in use"]


@pytest.mark.parametrize("name", ["run", "validate"])
def test_a_credential_file_that_cannot_be_used_ends_it_with_one_line(tmp_path, name):
    (tmp_path / "key").write_text("not a key")
    (tmp_path / "key").chmod(0o600)
    text = "gateway: {listen: '127.0.0.1:0'}\nportal: {credential_file: key}\n"
    gateway = command(name, "--config", config(tmp_path, text))
    assert gateway.process.wait(programs.START) == 1
    (line,) = gateway.lines
    assert line.startswith("portal-gateway: ")
    assert str(tmp_path / "key") in line


def test_validate_tells_which_relays_can_be_reached(tmp_path):
    relay = programs.embedded_relay()
    nobody = f"ws://127.0.0.1:{programs.free_port()}/relay"
    text = f"portal: {{relays: [{{url: '{relay.url}'}}, {{url: '{nobody}'}}]}}\n"
    validating = command("validate", "--config", config(tmp_path, text))
    assert validating.process.wait(programs.START) == 0
    told = validating.lines
    assert told[0] == "Configuration valid"
    assert f"  - Portal reachable at {relay.url}" in told
    assert any(
        line.startswith(f"  - Warning: Portal not reachable at {nobody}: Nothing listens")
        for line in told
    )
    relay.stop()

"""``portal-gateway health`` against a gateway that runs: what it says, and its exit status."""

import socket
import subprocess
from datetime import UTC, datetime

import pytest

from tests.integration import programs
from tests.tls.tls_world import Certified

NOW = datetime.now(UTC)


def health(file, *more, command=("portal_gateway.health_command",)):
    """What the command says and how it ends; by itself, as in a container, or as one of ours."""
    done = subprocess.run(
        programs.python(*command, "--config", file, *more),
        env={**programs.os.environ, **programs.python_path()},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def gateway(directory, origin=None, **section):
    """A gateway on a port that its configuration names, and that configuration's file."""
    configuration = {"gateway": {"listen": f"127.0.0.1:{programs.free_port()}", **section}}
    if origin is not None:
        configuration["leases"] = {"tool": {"url": f"http://{origin}"}}
    return programs.Gateway(configuration, directory), directory / "gateway.yaml"


def test_a_gateway_that_lives_and_is_ready_says_so(tmp_path, origin):
    program, file = gateway(tmp_path, origin)
    with program:
        assert health(file) == (0, "alive")
        assert health(file, "--ready") == (0, "ready")
        assert health(file, command=["portal_gateway.cli", "health"]) == (0, "alive")
    status, said = health(file)
    assert status == 1
    assert "no answer at 127.0.0.1:" in said
    assert "Connection refused" in said


def test_one_that_is_not_ready_says_why(tmp_path):
    program, file = gateway(tmp_path)
    with program:
        assert health(file) == (0, "alive")
        status, said = health(file, "--ready")
    assert status == 1
    assert "answered 503: no relay session is up" in said


@pytest.mark.parametrize("client_ca", [None, "root.pem"])
def test_https_with_a_certificate_for_another_name(tmp_path, origin, client_ca):
    root = Certified("the root", authority=True, now=NOW)
    Certified("gateway.example", root, now=NOW).write(tmp_path)
    (tmp_path / "root.pem").write_bytes(root.pem)
    tls = {"cert_file": "cert.pem", "key_file": "key.pem"}
    if client_ca is not None:
        tls["client_ca_file"] = client_ca
    program, file = gateway(tmp_path, origin, tls=tls)
    with program:
        if client_ca is None:
            assert health(file) == (0, "alive")
            assert health(file, "--ready") == (0, "ready")
        else:
            # It has no certificate to show, and the alert that says so is a sign of life.
            assert health(file) == (0, "alive: it answers with an alert of TLS")
            assert health(file, "--ready")[0] == 1


def test_something_else_that_hangs_there(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        file = tmp_path / "gateway.yaml"
        file.write_text(f'gateway: {{listen: "{listen}"}}\n')
        assert health(file, "--timeout", "0.2") == (
            1,
            f"portal-gateway: no answer at {listen}: timed out",
        )

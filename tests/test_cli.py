"""The command line: what it prints, and how it ends."""

import pytest

from portal_gateway import __version__
from portal_gateway.cli import main

VALID = """
auth:
  keys:
    - key: "sk_live_abc123..."
    - key: "sk_live_readonly"
      scopes: ["read"]
leases:
  tool:
    url: "http://127.0.0.1:3000"
"""

BROKEN = """
auth:
  keys:
    - key: "sk_live_abc123..."
      scopes: ["wirte"]
gatway:
  listen: "127.0.0.1:8080"
"""


def end(capsys, *arguments):
    """Run a command that ends by itself; its status, output and errors."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    printed = capsys.readouterr()
    return ended.value.code, printed.out, printed.err


def test_the_version_is_told(capsys):
    assert end(capsys, "--version") == (0, f"portal-gateway {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["run"], "--config"),
        (["expose", "--relay", "ws://h/", "--name", "n"], "--to"),
        (["expose", "--relay", "ws://h/", "--name", "n", "--to", "3000"], "not HOST:PORT"),
        (["expose", "--relay", "ws://h/", "--name", "n", "--to", "h:0"], "not HOST:PORT"),
        (["expose", "--relay", "ws://h/", "--name", "n", "--to", "h:99999"], "not HOST:PORT"),
        (["demo", "--port", "x"], "invalid int value"),
    ],
)
def test_a_command_line_that_is_wrong_is_told_with_status_2(capsys, arguments, says):
    status, out, err = end(capsys, *arguments)
    assert (status, out) == (2, "")
    assert says in err


def test_a_valid_configuration_is_described(capsys, tmp_path):
    file = tmp_path / "gateway.yaml"
    file.write_text(VALID)
    file.chmod(0o600)
    main(["validate", "--config", str(file)])
    printed = capsys.readouterr()
    assert printed.out.startswith("Configuration valid\n")
    assert "2 API keys" in printed.out
    assert "sk_live" not in printed.out + printed.err


@pytest.mark.parametrize("command", ["validate", "run"])
def test_an_invalid_configuration_is_told_line_by_line_with_status_1(capsys, tmp_path, command):
    file = tmp_path / "gateway.yaml"
    file.write_text(BROKEN)
    status, out, err = end(capsys, command, "--config", str(file))
    assert (status, out) == (1, "")
    assert f'{file}:5: auth.keys[0].scopes[0]: unknown scope "wirte"; did you mean "write"?' in err
    assert f"{file}:6: " in err
    assert '"gateway"' in err
    assert "sk_live" not in err


def test_a_file_that_is_not_there_is_told(capsys, tmp_path):
    status, _, err = end(capsys, "validate", "--config", str(tmp_path / "none.yaml"))
    assert status == 1
    assert "none.yaml" in err
    assert "No such file" in err


@pytest.mark.parametrize("url", ["http://h/relay", "ws://", "ws://user:pw@h/"])
def test_a_relay_url_that_is_none_ends_expose_with_one_line(url, tmp_path):
    with pytest.raises(SystemExit) as ended:
        main(["expose", "--relay", url, "--name", "n", "--to", "127.0.0.1:1"])
    assert str(ended.value.code).startswith("portal-gateway: a relay's URL")

"""``portal-gateway health``: where it asks. What it is told is in tests/integration."""

import pytest

from portal_gateway import cli, health_command
from portal_gateway.config.loading import load_config_text
from portal_gateway.health_command import Unasked, _place


def place(listen):
    text = (
        f"gateway: {{listen: '{listen}', trusted_proxies: [127.0.0.1, unix]}}\n"
        "auth: {keys: [{key: sk_live_abcdef}]}\n"
    )
    return tuple(_place(load_config_text(text, "gateway.yaml", {}).gateway))


@pytest.mark.parametrize(
    ("listen", "asked"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080, "")),
        (":8443", ("127.0.0.1", 8443, "")),
        ("0.0.0.0:8443", ("127.0.0.1", 8443, "")),
        ("10.1.2.3:8443", ("10.1.2.3", 8443, "")),
        ("localhost:8443", ("localhost", 8443, "")),
        ("[::]:8443", ("::1", 8443, "")),
        ("[::1]:8443", ("::1", 8443, "")),
        ("tcp:8443", ("127.0.0.1", 8443, "")),
        ("tcp:port=8443:interface=10.1.2.3", ("10.1.2.3", 8443, "")),
        ("tcp6:8443", ("::1", 8443, "")),
        ("tcp6:8443:interface=2001\\:db8\\:\\:1", ("2001:db8::1", 8443, "")),
        ("unix:/run/gateway.sock:mode=660", ("", 0, "/run/gateway.sock")),
        ("unix:address=/run/a\\:b.sock", ("", 0, "/run/a:b.sock")),
        ("haproxy:tcp:8443", ("127.0.0.1", 8443, "")),
        ("haproxy:unix:/run/gateway.sock", ("", 0, "/run/gateway.sock")),
    ],
)
def test_it_asks_where_the_gateway_listens(listen, asked):
    assert place(listen) == asked


@pytest.mark.parametrize(
    "listen",
    ["systemd:domain=INET:index=0", "127.0.0.1:0", "haproxy:tcp:0", "haproxy:systemd:INET:index=0"],
)
def test_it_says_so_where_it_cannot_know(listen):
    with pytest.raises(Unasked, match="cannot tell where"):
        place(listen)


@pytest.mark.parametrize(("main", "arguments"), [(cli.main, ["health"]), (health_command.main, [])])
def test_an_invalid_configuration_is_told_as_everywhere(capsys, tmp_path, main, arguments):
    file = tmp_path / "gateway.yaml"
    file.write_text("gatway: {}\n")
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--config", str(file)])
    told = capsys.readouterr().err or str(ended.value.code)
    assert ended.value.code
    assert 'did you mean "gateway"?' in told

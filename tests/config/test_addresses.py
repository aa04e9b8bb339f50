import pytest

from portal_gateway.config.addresses import (
    host_header,
    lease_host,
    listen_address,
    origin_url,
    relay_url,
    server_name,
)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("127.0.0.1:8080", r"tcp:8080:interface=127.0.0.1:backlog=4096"),
        ("0.0.0.0:80", r"tcp:80:interface=0.0.0.0:backlog=4096"),
        ("127.0.0.1:0", r"tcp:0:interface=127.0.0.1:backlog=4096"),
        (":8080", "tcp:8080:backlog=4096"),
        ("localhost:8080", "tcp:8080:interface=localhost:backlog=4096"),
        ("gateway:8080", "tcp:8080:interface=gateway:backlog=4096"),
        ("gw.example.com:65535", "tcp:65535:interface=gw.example.com:backlog=4096"),
        ("[::1]:8080", r"tcp6:8080:interface=\:\:1:backlog=4096"),
        ("[::]:8080", r"tcp6:8080:interface=\:\::backlog=4096"),
        ("[fe80::1%eth0]:8080", r"tcp6:8080:interface=fe80\:\:1%eth0:backlog=4096"),
        ("tcp:8080", "tcp:8080"),
        ("tcp:8080:interface=127.0.0.1", "tcp:8080:interface=127.0.0.1"),
        (r"tcp6:port=8080:interface=\:\:1", r"tcp6:port=8080:interface=\:\:1"),
        ("unix:/run/gateway.sock", "unix:/run/gateway.sock"),
        ("haproxy:tcp:8080", "haproxy:tcp:8080"),
        ("systemd:domain=INET:index=0", "systemd:domain=INET:index=0"),
        ("haproxy:unix:/run/a.sock", "haproxy:unix:/run/a.sock"),
        ("haproxy:systemd:INET:name=web", "haproxy:systemd:INET:name=web"),
    ],
)
def test_listen_addresses(read, text, endpoint):
    assert read(listen_address, f"'{text}'") == (text, endpoint)


@pytest.mark.parametrize(
    "text", ["127.0.0.1:80800", "tcp:80800", "tcp:port=70000", "[::1]:99999", "haproxy:tcp:80800"]
)
def test_ports_have_a_bound(read, text):
    reason = read.reason(listen_address, f"'{text}'")
    assert reason == f'bad address "{text}": a port is at most 65535'


@pytest.mark.parametrize(
    "text",
    ["127.0.0.256:80", "1.2.3:80", "[127.0.0.1]:80", "[::1::]:80", "a b:80", "-a:80", "é.com:80"],
)
def test_hosts_that_are_none(read, text):
    reason = read.reason(listen_address, f"'{text}'")
    assert reason.startswith(f'bad address "{text}": its host must be a name or an IP address')


@pytest.mark.parametrize("text", ["127.0.0.1", "::1:8080", "foo:8080:x=1", "8080x", "", ":", "a:b"])
def test_what_is_neither_host_and_port_nor_an_endpoint(read, text):
    assert read.reason(listen_address, f"'{text}'").startswith(
        f'bad address "{text}"; write host:port'
    )


@pytest.mark.parametrize(
    ("text", "kind"), [("stdio:", "stdio"), ("autobahn:tcp\\:9000", "autobahn")]
)
def test_an_endpoint_whose_meaning_would_be_lost(read, text, kind):
    reason = read.reason(listen_address, f"'{text}'")
    assert reason.startswith(f'the gateway cannot listen on a "{kind}" endpoint')
    assert reason.endswith("acme, haproxy, le, lets, ssl, systemd, tcp, tcp6, tls, unix")
    assert read.reason(listen_address, f"'haproxy:{text}'") == reason


@pytest.mark.parametrize(
    "within", ["haproxy:tcp:443", "ssl:443", "tls:/certs", "le:/other:tcp:443", "stdio:"]
)
def test_nothing_stands_between_an_acme_endpoint_and_its_socket(read, tmp_path, within):
    escaped = within.replace(":", "\\:")
    for text in (
        f"le:{tmp_path}:{within}",
        f"lets:{tmp_path}:{within}",
        f"acme:{tmp_path}:directory=https\\://ca.example:domains=a.example:endpoint={escaped}",
    ):
        reason = read.reason(listen_address, f"'{text}'")
        # What Twisted's parser of the inner one refuses already is as good.
        assert "endpoint within" in reason or "endpoint needs a file" in reason, reason


def test_one_header_only(read):
    reason = read.reason(listen_address, "'haproxy:haproxy:tcp:80'")
    assert reason == "one PROXY header is before each connection: write haproxy: once"


def test_acme_behind_a_balancer(read, tmp_path):
    text = f"haproxy:le:{tmp_path}:tcp:443"
    assert read(listen_address, f"'{text}'") == (text, text)


@pytest.mark.parametrize("text", ["tls:/nowhere", "haproxy:tls:/nowhere:port=443"])
def test_an_endpoint_with_its_certificates_in_a_directory(read, tmp_path, text):
    text = text.replace("/nowhere", str(tmp_path))
    assert read(listen_address, f"'{text}'") == (text, text)


@pytest.mark.parametrize("text", ["tcp:port", "tcp", "tcp:80:x=1", "systemd:domain=NONE:x=1"])
def test_arguments_that_an_endpoint_does_not_take(read, text):
    kind = text.partition(":")[0]
    assert read.reason(listen_address, text) == (
        f'the arguments are not those of a Twisted "{kind}" endpoint string'
    )


def test_an_endpoint_that_needs_a_file(read, tmp_path):
    reason = read.reason(listen_address, f"'ssl:443:privateKey={tmp_path}/none.pem'")
    assert reason == (
        'the "ssl" endpoint needs a file that cannot be read: No such file or directory'
    )


def test_an_address_that_yaml_reads_as_a_number(read):
    assert read.reason(listen_address, "8080") == (
        "expected an address such as 127.0.0.1:8080, found the number 8080;"
        ' put it in quotes: "8080"'
    )


@pytest.mark.parametrize(
    "text",
    [
        "ws://127.0.0.1:4017/relay",
        "wss://portal.example.com/relay",
        "ws://[::1]:4017/relay",
        "ws://relay_1:4017",
        "wss://xn--bcher-kva.example/",
        "ws://relay./relay",
        "https://{lease}.portal.example.com",
        "https://{lease}.portal.example.com:5443/",
        "http://{lease}.localhost:4017",
        "https://portal.example.com",
        "http://127.0.0.1:4017/base/of/it/",
    ],
)
def test_relay_urls(read, text):
    assert read(relay_url, text) == text


def test_a_scheme_is_read_without_regard_to_case(read):
    assert read(relay_url, "WSS://Portal.example.com/Relay") == "wss://Portal.example.com/Relay"
    assert read(origin_url, "HTTP://127.0.0.1") == "http://127.0.0.1"


@pytest.mark.parametrize(
    "text", ["ftp://portal.example.com", "x://x/relay", "portal.example.com", "ws:/x", "//x"]
)
def test_what_is_no_relay_url(read, text):
    assert read.reason(relay_url, text).startswith("not a relay URL")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ws://user@host/", "user name or password"),
        ("ws://user:secret@host/", "user name or password"),
        ("ws://@host/", "user name or password"),
        ("ws://host/?token=secret", "query or fragment"),
        ("ws://host/?", "query or fragment"),
        ("ws://host/#secret", "query or fragment"),
        ("ws://host:0/", "port must be from 1"),
        ("ws://host:/", "port must be from 1"),
        ("ws://host:65536/", "host or port is malformed"),
        ("ws://host:x/", "host or port is malformed"),
        ("ws://[::1/", "host or port is malformed"),
        ("ws:///relay", "host must be"),
        ("ws://127.0.0.256/", "host must be"),
        ("ws://0x7f.1/", "host must be"),
        ("ws://a..b/", "host must be"),
        ("ws://[fe80::1%25eth0]/", "host must be"),
        (f"ws://{'a' * 64}.example/", "host must be"),
        (f"ws://{'a.' * 127}example/", "host must be"),
        ("ws://host/a b", "character that URLs cannot"),
        ("ws://host\\\\@evil/", "character that URLs cannot"),
        ("ws://bücher.example/", "character that URLs cannot"),
        ("ws://{lease}.example/", "character that URLs cannot"),
        ("ws://host/\\n", "character that URLs cannot"),
        ("wss://{lease}.example/", "character that URLs cannot"),
        ("https://a.{lease}.example", "character that URLs cannot"),
        ("https://{lease}-a.example", "character that URLs cannot"),
        ("https://{lease}.{lease}.example", "character that URLs cannot"),
        ("https://{LEASE}.example", "character that URLs cannot"),
        ("https://{lease}/", "character that URLs cannot"),
        ("https://{lease}.:5/", "character that URLs cannot"),
        ("https://example/{lease}.x", "character that URLs cannot"),
        ("https://user@{lease}.example", "character that URLs cannot"),
        ("https://{lease}.127.0.0.1", "host must be"),
        (f"https://{{lease}}.{'a.' * 95}example", "host must be"),
        ("https://{lease}.example/base", "the URL must end after the host of a lease"),
        ("https://example/a/../b", "no dot segments"),
        ("https://example/%2E", "no dot segments"),
        ("https://example/?x={lease}.a", "character that URLs cannot"),
    ],
)
def test_urls_that_are_malformed(read, text, reason):
    found = read.reason(relay_url, f'"{text}"')
    assert reason in found
    assert "secret" not in found


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:3000", "http://127.0.0.1:3000/", "https://[::1]", "http://tool"]
)
def test_origins(read, text):
    assert read(origin_url, text) == text


@pytest.mark.parametrize("text", ["ws://127.0.0.1", "ftp://tool", "tool:3000", "127.0.0.1:3000"])
def test_what_is_no_origin(read, text):
    assert read.reason(origin_url, text).startswith("not the URL of a plain origin")


@pytest.mark.parametrize("text", ["http://tool/base", "http://tool//", "http://tool/."])
def test_an_origin_has_no_path(read, text):
    assert read.reason(origin_url, text).startswith("the URL must end after host and port")


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("{lease}.gw.example.com", "{lease}.gw.example.com"),
        ("{lease}.GW.example.com.", "{lease}.gw.example.com"),
        ("{lease}.localhost", "{lease}.localhost"),
    ],
)
def test_hosts_of_leases(read, text, host):
    assert read(lease_host, f'"{text}"') == host


@pytest.mark.parametrize(
    "text",
    [
        "gw.example.com",
        "a.{lease}.example.com",
        "{lease}",
        "{lease}.",
        "{lease}-gw.example.com",
        "{lease}.gw.example.com:443",
        "{lease}.{lease}.com",
        "{lease}.127.0.0.1",
        "{lease}.[::1]",
        "{lease}.bücher.example",
        "{lease}.a..b",
        "{lease}." + "a." * 95 + "example",
        "https://{lease}.example",
    ],
)
def test_what_is_no_host_of_leases(read, text):
    assert read.reason(lease_host, f'"{text}"').startswith("bad host")


@pytest.mark.parametrize(
    "text", ["tool", "tool:3000", "api.example.com", "127.0.0.1:1", "[::1]", "[::1]:65535"]
)
def test_host_headers(read, text):
    assert read(host_header, f'"{text}"') == text


@pytest.mark.parametrize(
    "text",
    ["", "a b", "a/b", "user@a", "a:", "a:0", "a:65536", "::1", "[::1", "[a]", "a\\r\\nX: 1", "é"],
)
def test_what_is_no_host_header(read, text):
    assert read.reason(host_header, f'"{text}"').startswith("bad host")


@pytest.mark.parametrize(
    ("text", "name"),
    [("Tool.Example.", "tool.example"), ("127.0.0.1", "127.0.0.1"), ("::1", "::1")],
)
def test_server_names(read, text, name):
    assert read(server_name, f'"{text}"') == name


@pytest.mark.parametrize("text", ["", "a:1", "a b", "[::1]", "bücher.example", "*.example"])
def test_what_is_no_server_name(read, text):
    assert read.reason(server_name, f'"{text}"').startswith("bad server name")

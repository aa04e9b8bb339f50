import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from portal_gateway.config import document
from portal_gateway.config.database import DatabaseSection
from portal_gateway.config.loading import (
    LISTEN_VARIABLE,
    ConfigInvalid,
    load_config,
    load_config_text,
)
from portal_gateway.config.model import (
    ApiKey,
    Config,
    GatewaySection,
    LeaseSection,
    LoggingSection,
    Origin,
    PoolSection,
    PortalSection,
    RelaySection,
)
from portal_gateway.config.reading import MAX_FAULTS

IDENTITY = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

SMALLEST = f"""\
gateway:
  listen: "127.0.0.1:8080"            # host:port, or any Twisted endpoint string
portal:
  relays:
    - url: "ws://127.0.0.1:4017/relay"
auth:
  keys:
    - key: "sk_live_abc123..."
      scopes: ["read", "write"]
leases:                               # optional: only what differs from "look the name up"
  tool:
    url: "http://127.0.0.1:3000"      # a plain origin instead of a relay
  my-agent:
    identity: "{IDENTITY}"  # pinned
"""


def load(text: str, environ=None) -> Config:
    return load_config_text(text, "gateway.yaml", environ or {})


def faults(text: str, environ=None) -> list[str]:
    with pytest.raises(ConfigInvalid) as caught:
        load(text, environ)
    assert str(caught.value) == "\n".join(map(str, caught.value.faults))
    return [str(fault).removeprefix("gateway.yaml:") for fault in caught.value.faults]


def test_the_smallest_useful_configuration():
    assert load(SMALLEST) == Config(
        gateway=GatewaySection("127.0.0.1:8080", "tcp:8080:interface=127.0.0.1:backlog=4096"),
        portal=PortalSection(relays=(RelaySection("ws://127.0.0.1:4017/relay"),)),
        auth=load("auth: {keys: [{key: sk_live_abc123...}]}").auth,
        leases={
            "tool": LeaseSection(url="http://127.0.0.1:3000"),
            "my-agent": LeaseSection(identity=IDENTITY),
        },
        database=DatabaseSection(file=Path.cwd() / "portal-gateway.sqlite"),
        source="gateway.yaml",
    )


@pytest.mark.parametrize(
    "snippet",
    [
        # The snippets of the feature list that concern what there is today.
        """
auth:
  keys:
    - key: "sk_live_abc123..."
      description: "Production API key"
      scopes: ["read", "write"]
      expires_at: "2025-12-31T23:59:59Z"
""",
        """
auth:
  keys:
    - key: "sk_live_readonly"
      scopes: ["read"]  # GET requests only

    - key: "sk_live_fullaccess"
      scopes: ["read", "write", "admin"]
""",
        """
portal:
  pool:
    max_idle: 100
    max_active: 1000
    idle_timeout: 5m
""",
        """
auth:
  keys:
    # From environment variable
    - key: "${API_KEY_1}"
""",
    ],
)
def test_snippets_of_the_feature_list(snippet):
    load(snippet, {"API_KEY_1": "sk_live_from_the_environment"})


def test_every_key():
    config = load(
        """
gateway:
  listen: "[::1]:9000"
portal:
  relays: [{url: "ws://a/relay"}, {url: "ws://b/relay"}]
  pool: {max_idle: 1, max_active: 2, idle_timeout: 500s}
auth:
  keys:
    - key: sk_live_abc123
      id: one
      description: "The first, für uns"
      scopes: [read, admin]
      expires_at: 2030-01-01T00:00:00Z
logging: {level: debug, format: text}
"""
    )
    assert config.gateway == GatewaySection("[::1]:9000", r"tcp6:9000:interface=\:\:1:backlog=4096")
    assert [relay.url for relay in config.portal.relays] == ["ws://a/relay", "ws://b/relay"]
    assert config.portal.pool == PoolSection(1, 2, 500.0)
    assert config.auth.keys == (
        ApiKey.of(
            "sk_live_abc123",
            id="one",
            description="The first, für uns",
            scopes=["read", "admin"],
            expires_at=datetime(2030, 1, 1, tzinfo=UTC),
        ),
    )
    assert config.logging == LoggingSection("debug", "text")


def test_what_is_left_out_has_its_default():
    config = load("gateway:\nportal:\nauth:\n  keys:\nleases:\nlogging:\n")
    assert config.gateway == GatewaySection(
        "127.0.0.1:8080", "tcp:8080:interface=127.0.0.1:backlog=4096"
    )
    assert config.portal == PortalSection((), None, PoolSection(100, 1000, 300.0))
    assert config.auth.keys == ()
    assert config.leases == {}
    assert config.logging == LoggingSection("info", "json")
    (key,) = load("auth: {keys: [{key: sk_live_abc123}]}").auth.keys
    assert key.scopes == {"read", "write"}
    assert key.expires_at is None


def test_a_lease_needs_no_keys_of_its_own():
    assert load("leases: {known: {}, empty: }").leases == {
        "known": LeaseSection(),
        "empty": LeaseSection(),
    }


def test_leases_cannot_be_changed():
    with pytest.raises(TypeError):
        load(SMALLEST).leases["new"] = LeaseSection()


def test_aliases_and_merge_keys():
    config = load(
        """
leases:
  a: &plain {url: "http://a"}
  b: *plain
  c: {<<: *plain}
  d: {<<: [*plain, *plain], url: "http://d"}
"""
    )
    assert [lease.url for lease in config.leases.values()] == [
        "http://a",
        "http://a",
        "http://a",
        "http://d",
    ]


def test_what_is_wrong_with_a_merge():
    assert faults("leases: {a: {<<: text}, b: {<<: [{urrl: x}]}}") == [
        '1: leases.a["<<"]: expected a mapping, found a single value',
        '1: leases.b["<<"][0]: unknown key "urrl"; did you mean "url"?',
    ]


def test_a_value_that_is_only_a_variable_works_for_every_scalar():
    config = load(
        """
gateway: {listen: "${LISTEN}"}
portal:
  relays: [{url: "${SCHEME}://${HOST}:${PORT}/relay"}]
  pool: {max_idle: "${IDLE}", max_active: "${ACTIVE}", idle_timeout: "${TIMEOUT}"}
auth:
  keys: [{key: "${KEY}", id: "${ID}", expires_at: "${UNTIL}", scopes: ["${SCOPE}"]}]
leases: {tool: {identity: "${IDENTITY}"}}
logging: {level: "${LEVEL}"}
""",
        {
            "LISTEN": "127.0.0.1:9000",
            "SCHEME": "wss",
            "HOST": "relay.example.com",
            "PORT": "4017",
            "IDLE": "7",
            "ACTIVE": "8",
            "TIMEOUT": "9s",
            "KEY": "no: [yaml, ${ID}]".replace(" ", ""),
            "ID": "no",
            "UNTIL": "2030-01-01T00:00:00Z",
            "SCOPE": "read",
            "IDENTITY": IDENTITY,
            "LEVEL": "error",
        },
    )
    assert config.portal.relays[0].url == "wss://relay.example.com:4017/relay"
    assert config.portal.pool == PoolSection(7, 8, 9.0)
    (key,) = config.auth.keys
    assert key == ApiKey.of(
        "no:[yaml,${ID}]", id="no", scopes=["read"], expires_at=datetime(2030, 1, 1, tzinfo=UTC)
    )
    assert config.leases["tool"].identity == IDENTITY
    assert config.logging.level == "error"


def test_a_variable_is_never_structure():
    environ = {"X": "[a, b]", "Y": "{url: http://a}", "Z": "&a"}
    assert faults("auth: {keys: '${X}'}\nleases: '${Y}'\nlogging: {level: '${Z}'}", environ) == [
        "1: auth.keys: expected a list of API keys, found a single value",
        "2: leases: expected a mapping, found a single value",
        (
            '3: logging.level: unknown level "${Z}" (its variables replaced);'
            " known are debug, error, info, warning"
        ),
    ]


def test_no_fault_shows_what_came_from_the_environment():
    text = """
gateway: {listen: "${S}"}
portal:
  relays: [{url: "ws://${S}/"}, {url: "${S}"}]
  credential_file: "none/${S}"
  pool: {max_idle: "${S}", max_active: "${N}", idle_timeout: "${S}"}
auth:
  keys:
    - {key: "a b${S}", id: "${S}!", description: "${S}\\n", scopes: ["${S}"], expires_at: "${S}"}
leases:
  a: {url: "${S}", identity: "${S}"}
logging: {level: "${S}", format: "${S}"}
"""
    found = faults(text, {"S": "s3cr3t-", "N": "987654321"})
    assert len(found) == 16
    for line in found:
        assert "s3cr3t" not in line
        assert "987654321" not in line


SECRET = "sk_live_s3cr3t0123"


@pytest.mark.parametrize(
    "text",
    [
        f"{SECRET}",
        f"{SECRET}: x",
        f"{SECRET}: x\n{SECRET}: y",
        f"auth: {SECRET}",
        f"auth: {{{SECRET}: x, {SECRET}: x}}",
        f"auth: {{keys: {SECRET}}}",
        f"auth: {{keys: [{SECRET}]}}",
        f"auth: {{keys: [[{SECRET}]]}}",
        f"auth: {{keys: [{SECRET}: {{scopes: [read]}}]}}",
        f"auth: {{keys: [{{{SECRET}: 1, {SECRET}: 2}}]}}",
        f"auth: {{keys: [{{<<: {{{SECRET}: 1, {SECRET}: 2}}}}]}}",
        f"auth: {{keys: [{{key: '{SECRET} '}}]}}",
        f"auth: {{keys: [{{key: !{SECRET} x}}]}}",
        f"auth: {{keys: [{{key: *{SECRET}}}]}}",
        f"auth: {{keys: [{{key: '{SECRET}', id: '{SECRET}'}}]}}",
        f"auth: {{keys: [{{key: '{SECRET}', id: '{SECRET}/'}}]}}",
        f"auth: {{keys: [{{key: '{SECRET}'}}, {{key: '{SECRET}'}}]}}",
        f"auth: {{keys: [{{key: '{SECRET}', expires_at: no}}]}}",
        f"auth: {{keys: [{{key: '{SECRET}'}}\n",
        f"auth: {{keys: [{{key: '{SECRET}\n",
        f'auth: {{keys: [{{key: "{SECRET}\\q"}}]}}',
        f"auth: {{keys: [{{key: {SECRET}: x}}]}}",
        f"portal: {{relays: [{{url: 'ws://user:{SECRET}@host/'}}]}}",
        f"portal: {{relays: [{{url: 'ws://host/?token={SECRET}'}}]}}",
        f"portal: {{relays: [{{url: 'ftp://{SECRET}.example'}}]}}",
        f"leases: {{a: {{url: 'http://user:{SECRET}@host/'}}}}",
        f"leases: {{a: {{url: 'http://host/?token={SECRET}'}}}}",
    ],
)
def test_a_secret_in_a_wrong_place_is_not_shown(text):
    assert SECRET not in "\n".join(faults(text))


def test_a_loaded_configuration_shows_no_secret():
    config = load(
        f"auth: {{keys: [{{key: {SECRET}, id: one}}, {{key: '${{KEY}}'}}]}}",
        {"KEY": "other-" + SECRET},
    )
    assert SECRET not in repr(config)
    for key in config.auth.keys:
        assert key.digest.hex() not in repr(config)
        assert repr(key.digest) not in repr(config)


def test_all_faults_are_found_at_once_in_the_order_of_the_file():
    text = SMALLEST.replace('"write"', '"wirte"').replace("4017", "99999").replace("tool:", "a/b:")
    assert faults(text + "loging: {}\n") == [
        "5: portal.relays[0].url: the URL's host or port is malformed",
        '9: auth.keys[0].scopes[1]: unknown scope "wirte"; did you mean "write"?',
        (
            '11: leases["a/b"]: bad lease name "a/b": slashes, backslashes, controls and invisible'
            " characters are not allowed"
        ),
        '15: unknown key "loging"; did you mean "logging"?',
    ]


def test_the_number_of_reported_faults_is_bounded():
    found = faults("leases:\n" + "".join(f"  l{i}: {{ulr: x}}\n" for i in range(MAX_FAULTS + 7)))
    assert len(found) == MAX_FAULTS + 1
    assert found[-1] == " and 7 more faults"


def test_the_number_of_warnings_is_bounded():
    config = load("leases:\n" + "".join(f"  l{i}: {{}}\n" for i in range(MAX_FAULTS + 7)))
    assert len(config.warnings) == MAX_FAULTS


def test_a_large_configuration_is_read(monkeypatch):
    keys = "".join(f"    - {{key: sk_live_{i:020}, scopes: [read]}}\n" for i in range(2000))
    start = time.process_time()
    config = load("auth:\n  keys:\n" + keys)
    assert len(config.auth.keys) == 2000
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        (SMALLEST, []),
        (
            "portal: {relays: [{url: ws://a/}]}",
            ["gateway.yaml: auth.keys: no API keys are configured: every request will be refused"],
        ),
        (
            "auth: {keys: [{key: sk_live_abc123}]}",
            [
                (
                    "gateway.yaml: portal.relays: neither a relay nor a lease with a url is"
                    " configured: no lease can be reached"
                )
            ],
        ),
        (
            "auth: {keys: [{key: sk_live_abc123}]}\nleases:\n  a: {url: http://a}\n  b: {}\n",
            [
                (
                    "gateway.yaml:4: leases.b: this lease has no url, and there is no relay to look"
                    " it up at"
                )
            ],
        ),
        (
            (
                "auth: {keys: [{key: sk_live_abc123}]}\nportal: {relays: [{url: http://r/}]}\n"
                "leases:\n  Tool: {}\n  a+b: {}\n  a;b: {url: http://a}\n  日本: {}\n"
            ),
            [
                (
                    'gateway.yaml:5: leases["a+b"]: this lease has no url, and its name cannot be'
                    " sent to any of the relays"
                )
            ],
        ),
        (
            (
                "auth: {keys: [{key: sk_live_abc123}]}\n"
                "portal: {relays: [{url: 'http://{lease}.r'}]}\nleases:\n  Tool: {}\n  a_b: {}\n"
            ),
            [
                (
                    "gateway.yaml:5: leases.a_b: this lease has no url, and its name cannot be sent"
                    " to any of the relays"
                )
            ],
        ),
        (
            (
                "auth: {keys: [{key: sk_live_abc123}]}\n"
                "portal: {relays: [{url: 'http://{lease}.r'}, {url: http://r/}]}\n"
                "leases:\n  Tool: {}\n  a_b: {}\n"
            ),
            [],
        ),
        (
            (
                "auth: {keys: [{key: sk_live_abc123}]}\n"
                "portal: {relays: [{url: 'ws://r'}, {url: http://r/}]}\nleases: {a+b: {}}"
            ),
            [],
        ),
        (
            "auth: {keys: [{key: short}]}\nleases: {a: {url: http://a}}",
            [
                (
                    "gateway.yaml:1: auth.keys[0].key: the key is shorter than 12 characters and"
                    " can be guessed"
                )
            ],
        ),
    ],
)
def test_what_is_hardly_meant_is_a_warning(text, warnings):
    assert [str(warning) for warning in load(text).warnings] == warnings


def test_a_derived_id_is_of_the_hash():
    (key,) = load("auth: {keys: [{key: sk_live_abc123}]}").auth.keys
    assert key.id == "key_" + key.digest.hex()[:12]
    assert len(key.digest) == 32


def test_an_id_that_another_key_derives_is_taken():
    (key,) = load("auth: {keys: [{key: sk_live_abc123}]}").auth.keys
    text = (
        f"auth:\n  keys:\n    - key: sk_live_abc123\n    - {{key: sk_live_xyz789, id: {key.id}}}\n"
    )
    assert faults(text) == ["4: auth.keys[1].id: the same id as auth.keys[0] on line 3"]


def test_origins():
    leases = load(
        "leases: {a: {url: http://a}, b: {url: 'https://[::1]/'}, c: {url: http://a:81}, d: {}}"
    ).leases
    assert [lease.origin for lease in leases.values()] == [
        Origin("http", "a", 80),
        Origin("https", "::1", 443),
        Origin("http", "a", 81),
        None,
    ]


def test_a_file_is_read(tmp_path):
    file = tmp_path / "gateway.yaml"
    file.write_text("\ufeff" + SMALLEST + "  日本語: {}\n", encoding="utf-8")
    file.chmod(0o640)
    config = load_config(file, {})
    assert config.source == str(file)
    assert "日本語" in config.leases
    assert config.warnings == ()


def test_paths_are_relative_to_the_file(tmp_path, monkeypatch):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "gateway.yaml").write_text("portal: {credential_file: key}")
    monkeypatch.chdir(tmp_path)
    config = load_config(Path("etc/gateway.yaml"), {})
    assert config.portal.credential_file == tmp_path / "etc" / "key"


def test_a_file_with_keys_that_everybody_can_read(tmp_path):
    file = tmp_path / "gateway.yaml"
    file.write_text(SMALLEST)
    file.chmod(0o644)
    assert [str(warning) for warning in load_config(file, {}).warnings] == [
        (
            f"{file}: auth.keys: the file can be read by every user (mode 0644);"
            " chmod 640 it, or take the keys from the environment"
        )
    ]


def test_keys_from_the_environment_are_not_in_the_file(tmp_path):
    file = tmp_path / "gateway.yaml"
    file.write_text("leases: {a: {url: 'http://a'}}\nauth: {keys: [{key: '${KEY}'}]}\n")
    file.chmod(0o644)
    assert load_config(file, {"KEY": "sk_live_from_environment"}).warnings == ()


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("auth: {jwt: {secret: 's%s', algorithm: HS256}}", "auth.jwt.secret", "secret"),
        ("database: {driver: postgres, dsn: 'postgres://a:s%s@b/c'}", "database.dsn", "password"),
        (
            "rate_limit: {storage: {type: redis, redis: {addr: 'a:1', password: 's%s'}}}",
            "rate_limit.storage.redis.password",
            "secret",
        ),
    ],
)
def test_a_file_with_another_secret_that_everybody_can_read(tmp_path, text, where, what):
    file = tmp_path / "gateway.yaml"
    for secret, warned in ((f"{0:032}", [f"take the {what} from the environment"]), ("${S}", [])):
        file.write_text(text % secret)
        file.chmod(0o644)
        warnings = [str(warning) for warning in load_config(file, {"S": f"{0:032}"}).warnings]
        found = [warning for warning in warnings if "can be read by every user" in warning]
        assert len(found) == len(warned)
        for warning, end in zip(found, warned, strict=True):
            assert warning.startswith(f"{file}: {where}: ")
            assert warning.endswith(end)


def test_a_symbolic_link_is_followed(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "gateway.yaml").write_text(SMALLEST)
    link = tmp_path / "gateway.yaml"
    link.symlink_to(tmp_path / "data" / "gateway.yaml")
    assert len(load_config(link, {}).auth.keys) == 1


def fault_of(path: Path) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        load_config(path, {})
    (fault,) = caught.value.faults
    return str(fault).removeprefix(str(path))


def test_files_that_cannot_be_read(tmp_path):
    assert fault_of(tmp_path / "none.yaml") == ": cannot be read: No such file or directory"
    assert fault_of(tmp_path) == ": cannot be read: Is a directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission(tmp_path):
    file = tmp_path / "gateway.yaml"
    file.write_text(SMALLEST)
    file.chmod(0)
    assert fault_of(file) == ": cannot be read: Permission denied"


def test_a_file_has_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(document, "MAX_FILE_BYTES", 100)
    file = tmp_path / "gateway.yaml"
    file.write_bytes(b"#" * 101)
    assert fault_of(file) == ": larger than 100 bytes"
    file.write_bytes(b"#" * 100)
    assert fault_of(file) == ":1: the document is empty"


def test_a_device_without_end_is_not_read_to_its_end():
    assert fault_of(Path("/dev/zero")) == ": larger than 10000000 bytes"


@pytest.mark.parametrize(
    ("data", "line", "column"), [(b"\xff\xfea\0", 1, 1), (b"a: b\n# \xe9\n", 2, 3)]
)
def test_a_file_that_is_not_utf_8(tmp_path, data, line, column):
    file = tmp_path / "gateway.yaml"
    file.write_bytes(data)
    with pytest.raises(ConfigInvalid) as caught:
        load_config(file, {})
    (fault,) = caught.value.faults
    assert (fault.line, fault.column, fault.reason) == (line, column, "not UTF-8 text")


@pytest.mark.parametrize("text", ["auth: {}\n", "gateway:\nauth: {}\n", "gateway: {limits: {}}\n"])
def test_the_environment_says_where_to_listen_if_the_file_does_not(text):
    gateway = load(text, {"PORTAL_GATEWAY_LISTEN": "0.0.0.0:8443"}).gateway
    assert gateway.listen == "0.0.0.0:8443"
    assert gateway.listen_endpoint == "tcp:8443:interface=0.0.0.0:backlog=4096"
    assert load(text, {"PORTAL_GATEWAY_LISTEN": ""}).gateway == GatewaySection()


def test_the_address_of_the_file_wins_over_that_of_the_environment():
    text = 'gateway: {listen: "127.0.0.1:1234"}\n'
    assert load(text, {"PORTAL_GATEWAY_LISTEN": "0.0.0.0:8443"}).gateway.listen == "127.0.0.1:1234"


def test_an_address_of_the_environment_that_cannot_be_is_told():
    environ = {"PORTAL_GATEWAY_LISTEN": "${HOME}:80", "HOME": "127.0.0.1"}
    (told,) = faults("auth: {}\n", environ)
    assert told.strip().startswith(
        'gateway.listen: bad address "${PORTAL_GATEWAY_LISTEN}" (its variables replaced)'
    )


@pytest.mark.parametrize("text", ["gateway: 3\n", "gateway: []\n", "gateway: {}\ngateway: {}\n"])
def test_a_gateway_that_is_wrong_stays_wrong_with_an_address_of_the_environment(text):
    assert faults(text, {"PORTAL_GATEWAY_LISTEN": "0.0.0.0:8443"}) == faults(text)


def test_an_address_of_the_environment_is_compared_with_the_others():
    text = 'metrics: {listen: "0.0.0.0:8443"}\nauth: {keys: [{key: sk_live_abcdef}]}\n'
    (told,) = faults(text, {"PORTAL_GATEWAY_LISTEN": "0.0.0.0:8443"})
    assert told.startswith("1: metrics.listen: the same address as gateway.listen")


@pytest.mark.parametrize("environ", [{}, {LISTEN_VARIABLE: "0.0.0.0:8080"}])
@pytest.mark.parametrize(
    "text", ["<<: 1", "<<: [1]", "<<: !tag {a: b}", "!tag\n<<: {a: b}", "gateway:\n  <<: 1"]
)
def test_a_merge_that_cannot_be_is_a_fault_wherever_it_stands(text, environ):
    with pytest.raises(ConfigInvalid):
        load_config_text(text, "gateway.yaml", environ)

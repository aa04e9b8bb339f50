"""The section ``auth.jwt``: every way to write it, and what is wrong with others."""

import pytest

from portal_gateway.config.jwt_tokens import JWKSAddress, JWTClaims, JWTSection
from portal_gateway.config.loading import ConfigInvalid, load_config, load_config_text
from portal_gateway.config.model import Config
from portal_gateway.config.report import describe
from portal_gateway.config.upstream_tls import UpstreamTLS
from tests.tls.tls_world import Certified
from tests.wire.jwt_world import jwk, key_set, private_pem, public_pem

CANARY = "a-secret-canary-0123456789abcdef"

RELAY = 'portal: {relays: [{url: "ws://relay/"}]}\n'


@pytest.fixture
def files(tmp_path):
    for algorithm in ("RS256", "ES256", "EdDSA"):
        (tmp_path / f"{algorithm}.pem").write_bytes(public_pem(algorithm))
    (tmp_path / "private.pem").write_bytes(private_pem("RS256"))
    (tmp_path / "certificate.pem").write_bytes(Certified("issuer").pem)
    (tmp_path / "nothing.pem").write_bytes(b"nothing\n")
    return tmp_path


def load(text, directory=None, environ=None):
    indented = "\n".join(f"    {line}" for line in text.splitlines())
    whole = f"{RELAY}auth:\n  jwt:\n{indented}\n"
    return load_config_text(whole, "file.yaml", environ or {}, directory=directory)


def section(text, directory=None, environ=None):
    return load(text, directory, environ).auth.jwt


def warnings(text, directory=None):
    return [f"{warning.path}: {warning.reason}" for warning in load(text, directory).warnings]


def fault(text, directory=None):
    with pytest.raises(ConfigInvalid) as caught:
        load(text, directory)
    (only,) = caught.value.faults
    assert CANARY not in str(only)
    return f"{only.path}: {only.reason}"


def test_1_6_as_the_feature_list_has_it():
    text = """
enabled: true
secret: "your-jwt-secret"
algorithm: "HS256"
claims:
  issuer: "your-company.com"
  audience: "portal-gateway"
"""
    assert section(text) == JWTSection(
        algorithm="HS256",
        secret=b"your-jwt-secret",
        claims=JWTClaims("your-company.com", "portal-gateway"),
    )
    (warning,) = warnings(text)
    assert warning.startswith("auth.jwt.secret: the secret is shorter than 32 bytes")


def test_there_are_no_tokens_unless_they_are_written():
    assert Config().auth.jwt is None
    assert section("{}") is None
    assert section("enabled: false") is None


def test_what_is_switched_off_is_none_and_need_not_be_whole():
    assert section("{enabled: false, algorithm: RS256}") is None


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_public_key_file(algorithm, files):
    found = section(f"algorithm: {algorithm}\npublic_key_file: {algorithm}.pem", files)
    assert found == JWTSection(algorithm=algorithm, public_key=public_pem(algorithm))


def test_published_keys(files):
    (files / "ca.pem").write_bytes(Certified("ca", authority=True).pem)
    found = section(
        """
algorithm: ES256
jwks_url: "https://issuer.example/keys?p=1"
tls: {ca_file: ca.pem}
""",
        files,
    )
    assert found.jwks == JWKSAddress(
        "https://issuer.example/keys?p=1", UpstreamTLS(ca_file=files / "ca.pem")
    )


def test_everything_else(files):
    found = section(
        """
algorithm: EdDSA
public_key_file: EdDSA.pem
leeway: 5s
default_scopes: [read]
claims: {key_id: client_id, scopes: scp, leases: "https://x/leases", plan: tier}
""",
        files,
    )
    assert found.leeway == 5.0
    assert found.default_scopes == {"read"}
    assert found.claims == JWTClaims(None, None, "client_id", "scp", "https://x/leases", "tier")


def test_no_scopes_may_be_the_default():
    text = f"algorithm: HS256\nsecret: {CANARY}\ndefault_scopes: []"
    assert section(text).default_scopes == frozenset()


def test_the_secret_may_come_from_the_environment_and_is_not_shown():
    config = load("algorithm: HS256\nsecret: ${SECRET}", environ={"SECRET": CANARY})
    assert config.auth.jwt.secret == CANARY.encode()
    assert CANARY not in repr(config)
    assert CANARY not in "\n".join(describe(config))


def test_validate_tells_of_tokens():
    text = f'algorithm: HS256\nsecret: {CANARY}\nclaims: {{issuer: "a", audience: "b"}}'
    assert '  - JWTs by HS256, issuer "a", audience "b"' in describe(load(text))
    assert "  - JWTs by HS256" in describe(load(f"algorithm: HS256\nsecret: {CANARY}"))


def test_with_tokens_there_need_be_no_keys():
    text = f"algorithm: HS256\nsecret: {CANARY}\nclaims: {{audience: b}}"
    assert warnings(text) == []


def test_without_an_audience_there_is_a_warning():
    (warning,) = warnings(f"algorithm: HS256\nsecret: {CANARY}")
    assert warning.startswith("auth.jwt: without claims.audience a token")


def test_a_file_with_a_secret_that_all_can_read_is_a_warning(tmp_path):
    file = tmp_path / "file.yaml"
    text = f"{{jwt: {{algorithm: HS256, secret: {CANARY}, claims: {{audience: b}}}}}}"
    file.write_text(f"{RELAY}auth: {text}\n", encoding="utf-8")
    file.chmod(0o644)
    (warning,) = load_config(file, {}).warnings
    assert str(warning).endswith("chmod 640 it, or take the secret from the environment")
    file.chmod(0o640)
    assert load_config(file, {}).warnings == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"secret: {CANARY}", 'auth.jwt: "algorithm" is missing: one of HS256'),
        ("algorithm: HS256", "auth.jwt: tokens are verified with one of secret, public_key_file"),
        ("enabled: true\nalgorithm: RS256", "auth.jwt: tokens are verified with one of"),
        ("algorithm: none", 'auth.jwt.algorithm: unknown algorithm "none"; known are'),
        ("algorithm: HS512", 'auth.jwt.algorithm: unknown algorithm "HS512"; known are'),
        (
            f"algorithm: RS256\nsecret: {CANARY}",
            "auth.jwt.secret: RS256 is verified with a public key, not with a secret",
        ),
        (
            "algorithm: HS256\npublic_key_file: RS256.pem",
            "auth.jwt.public_key_file: HS256 is verified with a secret",
        ),
        (
            'algorithm: HS256\njwks_url: "https://a/"',
            "auth.jwt.jwks_url: HS256 is verified with a secret",
        ),
        (
            f"algorithm: HS256\nsecret: {CANARY}\npublic_key_file: RS256.pem",
            "auth.jwt.public_key_file: secret (line 5) and public_key_file exclude each other",
        ),
        (
            'algorithm: RS256\npublic_key_file: RS256.pem\njwks_url: "https://a/"',
            "auth.jwt.jwks_url: public_key_file (line 5) and jwks_url exclude each other",
        ),
        ('algorithm: HS256\nsecret: ""', "auth.jwt.secret: the secret is empty"),
        ("algorithm: HS256\nsecret: 123456", "auth.jwt.secret: expected a secret, found what YAML"),
        (f'algorithm: HS256\nsecret: "{CANARY}\\n"', "auth.jwt.secret: the secret starts or ends"),
        (f"algorithm: HS256\nsecret: {'x' * 4097}", "auth.jwt.secret: a secret has at most 4096"),
        (
            "algorithm: RS256\npublic_key_file: ES256.pem",
            "auth.jwt.public_key_file: RS256 needs an RSA public key in PEM",
        ),
        (
            "algorithm: ES256\npublic_key_file: EdDSA.pem",
            "auth.jwt.public_key_file: ES256 needs an EC public key on P-256 in PEM",
        ),
        (
            "algorithm: RS256\npublic_key_file: private.pem",
            "auth.jwt.public_key_file: the file holds a private key",
        ),
        (
            "algorithm: RS256\npublic_key_file: certificate.pem",
            "auth.jwt.public_key_file: the file holds no public key in PEM; openssl makes one",
        ),
        (
            "algorithm: RS256\npublic_key_file: nothing.pem",
            "auth.jwt.public_key_file: the file holds no public key in PEM",
        ),
        (
            "algorithm: RS256\npublic_key_file: absent.pem",
            "auth.jwt.public_key_file: the file cannot be read: No such file",
        ),
        (
            f"algorithm: HS256\nsecret: {CANARY}\ntls: {{insecure: true}}",
            "auth.jwt.tls: means nothing without jwks_url",
        ),
        (
            f"algorithm: HS256\nsecret: {CANARY}\nallow_http: true",
            "auth.jwt.allow_http: means nothing without jwks_url",
        ),
        (
            'algorithm: ES256\njwks_url: "http://issuer.example/"',
            "auth.jwt.jwks_url: whoever is on the way could give keys of their own; use https://",
        ),
        (
            'algorithm: ES256\njwks_url: "http://issuer.example/"\nallow_http: false',
            "auth.jwt.jwks_url: whoever is on the way could give keys of their own; use https://",
        ),
        (
            'algorithm: ES256\njwks_url: "http://localhost/"\ntls: {server_name: a}',
            "auth.jwt.tls: this is for a jwks_url with https://",
        ),
        (
            'algorithm: ES256\njwks_url: "file:///etc/passwd"',
            "auth.jwt.jwks_url: not a URL with http:// or https://",
        ),
        (
            'algorithm: ES256\njwks_url: "https://user:pass@a/"',
            "auth.jwt.jwks_url: the URL must not hold a user name or password",
        ),
        (
            'algorithm: ES256\njwks_url: "https://a/#b"',
            "auth.jwt.jwks_url: the URL must not hold a fragment",
        ),
        (f"algorithm: HS256\nsecret: {CANARY}\nleeway: 1h", "auth.jwt.leeway: expected a duration"),
        (
            f"algorithm: HS256\nsecret: {CANARY}\ndefault_scopes: [all]",
            'auth.jwt.default_scopes[0]: unknown scope "all"',
        ),
        (
            f'algorithm: HS256\nsecret: {CANARY}\nclaims: {{issuer: ""}}',
            "auth.jwt.claims.issuer: this is 1 to 255 printable characters",
        ),
        (
            f"algorithm: HS256\nsecret: {CANARY}\nclaims: {{isuer: a}}",
            'auth.jwt.claims: unknown key "isuer"; did you mean "issuer"?',
        ),
    ],
)
def test_what_is_wrong(text, expected, files):
    assert fault(text, files).startswith(expected)


@pytest.mark.parametrize("form", ["pem", "certificate", "jwk", "set"])
def test_a_public_key_is_no_secret(form):
    material = {
        "pem": public_pem("RS256"),
        "certificate": Certified("issuer").pem,
        "jwk": key_set(jwk("RS256"))[10:-2],
        "set": key_set(jwk("RS256")),
    }[form].decode()
    environ = {"SECRET": material.strip()}
    with pytest.raises(ConfigInvalid) as caught:
        load("algorithm: HS256\nsecret: ${SECRET}", environ=environ)
    (only,) = caught.value.faults
    assert only.reason == (
        "this is a public key, a certificate or a JWK: who has it could sign any token"
    )


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"])
def test_http_to_this_machine_needs_no_leave(host):
    text = f'algorithm: ES256\njwks_url: "http://{host}:8000/keys"\nclaims: {{audience: a}}'
    assert warnings(text) == []


@pytest.mark.parametrize("host", ["issuer.example", "localhost.example", "10.0.0.1", "[2001::1]"])
def test_http_elsewhere_is_a_warning_where_it_is_allowed(host):
    text = (
        f'algorithm: ES256\njwks_url: "http://{host}/"\nallow_http: true\nclaims: {{audience: a}}'
    )
    (warning,) = warnings(text)
    assert warning.startswith("auth.jwt.jwks_url: whoever is on the way can give keys of their own")


@pytest.mark.parametrize("written", ["jwt:alice", "jwt:"])
def test_no_key_has_an_id_like_a_tokens_holder(written):
    text = f'{RELAY}auth: {{keys: [{{key: {CANARY}, id: "{written}"}}]}}\n'
    with pytest.raises(ConfigInvalid) as caught:
        load_config_text(text, "", {})
    (only,) = caught.value.faults
    assert only.reason == "ids that start with jwt: are those of tokens' holders"

import os
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from portal_gateway.relay.credential_file import (
    MAX_CREDENTIAL_FILE,
    CredentialFileError,
    load_or_create_credential,
)

KEY = ed25519.Ed25519PrivateKey.from_private_bytes(b"secret-of-thirty-two-bytes-long!")


def pem(key=KEY, encryption=None):
    encryption = encryption or NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def write(path, content, mode=0o600):
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_missing_file_is_made_and_then_read(tmp_path):
    path = tmp_path / "gateway.key"
    before = os.umask(0)
    try:
        made = load_or_create_credential(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create_credential(str(path)).identity == made.identity
    assert [entry.name for entry in tmp_path.iterdir()] == ["gateway.key"]


def test_each_file_gets_a_key_of_its_own(tmp_path):
    one = load_or_create_credential(tmp_path / "one")
    assert one.identity != load_or_create_credential(tmp_path / "two").identity


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_its_owner_is_read(tmp_path, mode):
    path = write(tmp_path / "key", pem(), mode)
    assert load_or_create_credential(path).private_bytes() == KEY.private_bytes_raw()


def test_text_around_the_key_does_not_matter(tmp_path):
    path = write(tmp_path / "key", b"# the gateway's own key\n" + pem() + b"\n")
    assert load_or_create_credential(path).private_bytes() == KEY.private_bytes_raw()


def test_a_symbolic_link_is_followed(tmp_path):
    write(tmp_path / "data", pem())
    (tmp_path / "key").symlink_to("data")
    loaded = load_or_create_credential(tmp_path / "key")
    assert loaded.private_bytes() == KEY.private_bytes_raw()


def test_what_openssl_makes_is_read(tmp_path):
    path = tmp_path / "key"
    command = ["openssl", "genpkey", "-algorithm", "ed25519"]
    made = subprocess.run(command, capture_output=True, check=False)
    if made.returncode:
        pytest.skip("openssl cannot make Ed25519 keys here")
    load_or_create_credential(write(path, made.stdout))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o666, 0o620, 0o601])
def test_a_file_that_others_can_use_is_refused(tmp_path, mode):
    path = write(tmp_path / "key", pem(), mode)
    with pytest.raises(CredentialFileError) as caught:
        load_or_create_credential(path)
    assert f"{mode:04o}" in str(caught.value)
    assert "chmod 600" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a private key in PEM"),
        (b"secret-of-thirty-two-bytes-long!", "not a private key in PEM"),
        (b"\xff\xfe\x00", "not a private key in PEM"),
        (pem()[:60], "not a private key in PEM"),
        (pem().replace(b"PRIVATE", b"PUBLIC"), "not a private key in PEM"),
        (
            KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            "not a private key in PEM",
        ),
        (pem(encryption=BestAvailableEncryption(b"password")), "is encrypted"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "not an Ed25519 key"),
        (pem() + b" " * MAX_CREDENTIAL_FILE, "larger than"),
    ],
)
def test_other_content_is_refused_and_never_quoted(tmp_path, content, reason):
    path = write(tmp_path / "key", content)
    with pytest.raises(CredentialFileError) as caught:
        load_or_create_credential(path)
    message = str(caught.value)
    assert reason in message
    assert str(path) in message
    assert "secret-of" not in message
    assert path.read_bytes() == content


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_what_is_not_a_file_is_refused_without_waiting(tmp_path, kind):
    path = tmp_path / "key"
    if kind == "directory":
        path.mkdir(mode=0o700)
    else:
        os.mkfifo(path, 0o600)
    with pytest.raises(CredentialFileError, match="regular file"):
        load_or_create_credential(path)


def test_a_missing_directory_is_said(tmp_path):
    with pytest.raises(CredentialFileError, match="No such file or directory"):
        load_or_create_credential(tmp_path / "nowhere" / "key")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path):
    path = write(tmp_path / "key", pem())
    os.chown(path, 12345, 12345)
    with pytest.raises(CredentialFileError, match="belongs to user 12345"):
        load_or_create_credential(path)


def test_whoever_is_first_decides_and_all_get_the_same(tmp_path):
    path = tmp_path / "key"
    with ThreadPoolExecutor(8) as pool:
        credentials = list(pool.map(lambda _: load_or_create_credential(path), range(16)))
    assert len({credential.identity for credential in credentials}) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]

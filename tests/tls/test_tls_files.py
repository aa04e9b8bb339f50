import os
from datetime import timedelta

import pytest

from portal_gateway.tls.certificates import BadTLSFile
from portal_gateway.tls.files import MAX_FILE_BYTES, TLSFiles
from tests.tls.tls_world import NOW, Certified

ONE = Certified()


@pytest.fixture
def files(tmp_path):
    return TLSFiles(*ONE.write(tmp_path))


def test_what_the_files_hold(files):
    material = files.read(NOW)
    assert material.certificate.chain == (ONE.certificate,)
    assert material.authorities == ()
    assert files.concerns(material, NOW) == []


def test_authorities_of_clients(tmp_path):
    (tmp_path / "ca.pem").write_bytes(ONE.pem)
    files = TLSFiles(*ONE.write(tmp_path), tmp_path / "ca.pem", "optional")
    material = files.read(NOW)
    assert material.authorities == (ONE.certificate,)
    assert material.client_certificates == "optional"


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda path: path.unlink(), "cannot be read: No such file"),
        (lambda path: (path.unlink(), path.mkdir()), "this is not a file|Is a directory"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "this is not a file"),
        (lambda path: path.write_bytes(b" " * (MAX_FILE_BYTES + 1)), "larger than"),
    ],
)
@pytest.mark.parametrize("key", ["cert_file", "key_file"])
def test_files_that_cannot_be_read(files, key, break_it, reason):
    break_it(getattr(files, key))
    with pytest.raises(BadTLSFile, match=reason) as caught:
        files.read(NOW)
    assert caught.value.file == key


def test_a_key_that_everybody_can_read_is_a_concern(files):
    files.key_file.chmod(0o644)
    (concern,) = files.concerns(files.read(NOW), NOW)
    assert concern.file == "key_file"
    assert "mode 0644" in concern.text


def test_the_state_is_another_after_each_change(files, tmp_path):
    states = [files.state()]
    later = Certified(lasts=timedelta(days=61))
    (tmp_path / "new.pem").write_bytes(later.pem)
    (tmp_path / "new.pem").rename(files.cert_file)
    states.append(files.state())
    files.key_file.unlink()
    states.append(files.state())
    assert len(set(states)) == 3
    assert files.state() == states[-1]

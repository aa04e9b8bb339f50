import os
from pathlib import Path

import pytest

from portal_gateway.config.files import MAX_CERTIFICATE_FILE_BYTES, certificate_file, state_file


def test_paths_are_relative_to_the_configuration(read, tmp_path):
    assert read(state_file, "gateway.key") == tmp_path / "gateway.key"
    (tmp_path / "state").mkdir()
    assert read(state_file, "state/gateway.key") == tmp_path / "state" / "gateway.key"
    assert read(state_file, str(tmp_path / "key")) == tmp_path / "key"


def test_a_state_file_may_be_there(read, tmp_path):
    (tmp_path / "key").write_text("")
    assert read(state_file, "key") == tmp_path / "key"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("''", "a path must not be empty nor hold a NUL character"),
        ('"a\\0b"', "a path must not be empty nor hold a NUL character"),
        ("'~/key'", "~ is not expanded in a path; write the whole path"),
        ("'.'", "this is not a file"),
        ("none/key", "the directory of this file does not exist"),
        ("x" * 300, "the file cannot be reached: File name too long"),
        ("'no'", None),
        ("no", 'expected a path, found no, which YAML reads as false; put it in quotes: "no"'),
    ],
)
def test_paths_that_cannot_hold_a_state_file(read, text, reason):
    if reason is None:
        assert isinstance(read(state_file, text), Path)
    else:
        assert read.reason(state_file, text) == reason


def test_a_fifo_is_no_state_file(read, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    assert read.reason(state_file, "fifo") == "this is not a file"


def test_a_file_of_certificates(read, tmp_path, certificate):
    (tmp_path / "ca.pem").write_bytes(b"# ours\n" + certificate * 2)
    assert read(certificate_file, "ca.pem") == tmp_path / "ca.pem"


@pytest.mark.parametrize(
    "content",
    [b"", b"text", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
)
def test_files_without_a_certificate(read, tmp_path, content):
    (tmp_path / "ca.pem").write_bytes(content)
    reason = read.reason(certificate_file, "ca.pem")
    assert reason == "the file holds no PEM certificate, or a broken one"


def test_a_file_of_certificates_has_a_bound(read, tmp_path, certificate):
    (tmp_path / "ca.pem").write_bytes(certificate + b"\n" * MAX_CERTIFICATE_FILE_BYTES)
    assert read.reason(certificate_file, "ca.pem") == "the file is larger than 2000000 bytes"


@pytest.mark.parametrize(
    ("text", "reason"),
    [("none.pem", "No such file or directory"), ("'.'", "Is a directory")],
)
def test_files_that_cannot_be_read(read, text, reason):
    assert read.reason(certificate_file, text) == f"the file cannot be read: {reason}"

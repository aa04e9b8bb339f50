"""HTTP/2 over real sockets, with curl and h2load as clients."""

import hashlib
import json
import re
import shutil
import subprocess

import pytest

from tests.integration import programs
from tests.integration.conftest import missing
from tests.integration.test_tls import HTTPS

KEY = f"X-API-Key: {programs.API_KEY}"

BIG = 20_000_000


@pytest.fixture(scope="module")
def https(tmp_path_factory, origin):
    served = HTTPS(tmp_path_factory.mktemp("http2"), origin)
    yield served
    served.program.stop()


def tool(name, package):
    path = shutil.which(name)
    if path is None:
        missing(f"there is no {name} (Debian, Ubuntu: apt install {package})")
    return path


@pytest.fixture(scope="module")
def curl(https):
    command = tool("curl", "curl")
    about = subprocess.run([command, "--version"], capture_output=True, check=True).stdout
    if b"HTTP2" not in about:
        missing("this curl was built without HTTP/2")
    url = f"https://localhost:{https.address[1]}"

    def ask(path, *options, key=KEY):
        """What came back: the version and status, and the body."""
        answered = subprocess.run(
            [
                *(command, "--silent", "--show-error", "--max-time", "60", "--http2"),
                *("--cacert", https.directory / "root.pem", "-H", key),
                *("--resolve", f"localhost:{https.address[1]}:127.0.0.1"),
                *("--write-out", "\n%{http_version} %{http_code}", *options, url + path),
            ],
            capture_output=True,
            check=True,
        ).stdout
        body, _, told = answered.rpartition(b"\n")
        return told.decode(), body

    return ask


def test_curl_speaks_http2_to_a_lease(curl):
    told, body = curl("/peer/plain/echo?a=b", "-d", "hello", "-H", "Cookie: a=1; b=2")
    assert told == "2 200"
    seen = json.loads(body)
    assert seen["target"] == "/echo?a=b"
    assert seen["length"] == 5
    fields = dict(seen["fields"])
    assert fields["X-Forwarded-Proto"] == "https"
    assert fields["Host"] == f"localhost:{fields['Host'].rpartition(':')[2]}"
    lower = {name.lower() for name in fields}
    assert "x-api-key" not in lower
    assert not {name for name in lower if name.startswith(":")}


def test_problems_have_their_status(curl):
    told, body = curl("/peer/plain/echo", key="X-API-Key: sk_live_wrong_key_123")
    assert told == "2 401"
    assert json.loads(body)["error"] == "invalid_api_key"
    assert curl("/nowhere")[0] == "2 404"


def test_http_1_1_is_still_spoken(curl):
    assert curl("/health", "--http1.1")[0] == "1.1 200"


def test_a_head(curl):
    told, body = curl("/peer/plain/bytes?n=1000", "--head")
    assert told.endswith("200")
    assert b"content-length: 1000" in body.lower()


def test_a_large_body_each_way(curl, tmp_path):
    digest = hashlib.sha256()
    with (tmp_path / "up").open("wb") as file:
        for number in range(BIG // 1000):
            piece = b"%d" % number * 1000
            digest.update(piece[:1000])
            file.write(piece[:1000])
    told, body = curl("/peer/plain/echo", "--data-binary", f"@{tmp_path / 'up'}")
    assert told == "2 200"
    assert json.loads(body)["sha256"] == digest.hexdigest()
    told, body = curl(f"/peer/plain/bytes?n={BIG}")
    assert told == "2 200"
    assert len(body) == BIG


def test_a_mirror_both_ways_at_once(curl, tmp_path):
    (tmp_path / "up").write_bytes(bytes(range(256)) * 8000)
    told, body = curl("/peer/plain/mirror", "--data-binary", f"@{tmp_path / 'up'}")
    assert told == "2 200"
    assert body == bytes(range(256)) * 8000


@pytest.mark.parametrize("at_once", [1, 100, 200])
def test_h2load(https, at_once):
    h2load = tool("h2load", "nghttp2-client")
    asked = 2000
    told = subprocess.run(
        [
            *(h2load, "-n", str(asked), "-c", "4", "-m", str(at_once), "-H", KEY),
            f"https://127.0.0.1:{https.address[1]}/peer/plain/status/200",
        ],
        capture_output=True,
        check=True,
        encoding="utf-8",
        timeout=60,
    ).stdout
    assert "Application protocol: h2" in told
    done = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", told)
    assert done is not None
    assert done.groups() == (str(asked), "0", "0", "0"), told
    print(re.search(r"finished in .*", told)[0])

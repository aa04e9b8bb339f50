"""Each file of ``broken/`` gives exactly the report that stands beside it."""

from pathlib import Path

import pytest

from portal_gateway.config.loading import ConfigInvalid, load_config

BROKEN = Path(__file__).with_name("broken")

ENVIRON = {
    "SPACES": "sk live from the environment",
    "SCOPE": "scope-from-the-environment",
    "BIG": "99999999",
}


@pytest.mark.parametrize("name", sorted(path.name for path in BROKEN.glob("*.yaml")))
def test_a_broken_file_is_reported(name, monkeypatch):
    monkeypatch.chdir(BROKEN)
    with pytest.raises(ConfigInvalid) as caught:
        load_config(Path(name), ENVIRON)
    report = "".join(f"{fault}\n" for fault in caught.value.faults)
    assert report == Path(name).with_suffix(".report").read_text(encoding="utf-8")


def test_there_are_broken_files_and_each_has_a_report():
    files = {path.stem for path in BROKEN.glob("*.yaml")}
    assert len(files) >= 10
    assert files == {path.stem for path in BROKEN.glob("*.report")}


def test_no_report_shows_a_secret():
    for path in BROKEN.glob("*.report"):
        text = path.read_text(encoding="utf-8")
        for secret in ("sk_live", "sk live", "password", "secret", "user:pass", "99999999"):
            allowed = text
            for harmless in ("user name or password", "may be a secret", ".key_secret: "):
                allowed = allowed.replace(harmless, "")
            assert secret not in allowed, path.name

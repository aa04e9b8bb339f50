"""The gateway with its neighbours in containers: the files fit each other."""

import re
import shutil
import subprocess
import textwrap

import pytest
import yaml

from portal_gateway.config.loading import load_config_text
from tests.deploy.shipped import ROOT, SECRETS
from tests.integration.conftest import missing

PLACE = ROOT / "deploy" / "compose"

ENVIRONMENT = {**SECRETS, "API_KEY": "sk_live_composed_0123456789abcdef"}


@pytest.fixture
def services():
    composed = yaml.safe_load((PLACE / "compose.yaml").read_text(encoding="utf-8"))
    return composed["services"]


@pytest.fixture
def config(services, tmp_path):
    text = (PLACE / "gateway.yaml").read_text(encoding="utf-8")
    given = {name: ENVIRONMENT[name] for name in services["gateway"]["environment"]}
    # The volume of the state is not here.
    text = text.replace("/var/lib/gateway", str(tmp_path))
    return load_config_text(text, "gateway.yaml", given)


def test_the_configuration_is_valid_without_a_warning(config):
    assert config.warnings == ()


def test_the_neighbours_are_where_the_configuration_looks_for_them(config, services):
    assert set(services) == {"gateway", "redis", "postgres", "prometheus"}
    assert config.rate_limit.storage.redis.host == "redis"
    assert "@postgres/" in (PLACE / "gateway.yaml").read_text(encoding="utf-8")
    user = services["postgres"]["environment"]["POSTGRES_USER"]
    database = services["postgres"]["environment"]["POSTGRES_DB"]
    expected = f"postgresql://{user}:{SECRETS['POSTGRES_PASSWORD']}@postgres/{database}"
    assert config.database.dsn == expected


def test_every_variable_is_asked_for_and_none_has_a_value(services):
    named = set(re.findall(r"\$\{(\w+):\?", (PLACE / "compose.yaml").read_text()))
    example = (PLACE / "env.example").read_text()
    assert re.findall(r"^(\w+)=$", example, re.MULTILINE) == re.findall(
        r"^(\w+)=", example, re.MULTILINE
    )
    assert named == set(re.findall(r"^(\w+)=$", example, re.MULTILINE))
    assert named == set(services["gateway"]["environment"])


def test_the_gateway_has_time_to_drain(config, services):
    seconds = float(services["gateway"]["stop_grace_period"].removesuffix("s"))
    drain = config.gateway.drain
    assert seconds >= drain.grace + drain.timeout + 5


def test_the_gateway_listens_at_the_port_that_is_published(config, services):
    (published,) = services["gateway"]["ports"]
    assert config.gateway.listen == f"0.0.0.0:{published.partition(':')[2]}"
    assert services["gateway"]["read_only"] is True


def test_prometheus_takes_its_configuration(config, tmp_path):
    promtool = shutil.which("promtool")
    if promtool is None:
        missing("there is no promtool (Debian, Ubuntu: apt install prometheus)")
    text = (PLACE / "prometheus.yml").read_text(encoding="utf-8")
    (tmp_path / "key").write_text("a key")
    file = tmp_path / "prometheus.yml"
    file.write_text(text.replace("/run/secrets/metrics_key", str(tmp_path / "key")))
    done = subprocess.run([promtool, "check", "config", file], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (job,) = yaml.safe_load(text)["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    assert target == f"gateway:{config.metrics.listen[0].rpartition(':')[2]}"


def test_the_configuration_of_the_readme_is_valid(tmp_path):
    text = (ROOT / "deploy" / "README.rst").read_text(encoding="utf-8")
    (block,) = re.findall(r"\.\. code-block:: yaml\n\n((?:(?:        .*)?\n)+)", text)
    config = load_config_text(
        textwrap.dedent(block).replace("/var/lib/gateway", str(tmp_path)), "config.yaml", {}
    )
    assert config.portal.credential_file == tmp_path / "credential"
    assert config.database.file == tmp_path / "gateway.sqlite3"

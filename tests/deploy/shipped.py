"""What the deployment files are, and the configurations that stand in them."""

import re
from pathlib import Path

__all__ = ["ROOT", "SECRETS", "settings_of", "yaml_of"]

ROOT = Path(__file__).resolve().parents[2]

SECRETS = {
    "API_KEY_N8N": "sk_live_deployed_0123456789abcdef",
    "METRICS_KEY": "sk_live_scraping_0123456789abcdef",
    "REDIS_PASSWORD": "a password of Redis",
    "POSTGRES_PASSWORD": "a-password-of-PostgreSQL",
}
"""What the files leave to the environment, and must not hold themselves."""

_YAML = re.compile(r"\.\. code-block:: yaml\n\n((?:(?:    .*)?\n)+)")


def yaml_of(page: Path) -> list[str]:
    """The YAML that a page of documentation shows."""
    blocks = _YAML.findall(page.read_text(encoding="utf-8"))
    return ["\n".join(line[4:] for line in block.splitlines()) + "\n" for block in blocks]


def settings_of(unit: Path) -> dict[str, list[str]]:
    """The settings of a unit of systemd by their names; a name may stand there more than once."""
    settings: dict[str, list[str]] = {}
    for line in unit.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            settings.setdefault(name, []).append(value)
    return settings

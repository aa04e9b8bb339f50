"""What twistd is told of a configuration that it cannot run."""

import pytest
from twisted.python.usage import UsageError

from portal_gateway.service import Options


@pytest.mark.parametrize("workers", ["2", "auto"])
def test_twistd_runs_one_process(tmp_path, workers):
    file = tmp_path / "gateway.yaml"
    file.write_text(f"gateway: {{workers: {workers}}}")
    with pytest.raises(UsageError, match="portal-gateway run starts several"):
        Options().parseOptions(["--config", str(file)])


def test_one_is_fine(tmp_path):
    file = tmp_path / "gateway.yaml"
    file.write_text("gateway: {workers: 1}")
    options = Options()
    options.parseOptions(["--config", str(file)])
    assert options.config.gateway.workers == 1

"""A pytest plugin: ``-p tests.soak.repeating --repeat 100`` runs each test so often.

For tests that are functions; those of a unittest.TestCase run once.
"""

import pytest

__all__ = ["pytest_addoption", "pytest_generate_tests"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--repeat", type=int, default=1, help="run each test so often")


@pytest.fixture(autouse=True)
def _repetition(request: pytest.FixtureRequest) -> object:
    return getattr(request, "param", 0)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    count = metafunc.config.getoption("--repeat")
    if count > 1:
        if "_repetition" not in metafunc.fixturenames:
            metafunc.fixturenames.append("_repetition")
        metafunc.parametrize("_repetition", range(count), indirect=True)

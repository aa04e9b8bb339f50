"""What the tests with hostile peers share."""

import gc

import pytest


@pytest.fixture(autouse=True, scope="module")
def frozen():
    """Every world collects what it leaves; the rest of the process is kept out of that."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()

"""That the compiled package is compiled, where it is what the tests run."""

from importlib import import_module
from pathlib import Path

import pytest

import portal_gateway
from setup import compiled

IS_COMPILED = Path(portal_gateway.__file__).resolve().parts[-3:-1] == ("compiled", "portal_gateway")


@pytest.mark.parametrize("name", compiled())
def test_every_module_of_the_list_is_compiled_or_none_is(name):
    module = import_module("portal_gateway." + name.replace("/", "."))
    assert Path(module.__file__).suffix == (".so" if IS_COMPILED else ".py")


@pytest.mark.parametrize("name", compiled())
def test_what_a_module_logs_says_that_it_comes_from_there(name):
    """By itself a logger finds that out from who calls, which compiled code is not seen to do."""
    name = "portal_gateway." + name.replace("/", ".")
    module = import_module(name)
    logger = getattr(module, "_log", None)
    assert logger is None or logger.namespace in {name, name.rpartition(".")[0]}


def test_the_list_names_each_module_once():
    assert len(compiled()) == len(set(compiled()))

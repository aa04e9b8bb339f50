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


def test_the_list_names_each_module_once():
    assert len(compiled()) == len(set(compiled()))

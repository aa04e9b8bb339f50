"""What all tests share: helpers whose assertions tell as much as those of the tests themselves."""

import pytest

pytest.register_assert_rewrite("tests.frontend.gateway_world", "gateway_world", "hostile_world")

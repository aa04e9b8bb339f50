"""What all tests share: helpers whose assertions tell as much as those of the tests themselves."""

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("tests.frontend.gateway_world", "gateway_world", "hostile_world")

# How long examples take to make says nothing of ours: the first ones on a fresh clone wait until
# hypothesis has made its tables of Unicode, and all of them for whatever else the machine does.
settings.register_profile("ours", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")

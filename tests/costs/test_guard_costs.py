import pytest

from tests.costs.guard_rows import ROWS
from tests.costs.measuring import check


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_ten_times_the_bytes_cost_ten_times_the_time(row):
    check(row)

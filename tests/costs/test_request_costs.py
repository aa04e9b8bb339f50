import pytest

from tests.costs.measuring import check
from tests.costs.request_rows import ROWS


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_ten_times_the_bytes_cost_ten_times_the_time(row):
    check(row)

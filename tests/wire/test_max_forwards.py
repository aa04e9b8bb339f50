import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.wire.max_forwards import MOST_FORWARDS, BadMaxForwards, remaining_forwards


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([], None),
        ([b"0"], 0),
        ([b"000"], 0),
        ([b"1"], 1),
        ([b"0070"], 70),
        ([b"2147483647"], MOST_FORWARDS),
        ([b"2147483648"], MOST_FORWARDS),
        ([b"9" * 30_000], MOST_FORWARDS),
        ([b"0" * 30_000], 0),
    ],
)
def test_numbers(values: list[bytes], found: int | None) -> None:
    assert remaining_forwards(values) == found


@pytest.mark.parametrize(
    "values",
    [[b""], [b"-1"], [b"+1"], [b"1 "], [b"1,1"], [b"1.0"], [b"0x1"], [b"\xb2"], [b"1", b"1"]],
)
def test_what_is_no_number(values: list[bytes]) -> None:
    with pytest.raises(BadMaxForwards):
        remaining_forwards(values)


@given(st.integers(0, 2**70))
def test_any_number(number: int) -> None:
    assert remaining_forwards([b"%d" % number]) == min(number, MOST_FORWARDS)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.config.loading import load_config_text
from portal_gateway.config.sizes import size, spoken_size


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("4096", 4096),
        ("0", 0),
        ("1KB", 1000),
        ("8KiB", 8192),
        ("10MB", 10_000_000),
        ("1MiB", 1_048_576),
        ("1GB", 10**9),
        ("2GiB", 2**31),
        ("1TB", 10**12),
        ("1TiB", 2**40),
        ("1.5KB", 1500),
        ("0.001KiB", 1),
        ('"10MB"', 10_000_000),
        ('"4096"', 4096),
        ("${BODY}", 5_000_000),
    ],
)
def test_sizes(read, text, found):
    read.environ = {"BODY": "5MB"}
    assert read(size(0, 2**40), text) == found


@pytest.mark.parametrize(
    "text", ["10 MB", "10mb", "10M", "MB", "-1", "1e3", "1_000", "1.5", ".5KB", "10PB", "٣KB"]
)
def test_bad_sizes(read, text):
    assert read.reason(size(0, 2**40), text).startswith(f'bad size "{text}"; write a number')


@pytest.mark.parametrize("text", ["1023", "1KB", "1025KiB", "999999999999999999GiB"])
def test_sizes_have_bounds(read, text):
    reason = read.reason(size(1024, 1024**2), text)
    assert reason == f'expected a size from 1KiB to 1MiB, found "{text}"'


def test_a_size_must_be_given(read):
    assert read.reason(size(1, 60), "~") == "expected a size such as 10MB, found nothing"


@given(st.integers(1, 2**50))
def test_what_is_spoken_is_read_again(number):
    text = f"gateway: {{limits: {{body: {spoken_size(number)}}}}}"
    assert load_config_text(text, "", {}).gateway.limits.body == number

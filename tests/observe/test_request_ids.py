"""The id that follows a request: the client's where it is safe, else a fresh one."""

import pytest

from portal_gateway.observe.request_ids import MAX_REQUEST_ID, request_id


@pytest.mark.parametrize(
    "offered",
    ["req_1", "0af7651916cd43dd8448eb211c80319c", "a" * MAX_REQUEST_ID, "Root=1-67891233-abc:x/y"],
)
def test_a_safe_id_is_kept(offered):
    assert request_id(offered) == offered


@pytest.mark.parametrize(
    "offered",
    [None, "", "a b", "a\n", "a" * (MAX_REQUEST_ID + 1), "ä", '"', "<x>", "a\x00", "{}", "a,b"],
)
def test_anything_else_gets_a_fresh_one(offered):
    first, second = request_id(offered), request_id(offered)
    assert first != second
    assert first.startswith("req_")
    assert request_id(first) == first

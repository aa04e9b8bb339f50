"""Where a lease speaks the Model Context Protocol, as the configuration says it."""

import pytest

from portal_gateway.config.loading import ConfigInvalid, load_config_text
from portal_gateway.config.mcp_section import MOST_PATHS, USUAL_PATHS


def paths(mcp):
    config = load_config_text(f"leases: {{tool: {{mcp: {mcp}}}}}", "", {})
    return config.leases["tool"].mcp


@pytest.mark.parametrize(
    ("mcp", "found"),
    [
        ("true", USUAL_PATHS),
        ("false", ()),
        ('{path: "/mcp"}', ("/mcp",)),
        ("{path: /}", ("/",)),
        ('{path: ["/a", "/b-c/d_e/~f.g/"]}', ("/a", "/b-c/d_e/~f.g/")),
    ],
)
def test_paths(mcp, found):
    assert paths(mcp) == found


def test_without_the_key_there_are_none():
    assert load_config_text("leases: {tool: {}}", "", {}).leases["tool"].mcp == ()


@pytest.mark.parametrize(
    ("mcp", "reason"),
    [
        ("{}", '"path" is missing'),
        ("{path: []}", f"expected 1 to {MOST_PATHS} paths, found 0"),
        (f"{{path: {['/a'] * (MOST_PATHS + 1)}}}", f"1 to {MOST_PATHS} paths"),
        ('{path: ""}', "expected a path"),
        ('{path: "mcp"}', "expected a path"),
        ('{path: "/m%63p"}', "expected a path"),
        ('{path: "/a/../b"}', "expected a path"),
        ('{path: "/a/."}', "expected a path"),
        ('{path: "//a"}', "expected a path"),
        ('{path: "/a?b"}', "expected a path"),
        ('{path: "/a;b"}', "expected a path"),
        ('{path: "/\u00e9"}', "expected a path"),
        (f"{{path: /{'a' * 512}}}", "expected a path"),
        ("{path: {a: b}}", "expected a path or a list of paths"),
        ("maybe", "expected true or false"),
        ("[/mcp]", "expected true or false"),
    ],
)
def test_what_is_no_path_is_refused(mcp, reason):
    with pytest.raises(ConfigInvalid) as caught:
        paths(mcp)
    (fault,) = caught.value.faults
    assert reason in fault.reason

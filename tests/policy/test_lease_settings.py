from ipaddress import ip_network

import pytest

from portal_gateway.policy.lease_settings import LeaseAddresses, LeasePaths

ID = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

OFFICE, LAB, ELSEWHERE = "203.0.113.7", "198.51.100.42", "192.0.2.1"

LISTS = LeaseAddresses(
    {
        "Tool": [ip_network("203.0.113.0/24"), ip_network("198.51.100.42")],
        "lab": [ip_network("198.51.100.0/24")],
        ID: [ip_network("203.0.113.0/24")],
    }
)


@pytest.mark.parametrize(
    ("names", "allowed"),
    [
        (("other",), [OFFICE, LAB, ELSEWHERE]),
        ((), [OFFICE, LAB, ELSEWHERE]),
        (("Tool",), [OFFICE, LAB]),
        (("tool",), [OFFICE, LAB]),
        (("TOOL", "A" * 26), [OFFICE, LAB]),
        (("lab", "tool", "A" * 26), [LAB]),
        (("other", ID), [OFFICE]),
        (("lab", ID), []),
        ((ID.lower(),), [OFFICE, LAB, ELSEWHERE]),
    ],
)
def test_every_list_of_a_lease_holds(names, allowed):
    addresses = [OFFICE, LAB, ELSEWHERE]
    assert [address for address in addresses if LISTS.admits(address, names)] == allowed


def test_where_names_are_hidden_all_lists_hold():
    addresses = [OFFICE, LAB, ELSEWHERE]
    names = ("A" * 26,)
    assert not any(LISTS.admits(address, names, hides_names=True) for address in addresses)
    one = LeaseAddresses({"lab": [ip_network("198.51.100.0/24")]})
    assert [a for a in addresses if one.admits(a, names, hides_names=True)] == [LAB]


def test_two_entries_in_two_cases_are_both_for_the_lease():
    lists = LeaseAddresses({"Lab": [ip_network(OFFICE)], "lab": [ip_network(LAB)]})
    assert not lists.admits(OFFICE, ("lab",))
    assert not lists.admits(LAB, ("LAB",))


def test_nothing_is_configured():
    assert not LeaseAddresses({})
    assert LISTS


@pytest.mark.parametrize(
    ("names", "has"),
    [
        (("Tool",), True),
        (("tool", "A" * 26), True),
        (("other", "TOOL"), True),
        (("other", ID), True),
        (("other", ID.lower()), False),
        (("tools",), False),
        ((), False),
    ],
)
def test_a_path_is_one_of_a_lease_by_any_of_its_names(names, has):
    paths = LeasePaths({"Tool": ["/mcp"], ID: ["/mcp", "/"]})
    assert paths.has(names, b"/mcp") == has
    assert not LeasePaths({}).has(names, b"/mcp")
    assert not LeasePaths({"Tool": []})


@pytest.mark.parametrize(
    "path", [b"/", b"/MCP", b"/mcp/", b"//mcp", b"/mcp;a", b"/m%63p", b"/mcp/..", b"/mcp.", b""]
)
def test_a_path_is_compared_as_it_is_sent(path):
    assert not LeasePaths({"tool": ["/mcp"]}).has(("tool",), path)


def test_the_paths_of_all_entries_for_a_lease_count():
    paths = LeasePaths({"Tool": ["/a"], "tool": ["/b"], ID: ["/c"], "other": ["/d"]})
    assert [p for p in (b"/a", b"/b", b"/c", b"/d") if paths.has(("TOOL", ID), p)] == [
        b"/a",
        b"/b",
        b"/c",
    ]

"""The right-most untrusted hop, by example and against a slow reference."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.errors import GatewayError
from portal_gateway.exchange import Passage
from portal_gateway.policy.client_address import MAX_HOPS, TrustedProxies
from portal_gateway.wire.http1_request import RequestHead

TRUSTED = ("10.0.0.0/8", "192.0.2.1", "2001:db8:1::/48")

PEER = "10.0.0.1"


def head(*fields):
    listed = [(b"Host", b"gw.example"), *fields]
    index = {name.lower(): value for name, value in listed}
    return RequestHead(
        method=b"GET",
        target=b"/",
        version=b"1.1",
        headers=listed,
        keep_alive=True,
        content_length=None,
        chunked=False,
        expects_continue=False,
        host=b"gw.example",
        index=index,
    )


def proxies(*, trusted=TRUSTED, **options):
    return TrustedProxies([ip_network(network) for network in trusted], **options)


def xff(*values):
    return [(b"X-Forwarded-For", value) for value in values]


def forwarded(*values):
    return [(b"Forwarded", value) for value in values]


def client(fields, peer=PEER, **options):
    """Client's address, or the code of the refusal."""
    told = proxies(**options).passage(peer, head(*fields))
    if isinstance(told, GatewayError):
        return told.cause.code
    if told is None:
        return peer
    return told.addresses[0] if told.addresses else ""


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ([], PEER),
        (xff(b"203.0.113.5"), "203.0.113.5"),
        (xff(b"203.0.113.5:1234"), "203.0.113.5"),
        (xff(b"2001:db8::5"), "2001:db8::5"),
        (xff(b"[2001:DB8::5]:443"), "2001:db8::5"),
        (xff(b"::ffff:203.0.113.5"), "203.0.113.5"),
        # What the client claimed stands left of what the proxy saw.
        (xff(b"198.51.100.42, 203.0.113.5"), "203.0.113.5"),
        (xff(b"198.51.100.42", b"203.0.113.5"), "203.0.113.5"),
        ([(b"x-FORWARDED-for", b"203.0.113.5")], "203.0.113.5"),
        # Through more trusted proxies, of either version, mapped or not.
        (xff(b"198.51.100.42, 203.0.113.5, 192.0.2.1"), "203.0.113.5"),
        (xff(b"203.0.113.5, 2001:db8:1::9, ::ffff:10.1.1.1"), "203.0.113.5"),
        # Nobody but trusted proxies: the first of them asked.
        (xff(b"10.0.0.3, 10.0.0.2"), "10.0.0.3"),
        # Who does not say by whom it was asked counts for itself.
        (xff(b"unknown"), PEER),
        (xff(b""), PEER),
        (xff(b"203.0.113.5, unknown"), PEER),
        (xff(b"203.0.113.5, _hidden, 10.0.0.2"), "10.0.0.2"),
        (xff(b"203.0.113.5, 0177.0.0.1"), PEER),
        (xff(b"203.0.113.5, 2130706433"), PEER),
        (xff(b"203.0.113.5, fe80::1%eth0"), PEER),
        (xff(b"203.0.113.5,,"), "203.0.113.5"),
        (forwarded(b"for=203.0.113.5"), "203.0.113.5"),
        (forwarded(b'For="[2001:db8::5]:4711"'), "2001:db8::5"),
        (forwarded(b"for=198.51.100.42, for=203.0.113.5;proto=https"), "203.0.113.5"),
        (forwarded(b"for=198.51.100.42", b"for=203.0.113.5"), "203.0.113.5"),
        (forwarded(b"for=203.0.113.5, for=192.0.2.1"), "203.0.113.5"),
        (forwarded(b"for=203.0.113.5, for=_hidden"), PEER),
        (forwarded(b"for=203.0.113.5, for=unknown"), PEER),
        (forwarded(b"proto=https"), PEER),
        (forwarded(b'for="203.0.113.5, for=198.51.100.1'), "ambiguous_forwarding"),
        # Only one of the two is the proxy's.
        (xff(b"203.0.113.5") + forwarded(b"for=203.0.113.5"), "203.0.113.5"),
        (xff(b"203.0.113.5") + forwarded(b"for=198.51.100.42"), "ambiguous_forwarding"),
        (xff(b"203.0.113.5") + forwarded(b"for=unknown"), "ambiguous_forwarding"),
        (xff(b"203.0.113.5") + forwarded(b"nonsense"), "ambiguous_forwarding"),
        # Nobody asked for this one.
        ([(b"X-Real-IP", b"198.51.100.42")], PEER),
    ],
)
def test_who_the_client_is(fields, address):
    assert client(fields) == address


@pytest.mark.parametrize("peer", ["203.0.113.9", "2001:db8:2::1", "::ffff:203.0.113.9", ""])
def test_a_peer_that_is_not_trusted_is_the_client_whatever_it_says(peer):
    fields = xff(b"198.51.100.42") + forwarded(b"nonsense")
    assert client(fields, peer) == peer
    assert proxies().passage(peer, head(*fields)) is None


@pytest.mark.parametrize("peer", ["::ffff:10.0.0.1", "2001:DB8:1::1"])
def test_a_trusted_peer_may_be_mapped_or_ipv6(peer):
    assert client(xff(b"203.0.113.5"), peer) == "203.0.113.5"


def test_peers_on_a_unix_socket_are_trusted_by_a_word_of_their_own():
    assert client(xff(b"203.0.113.5"), "") == ""
    assert client(xff(b"203.0.113.5"), "", unix=True) == "203.0.113.5"
    assert client(xff(b"unknown"), "", unix=True) == ""
    told = proxies(unix=True).passage("", head(*xff(b"203.0.113.5, 10.0.0.2")))
    assert told == Passage(("203.0.113.5", "10.0.0.2"))


@pytest.mark.parametrize(
    ("field", "address"), [("x-forwarded-for", "203.0.113.5"), ("forwarded", "198.51.100.42")]
)
def test_the_field_that_the_proxies_keep_can_be_named(field, address):
    fields = xff(b"203.0.113.5") + forwarded(b"for=198.51.100.42")
    assert client(fields, field=field) == address
    assert client(xff(b"203.0.113.5") + forwarded(b"nonsense"), field="x-forwarded-for") == (
        "203.0.113.5"
    )
    other = {"x-forwarded-for": forwarded(b"for=1.1.1.1"), "forwarded": xff(b"1.1.1.1")}[field]
    assert client(other, field=field) == PEER


@pytest.mark.parametrize(
    ("fields", "passage"),
    [
        (
            [
                *xff(b"198.51.100.42, 203.0.113.5, 10.0.0.2"),
                (b"X-Forwarded-Proto", b"HTTPS"),
                (b"X-Forwarded-Host", b"Api.Example:8443"),
            ],
            Passage(("203.0.113.5", "10.0.0.2", PEER), b"https", b"api.example:8443"),
        ),
        # Where each proxy adds its own, the one nearest to the client is meant.
        (
            [*xff(b"203.0.113.5, 10.0.0.2"), (b"X-Forwarded-Proto", b"gopher, https, http")],
            Passage(("203.0.113.5", "10.0.0.2", PEER), b"https"),
        ),
        (
            [*xff(b"203.0.113.5"), (b"X-Forwarded-Proto", b"http, https")],
            Passage(("203.0.113.5", PEER), b"https"),
        ),
        (
            [
                *xff(b"203.0.113.5"),
                (b"X-Forwarded-Proto", b"javascript"),
                (b"X-Forwarded-Host", b"a b"),
            ],
            Passage(("203.0.113.5", PEER)),
        ),
        (
            forwarded(
                b"for=198.51.100.42;proto=gopher,"
                b'for=203.0.113.5;proto=https;host="api.example:1", for=10.0.0.2;proto=http'
            ),
            Passage(("203.0.113.5", "10.0.0.2", PEER), b"https", b"api.example:1"),
        ),
        (forwarded(b'for=203.0.113.5;host="a\\"b"'), Passage(("203.0.113.5", PEER))),
        (forwarded(b"for=unknown;proto=https"), Passage((PEER,))),
        ([*xff(b"unknown"), (b"X-Forwarded-Proto", b"https")], Passage((PEER,), b"https")),
    ],
)
def test_how_the_client_asked_is_told_by_the_hop_that_it_asked(fields, passage):
    assert proxies().passage(PEER, head(*fields)) == passage


def test_a_chain_has_an_end():
    told = proxies().passage(PEER, head(*xff(b", ".join([b"10.0.0.2"] * 10_000))))
    assert len(told.addresses) == MAX_HOPS + 1
    hops = [b"203.0.113.5"] + [b"10.0.0.2"] * (MAX_HOPS - 1)
    assert client(xff(b", ".join(hops))) == "203.0.113.5"


# Against a reference that holds the whole chain and looks at it backwards.

NODES = st.one_of(
    st.sampled_from(["10.0.0.2", "10.9.9.9", "192.0.2.1", "2001:db8:1::5"]),
    st.ip_addresses().map(str),
    st.sampled_from(["unknown", "_x", "0177.0.0.1", "nonsense", "1.2.3.4.5"]),
)


def is_trusted(text):
    address = ip_address(text)
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in ip_network(network) for network in TRUSTED)


def is_address(text):
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def reference(peer, nodes):
    chain = [*nodes, peer]
    place = len(chain) - 1
    while place and is_trusted(chain[place]) and is_address(chain[place - 1]):
        place -= 1
    address = ip_address(chain[place])
    return str(getattr(address, "ipv4_mapped", None) or address)


def written_as_list(nodes):
    return xff(", ".join(nodes).encode())


def written_as_elements(nodes):
    quoted = [f'"[{node}]"' if ":" in node else node for node in nodes]
    return forwarded(", ".join(f"for={node}" for node in quoted).encode())


@pytest.mark.parametrize("written", [written_as_list, written_as_elements])
@given(nodes=st.lists(NODES, min_size=1, max_size=MAX_HOPS - 1))
def test_as_the_reference_says(written, nodes):
    assert client(written(nodes)) == reference(PEER, nodes)


@given(
    claimed=st.lists(st.one_of(NODES, st.text('0123456789abcdef.:[]"=; ', max_size=20))),
    address=st.ip_addresses().map(str).filter(lambda text: not is_trusted(text)),
    through=st.lists(st.sampled_from(["10.0.0.2", "192.0.2.1"]), max_size=3),
)
def test_nothing_that_a_client_claims_makes_it_another(claimed, address, through):
    nodes = [*claimed, address, *through]
    assert client(written_as_list(nodes)) == reference(PEER, [address, *through])

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.relay.lease_table import LeaseTable
from portal_gateway.wire.identity import is_lease_id
from portal_gateway.wire.messages import ListedLease

A, B, C, D = (letter * 26 for letter in "ABCD")


def table(*leases, pins=None):
    return LeaseTable([ListedLease(*lease) for lease in leases], pins)


def found(leases, asked, pins=None):
    lease = table(*leases, pins=pins).find(asked)
    return None if lease is None else lease.id


@pytest.mark.parametrize(
    ("leases", "asked", "expected"),
    [
        # By id and by name.
        ([(A, "agent")], A, A),
        ([(A, "agent")], "agent", A),
        ([(A, "")], A, A),
        ([(A,)], A, A),
        ([(A, "agent")], B, None),
        ([(A, "agent")], A.lower(), None),
        ([(A, "agent")], "other", None),
        ([], "agent", None),
        # The empty name is nobody's.
        ([(A, "")], "", None),
        ([], "", None),
        # Free text.
        ([(A, "a b/c.d")], "a b/c.d", A),
        ([(A, "日本-агент_ñ")], "日本-агент_ñ", A),
        ([(A, "x" * 300)], "x" * 300, A),
        # The exact name comes before one that differs in case ...
        ([(A, "dead"), (B, "DEAD")], "dead", A),
        ([(A, "dead"), (B, "DEAD")], "DEAD", B),
        # ... which counts only if it is the only one.
        ([(A, "dead")], "Dead", A),
        ([(A, "straße")], "STRASSE", A),
        ([(A, "ΑΓΓΕΛΟΣ")], "αγγελος", A),
        ([(A, "dead"), (B, "DEAD")], "Dead", None),
        ([(A, "dead"), (B, "DEAD"), (C, "dEAD")], "DeaD", None),
        # Two holders of one name: neither.
        ([(A, "agent"), (B, "agent")], "agent", None),
        ([(A, "agent"), (B, "agent")], "Agent", None),
        ([(A, "agent"), (B, "agent"), (C, "agent")], "agent", None),
        ([(A, "agent"), (B, "agent"), (C, "Agent")], "Agent", C),
        ([(A, "agent"), (B, "agent")], A, A),
        # The same lease twice is one lease.
        ([(A, "agent"), (A, "agent")], "agent", A),
        ([(A, "agent"), (A, "other")], "other", None),
        # A name that looks like an id cannot take that id's place, even while it is free.
        ([(A, "agent"), (B, A)], A, A),
        ([(B, A)], A, None),
        ([(B, A.lower())], A, None),
        ([(B, A)], A.lower(), None),
        ([(B, A.lower())], A.lower(), B),
        ([(B, A)], B, B),
        ([(A, A)], A, A),
        ([(B, "A" * 25)], "A" * 25, B),
        ([(B, "A" * 27)], "A" * 27, B),
    ],
)
def test_who_is_found(leases, asked, expected):
    assert found(leases, asked) == expected
    assert found(leases[::-1], asked) == expected or len({lease[0] for lease in leases}) < len(
        leases
    )


@pytest.mark.parametrize(
    ("pins", "leases", "asked", "expected"),
    [
        ({"agent": A}, [(A, "agent")], "agent", A),
        ({"agent": A}, [(A,)], "agent", A),  # a 1.2.0 relay has no names
        ({"agent": A}, [(A, "other")], "agent", A),
        ({"agent": A}, [(A, "other")], "other", A),
        ({"agent": A}, [(B, "agent")], "agent", None),
        ({"agent": A}, [(A, "agent"), (B, "agent")], "agent", A),
        ({"agent": A}, [(A,), (B, "agent")], "agent", A),
        ({"agent": A}, [(B, "agent")], B, B),
        # A pinned name is one of the names that differ in case.
        ({"agent": A}, [(A,)], "Agent", A),
        ({"agent": A}, [(A, "AGENT")], "Agent", A),
        ({"agent": A}, [(B, "agent")], "Agent", None),
        ({"agent": A}, [(A,), (B, "AGENT")], "Agent", None),
        ({"agent": A}, [(A,), (B, "AGENT")], "AGENT", B),
        ({"agent": A, "AGENT": B}, [(A,), (B,)], "Agent", None),
        ({"agent": A, "AGENT": A}, [(A,)], "Agent", A),
        # The configuration may call a lease whatever it likes.
        ({B: A}, [(A,), (B, "other")], B, A),
        ({B: A}, [(B, "other")], B, None),
    ],
)
def test_pins_decide(pins, leases, asked, expected):
    assert found(leases, asked, pins) == expected


def test_the_empty_name_cannot_be_pinned():
    with pytest.raises(ValueError, match="empty"):
        LeaseTable((), {"": A})


def test_it_tells_whose_pinned_name_is_usurped_and_which_names_are_contested():
    leases = [(B, "agent"), (C, "two"), (D, "two"), (A, "Two")]
    made = table(*leases, pins={"agent": "E" * 26, "other": B})
    assert made.usurped == {"agent": B}
    assert made.contested == ((C, D),)
    assert len(made) == 4
    assert table((A, ""), (B, "agent"), pins={"agent": A}).usurped == {}


@pytest.mark.parametrize(
    ("asked", "pinned"),
    [("agent", "agent"), ("Agent", "agent"), ("AGENT", None), (A, None), ("nobody", None)],
)
def test_which_pinned_name_decides(asked, pinned):
    made = table((B, "AGENT"), pins={"agent": B})
    assert made.pinned_name(asked) == pinned


def test_addresses_are_ids_and_names_without_case():
    assert table((A, "Agent"), (B, C), (C,), pins={"P": D}).addresses() == {A, B, C, "agent", "p"}


some_ids = st.sampled_from([A, B, C, D])
texts = st.one_of(
    some_ids,
    some_ids.map(str.lower),
    st.sampled_from(["", "agent", "Agent", "AGENT", "straße", "STRASSE", "ſ", "s", "S", "K", "k"]),
    st.text(max_size=3),
)
listings = st.lists(st.tuples(some_ids, texts), max_size=8)
pinnings = st.dictionaries(texts.filter(bool), some_ids, max_size=3)


@settings(max_examples=400)
@given(listings, pinnings, texts)
def test_nobody_is_found_who_is_not_entitled_to_what_was_asked(listing, pins, asked):
    lease = table(*listing, pins=pins).find(asked)
    # The first name of an id counts, as in the table.
    names = {}
    for lease_id, name in listing:
        names.setdefault(lease_id, name)
    if asked in pins:
        expected = pins[asked] if pins[asked] in names else None
        assert (lease and lease.id) == expected
        return
    if is_lease_id(asked):
        assert (lease and lease.id) == (asked if asked in names else None)
        return
    if not asked:
        assert lease is None
        return
    open_names = {
        lease_id: name
        for lease_id, name in names.items()
        if name and name not in pins and not is_lease_id(name)
    }
    exact = {lease_id for lease_id, name in open_names.items() if name == asked}
    folded = {
        lease_id for lease_id, name in open_names.items() if name.casefold() == asked.casefold()
    } | {
        lease_id
        for name, lease_id in pins.items()
        if name.casefold() == asked.casefold() and not is_lease_id(name)
    }
    entitled = exact or folded
    expected = entitled if len(entitled) == 1 and entitled <= names.keys() else set()
    assert ({lease.id} if lease else set()) == expected


@settings(max_examples=200)
@given(listings, listings, pinnings, texts)
def test_what_others_publish_never_changes_who_is_found_only_whether(mine, theirs, pins, asked):
    """Another publisher can at most make a name ambiguous or be found by its own exact name."""
    alone = found(mine, asked, pins)
    others = [lease for lease in theirs if lease[0] not in {lease_id for lease_id, _ in mine}]
    together = found(mine + others, asked, pins)
    if alone is not None and together != alone:
        # The first name of an id counts.
        assert together is None or dict(others[::-1])[together] == asked
        assert asked not in pins
        assert not is_lease_id(asked)


@pytest.mark.parametrize(
    ("leases", "pins", "lease_id", "names"),
    [
        ([(A, "agent")], {}, A, ("agent", A)),
        ([(A, "Agent")], {}, A, ("Agent", A)),
        ([(A, "")], {}, A, (A,)),
        # Pinned names come first, in the order of the configuration.
        ([(A, "agent")], {"z": A, "b": A, "c": B}, A, ("z", "b", "agent", A)),
        ([(A, "agent")], {"agent": A}, A, ("agent", A)),
        ([(A, "agent")], {"Agent": A}, A, ("Agent", "agent", A)),
        ([(A, "agent")], {A: A}, A, (A, "agent")),
        # A name that means another identity is none of its names ...
        ([(A, "agent")], {"agent": B}, A, (A,)),
        # ... but one that several claim is: rules about it hold for each of them.
        ([(A, "agent"), (B, "agent")], {}, A, ("agent", A)),
        # What has the shape of an id is no name.
        ([(A, B)], {}, A, (A,)),
        ([(A, A)], {}, A, (A,)),
    ],
)
def test_a_lease_is_known_by_all_its_names(leases, pins, lease_id, names):
    made = table(*leases, pins=pins)
    lease = made.find(lease_id)
    assert made.names_of(lease) == names
    assert made.names_of(lease) is made.names_of(lease)

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.relay.configured_names import ConfiguredNames
from portal_gateway.relay.lease_index import LeaseIndex
from portal_gateway.relay.lease_table import LeaseTable
from portal_gateway.wire.identity import is_lease_id
from portal_gateway.wire.lease_names import folded, lenient_form
from portal_gateway.wire.messages import ListedLease

A, B, C, D = (letter * 26 for letter in "ABCD")


def table(*leases, pins=None, origins=(), others=()):
    index = LeaseIndex()
    for _ in index.add_all(tuple(ListedLease(*lease) for lease in leases)):
        pass
    return LeaseTable(index, ConfiguredNames(pins, origins, others))


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
        # Of names that differ in case each is its lease's in its very spelling, and in no other ...
        ([(A, "dead"), (B, "DEAD")], "dead", A),
        ([(A, "dead"), (B, "DEAD")], "DEAD", B),
        ([(A, "Dead"), (B, "DEAD")], "Dead", A),
        ([(A, "dead"), (B, "DEAD")], "dEAD", None),
        ([(A, "Company-Tool"), (B, "company-tool")], "Company-Tool", A),
        ([(A, "Company-Tool"), (B, "COMPANY-TOOL")], "company-tool", None),
        ([(A, "straße"), (B, "STRASSE")], "straße", A),
        ([(A, "straße"), (B, "STRASSE")], "strasse", None),
        ([(A, "άγγελος"), (B, "άγγελοσ")], "άγγελος", A),
        ([(A, "\u00e9"), (B, "e\u0301")], "e\u0301", B),
        ([(A, "k"), (B, "\u212a")], "\u212a", B),
        # ... and what only some reader takes for the same is another name.
        ([(A, "tool"), (B, "ｔｏｏｌ")], "ｔｏｏｌ", B),
        ([(A, "tool"), (B, "ｔｏｏｌ")], "TOOL", A),
        ([(A, "tool"), (B, "tool\u200b")], "tool\u200b", B),
        ([(A, "tool"), (B, "tool.")], "tool.", B),
        ([(A, "tool"), (B, "tool ")], "Tool", A),
        ([(A, "title"), (B, "tıtle")], "tıtle", B),
        ([(A, "x² team™"), (B, "x2 teamtm")], "x² team™", A),
        # ... and each is by itself somebody's, as it is written but for case.
        ([(B, "ｔｏｏｌ")], "ｔｏｏｌ", B),
        ([(B, "ｔｏｏｌ")], "tool", None),
        ([(B, "tool.")], "tool", None),
        ([(B, "e\u0301")], "É", B),
        ([(A, "dead")], "Dead", A),
        ([(A, "straße")], "STRASSE", A),
        ([(A, "ΑΓΓΕΛΟΣ")], "αγγελος", A),
        ([(A, "dead"), (B, "DEAD"), (C, "dEAD")], "DeaD", None),
        # Two holders of one name: neither.
        ([(A, "agent"), (B, "agent")], "agent", None),
        ([(A, "agent"), (B, "agent")], "Agent", None),
        ([(A, "agent"), (B, "agent"), (C, "agent")], "agent", None),
        ([(A, "agent"), (B, "agent"), (C, "Agent")], "Agent", C),
        ([(A, "agent"), (B, "agent"), (C, "Agent")], "AGENT", None),
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
        ([(A,), (B, A.lower())], A.lower(), None),
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
    ("leases", "asked", "expected"),
    [
        ([(A, "dead"), (B, "DEAD")], "Dead", True),
        ([(A, "dead"), (B, "DEAD")], "dead", False),
        ([(A, "agent"), (B, "agent")], "agent", True),
        ([(A, "agent"), (B, "agent")], "AGENT", True),
        ([(A, "agent")], "AGENT", False),
        ([(A, "tool"), (B, "tool.")], "tool ", False),
        ([(A, "agent")], "other", False),
        ([(A, "")], "", False),
        ([(A, "agent")], A, False),
        ([(A, "agent"), (B, C)], C, False),
        # The id of a listed lease in another case is nobody's, whoever is named by it.
        ([(A, "agent")], A.lower(), True),
        ([(A, "agent"), (B, A.lower())], A.lower(), True),
        ([(B, A.lower())], A.lower(), False),
        # What the configuration means is never contested; what it only names may be.
        ([(B, "pinned"), (C, "Pinned")], "pinned", False),
        ([(B, "pinned"), (C, "Pinned")], "PINNED", False),
        ([(B, "origin"), (C, "Origin")], "ORIGIN", False),
        ([(B, "NAMED"), (C, "Named")], "named", True),
        ([(B, "named"), (C, "Named")], "NAMED", False),
        ([(B, "named."), (C, "Named.")], "named.", False),
    ],
)
def test_a_name_that_is_here_and_nobodys_is_contested(leases, asked, expected):
    made = table(*leases, pins={"pinned": A}, origins=["origin"], others=["named"])
    assert made.is_contested(asked) == expected
    assert not (expected and made.find(asked))


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
        ({"agent": A}, [(A,), (B, "AGENT")], "Agent", A),
        ({"agent": A}, [(A,), (B, "AGENT")], "AGENT", A),
        ({"agent": A}, [(B, "AGENT")], "AGENT", None),
        ({"agent": A}, [(A,), (B, "agent.")], "agent.", None),
        ({"Agent": A}, [(A,), (B, "agent")], "agent", A),
        ({"agent": A, "AGENT": B}, [(A,), (B,)], "Agent", None),
        ({"agent": A, "AGENT": A}, [(A,)], "Agent", A),
        # The configuration may call a lease whatever it likes.
        ({B: A}, [(A,), (B, "other")], B, A),
        ({B: A}, [(B, "other")], B, None),
    ],
)
def test_pins_decide(pins, leases, asked, expected):
    assert found(leases, asked, pins) == expected


@pytest.mark.parametrize(
    ("leases", "asked", "expected"),
    [
        # No listed lease is a configured origin.
        ([(B, "tool")], "tool", None),
        ([(B, "Tool")], "Tool", None),
        ([(B, "tool.")], "tool.", None),
        ([(B, "Tool")], B, B),
        # Another configured name is whoever has it, in any case.
        ([(B, "Other")], "other", B),
        ([(B, "Other"), (C, "OTHER")], "other", None),
        ([(B, "Other"), (C, "OTHER")], "Other", None),
        ([(B, "Other"), (C, "other")], "OTHER", C),
        ([(B, "other.")], "other.", None),
        ([(B, "other."), (C, "other")], "other", C),
    ],
)
def test_configured_names_are_theirs_or_nobodys(leases, asked, expected):
    lease = table(*leases, origins=["tool"], others=["tool", "other"]).find(asked)
    assert (lease and lease.id) == expected


def test_two_pins_that_are_alike_are_nobodys():
    for other in ("AGENT", "agent."):
        made = table((A,), (B,), pins={"agent": A, other: B})
        assert made.find("agent") is made.find(other) is None


def test_the_empty_name_cannot_be_pinned():
    with pytest.raises(ValueError, match="empty"):
        ConfiguredNames({"": A})


def test_it_tells_whose_pinned_name_is_usurped_and_which_names_are_contested():
    leases = [(B, "agent"), (C, "two"), (D, "two"), (A, "Two")]
    made = table(*leases, pins={"agent": "E" * 26, "other": B})
    assert made.usurped == {"agent": B}
    assert {form: contest.ids for form, contest in made.index.contested.items()} == {
        "two": {A, C, D}
    }
    assert len(made) == 4
    assert table((A, ""), (B, "agent"), pins={"agent": A}).usurped == {}
    assert table((B, "Agent"), pins={"agent": A}).usurped == {}
    assert table((B, "Agent"), (C, "agent"), pins={"agent": A}).usurped == {"agent": C}


@pytest.mark.parametrize(
    ("asked", "pinned"),
    [
        ("agent", "agent"),
        ("Agent", "agent"),
        ("AGENT", "agent"),
        (A, None),
        ("agent.", None),
        ("nobody", None),
    ],
)
def test_which_pinned_name_decides(asked, pinned):
    made = table((B, "AGENT"), pins={"agent": B})
    assert made.pinned_name(asked) == pinned


def test_addresses_are_ids_and_names_without_case():
    index = table((A, "Agent"), (B, C), (C,), (D, "tool"), ("E" * 26, "TOOL")).index
    addresses = list(index.addresses())
    assert sorted(addresses) == [A, B, C, D, "E" * 26, "agent", "tool"]
    assert all(index.has(address) for address in addresses)
    assert not index.has("nobody")


some_ids = st.sampled_from([A, B, C, D])
texts = st.one_of(
    some_ids,
    some_ids.map(str.lower),
    st.sampled_from(["", "agent", "Agent", "AGENT", "agent.", "ａgent", "agent\u200b"]),
    st.sampled_from(["straße", "STRASSE", "ſ", "s", "S", "\u212a", "k", "é", "e\u0301"]),
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
    if is_lease_id(asked) and asked not in pins:
        assert (lease and lease.id) == (asked if asked in names else None)
        return
    if not asked:
        assert lease is None
        return
    form = lenient_form(asked)
    pinned = {pins[name] for name in pins if lenient_form(name) == form}
    if pinned:
        # A name that folds to a pinned one is that one; what is only like it is nobody's.
        same = any(folded(name) == folded(asked) for name in pins if lenient_form(name) == form)
        assert lease is None or (same and {lease.id} == pinned)
        return
    alike = {
        lease_id: name
        for lease_id, name in names.items()
        if name and not is_lease_id(name) and folded(name) == folded(asked)
    }
    if len(alike) > 1:
        alike = {lease_id: name for lease_id, name in alike.items() if name == asked}
    (only,) = alike if len(alike) == 1 else (None,)
    if asked.upper() in names:
        only = None
    assert (lease and lease.id) == only


@settings(max_examples=200)
@given(listings, listings, pinnings, texts)
def test_what_others_publish_never_changes_who_is_found_only_whether(mine, theirs, pins, asked):
    """Another publisher can at most make a name ambiguous, or be found by its own spelling."""
    alone = found(mine, asked, pins)
    others = [lease for lease in theirs if lease[0] not in {lease_id for lease_id, _ in mine}]
    together = found(mine + others, asked, pins)
    if alone is not None and together != alone:
        # The first name of an id counts.
        assert together is None or dict(others[::-1])[together] == asked
        # Whoever is the only one to have a spelling keeps it, unless another has the very same.
        if dict(mine[::-1])[alone] == asked:
            assert asked in {name for _, name in others} or asked.upper() in dict(others)
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
        ([(A, "AGENT")], {"agent": B}, A, (A,)),
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

"""A relay that lists whatever it likes: thousands of strange names, names that are another's, bytes
that are no lease at all.
"""

from urllib.parse import quote_from_bytes

import pytest
from hostile_world import (
    LEASE,
    MARK,
    NOTHING,
    PINNED,
    RUDE,
    STRANGER,
    Answer,
    HostileWorld,
    answer,
    listed,
)

from portal_gateway.frontend.readings import of_relays
from portal_gateway.relay.directory import MAX_DEPARTED, REFRESH_INTERVAL
from portal_gateway.relay.router import Router
from portal_gateway.testing.hostile import Script
from portal_gateway.testing.hostile_faults import (
    Message,
    instead,
)
from portal_gateway.wire import portal_pb2
from portal_gateway.wire.identity import derive_id
from portal_gateway.wire.limits import MAX_DIRECTORY_LEASES, MAX_LEASE_NAME_BYTES
from portal_gateway.wire.messages import ListedLease
from portal_gateway.wire.packets import PacketType, packet

STRANGE = (
    "\x1b[31m\r\nX: y",
    "",
    "a b",
    "a/b",
    "..",
    "../../health",
    "%2e%2e%2f",
    "?x=1#y",
    "\\",
    "\x00",
    '","error":"x',
    "NEWCOMER",
    "ﬁ",
    "İ",
    "e\u0301",
    "\u202eemag",
    "\U0001f4a9",
    "나",
    "a" * 300,
    "b" * (MAX_LEASE_NAME_BYTES - 40),
    LEASE.identity.id,
    LEASE.identity.id.lower(),
    PINNED.identity.id,
    "pinned",
    "Pinned",
)
"""Names that strangers have; what they say beside them has their mark."""


def stranger(number, name, **fields):
    key = number.to_bytes(32, "big")
    return ListedLease(derive_id(key), name, alpn=("http/1.1",), public_key=key, **fields)


def strangers(count, first=1):
    """Leases of ``count`` strangers: every strange name as it is, and then with a number."""
    for number in range(first, first + count):
        row, column = divmod(number - 1, len(STRANGE))
        name = STRANGE[column] + (f"{MARK}{row}" if row else "")
        yield stranger(number, name, metadata=RUDE)


def known(world):
    return world.upstream.directory.figures


@pytest.mark.parametrize("count", [10_000, 20_000])
def test_ten_thousand_strange_names(count):
    script = Script(LEASE, (*strangers(count), listed(LEASE, "newcomer"), listed(PINNED, "pinned")))
    # Those after the bound are not seen, so the lease is asked for where it is seen.
    script.leases = script.leases[-2:] + script.leases[:-2]
    world = HostileWorld(script)
    figures = known(world)
    assert figures.leases == min(count + 2, MAX_DIRECTORY_LEASES)
    assert (figures.skipped == 0) == (figures.leases == count + 2)
    lines = len(world.lines())
    assert answer(world, world.ask("/peer/newcomer/")) == Answer(200)
    # Its id is nobody's name, whoever calls himself so.
    assert answer(world, world.ask(f"/peer/{LEASE.identity.id}/")) == Answer(200)
    script.credential = PINNED
    assert answer(world, world.ask("/peer/pinned/")) == Answer(200)
    # Whoever else is asked for by name does not get past the handshake: the relay has nobody's key.
    for name in STRANGE:
        wire = world.ask(f"/peer/{quote_from_bytes(name.encode(), safe='')}/")
        got = answer(world, wire)
        assert got in {
            Answer(502, "identity_mismatch"),
            Answer(400, "invalid_path"),
            Answer(404, "not_found"),
            Answer(404, "lease_not_found"),
            Answer(200),
        }
        # Only who has the key is ever reached; a pinned name is pinned in any case.
        assert (got == Answer(200)) == (name in {"pinned", "Pinned", PINNED.identity.id})
    # A line for each request, and none for a name.
    assert len(world.lines()) - lines <= 2 * (len(STRANGE) + 3)
    # All of them gone at once: they are remembered within a bound.
    script.leases = ()
    world.reactor.advance(REFRESH_INTERVAL)
    assert known(world).leases == 0
    assert known(world).departed_names <= MAX_DEPARTED
    world.stop()


def test_a_list_that_is_new_each_time():
    script = Script(LEASE)
    world = HostileWorld(script)
    for first in range(1, 20_000, 5_000):
        script.leases = (listed(LEASE, "newcomer"), *strangers(5_000, first))
        world.reactor.advance(REFRESH_INTERVAL)
        assert known(world).leases == 5_001
        assert known(world).departed_names <= MAX_DEPARTED
    assert answer(world, world.ask("/peer/newcomer/")) == Answer(200)
    world.stop()


def test_what_is_no_lease_is_left_out_and_the_rest_is_there():
    def element(**fields):
        return portal_pb2.Lease(**fields).SerializeToString()

    mine = portal_pb2.Identity(id=LEASE.identity.id, public_key=LEASE.identity.public_key)
    nobody = portal_pb2.Identity(id=LEASE.identity.id, public_key=STRANGER.identity.public_key)
    info = portal_pb2.RelayInfo(
        leases=[
            RUDE.encode(),
            b"",
            b"\xff" * 26,
            b"a" * 26,
            b"\x1a\xff",
            element(name="newcomer"),
            element(name="newcomer", identity=nobody),
            element(name="n" * (MAX_LEASE_NAME_BYTES + 1), identity=mine),
            element(name="newcomer", identity=mine, alpn=["http/1.1"] * 17),
            element(name="newcomer", identity=mine).replace(b"newcomer", b"newcom\xff\xfe"),
            element(name="newcomer", identity=mine),
        ]
    )
    response = portal_pb2.RelayInfoResponse(relay_info=info).SerializeToString()
    script = Script(LEASE)
    script.faults[Message.RELAY_INFO] = instead(packet(PacketType.RELAY_INFO_RESPONSE, response))
    world = HostileWorld(script)
    assert (known(world).leases, known(world).skipped) == (1, 10)
    assert answer(world, world.ask("/peer/newcomer/")) == Answer(200)
    world.stop()


@pytest.mark.parametrize(
    ("leases", "right"),
    [
        ([listed(STRANGER, "pinned")], Answer(502, "identity_mismatch")),
        ([listed(STRANGER, "Pinned")], Answer(503, "lease_offline")),
        ([listed(STRANGER, "pinned"), listed(PINNED, "pinned")], Answer(200)),
        ([listed(PINNED, RUDE)], Answer(200)),
        ([ListedLease(PINNED.identity.id)], Answer(200)),
        ([], Answer(503, "lease_offline")),
    ],
    ids=["a stranger has it", "in other letters", "both have it", "renamed", "ids only", "nobody"],
)
def test_a_pinned_name_leads_to_its_identity_or_nowhere(leases, right):
    world = HostileWorld(Script(PINNED, tuple(leases)))
    assert answer(world, world.ask("/peer/pinned/")) == right
    world.stop()


def test_a_pinned_lease_that_is_another_is_not_spoken_to():
    script = Script(STRANGER, (listed(PINNED, "pinned"),))
    world = HostileWorld(script)
    assert answer(world, world.ask("/peer/pinned/")) == Answer(502, "identity_mismatch")
    assert script.requests == 0
    assert world.held == NOTHING
    world.stop()


def swapped(script, message):
    """Let two streams get each other's ``message``."""
    waiting = []

    def fault(turn):
        waiting.append(turn)
        if len(waiting) == 2:
            first, second = waiting
            first.stream.write(second.honest)
            second.stream.write(first.honest)

    script.faults[message] = fault


@pytest.mark.parametrize("message", [Message.HANDSHAKE, Message.FIRST_RECORD])
def test_a_relay_that_answers_on_another_s_stream(message):
    """Two dials to one lease, so that the identity is the right one: the keys are not."""
    script = Script(LEASE, (listed(LEASE, "newcomer"),))
    world = HostileWorld(script)
    swapped(script, message)
    first, second = world.connect(), world.connect()
    world.ask("/peer/newcomer/1", wire=first)
    world.ask("/peer/newcomer/2", wire=second)
    world.reactor.advance(1)
    fault = Answer(502, "upstream_protocol_error")
    assert [answer(world, wire) for wire in (first, second)] == [fault, fault]
    script.faults.clear()
    assert answer(world, world.ask("/peer/newcomer/")) == Answer(200)
    world.stop()


def test_made_up_names_cost_one_question_a_second():
    """A keyed caller who asks for one name after the other, at a relay with 10,000 leases."""
    world = HostileWorld(Script(LEASE, (listed(LEASE, "newcomer"), *strangers(10_000))))
    questions = known(world).questions
    for second in range(3):
        for number in range(20):
            wire = world.ask(f"/peer/made-up-{second}-{number}/")
            assert answer(world, wire) == Answer(404, "lease_not_found")
        assert answer(world, world.ask("/peer/newcomer/")) == Answer(200)
        world.reactor.advance(1)
    assert known(world).questions - questions <= 3
    assert known(world).unasked >= 57
    readings = of_relays(Router({}, [world.upstream]))
    counted = [each.value for each in readings if each.labels == ("relay.unknown_leases",)]
    assert counted == [known(world).unasked]
    world.stop()

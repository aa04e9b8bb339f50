from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.relay.delivery import Delivery


class Reader:
    """Takes deliveries, and pauses by itself after ``appetite`` of them."""

    def __init__(self, appetite=None):
        self.soon = []
        self.taken = []
        self.ends = 0
        self.resumed = 0
        self.appetite = appetite
        self.delivery = Delivery(self.take, self.later, self.on_resumed)

    def later(self, call):
        self.soon.append(call)

    def take(self, data):
        assert not self.delivery.paused
        assert self.ends == 0
        self.taken.append(data)
        if self.appetite is not None and len(self.taken) % self.appetite == 0:
            self.delivery.pause()

    def end(self):
        assert not self.delivery.paused
        self.ends += 1

    def on_resumed(self):
        self.resumed += 1

    def turn(self):
        soon, self.soon = self.soon, []
        for call in soon:
            call()


def test_it_delivers_at_once_until_it_is_paused():
    reader = Reader(appetite=2)
    for data in (b"a", b"b", b"c", b"d", b"e"):
        reader.delivery.receive(data)
    reader.delivery.finish(reader.end)
    assert reader.taken == [b"a", b"b"]
    reader.delivery.resume()
    assert reader.taken == [b"a", b"b"]
    reader.turn()
    assert reader.taken == [b"a", b"b", b"c", b"d"]
    reader.delivery.resume()
    reader.delivery.resume()
    reader.turn()
    assert reader.taken == [b"a", b"b", b"c", b"d", b"e"]
    assert (reader.ends, reader.resumed) == (1, 0)
    assert reader.soon == []


def test_reading_goes_on_when_nothing_waits_any_more():
    reader = Reader()
    reader.delivery.pause()
    reader.delivery.resume()
    assert reader.resumed == 1
    reader.delivery.pause()
    reader.delivery.receive(b"a")
    reader.delivery.resume()
    assert reader.resumed == 1
    reader.turn()
    assert reader.resumed == 2


def test_a_pause_before_the_turn_holds():
    reader = Reader()
    reader.delivery.pause()
    reader.delivery.receive(b"a")
    reader.delivery.resume()
    reader.delivery.pause()
    reader.turn()
    assert reader.taken == []


def test_what_waits_can_be_dropped():
    reader = Reader()
    reader.delivery.pause()
    reader.delivery.receive(b"abc")
    reader.delivery.receive(b"de")
    reader.delivery.finish(reader.end)
    reader.delivery.resume()
    assert reader.delivery.drop() == 5
    reader.turn()
    assert reader.taken == []
    assert reader.ends == 0


@settings(max_examples=100)
@given(
    st.lists(st.sampled_from(["receive", "pause", "resume", "turn"]), max_size=40),
    st.one_of(st.none(), st.integers(1, 3)),
)
def test_everything_is_delivered_once_in_order_and_the_end_last(story, appetite):
    reader = Reader(appetite)
    sent = []
    for act in story:
        if act == "receive":
            sent.append(b"%d" % len(sent))
            reader.delivery.receive(sent[-1])
        elif act == "turn":
            reader.turn()
        else:
            getattr(reader.delivery, act)()
        assert reader.taken == sent[: len(reader.taken)]
    reader.delivery.finish(reader.end)
    for _ in range(len(sent) + 2):
        reader.delivery.resume()
        reader.turn()
    assert reader.taken == sent
    assert reader.ends == 1

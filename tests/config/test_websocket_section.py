"""The section ``websocket``."""

import pytest

from portal_gateway.config.loading import ConfigInvalid, load_config_text
from portal_gateway.config.model import WebSocketSection


def load(text):
    return load_config_text(f"websocket: {{{text}}}", "", {}).websocket


def test_without_the_section_the_defaults_hold():
    assert load_config_text("logging: {}", "", {}).websocket == WebSocketSection()
    assert WebSocketSection() == WebSocketSection(2**24, 2**24, 900.0, 10.0, compression=True)


def test_every_key_is_read():
    given = load(
        "max_message_size: 1MB, max_frame_size: 64KiB, idle_timeout: 2m, open_timeout: 3s, "
        "compression: false"
    )
    assert given == WebSocketSection(1_000_000, 65_536, 120.0, 3.0, compression=False)


def test_messages_may_be_limited():
    given = load("messages_per_second: 0.5, message_burst: 10")
    assert (given.messages_per_second, given.message_burst) == (0.5, 10)
    assert (WebSocketSection().messages_per_second, WebSocketSection().message_burst) == (
        None,
        None,
    )


@pytest.mark.parametrize(
    "text",
    [
        "messages_per_second: 0",
        "message_burst: 5",
        "messages_per_second: 5, message_burst: 0.5",
        "max_message_size: 1023",
        "max_message_size: 2GiB",
        "max_frame_size: 0",
        "max_frame_size: big",
        "idle_timeout: 0s",
        "idle_timeout: 2d",
        "open_timeout: 301s",
        "compression: maybe",
        "max_size: 1",
    ],
)
def test_what_makes_no_sense_is_a_fault(text):
    with pytest.raises(ConfigInvalid):
        load(text)

"""Every target of the fuzzers, by its name."""

from collections.abc import Callable, Mapping

from tests.fuzz.configuration_target import configuration_text, configuration_words
from tests.fuzz.http1_targets import http1_client, http1_lease
from tests.fuzz.http2_target import http2_echoing, http2_hostile, http2_silent
from tests.fuzz.relay_targets import (
    relay_carrier,
    relay_frames,
    relay_messages,
    relay_records,
)
from tests.fuzz.websocket_target import (
    websocket_client,
    websocket_deflated,
    websocket_lease,
    websocket_opening,
)

__all__ = ["TARGETS"]

TARGETS: Mapping[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        configuration_text,
        configuration_words,
        http1_client,
        http1_lease,
        http2_echoing,
        http2_hostile,
        http2_silent,
        relay_carrier,
        relay_frames,
        relay_messages,
        relay_records,
        websocket_client,
        websocket_deflated,
        websocket_lease,
        websocket_opening,
    )
}

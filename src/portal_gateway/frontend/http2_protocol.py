"""The h2 library as our end of a connection uses it: settings, and bounds that it leaves open."""

from h2.config import H2Configuration
from h2.settings import SettingCodes, Settings

from portal_gateway.frontend.http2_library import Protocol
from portal_gateway.wire.http1_request import RequestLimits
from portal_gateway.wire.http2_frames import PREFACE
from portal_gateway.wire.http2_header_blocks import FIELD_OVERHEAD, HeaderDecoder, HeaderEncoder

__all__ = [
    "CONNECTION_WINDOW",
    "MAX_STREAMS",
    "STREAM_WINDOW",
    "header_list_size",
    "server_protocol",
]

MAX_STREAMS = 100
"""Requests at once: what RFC 9113 section 6.5.2 recommends as the least, and clients expect."""

STREAM_WINDOW = 256 * 1024
"""Bytes of a request's body that a client may send ahead of its reader: a fast upload over a long
way, and all that a stalled reader makes us hold, besides what its body keeps by itself."""

CONNECTION_WINDOW = 2 * 1024 * 1024
"""The same over all streams of a connection: a client cannot make it 100 times as much."""

_HEADER_ALLOWANCE = 2
"""How many times the limits of a header may be decoded: beyond its limits a request is answered
with 431, beyond this the connection ends (RFC 7541 section 7.3)."""

_KNOWN_SETTINGS = frozenset(SettingCodes)


class _ClientSettings(Settings):
    """The settings of a client, without those that mean nothing here (RFC 9113 section 6.5.2).

    The library would keep each of 65,536 identifiers, and look at all of them for every SETTINGS.
    """

    def __setitem__(self, key: SettingCodes | int, value: int) -> None:
        if key in _KNOWN_SETTINGS:
            super().__setitem__(key, value)


def header_list_size(limits: RequestLimits) -> int:
    """Bytes of a request's or trailers' fields that a connection survives, each with its overhead.

    What they are encoded in may be as long: no encoder makes them longer than that.
    """
    fields = (limits.fields + 4) * FIELD_OVERHEAD
    return (limits.request_line + limits.header + fields) * _HEADER_ALLOWANCE


def server_protocol(limits: RequestLimits) -> Protocol:
    """The state of a new connection, with our preface to be sent and the client's taken for read.

    Whoever gives it frames has looked at that. Fields are not judged: `read_request` refuses one
    request where the library would refuse the connection.
    """
    h2 = Protocol(
        H2Configuration(
            client_side=False,
            header_encoding=None,
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
    )
    header = header_list_size(limits)
    h2.local_settings = Settings(
        client=False,
        initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
            SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            SettingCodes.MAX_HEADER_LIST_SIZE: header,
            SettingCodes.ENABLE_PUSH: 0,
        },
    )
    h2.remote_settings = _ClientSettings(client=True)
    h2.encoder = HeaderEncoder()  # type: ignore[assignment] # h2 names the library's class
    h2.decoder = HeaderDecoder(header)  # type: ignore[assignment]
    h2.initiate_connection()
    h2.increment_flow_control_window(CONNECTION_WINDOW - h2.inbound_flow_control_window)
    h2.receive_data(PREFACE)
    return h2

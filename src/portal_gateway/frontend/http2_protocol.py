"""The h2 library as our end of a connection uses it: settings, and bounds that it leaves open."""

from h2.config import H2Configuration
from h2.settings import SettingCodes, Settings

from portal_gateway.frontend.http2_library import Protocol
from portal_gateway.wire.http1_request import RequestLimits
from portal_gateway.wire.http2_frames import PREFACE

__all__ = [
    "CONNECTION_WINDOW",
    "MAX_HEADER_TABLE",
    "MAX_STREAMS",
    "STREAM_WINDOW",
    "server_protocol",
]

MAX_STREAMS = 100
"""Requests at once: what RFC 9113 section 6.5.2 recommends as the least, and clients expect."""

STREAM_WINDOW = 256 * 1024
"""Bytes of a request's body that a client may send ahead of its reader: a fast upload over a long
way, and all that a stalled reader makes us hold, besides what its body keeps by itself."""

CONNECTION_WINDOW = 2 * 1024 * 1024
"""The same over all streams of a connection: a client cannot make it 100 times as much."""

MAX_HEADER_TABLE = 4096
"""Bytes of the table that our encoder keeps, however much the client offers to keep."""

_HEADER_ALLOWANCE = 2
"""How many times the limits of a header may be decoded: beyond its limits a request is answered
with 431, beyond this the connection ends (RFC 7541 section 7.3)."""

_FIELD_OVERHEAD = 32
"""What each field counts for besides its bytes (RFC 9113 section 6.5.2)."""


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
    header = (
        limits.request_line + limits.header + (limits.fields + 4) * _FIELD_OVERHEAD
    ) * _HEADER_ALLOWANCE
    h2.local_settings = Settings(
        client=False,
        initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
            SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            SettingCodes.MAX_HEADER_LIST_SIZE: header,
            SettingCodes.ENABLE_PUSH: 0,
        },
    )
    h2.decoder.max_header_list_size = header
    h2.initiate_connection()
    h2.increment_flow_control_window(CONNECTION_WINDOW - h2.inbound_flow_control_window)
    h2.receive_data(PREFACE)
    return h2

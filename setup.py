"""Compiles the hot path with mypyc where ``PORTAL_GATEWAY_COMPILE=1`` asks for it.

Everything else about the package stands in setup.cfg. Without the variable, or with it and the same
sources, the gateway does the same; compiled it takes about half the CPU for each request. See
docs/performance.rst.
"""

import os

from setuptools import setup

COMPILED = {
    ".": "errors exchange",
    "frontend": (
        "authentication body channel closing deadlines deciding guards http1_stream lease_lookup "
        "lease_space limits measured outlet proxy quota_guard quota_keeper rate_limiter request "
        "response_stream shared_quota_guard shared_rate_limiter site streaming websocket_proxy"
    ),
    "observe": "lines masking request_counts request_ids tallies",
    "policy": (
        "address_sets client_address credentials failed_attempts lease_access lease_path "
        "quota_counts quota_table rate_limits request_fields request_limits rewriting "
        "scopes security_headers token_bucket websocket_opening"
    ),
    "relay": (
        "connection delivery dials direct_events http_client http_connection idle_connections "
        "outbox pool producing record_memory request_body secure_stream send_buffer "
        "stream_protocol substream transport_buffers tunnel turn_writes websocket_frames"
    ),
    "wire": (
        "forwarded handshake http1_head http1_request http1_response http1_response_head "
        "http1_writing http2_header_blocks http2_request http_fields length_prefixed limits "
        "secure_channel secure_records yamux yamux_credit yamux_events yamux_flood yamux_frames "
        "yamux_ids yamux_receiver yamux_stream yamux_table"
    ),
}
"""Modules by package: what each request, or each byte through a relay, passes.

A class that is compiled can be derived from by compiled classes only, which is why a few more are
here.
"""


def compiled() -> list[str]:
    """The modules as paths below the package, without their suffix."""
    return [
        name if package == "." else f"{package}/{name}"
        for package, names in COMPILED.items()
        for name in names.split()
    ]


def extensions() -> list[object]:
    """The extension modules to build."""
    if os.environ.get("PORTAL_GATEWAY_COMPILE") != "1":
        return []
    from mypyc.build import mypycify  # noqa: PLC0415 - only there where it is asked for

    modules: list[object] = mypycify(
        ["--config-file=pyproject.toml", *(f"src/portal_gateway/{name}.py" for name in compiled())],
        debug_level="0",
    )
    return modules


if __name__ == "__main__":
    setup(ext_modules=extensions())

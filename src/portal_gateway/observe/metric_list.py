"""Every metric: its name, what it is, its labels, and its buckets."""

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["DURATIONS", "LAGS", "METRICS", "Listed"]

DURATIONS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""Seconds of requests: from a lease nearby to a model that thinks for two minutes."""

LAGS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
"""Seconds that the event loop is late."""

Kind = Literal["counter", "gauge", "histogram"]
Across = Literal["sum", "least", "most"]


@dataclass(frozen=True, slots=True)
class Listed:
    """One metric: its name as it is told, what it is, its labels, and the bounds of its buckets.

    ``across`` says what several workers tell together.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    across: Across = "sum"


METRICS: Final = (
    # Requests.
    Listed(
        "portal_gateway_requests_total",
        "counter",
        "Requests that are over; status 0 for those without an answer.",
        ("method", "path", "status", "lease_id"),
    ),
    Listed(
        "portal_gateway_request_duration_seconds",
        "histogram",
        "Time from the first byte of a request to the end of its answer, of a WebSocket to its"
        " opening.",
        ("method", "path", "lease_id"),
        DURATIONS,
    ),
    Listed(
        "portal_gateway_errors_total",
        "counter",
        "Requests that ended with an error of the gateway's own, by its code.",
        ("type", "lease_id"),
    ),
    Listed(
        "portal_gateway_rate_limit_hits_total",
        "counter",
        "Requests that a rate limit refused; without a key for failed attempts.",
        ("key", "lease_id"),
    ),
    Listed(
        "portal_gateway_cache_hits_total",
        "counter",
        "Requests that were answered from the cache. In this release nothing is cached.",
        ("lease_id",),
    ),
    Listed(
        "portal_gateway_cache_misses_total",
        "counter",
        "Requests for which the cache had no answer. In this release nothing is cached.",
        ("lease_id",),
    ),
    Listed(
        "portal_gateway_request_body_bytes_total", "counter", "Bytes of bodies that clients sent."
    ),
    Listed(
        "portal_gateway_response_body_bytes_total",
        "counter",
        "Bytes of bodies that were sent to clients.",
    ),
    Listed(
        "portal_gateway_series_folded_total",
        "counter",
        "Requests counted under _other because the series budget is used up.",
        ("metric",),
    ),
    # Connections of clients.
    Listed(
        "portal_gateway_requests_in_progress", "gauge", "Requests that are not over, as WebSockets."
    ),
    Listed("portal_gateway_active_connections", "gauge", "Connections of clients that are open."),
    Listed("portal_gateway_websockets", "gauge", "WebSockets that are open."),
    Listed(
        "portal_gateway_streams", "gauge", "Responses without a length that are under way, as SSE."
    ),
    Listed(
        "portal_gateway_tls_handshakes_total",
        "counter",
        "TLS handshakes with clients that came to their end: completed or failed.",
        ("result",),
    ),
    Listed(
        "portal_gateway_limit_hits_total",
        "counter",
        "Times that a limit was met, by its name: one of gateway.limits, a limit of WebSockets, a"
        " rate limit, a quota, or a bound that is built in.",
        ("limit",),
    ),
    Listed(
        "portal_gateway_timeouts_total",
        "counter",
        "Times that a client, or the lease (upstream), was too slow, by what was waited for.",
        ("kind",),
    ),
    # Relays and leases.
    Listed(
        "portal_gateway_portal_connections",
        "gauge",
        "Sessions with relays, by their state.",
        ("status",),
    ),
    Listed(
        "portal_gateway_relay_up",
        "gauge",
        "Whether the session with a relay is up.",
        ("relay",),
        across="least",
    ),
    Listed(
        "portal_gateway_relay_round_trip_seconds",
        "gauge",
        "The last ping's round trip to a relay.",
        ("relay",),
        across="most",
    ),
    Listed(
        "portal_gateway_relay_connects_total",
        "counter",
        "Sessions with a relay that came up.",
        ("relay",),
    ),
    Listed(
        "portal_gateway_relay_losses_total",
        "counter",
        "Sessions that ended and attempts that failed, by the reason: yamux_fault, for example,"
        " when the relay broke the protocol or flooded the gateway.",
        ("reason",),
    ),
    Listed(
        "portal_gateway_relay_attempts_total",
        "counter",
        "Attempts to connect to a relay.",
        ("relay",),
    ),
    Listed(
        "portal_gateway_leases",
        "gauge",
        "Leases that a relay lists now.",
        ("relay",),
        across="most",
    ),
    Listed(
        "portal_gateway_pool_connections",
        "gauge",
        "Connections to leases, by what they are doing.",
        ("state",),
    ),
    Listed("portal_gateway_pool_queued_requests", "gauge", "Requests that wait for a connection."),
    Listed("portal_gateway_pool_dials_total", "counter", "Connections to leases that were begun."),
    Listed(
        "portal_gateway_pool_reuses_total", "counter", "Requests that took a connection of before."
    ),
    Listed(
        "portal_gateway_pool_retries_total",
        "counter",
        "Requests sent again because a connection of before had ended.",
    ),
    # Limits and their store.
    Listed("portal_gateway_rate_limit_buckets", "gauge", "Buckets of rate limits in memory."),
    Listed(
        "portal_gateway_rate_limit_buckets_forgotten_total",
        "counter",
        "Buckets given up while they were not full, for want of room.",
    ),
    Listed("portal_gateway_redis_up", "gauge", "Whether Redis can be asked.", across="least"),
    Listed(
        "portal_gateway_redis_transitions_total", "counter", "Times that Redis went or came back."
    ),
    Listed("portal_gateway_redis_failures_total", "counter", "Questions to Redis that failed."),
    Listed("portal_gateway_redis_fallbacks_total", "counter", "Requests decided without Redis."),
    Listed("portal_gateway_redis_attempts_total", "counter", "Attempts to connect to Redis."),
    Listed("portal_gateway_redis_in_flight", "gauge", "Questions to Redis without an answer."),
    Listed(
        "portal_gateway_database_up",
        "gauge",
        "Whether the last work in a database was done.",
        ("driver",),
        across="least",
    ),
    Listed(
        "portal_gateway_database_transactions_total",
        "counter",
        "Work done in a database.",
        ("driver",),
    ),
    Listed(
        "portal_gateway_database_failures_total",
        "counter",
        "Work that a database did not do, or not in time.",
        ("driver",),
    ),
    Listed(
        "portal_gateway_database_in_flight",
        "gauge",
        "Work in a database that is under way or waits.",
        ("driver",),
    ),
    # The configuration.
    Listed(
        "portal_gateway_reload_total",
        "counter",
        "Configurations that were to come into force while the gateway ran: success or failure."
        " Each worker counts its own.",
        ("result",),
    ),
    Listed(
        "portal_gateway_config_last_reload_successful",
        "gauge",
        "Whether the last one did; 1 before there was one.",
        across="least",
    ),
    Listed(
        "portal_gateway_config_applied_timestamp_seconds",
        "gauge",
        "Since when the configuration of now is in force, in Unix time.",
        across="most",
    ),
    Listed(
        "portal_gateway_config_generation",
        "gauge",
        "How many configurations were in force, the one at the start included.",
        across="most",
    ),
    # The process.
    Listed(
        "portal_gateway_log_lines_dropped_total",
        "counter",
        "Lines of the log that were lost, because its output did not take them.",
    ),
    Listed(
        "portal_gateway_tls_certificate_expiry_timestamp_seconds",
        "gauge",
        "When the certificate that is served expires, in Unix time.",
        across="least",
    ),
    Listed(
        "portal_gateway_event_loop_lag_seconds",
        "histogram",
        "How late a heartbeat of four a second came.",
        (),
        LAGS,
    ),
    Listed(
        "portal_gateway_build_info",
        "gauge",
        "Always 1; the labels say what runs.",
        ("version", "python", "twisted", "compiled"),
        across="most",
    ),
    Listed("portal_gateway_workers", "gauge", "Processes whose figures these are."),
    Listed("process_cpu_seconds_total", "counter", "CPU time that was used, of user and system."),
    Listed("process_resident_memory_bytes", "gauge", "Memory that is resident."),
    Listed("process_virtual_memory_bytes", "gauge", "Memory that is addressed."),
    Listed("process_open_fds", "gauge", "File descriptors that are open."),
    Listed(
        "process_max_fds",
        "gauge",
        "File descriptors that one process may have open.",
        across="least",
    ),
    Listed(
        "process_start_time_seconds",
        "gauge",
        "When the process started, in Unix time.",
        across="least",
    ),
)
"""Every metric, in the order in which they are told."""

"""Prints docs/metrics.rst: every metric, from the list that the gateway itself tells them by.

``make modules`` writes the page; a test compares it with the list.
"""

import sys

from portal_gateway.observe.metric_list import METRICS, Listed

HEAD = """\
Metrics
=======

``GET /metrics`` tells these in the text format of Prometheus, or in that of OpenMetrics where it is
asked for, compressed with gzip where that is accepted. Where it is and who may ask stands in
`configuration.rst <configuration.rst>`_ under ``metrics``. ``make modules`` writes this page.

Labels have these values:

``method``
    GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS (at pages of the gateway's own GET and HEAD), else
    ``_OTHER``.
``path``
    The route, never what was sent: ``/peer/{lease}``, ``/ws/{lease}``, ``{lease_host}/`` (every
    path at the host of a lease), ``/health``, ``/health/ready``, ``/health/details``, ``/metrics``,
    ``/whoami``, ``/.well-known/acme-challenge/{token}``, else ``_unmatched``.
``status``
    The status code, ``0`` where the client went before there was an answer, ``_other`` for one that
    HTTP does not have.
``lease_id``
    What the lease is called, as in the log; ``_unmatched`` for one that was never found, or that
    neither the configuration nor a relay lists and that has not answered yet; ``_other``
    beyond the series budget, empty for a request that is for no lease.
``key``
    The id of an API key, or whom a token names; never the key.
``limit``
    A key of ``gateway.limits``; ``rate_limit.global``, ``rate_limit.per_key``,
    ``rate_limit.per_lease`` or ``rate_limit.failed_auth``; ``quotas``;
    ``websocket_messages`` and ``websocket_size`` (``websocket.messages_per_second`` and
    ``websocket.max_message_size``); ``underscore_fields`` and ``trailers`` (fields of requests that
    no lease gets); ``trusted_proxies`` and ``proxy_header`` (connections to a ``haproxy:`` endpoint
    that came from elsewhere, or without a header);
    ``key_questions`` and ``token_keys`` (requests that found no place to wait for their key to be
    looked up, or for the keys of the tokens' issuer); ``lookups`` (the same for the names of leases
    at relays by host); ``relay.unknown_leases`` (relays not asked again for an unknown lease);
    ``lease_silence`` (leases that said nothing for ten minutes); ``lease_pools`` and
    ``idle_connections`` (connections to leases that made room for others); ``http1_turn``,
    ``http2_turn`` and ``websocket_turn`` (connections that were read on in a later turn).
``kind``
    ``handshake``, ``header``, ``idle``, ``body`` and ``write`` for a client that exceeded
    ``handshake_timeout``, ``header_timeout``, ``idle_timeout``, ``body_rate`` or ``write_stall`` of
    ``gateway.limits``; ``upstream`` for a lease.
``relay``
    Host and port of a relay; ``_other`` for all but the first 20.
``type``
    The code of the error, as in `errors.rst <errors.rst>`_.

Where the gateway has several workers, whichever is asked tells of all of them: counts are added
up, and of a gauge that cannot be, the list says what is told. A worker that ended is missed in
gauges; its counts stay, but for those of its last second if it was killed. When the gateway starts
again, all begin with 0.

Request rate, the part of errors and the 99th percentile are asked for so::

    sum(rate(portal_gateway_requests_total[5m]))

    sum(rate(portal_gateway_requests_total{status=~"5.."}[5m]))
      / sum(rate(portal_gateway_requests_total[5m]))

    histogram_quantile(0.99,
      sum by (le) (rate(portal_gateway_request_duration_seconds_bucket[5m])))
"""


def entry(listed: Listed) -> list[str]:
    """The lines of one metric."""
    name = f"``{listed.name}``"
    lines = ["", name, "~" * len(name), "", f":Kind: {listed.kind}"]
    if listed.across != "sum":
        lines.append(f":Of several workers: the {listed.across}")
    if listed.labels:
        lines.append(f":Labels: {', '.join(f'``{label}``' for label in listed.labels)}")
    if listed.buckets:
        lines.append(f":Buckets: {', '.join(f'{bound:g}' for bound in listed.buckets)}")
    return [*lines, "", listed.help]


def page() -> str:
    """The whole page."""
    lines = [line for listed in METRICS for line in entry(listed)]
    return "\n".join([HEAD, "The list", "--------", *lines]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())

"""Response fields that set policy for a whole origin, and fields that instruct a proxy.

Below ``/peer/`` and ``/ws/`` all leases share one origin with the gateway. A field that a browser
keeps for the origin, or for its host, would hold for all of them (`ORIGIN_WIDE`): there a lease may
not send it. At a host of its own a lease speaks for itself.

Fields that hold for one page or one resource (``Content-Security-Policy``, ``Permissions-Policy``,
``Reporting-Endpoints``, ``Cross-Origin-Opener-Policy``, ``No-Vary-Search``) are not among them.
"""

from typing import Final

__all__ = ["NEVER_PASSED", "ORIGIN_WIDE"]

ORIGIN_WIDE: Final = frozenset(
    {
        # Kept for the host: RFC 6797, RFC 7469, RFC 9163, and the tests before it.
        b"strict-transport-security",
        b"public-key-pins",
        b"public-key-pins-report-only",
        b"expect-ct",
        b"expect-staple",
        # Erases what all pages of the origin keep.
        b"clear-site-data",
        # Reports of the network, which tell the addresses of all requests to the origin.
        b"nel",
        b"report-to",
        # What browsers send with each later request to the origin.
        b"accept-ch",
        b"accept-ch-lifetime",
        b"critical-ch",
        b"use-as-dictionary",
        # Whether the origin gets a process of its own: the first page decides for all.
        b"origin-agent-cluster",
        # Which pages of the origin a script may serve.
        b"service-worker-allowed",
        # States that browsers keep for the origin: signed in or not, sessions bound to a device,
        # shared storage, conversions of advertisements, blocks of private tokens.
        b"set-login",
        b"login-status",
        b"idp-signin-status",
        b"sec-session-registration",
        b"sec-session-challenge",
        b"sec-session-skipped",
        b"secure-session-registration",
        b"secure-session-challenge",
        b"secure-session-skipped",
        b"shared-storage-write",
        b"attribution-reporting-register-source",
        b"attribution-reporting-register-trigger",
        b"attribution-reporting-register-os-source",
        b"attribution-reporting-register-os-trigger",
        b"observe-browsing-topics",
        b"sec-private-state-token",
        b"sec-private-state-token-lifetime",
        b"sec-trust-token",
        b"sec-trust-token-lifetime",
    }
)
"""Fields that are dropped where leases share an origin, by their names in lower case."""

NEVER_PASSED: Final = frozenset(
    {
        # Another server for the whole origin (RFC 7838). The gateway decides where it listens, and
        # the port that a lease names may be anybody's.
        b"alt-svc",
        # Files and places that a proxy in front of the gateway would answer with instead.
        b"x-accel-redirect",
        b"x-lighttpd-send-file",
        b"x-lighttpd-send-tempfile",
        b"x-litespeed-location",
        b"x-reproxy-expected-size",
        b"x-reproxy-file",
        b"x-reproxy-url",
        b"x-sendfile",
        b"x-sendfile-temporary",
        b"x-sendfile2",
        # Answers of all leases that such a proxy keeps, and drops at this word.
        b"x-litespeed-purge",
        b"x-litespeed-purge2",
        # Cookies of RFC 2965: obsolete, and their paths and domains are written otherwise.
        b"set-cookie2",
    }
)
"""Fields of a lease that nobody gets, at no host."""

"""What is asked of the TLS of a server that the gateway connects to, as a value."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["UpstreamTLS"]


@dataclass(frozen=True, slots=True)
class UpstreamTLS:
    """``tls`` of a relay, a lease or a store: whom to trust, and as whom to ask.

    ``ca_file`` holds, as PEM, the only authorities that are trusted. ``insecure`` takes any
    certificate. ``server_name`` is what the server is asked for, and what its certificate must be
    for, instead of the host by which it is reached.
    """

    ca_file: Path | None = None
    insecure: bool = False
    server_name: str | None = None

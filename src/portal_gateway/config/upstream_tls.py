"""What is asked of the TLS of a server that the gateway connects to, as a value."""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["UpstreamTLS"]


@dataclass(frozen=True, slots=True)
class UpstreamTLS:
    """``tls`` of a relay, a lease or a store: whom to trust, and as whom to ask.

    ``ca_file`` holds, as PEM, the only authorities that are trusted. ``insecure`` takes any
    certificate. ``server_name`` is what the server is asked for, and what its certificate must be
    for, instead of the host by which it is reached. Two of these are equal only while the file is
    the same, too: what was made of another is not to be used on.
    """

    ca_file: Path | None = None
    insecure: bool = False
    server_name: str | None = None
    _written: tuple[int, int, int] | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        if self.ca_file is not None:
            with suppress(OSError):
                now = self.ca_file.stat()
                written = (now.st_ino, now.st_size, now.st_mtime_ns)
                object.__setattr__(self, "_written", written)

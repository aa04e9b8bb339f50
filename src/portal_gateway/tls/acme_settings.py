"""What is asked of an authority by ACME (RFC 8555), and how its challenges are met."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = [
    "LETS_ENCRYPT",
    "LETS_ENCRYPT_STAGING",
    "Authority",
    "AutoCert",
    "Challenge",
    "DNSUpdate",
    "ExternalAccount",
    "TSIGAlgorithm",
    "Wanted",
]

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
LETS_ENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"

Challenge = Literal["http-01", "tls-alpn-01", "dns-01"]

TSIGAlgorithm = Literal["hmac-sha256", "hmac-sha384", "hmac-sha512"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DNSUpdate:
    """A DNS server that takes updates (RFC 2136) signed with a shared key (RFC 8945).

    ``key_secret`` is in base64, as in the files of DNS servers. Without a ``zone``, the server is
    asked which of its zones a name is in.
    """

    server: tuple[str, int]
    key_name: str
    key_secret: str = field(repr=False)
    key_algorithm: TSIGAlgorithm = "hmac-sha256"
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class ExternalAccount:
    """An account that the authority knows already (RFC 8555 section 7.3.4)."""

    key_id: str
    hmac_key: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """The authority that is asked; ``ca_file`` holds who may vouch for its own HTTPS.

    The ``directory_url`` may have a secret in its query.
    """

    directory_url: str = field(default=LETS_ENCRYPT, repr=False)
    ca_file: Path | None = None
    email: str | None = None
    eab: ExternalAccount | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """One certificate: the file in the store that it is for, without its suffix, and its names."""

    stem: str
    domains: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoCert:
    """``gateway.tls.auto_cert``, where it is enabled and used.

    ``propagation`` is the seconds from a DNS record being written until the authority is told to
    look, ``retry_after`` those of the first wait after a failure. DNS records are written by
    ``dns`` or by the program ``dns_hook``.
    """

    store: Path
    domains: tuple[str, ...]
    challenge: Challenge
    authority: Authority = field(default_factory=Authority)
    dns: DNSUpdate | None = None
    dns_hook: Path | None = None
    propagation: float = 10.0
    retry_after: float = 300.0

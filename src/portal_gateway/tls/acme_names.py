"""Names that certificates are asked for, and the files that they are kept in."""

import re

__all__ = ["MAX_DOMAINS", "domain_of", "domain_of_stem", "stem_of"]

MAX_DOMAINS = 100
"""Names of one certificate: what Let's Encrypt takes, and others not less."""

_MAX_NAME = 253
"""RFC 1035 section 2.3.4, without the root's dot."""

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_ADDRESS = re.compile(r"[0-9.]+")


def domain_of(written: str) -> str | None:
    """A host name as authorities want it: lower case, ASCII; ``*`` only as the first label.

    ``None`` for what is none, IP addresses among that.
    """
    try:
        # Names in other scripts stand in certificates in their ASCII form (RFC 5280 section 7.2).
        ascii_name = written if written.isascii() else _to_ascii(written)
    except UnicodeError:
        return None
    name = ascii_name.lower().removesuffix(".")
    if len(name) > _MAX_NAME or _ADDRESS.fullmatch(name) or not _DOMAIN.fullmatch(name):
        return None
    if name.startswith("*.") and "." not in name[2:]:
        return None
    return name


def _to_ascii(written: str) -> str:
    import idna  # noqa: PLC0415 - its tables are large, and such names are rare

    star, dot, rest = written.partition(".") if written.startswith("*.") else ("", "", written)
    return star + dot + idna.encode(rest, uts46=True).decode("ascii")


def stem_of(domain: str) -> str:
    """The file name, without its suffix, for a domain: no ``*``, which shells would expand."""
    return f"_{domain[1:]}" if domain.startswith("*.") else domain


def domain_of_stem(stem: str) -> str | None:
    """The host name that a file asks for by its name; ``None`` where that is no host name."""
    domain = domain_of(stem)
    return domain if domain == stem and not domain.startswith("*") else None

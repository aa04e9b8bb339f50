"""The section ``gateway.tls.auto_cert``: its keys, and whether an authority can be answered."""

import base64
import binascii
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, get_args

from portal_gateway.config.addresses import host_and_port, http_url
from portal_gateway.config.fields import Section, choice, list_of, text, true_or_false
from portal_gateway.config.files import certificate_file, path
from portal_gateway.config.reading import Reader, Value
from portal_gateway.config.times import duration
from portal_gateway.config.worded import Worded, reads
from portal_gateway.tls.acme_names import MAX_DOMAINS, domain_of, stem_of
from portal_gateway.tls.acme_settings import (
    LETS_ENCRYPT,
    Authority,
    AutoCert,
    Challenge,
    DNSUpdate,
    ExternalAccount,
    TSIGAlgorithm,
)

__all__ = ["AutoCertKeys", "auto_cert", "check_auto_cert"]

MAX_SECRET = 4096
"""Characters of a key in base64."""

STORE = "acme"
"""The store, beside the configuration file, where none is written."""

_EMAIL = re.compile(r"[^\s@<>,;\"']{1,64}@[A-Za-z0-9.-]{1,189}")
_WORD = re.compile(r"[\x21-\x7e]{1,255}")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class AutoCertKeys(NamedTuple):
    """The section as it is written."""

    store: Path
    enabled: bool = True
    domains: tuple[str, ...] = ()
    email: str | None = None
    directory_url: str = LETS_ENCRYPT
    ca_file: Path | None = None
    challenge: Challenge | None = None
    dns: DNSUpdate | None = None
    dns_hook: Path | None = None
    propagation: float = 10.0
    retry_after: float = 300.0
    eab: ExternalAccount | None = None

    def settings(self, *, plain_listener: bool) -> AutoCert:
        """What they come to, with or without a ``plain_listener`` for HTTP-01."""
        return AutoCert(
            store=self.store,
            domains=self.domains,
            challenge=self._challenge(plain_listener=plain_listener),
            authority=Authority(
                directory_url=self.directory_url,
                ca_file=self.ca_file,
                email=self.email,
                eab=self.eab,
            ),
            dns=self.dns,
            dns_hook=self.dns_hook,
            propagation=self.propagation,
            retry_after=self.retry_after,
        )

    def _challenge(self, *, plain_listener: bool) -> Challenge:
        if self.challenge is not None:
            return self.challenge
        if self.dns is not None or self.dns_hook is not None:
            return "dns-01"
        return "http-01" if plain_listener else "tls-alpn-01"

    @property
    def file(self) -> Path:
        """Where the certificate and its key are to be."""
        return self.store / f"{stem_of(self.domains[0]) if self.domains else STORE}.pem"


@reads("host name")
def _domain(value: Value) -> str:
    found = text(value, expected="a host name")
    domain = domain_of(found.text)
    if domain is None:
        raise value.refuse(
            f"bad host name {found.shown}; write one such as gateway.example.com, or"
            " *.example.com for all below"
        )
    return domain


@reads("e-mail address")
def _email(value: Value) -> str:
    found = text(value, expected="an e-mail address")
    if not _EMAIL.fullmatch(found.text):
        raise value.refuse(f"bad e-mail address {found.shown}")
    return found.text


@reads("URL with ``https://``")
def _https_url(value: Value) -> str:
    found = http_url(value)
    if not found.startswith("https:"):
        raise value.refuse("an authority is asked by https:// (RFC 8555 section 6.1)")
    return found


def _word(noun: str) -> Worded[str]:
    @reads("1 to 255 visible ASCII characters")
    def read(value: Value) -> str:
        found = text(value, expected=f"a {noun}")
        if not _WORD.fullmatch(found.text):
            raise value.refuse(f"bad {noun}: it has 1 to 255 visible ASCII characters")
        return found.text

    return read


def _base64(kind: str, decode: Callable[[str], bytes]) -> Worded[str]:
    """Reads a secret in base64, and shows nothing of it."""

    @reads(f"text in {kind}; secret")
    def read(value: Value) -> str:
        written = text(value, secret=True, expected="a key in base64")
        value.note_secret(written)
        found = written.text
        try:
            good = len(decode(found)) > 0 and len(found) <= MAX_SECRET
        except (binascii.Error, ValueError):
            good = False
        if not good:
            raise value.refuse("the key is empty, or it is not base64")
        return found

    return read


def _standard(written: str) -> bytes:
    return base64.b64decode(written, validate=True)


def _for_urls(written: str) -> bytes:
    padded = written + "=" * (-len(written) % 4)
    return base64.b64decode(padded, altchars=b"-_", validate=True)


_DNS = Section(
    DNSUpdate,
    {
        "server": host_and_port,
        "zone": _domain,
        "key_name": _domain,
        "key_secret": _base64("base64", _standard),
        "key_algorithm": choice("algorithm", get_args(TSIGAlgorithm)),
    },
    required=["server", "key_name", "key_secret"],
)

_EAB = Section(
    ExternalAccount,
    {"key_id": _word("key id"), "hmac_key": _base64("base64url", _for_urls)},
    required=["key_id", "hmac_key"],
)


_KEYS: dict[str, Reader[Any]] = {
    "enabled": true_or_false,
    "domains": list_of(_domain, expected="a list of host names"),
    "email": _email,
    "directory_url": _https_url,
    "ca_file": certificate_file,
    "store": reads("path of a directory")(path),
    "challenge": choice("challenge", get_args(Challenge)),
    "dns": _DNS,
    "dns_hook": reads("path of a program")(path),
    "propagation": duration(0, 3600),
    "retry_after": duration(1, 3600),
    "eab": _EAB,
}


@reads("", below={"": Section(AutoCertKeys, _KEYS)})
def auto_cert(value: Value) -> AutoCertKeys | None:
    """Reads the section; ``None`` where it is switched off, or nothing was written."""

    def build(**keys: Any) -> AutoCertKeys | None:
        if not keys or not keys.get("enabled", True):
            return None
        return AutoCertKeys(**{"store": value.reading.directory / STORE, **keys})

    return Section(build, _KEYS)(value)


def check_auto_cert(keys: AutoCertKeys, value: Value, *, plain_listener: bool, used: bool) -> None:
    """Refuse what no authority can be answered with; only warn where it is not ``used``."""
    challenge = keys.settings(plain_listener=plain_listener).challenge
    if challenge != "dns-01":
        items = value.at("domains").items() if keys.domains else ()
        for item, domain in zip(items, keys.domains, strict=True):
            if domain.startswith("*."):
                note = item.refuse if used else item.warn
                note("a wildcard needs the challenge dns-01: write dns, or dns_hook")
    if not used:
        return
    if not keys.domains:
        value.refuse('"domains" is missing: the names that the certificate is for')
    elif len(keys.domains) > MAX_DOMAINS:
        value.at("domains").refuse(f"a certificate has at most {MAX_DOMAINS} names")
    if challenge == "http-01" and not plain_listener:
        value.at("challenge").refuse(
            "http-01 is answered on the plain listener: write gateway.tls.redirect_from"
        )
    _check_dns(keys, value, challenge)
    _check_files(keys, value)


def _check_dns(keys: AutoCertKeys, value: Value, challenge: Challenge) -> None:
    if challenge == "dns-01":
        if (keys.dns is None) == (keys.dns_hook is None):
            value.at("challenge").refuse(
                "dns-01 needs one of dns and dns_hook, to write records with"
            )
        return
    for key in ("dns", "dns_hook", "propagation"):
        written = value.at(key)
        if written is not value:
            written.refuse("means nothing with another challenge than dns-01")


def _check_files(keys: AutoCertKeys, value: Value) -> None:
    hook = keys.dns_hook
    if hook is not None and not (hook.is_file() and os.access(hook, os.X_OK)):
        value.at("dns_hook").refuse("this is no program that can be run")
    store = keys.store
    try:
        if not store.exists():
            if not store.parent.is_dir():
                value.at("store").refuse("the directory that the store is to be in does not exist")
        elif not store.is_dir():
            value.at("store").refuse("this is not a directory")
        elif (mode := stat.S_IMODE(store.stat().st_mode)) & _OTHERS:
            value.at("store").refuse(
                f"others can look into it (mode {mode:04o}), and it holds keys; chmod 700 it"
            )
    except OSError as error:
        value.at("store").refuse(f"the store cannot be reached: {error.strerror}")

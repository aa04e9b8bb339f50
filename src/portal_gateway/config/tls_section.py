"""The section ``gateway.tls``: its keys, and whether its files can be used."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, get_args

from portal_gateway.config.addresses import MAX_PORT, listen_address
from portal_gateway.config.fields import Section, choice, true_or_false, whole_number
from portal_gateway.config.files import certificate_file, path
from portal_gateway.config.model import GatewaySection, TLSSection
from portal_gateway.config.reading import Value
from portal_gateway.tls.certificates import BadTLSFile
from portal_gateway.tls.contexts import make_context
from portal_gateway.tls.files import ClientCertificates, TLSFiles

__all__ = ["TLS", "check_listeners"]

_ENCRYPTED_TYPES = ("ssl:", "tls:")
"""Endpoint strings that bring a TLS of their own."""

_NO_FILE = Path()


def _tls(
    *,
    enabled: bool | None = None,
    cert_file: Path = _NO_FILE,
    key_file: Path = _NO_FILE,
    client_ca_file: Path | None = None,
    client_certificates: ClientCertificates = "required",
    **redirect: Any,
) -> TLSSection | None:
    """The section, or None where nothing was written or it is switched off."""
    files = TLSFiles(cert_file, key_file, client_ca_file, client_certificates)
    section = TLSSection(files, **redirect)
    if enabled is None:
        enabled = section != TLSSection(TLSFiles(_NO_FILE, _NO_FILE))
    return section if enabled else None


def _no_auto_cert(value: Value) -> NoReturn:
    raise value.refuse(
        "certificates from an authority (ACME) are not in this version; give cert_file and key_file"
    )


def _check(tls: TLSSection | None, value: Value) -> None:
    if tls is None:
        return
    files = tls.files
    missing = [key for key in ("cert_file", "key_file") if getattr(files, key) == _NO_FILE]
    for key in missing:
        value.refuse(f'"{key}" is missing: TLS needs a certificate and its key')
    _needs(value, "client_certificates", "client_ca_file", files.client_ca_file)
    _needs(value, "redirect_port", "redirect_from", tls.redirect_from)
    if tls.redirect_from is not None and tls.redirect_from[1].startswith(_ENCRYPTED_TYPES):
        value.at("redirect_from").refuse("the listener that redirects to HTTPS is a plain one")
    if missing:
        return
    now = datetime.now(UTC)
    try:
        material = files.read(now)
        make_context(material, ())
    except BadTLSFile as bad:
        value.at(bad.file).refuse(bad.reason)
        return
    for concern in files.concerns(material, now):
        value.at(concern.file).warn(concern.text)


def _needs(value: Value, key: str, other: str, found: object) -> None:
    written = value.at(key)
    if written is not value and found is None:
        written.refuse(f"means nothing without {other}")


def check_listeners(gateway: GatewaySection, value: Value) -> None:
    """Refuse a TLS below ours, and one address for two listeners."""
    tls = gateway.tls
    if tls is None:
        return
    if gateway.listen_endpoint.startswith(_ENCRYPTED_TYPES):
        value.at("listen").refuse(
            "this endpoint has a TLS of its own; with gateway.tls write host:port"
        )
    if tls.redirect_from == (gateway.listen, gateway.listen_endpoint) and not (
        gateway.listen.endswith(":0")
    ):
        value.at("tls").at("redirect_from").refuse("the same address as gateway.listen")


TLS = Section(
    _tls,
    {
        "enabled": true_or_false,
        "cert_file": path,
        "key_file": path,
        "auto_cert": _no_auto_cert,
        "client_ca_file": certificate_file,
        "client_certificates": choice("mode", get_args(ClientCertificates)),
        "redirect_from": listen_address,
        "redirect_port": whole_number(1, MAX_PORT),
    },
    check=_check,
)

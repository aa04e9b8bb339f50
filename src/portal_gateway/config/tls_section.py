"""The section ``gateway.tls``: its keys, and whether its files can be used."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from portal_gateway.config.addresses import MAX_PORT, listen_address
from portal_gateway.config.auto_cert_section import AutoCertKeys, auto_cert, check_auto_cert
from portal_gateway.config.endpoint_strings import check_proxied, has_own_tls
from portal_gateway.config.fields import Section, choice, true_or_false, whole_number
from portal_gateway.config.files import certificate_file, path
from portal_gateway.config.model import GatewaySection, TLSSection
from portal_gateway.config.reading import Value
from portal_gateway.config.worded import reads
from portal_gateway.tls.certificates import BadTLSFile
from portal_gateway.tls.contexts import make_context
from portal_gateway.tls.files import ClientCertificates, TLSFiles

__all__ = ["TLS", "check_listeners"]

_NO_FILE = Path()

_PEM_FILE = reads("path of a PEM file")(path)


def _tls(
    *,
    enabled: bool | None = None,
    cert_file: Path = _NO_FILE,
    key_file: Path = _NO_FILE,
    auto_cert: AutoCertKeys | None = None,
    client_ca_file: Path | None = None,
    client_certificates: ClientCertificates = "required",
    **redirect: Any,
) -> TLSSection | None:
    """The section, or None where nothing was written or it is switched off."""
    settings = None
    if auto_cert is not None and cert_file == key_file == _NO_FILE:
        plain_listener = redirect.get("redirect_from") is not None
        settings = auto_cert.settings(plain_listener=plain_listener)
        cert_file = key_file = auto_cert.file
    files = TLSFiles(cert_file, key_file, client_ca_file, client_certificates)
    section = TLSSection(files, auto_cert=settings, **redirect)
    if enabled is None:
        enabled = section != TLSSection(TLSFiles(_NO_FILE, _NO_FILE))
    return section if enabled else None


def _check(tls: TLSSection | None, value: Value) -> None:
    if tls is None:
        return
    files = tls.files
    missing = [key for key in ("cert_file", "key_file") if getattr(files, key) == _NO_FILE]
    for key in missing:
        value.refuse(f'"{key}" is missing: TLS needs a certificate and its key')
    _needs(value, "client_certificates", "client_ca_file", files.client_ca_file)
    _needs(value, "redirect_port", "redirect_from", tls.redirect_from)
    if tls.redirect_from is not None and has_own_tls(tls.redirect_from[1]):
        value.at("redirect_from").refuse("the listener that redirects to HTTPS is a plain one")
    _check_auto_cert(tls, value)
    if missing or tls.auto_cert is not None:
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


def _check_auto_cert(tls: TLSSection, value: Value) -> None:
    written = value.at("auto_cert")
    keys = None if written is value else auto_cert(written)
    if keys is None:
        return
    used = tls.auto_cert is not None
    if not used:
        written.warn("not used: cert_file and key_file are given; remove them for it")
    plain_listener = tls.redirect_from is not None
    check_auto_cert(keys, written, plain_listener=plain_listener, used=used)


def _needs(value: Value, key: str, other: str, found: object) -> None:
    written = value.at(key)
    if written is not value and found is None:
        written.refuse(f"means nothing without {other}")


def check_listeners(gateway: GatewaySection, value: Value) -> None:
    """Refuse a TLS below ours, one address for two listeners, and those nobody could connect to."""
    check_proxied(gateway.listen_endpoint, gateway, value.at("listen"))
    tls = gateway.tls
    if tls is None:
        return
    if tls.redirect_from is not None:
        check_proxied(tls.redirect_from[1], gateway, value.at("tls").at("redirect_from"))
    if has_own_tls(gateway.listen_endpoint):
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
        "cert_file": _PEM_FILE,
        "key_file": _PEM_FILE,
        "auto_cert": auto_cert,
        "client_ca_file": certificate_file,
        "client_certificates": choice("mode", get_args(ClientCertificates)),
        "redirect_from": listen_address,
        "redirect_port": whole_number(1, MAX_PORT),
    },
    check=_check,
)

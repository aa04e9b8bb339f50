"""DNS-01: records that prove a name, written by RFC 2136 updates or by a program.

All of it waits, and is called off the reactor's thread.
"""

import socket
import subprocess
from pathlib import Path
from typing import Protocol

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.tsigkeyring
import dns.update

from portal_gateway.tls.acme_settings import AutoCert, DNSUpdate

__all__ = ["DNSRecords", "RecordNotWritten", "dns_records"]

_TTL = 60
"""Seconds that a record may be remembered: it is gone after a minute."""

_TIMEOUT = 10.0
"""Seconds for one answer of the DNS server."""

_HOOK_TIMEOUT = 120.0
"""Seconds for one run of the program."""


class RecordNotWritten(Exception):
    """A record could not be written; the message holds nothing secret."""


class DNSRecords(Protocol):
    """Writes TXT records."""

    def add(self, name: str, value: str) -> None:
        """Add a record. Raises `RecordNotWritten`."""

    def remove(self, name: str, value: str) -> None:
        """Take it away. Raises `RecordNotWritten`."""


def dns_records(settings: AutoCert) -> DNSRecords:
    """What writes the records that ``settings`` ask for."""
    if settings.dns_hook is not None:
        return _Program(settings.dns_hook)
    assert settings.dns is not None, "the configuration is checked for it"
    return _Updates(settings.dns)


class _Updates:
    def __init__(self, settings: DNSUpdate) -> None:
        self._settings = settings
        self._keyring = dns.tsigkeyring.from_text({settings.key_name: settings.key_secret})

    def add(self, name: str, value: str) -> None:
        record = dns.name.from_text(name)
        update = self._update(record)
        update.add(record, _TTL, "TXT", f'"{value}"')
        self._send(update, name)

    def remove(self, name: str, value: str) -> None:
        record = dns.name.from_text(name)
        update = self._update(record)
        update.delete(record, "TXT", f'"{value}"')
        self._send(update, name)

    def _update(self, record: dns.name.Name) -> dns.update.UpdateMessage:
        return dns.update.UpdateMessage(
            self._zone(record),
            keyring=self._keyring,
            keyalgorithm=dns.name.from_text(self._settings.key_algorithm),
        )

    def _zone(self, record: dns.name.Name) -> dns.name.Name:
        if self._settings.zone is not None:
            return dns.name.from_text(self._settings.zone)
        zone = record
        while zone != dns.name.root:
            answer = self._exchange(dns.message.make_query(zone, "SOA"), record.to_text())
            if any(
                found.rdtype == dns.rdatatype.SOA and found.name == zone for found in answer.answer
            ):
                return zone
            zone = zone.parent()
        raise RecordNotWritten(f"the DNS server has no zone for {record}; write zone")

    def _send(self, update: dns.update.UpdateMessage, name: str) -> None:
        answer = self._exchange(update, name)
        if answer.rcode() != dns.rcode.NOERROR:
            code = dns.rcode.to_text(answer.rcode())
            raise RecordNotWritten(f"the DNS server refused the update of {name}: {code}")

    def _exchange(self, message: dns.message.Message, name: str) -> dns.message.Message:
        host, port = self._settings.server
        why = "it has no address"
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            found, why = [], str(error)
        for _, _, _, _, address in found:
            try:
                # By TCP: an update that was lost must not look like one that was refused.
                return dns.query.tcp(message, str(address[0]), timeout=_TIMEOUT, port=port)
            except (dns.exception.DNSException, OSError, ValueError) as error:
                why = str(error) or type(error).__name__
        raise RecordNotWritten(f"the DNS server was asked for {name} in vain: {why}")


class _Program:
    """Runs ``program add|remove NAME VALUE``; what it writes is not looked at unless it fails."""

    def __init__(self, program: Path) -> None:
        self._program = program

    def add(self, name: str, value: str) -> None:
        self._run("add", name, value)

    def remove(self, name: str, value: str) -> None:
        self._run("remove", name, value)

    def _run(self, *words: str) -> None:
        try:
            done = subprocess.run(  # noqa: S603 - the operator's own program, no shell
                [self._program, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_HOOK_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise RecordNotWritten(
                f"{self._program} {words[0]} took longer than {_HOOK_TIMEOUT:g} s"
            ) from None
        except OSError as error:
            raise RecordNotWritten(f"{self._program} does not run: {error.strerror}") from None
        if done.returncode:
            raise RecordNotWritten(f"{self._program} {words[0]} ended with {done.returncode}")

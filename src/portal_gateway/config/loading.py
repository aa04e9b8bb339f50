"""A file to a :class:`~portal_gateway.config.model.Config`, or to every fault that it has."""

import dataclasses
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from portal_gateway.config import document
from portal_gateway.config.faults import ConfigInvalid, Fault
from portal_gateway.config.model import LEASE_LABEL, Config
from portal_gateway.config.reading import Reading, Refused, Value
from portal_gateway.config.schema import CONFIG
from portal_gateway.wire.dns_label import label_of
from portal_gateway.wire.lease_names import has_one_reading

__all__ = ["LISTEN_VARIABLE", "ConfigInvalid", "load_config", "load_config_text"]

LISTEN_VARIABLE = "PORTAL_GATEWAY_LISTEN"
"""The environment variable with an address for a file that has no ``gateway.listen``."""

_READABLE_BY_ALL = stat.S_IROTH


def load_config(path: Path, environ: Mapping[str, str]) -> Config:
    """Read the configuration file at ``path``; ``environ`` is what ``${NAME}`` is looked up in.

    Relative paths in the file are relative to its directory. Raises :exc:`ConfigInvalid` with every
    fault that was found, also when the file cannot be read.
    """
    source = str(path)
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(document.MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigInvalid(
            [Fault(source, 0, 0, "", f"cannot be read: {error.strerror}")]
        ) from None
    if len(data) > document.MAX_FILE_BYTES:
        reason = f"larger than {document.MAX_FILE_BYTES} bytes"
        raise ConfigInvalid([Fault(source, 0, 0, "", reason)])
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise ConfigInvalid([Fault(source, line, column, "", "not UTF-8 text")]) from None
    config, secrets = _read(text, source, environ, path.absolute().parent)
    if secrets and mode & _READABLE_BY_ALL and stat.S_ISREG(mode):
        where, secret = next(iter(secrets.items()))
        warning = Fault(
            source,
            0,
            0,
            where,
            f"the file can be read by every user (mode {stat.S_IMODE(mode):04o});"
            f" chmod 640 it, or take {secret} from the environment",
        )
        config = dataclasses.replace(config, warnings=(*config.warnings, warning))
    return config


def load_config_text(
    text: str, source: str, environ: Mapping[str, str], *, directory: Path | None = None
) -> Config:
    """Read a configuration from ``text``; ``source`` is what faults call it.

    ``directory`` is what relative paths are relative to: without it, where the process is. Raises
    :exc:`ConfigInvalid` with every fault that was found.
    """
    return _read(text, source, environ, Path.cwd() if directory is None else directory)[0]


def _read(
    text: str, source: str, environ: Mapping[str, str], directory: Path
) -> tuple[Config, Mapping[str, str]]:
    """The configuration, and the secrets that stand in its text: where, and what."""
    try:
        root = document.compose(text)
    except document.UnusableDocument as error:
        raise ConfigInvalid([Fault(source, error.line, error.column, "", error.reason)]) from None
    reading = Reading(source, environ, directory)
    try:
        # Its look for gateway.listen may come across a << that is no mapping.
        value = _with_listen_address(Value(root, "", reading))
        if value.is_nothing:
            raise value.refuse("the document is empty")
        config = CONFIG(value)
    except Refused:
        faults = sorted(reading.faults, key=lambda fault: (fault.line, fault.column))
        if reading.omitted:
            faults.append(Fault(source, 0, 0, "", f"and {reading.omitted} more faults"))
        raise ConfigInvalid(faults) from None
    _warn(config, value)
    config = _with_databases(config, value)
    config = dataclasses.replace(config, source=source, warnings=tuple(reading.warnings))
    return config, reading.secrets


def _with_listen_address(value: Value) -> Value:
    """The document with the address of the environment, where it has none itself.

    The image of a container has to be reached from outside, whatever a file leaves out.
    """
    root, gateway = value.node, value.at("gateway")
    if not value.reading.environ.get(LISTEN_VARIABLE) or not isinstance(root, document.Mapping):
        return value
    listen = _word("listen"), _word(f"${{{LISTEN_VARIABLE}}}")
    if gateway is value:
        section = document.Mapping(line=0, column=0, entries=[listen])
        entries = [*root.entries, (_word("gateway"), section)]
    else:
        node, written = gateway.node, []
        if isinstance(node, document.Mapping) and gateway.at("listen") is gateway:
            written = node.entries
        elif not gateway.is_nothing:
            return value
        section = document.Mapping(
            line=node.line, column=node.column, tag=node.tag, entries=[*written, listen]
        )
        entries = [(key, section if each is node else each) for key, each in root.entries]
    return Value(dataclasses.replace(root, entries=entries), value.path, value.reading)


def _word(text: str) -> document.Scalar:
    return document.Scalar(line=0, column=0, text=text, plain=False)


def _with_databases(config: Config, value: Value) -> Config:
    """The databases as they hold: the default file is beside the configuration, as one is written.

    Without a section of its own, everything is in the database that the keys have.
    """
    directory = value.reading.directory
    keys, database = config.auth.database, config.database
    if keys is not None and keys.own is not None:
        own = dataclasses.replace(keys.own, file=directory / keys.own.file)
        auth = dataclasses.replace(config.auth, database=dataclasses.replace(keys, own=own))
        config = dataclasses.replace(config, auth=auth)
        if value.at("database") is value:
            database = own
    database = dataclasses.replace(database, file=directory / database.file)
    return dataclasses.replace(config, database=database)


def _warn(config: Config, value: Value) -> None:
    """Note what is allowed, but leaves the gateway with nothing to do."""
    auth = config.auth
    if not auth.keys and auth.jwt is None and auth.database is None:
        value.reading.note_warning(
            Fault(
                value.reading.source,
                0,
                0,
                "auth.keys",
                "no API keys are configured: every request will be refused",
            )
        )
    if config.portal.relays:
        _warn_of_names(config, value)
        return
    unreachable = [name for name, lease in config.leases.items() if lease.url is None]
    leases = value.at("leases")
    for name in unreachable:
        leases.at(name).warn("this lease has no url, and there is no relay to look it up at")
    if len(unreachable) == len(config.leases):
        value.reading.note_warning(
            Fault(
                value.reading.source,
                0,
                0,
                "portal.relays",
                "neither a relay nor a lease with a url is configured: no lease can be reached",
            )
        )


def _warn_of_names(config: Config, value: Value) -> None:
    """Note names of leases that none of the relays can be asked for."""
    relays = config.portal.relays
    if not all(relay.by_http for relay in relays):
        return
    by_host = any(LEASE_LABEL in relay.url for relay in relays)
    by_path = not all(LEASE_LABEL in relay.url for relay in relays)
    for name, lease in config.leases.items():
        if not (
            lease.url is not None
            or (by_path and has_one_reading(name, in_any_case=True))
            or (by_host and label_of(name, in_any_case=True) is not None)
        ):
            value.at("leases").at(name).warn(
                "this lease has no url, and its name cannot be sent to any of the relays"
            )

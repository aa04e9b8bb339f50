"""Bounds on what a peer may make us hold, each with its reason.

They are checked against announced lengths, before anything is buffered for them. The bounds of
yamux and of HTTP stand in the modules of those protocols.
"""

__all__ = [
    "CLOCK_TOLERANCE",
    "MAX_ALPN_BYTES",
    "MAX_CONTROL_PACKET",
    "MAX_DIRECTORY_LEASES",
    "MAX_HANDSHAKE",
    "MAX_LEASE_ALPNS",
    "MAX_LEASE_METADATA_BYTES",
    "MAX_LEASE_NAME_BYTES",
    "MAX_RECORD",
    "MAX_RECORD_PLAINTEXT",
    "MAX_RELAY_ADDRESSES",
    "MAX_RELAY_ADDRESS_BYTES",
    "MAX_RELAY_INFO_FIELDS",
    "MAX_RELAY_INFO_PACKET",
    "MIN_RECORD",
    "RECORD_OVERHEAD",
    "RECORD_PLAINTEXT",
]

MAX_RELAY_INFO_PACKET = 16 * 1024 * 1024
"""Bytes of a relay's list of leases: ten thousand leases with 1 KiB of metadata each fit.

The protocol itself goes to 64 MiB.
"""

MAX_CONTROL_PACKET = 64 * 1024
"""Bytes of any other control packet.

The largest holds one lease, whose metadata is the publisher's text; the relay's answers are a few
bytes.
"""

MAX_DIRECTORY_LEASES = 16_384
"""Leases known of one relay.

Well above the ten thousand that a packet of the size above is meant to hold.
"""

MAX_LEASE_NAME_BYTES = 1024
"""Bytes of a lease name in UTF-8.

Relays accept 300 characters, whatever their script; longer ones could hardly be asked for in a URL.
"""

MAX_LEASE_ALPNS = 16
"""Application protocols of one lease; publishers name one."""

MAX_ALPN_BYTES = 255
"""Bytes of one application protocol name (RFC 7301 section 3.1)."""

MAX_LEASE_METADATA_BYTES = 4096
"""Bytes of metadata kept of a listed lease; longer metadata is left out, the lease stays."""

MAX_RELAY_ADDRESSES = 64
"""Addresses that a relay may give for itself; relays give one or two."""

MAX_RELAY_ADDRESS_BYTES = 2048
"""Bytes of one such address, which is a URL."""

MAX_RELAY_INFO_FIELDS = 1 + MAX_RELAY_ADDRESSES + MAX_DIRECTORY_LEASES
"""Elements of all kinds that are taken from one relay's list: itself, its addresses, its leases."""

MAX_HANDSHAKE = 4096
"""Bytes of a handshake message.

An honest one has about 200, plus at most 255 of an application protocol name; the protocol itself
goes to 64 MiB.
"""

CLOCK_TOLERANCE = 30
"""Seconds that the two clocks of a handshake may be apart, either way."""

RECORD_OVERHEAD = 12 + 16
"""Bytes that nonce and tag add to a record's plaintext."""

MIN_RECORD = RECORD_OVERHEAD
"""The smallest length that a record may announce: no plaintext at all."""

MAX_RECORD_PLAINTEXT = 32 * 1024 * 1024
"""Bytes of plaintext that a record may hold: the most that Portal's own peers write."""

MAX_RECORD = MAX_RECORD_PLAINTEXT + RECORD_OVERHEAD
"""The largest length that a record may announce.

A record must be here as a whole before its tag says anything, so this is also the most that one
stream makes us hold. The protocol goes to 64 MiB, but no peer writes that, and half of it is half
the memory a hostile one can take.
"""

RECORD_PLAINTEXT = 32 * 1024
"""Bytes of plaintext in the records that we write.

The usual size among Portal's peers. Records of 64 KiB are sealed and opened 3 to 10 % faster, those
of 16 KiB as much slower; but a peer can use nothing of a record before it has all of it, and
sealing is a small part of what a byte costs.
"""

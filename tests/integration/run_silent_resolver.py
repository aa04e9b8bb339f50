"""``portal-gateway`` with a resolver that is silent about names of ``made-up.test``.

It tells of each such look-up on standard error. All other names are this machine.
"""

import os
import socket
import threading

SILENCE = 60.0
"""Seconds that a look-up takes, or until the gateway ends."""

OVER = threading.Event()


def look_up(host, port, family=0, kind=0, proto=0, flags=0):
    """As ``getaddrinfo``, which Twisted calls in a thread."""
    if isinstance(host, str) and host.endswith(".made-up.test"):
        # In one piece: two threads that print would make one line of theirs.
        os.write(2, f"a thread looks up {host}\n".encode())
        OVER.wait(SILENCE)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


if __name__ == "__main__":
    socket.getaddrinfo = look_up

    from twisted.internet import reactor

    from portal_gateway import cli

    reactor.addSystemEventTrigger("before", "shutdown", OVER.set)
    cli.main()

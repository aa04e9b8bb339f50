"""Our own relay in a process of its own: ``python -m tests.integration.run_relay [options]``.

Prints ``ready HOST:PORT`` when it listens; ends in order on SIGTERM.
"""

import argparse
import sys

from twisted.internet import reactor
from twisted.internet.interfaces import IListeningPort
from twisted.logger import globalLogBeginner, textFileLogObserver

from portal_gateway.testing.relay import EmbeddedRelay


def announce(port: IListeningPort) -> None:
    address = port.getHost()
    print(f"ready {address.host}:{address.port}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--max-lease", type=int, default=0, help="connections to each lease")
    parser.add_argument("--ids-only", action="store_true", help="a directory like that of 1.2.0")
    options = parser.parse_args()
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)])
    relay = EmbeddedRelay(
        reactor, max_connections_per_lease=options.max_lease, legacy_directory=options.ids_only
    )
    relay.listen().addCallback(announce)
    reactor.addSystemEventTrigger("before", "shutdown", relay.stop)
    reactor.run()


if __name__ == "__main__":
    main()

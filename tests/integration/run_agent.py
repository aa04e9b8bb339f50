"""The demo's agent in a process of its own: ``python -m tests.integration.run_agent``.

Prints ``ready HOST:PORT`` when it listens; ends in order on SIGTERM.
"""

import sys

from twisted.internet import reactor
from twisted.logger import globalLogBeginner, textFileLogObserver

from portal_gateway.demo.agent import agent_site


def main() -> None:
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)])
    port = reactor.listenTCP(0, agent_site(reactor), interface="127.0.0.1")
    address = port.getHost()
    print(f"ready {address.host}:{address.port}", flush=True)
    reactor.run()


if __name__ == "__main__":
    main()

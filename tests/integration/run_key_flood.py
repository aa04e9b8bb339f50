"""Sends random keys with a right checksum over many connections: ``ADDRESS CONNECTIONS SOURCE``.

Each connection sends its next request when it has the answer to the last. It says when all are
connected, and goes on until standard input ends; then it prints how often each status came, as
JSON.
"""

import json
import os
import selectors
import socket
import sys
from collections import Counter

from portal_gateway.policy.api_key_text import key_text


def request():
    key = key_text(os.urandom(32))
    return f"GET /peer/plain/ HTTP/1.1\r\nHost: h\r\nX-API-Key: {key}\r\n\r\n".encode()


def main(address, connections, source):
    host, _, port = address.rpartition(":")
    statuses = Counter()
    with selectors.DefaultSelector() as selector:
        for _ in range(int(connections)):
            client = socket.create_connection((host, int(port)), source_address=(source, 0))
            client.settimeout(0)
            client.send(request())
            selector.register(client, selectors.EVENT_READ)
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        print("all are connected", flush=True)
        going = True
        while going:
            for key, _ in selector.select():
                if key.fileobj == sys.stdin.fileno():
                    going = False
                    break
                answer = key.fileobj.recv(65_536)
                if answer:
                    statuses[answer[9:12].decode()] += 1
                    key.fileobj.send(request())
                else:
                    statuses["closed"] += 1
                    selector.unregister(key.fileobj)
    print(json.dumps(statuses), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

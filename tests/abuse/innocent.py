"""A client that means well: ``python -m tests.abuse.innocent HOST:PORT PATH KEY [tls]``.

A request each few milliseconds over one connection. Each line of its output is the moment of a
request, in seconds of the clock that processes share, and how long its answer took.
"""

import http.client
import ssl
import sys
import threading
import time

PAUSE = 0.004


def main() -> None:
    address, path, key, *tls = sys.argv[1:]
    connection: http.client.HTTPConnection
    if tls:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(address, timeout=30, context=context)
    else:
        connection = http.client.HTTPConnection(address, timeout=30)
    print("ready", flush=True)
    pause = threading.Event()
    while not pause.wait(PAUSE):
        start = time.monotonic()
        try:
            connection.request("GET", path, headers={"X-API-Key": key})
            answer = connection.getresponse()
            answer.read()
            status = answer.status
        except (OSError, http.client.HTTPException):
            connection.close()
            status = 0
        print(f"{start:.6f} {time.monotonic() - start:.6f} {status}", flush=True)


if __name__ == "__main__":
    main()

"""``python -m benchmarks.sse_fanout``: what the gateway adds to the way of an event.

One origin sends ``--rate`` events a second on each of ``--streams`` streams, each with the time
at which it was sent, by the clock that all processes of a machine share. One client takes them,
first from the origin and then through this gateway, and subtracts. What the gateway adds is the
difference of the two distributions at the same quantile; the load of the client and the origin is
in both.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from benchmarks.targets import GatewayOverHTTP
from tests.integration.programs import STARTED, Program

HEAD_END = b"\r\n\r\n"


async def origin(rate: float) -> None:
    """Serve: prints ``ready HOST:PORT``."""

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(HEAD_END)
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        # The streams are spread over the interval, as independent ones are.
        await asyncio.sleep((time.monotonic_ns() % 1_000_000_007) / 1_000_000_007 / rate)
        due = time.monotonic()
        try:
            while True:
                event = b"data: %d\n\n" % time.monotonic_ns()
                writer.write(b"%x\r\n%b\r\n" % (len(event), event))
                await writer.drain()
                due += 1 / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(stream, "127.0.0.1", 0, backlog=2048)
    host, port = server.sockets[0].getsockname()
    print(f"ready {host}:{port}", flush=True)
    await server.serve_forever()


async def take(url: str, fields: dict[str, str], streams: int, seconds: float) -> list[float]:
    """The latencies, in milliseconds, of the events of ``seconds``, without the first second."""
    parts = urlsplit(url)
    lines = [f"GET {parts.path} HTTP/1.1", f"Host: {parts.netloc}"]
    request = "\r\n".join([*lines, *(f"{n}: {v}" for n, v in fields.items()), "", ""]).encode()
    found: list[float] = []
    begin = time.monotonic() + 2

    async def one() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(request)
        head = await reader.readuntil(HEAD_END)
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(head.decode("latin-1"))
        try:
            while True:
                line = await reader.readuntil(b"\n\n")
                now = time.monotonic_ns()
                sent = int(line.rpartition(b"data: ")[2])
                if time.monotonic() > begin + 1:
                    found.append((now - sent) / 1e6)
        finally:
            writer.close()

    tasks = [asyncio.create_task(one()) for _ in range(streams)]
    await asyncio.sleep(begin + seconds - time.monotonic())
    broken = [task for task in tasks if task.done()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if broken:
        raise RuntimeError(f"{len(broken)} streams ended: {broken[0].exception()!r}")
    return sorted(found)


def quantile(latencies: list[float], q: float) -> float:
    return latencies[min(len(latencies) - 1, int(len(latencies) * q))]


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.sse_fanout", description=__doc__)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--rate", type=float, default=10.0, help="events a second on each stream")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--origin", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.origin:
        asyncio.run(origin(options.rate))
        return
    try:
        command = [sys.executable, "-m", "benchmarks.sse_fanout", "--origin"]
        service = Program(
            "events",
            [*command, "--rate", str(options.rate)],
            environment={"PYTHONPATH": ":".join(sys.path)},
        )
        address = service.wait_for_line(r"^ready (\S+)$").group(1)
        with tempfile.TemporaryDirectory(prefix="portal-gateway-sse-") as top:
            target = GatewayOverHTTP(Path(top), address)
            with target.running() as pid:
                direct = f"http://{address}/"
                straight = asyncio.run(take(direct, {}, options.streams, options.seconds))
                process = psutil.Process(pid)
                before = sum(process.cpu_times()[:2])
                through = asyncio.run(
                    take(target.url, target.fields, options.streams, options.seconds)
                )
                cpu = sum(process.cpu_times()[:2]) - before
    finally:
        for program in STARTED:
            program.stop()
    expected = options.streams * options.rate * (options.seconds - 1)
    print(f"{options.streams} streams × {options.rate:g} events/s; expected {expected:.0f} events")
    for name, of in (("straight", straight), ("through the gateway", through)):
        p50, p99 = quantile(of, 0.5), quantile(of, 0.99)
        print(f"{name:22}{len(of):8} events  p50 {p50:6.2f} ms  p99 {p99:6.2f} ms")
    added = [quantile(through, q) - quantile(straight, q) for q in (0.5, 0.99)]
    cost = cpu / len(through) * 1e6
    print(f"added: p50 {added[0]:.2f} ms, p99 {added[1]:.2f} ms; CPU {cost:.0f} µs an event")


if __name__ == "__main__":
    main()

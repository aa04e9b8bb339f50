"""What an idle WebSocket costs: resident memory of the gateway, per WebSocket.

Run: ``python benchmarks/websocket_memory.py [NUMBER]`` (500 by default). The gateway runs in a
process of its own in front of an origin here that answers 101; ``--deflate`` has the clients offer
permessage-deflate, and one compressed message go each way before the WebSocket is idle.
"""

import argparse
import asyncio
import contextlib
import os
import re
import resource
import sys
import tempfile
import zlib
from base64 import b64encode
from hashlib import sha1
from pathlib import Path

import portal_gateway

SOURCE = str(Path(portal_gateway.__file__).resolve().parents[1])

KEY = "sk_live_benchmark"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MASK = b"\0\0\0\0"
SETTLE = 1.0
AT_ONCE = 20

OPENING = (
    "GET /ws/tool/ HTTP/1.1\r\nHost: gateway\r\nX-API-Key: {key}\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
)
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n%b\r\n"
)
AGREED = (
    b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "
    b"client_no_context_takeover\r\n"
)


def compressed() -> bytes:
    packer = zlib.compressobj(wbits=-15)
    text = b"".join(b"token %d, " % number for number in range(500))
    return (packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def frame(payload: bytes, *, masked: bool) -> bytes:
    head = bytes([0xC1, masked << 7 | 126]) + len(payload).to_bytes(2, "big")
    return head + (MASK if masked else b"") + payload


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    found = re.search(rb"Sec-WebSocket-Key: (\S+)", head)
    assert found is not None
    accept = b64encode(sha1(found[1] + GUID, usedforsecurity=False).digest())
    deflate = b"permessage-deflate" in head
    writer.write(ANSWER % (accept, AGREED if deflate else b""))
    if deflate:
        writer.write(frame(compressed(), masked=False))
    # The gateway cuts connections when very many end at once.
    with contextlib.suppress(ConnectionResetError):
        while await reader.read(65536):
            pass
    writer.close()


def resident(pid: int) -> int:
    """KiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0])


async def measure(number: int, *, deflate: bool) -> None:
    origin = await asyncio.start_server(answer, "127.0.0.1", 0)
    origin_port = origin.sockets[0].getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "gateway.yaml"
        file.write_text(
            "gateway: {listen: '127.0.0.1:0', limits: {connections_per_address: 100000}}\n"
            f"auth: {{keys: [{{key: {KEY}}}]}}\n"
            f"portal: {{pool: {{max_active: {number + 10}}}}}\n"
            f"leases: {{tool: {{url: 'http://127.0.0.1:{origin_port}'}}}}\n",
            encoding="utf-8",
        )
        gateway = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "portal_gateway.cli", "run", "--config", str(file)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={
                **os.environ,
                "PYTHONPATH": SOURCE,
            },
        )
        assert gateway.stdout is not None
        line = await gateway.stdout.readline()
        found = re.search(rb":(\d+)", line)
        assert found is not None, line
        port = int(found[1])
        opening = OPENING.format(key=KEY, more=DEFLATE if deflate else "").encode()

        async def open_one() -> asyncio.StreamWriter:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(opening)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 "), head
            if deflate:
                writer.write(frame(compressed(), masked=True))
                await reader.read(65536)
            return writer

        # The first ones bring what is shared.
        clients = [await open_one() for _ in range(10)]
        await asyncio.sleep(SETTLE)
        before = resident(gateway.pid)
        for _ in range(number // AT_ONCE):
            clients += await asyncio.gather(*(open_one() for _ in range(AT_ONCE)))
        await asyncio.sleep(SETTLE)
        after = resident(gateway.pid)
        opened = len(clients) - 10
        kind = "permessage-deflate, one message each way" if deflate else "no compression"
        print(f"{opened} idle WebSockets, {kind}:")
        print(f"  {before} KiB before, {after} KiB after, {(after - before) / opened:.1f} KiB each")
        for writer in clients:
            writer.close()
        await asyncio.sleep(SETTLE)
        print(f"  {resident(gateway.pid)} KiB after they ended")
        clients = []
        for _ in range(number // AT_ONCE):
            clients += await asyncio.gather(*(open_one() for _ in range(AT_ONCE)))
        await asyncio.sleep(SETTLE)
        print(f"  {resident(gateway.pid)} KiB with as many again")
        for writer in clients:
            writer.close()
        gateway.terminate()
        await gateway.wait()
        # The last connections end.
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
    origin.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("number", type=int, nargs="?", default=500)
    parser.add_argument("--deflate", action="store_true")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(measure(options.number, deflate=options.deflate))


if __name__ == "__main__":
    main()

"""A reverse proxy of aiohttp: streaming both ways, pooled connections, one key, no access log.

With uvloop where it is installed. ``aiohttp_proxy.py HOST:PORT KEY`` prints ``ready HOST:PORT``.
"""

import asyncio
import sys

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

ORIGIN, KEY = sys.argv[1], sys.argv[2]

NOT_PASSED_ON = {
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
    "x-api-key",
}

PIECE = 64 * 1024


def end_to_end(fields):
    return [(name, value) for name, value in fields.items() if name.lower() not in NOT_PASSED_ON]


async def carry(request):
    if request.headers.get("X-API-Key") != KEY:
        return web.json_response({"error": "invalid_api_key"}, status=401)
    session = request.app["session"]
    body = request.content if request.body_exists else None
    async with session.request(
        request.method,
        f"http://{ORIGIN}{request.rel_url}",
        headers=end_to_end(request.headers),
        data=body,
        allow_redirects=False,
    ) as answer:
        response = web.StreamResponse(status=answer.status, headers=end_to_end(answer.headers))
        response.content_length = answer.content_length
        await response.prepare(request)
        async for piece in answer.content.iter_chunked(PIECE):
            await response.write(piece)
        await response.write_eof()
        return response


async def serve():
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", carry)
    connector = TCPConnector(limit=0, keepalive_timeout=300)
    async with ClientSession(
        connector=connector, auto_decompress=False, timeout=ClientTimeout(total=None)
    ) as session:
        app["session"] = session
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
        await site.start()
        host, port = runner.addresses[0]
        print(f"ready {host}:{port}", flush=True)
        await asyncio.Event().wait()


try:
    import uvloop
except ImportError:
    asyncio.run(serve())
else:
    uvloop.run(serve())

"""The floor: a plain aiohttp proxy, written as its documentation would have it.

python -m loadtest.proxy.floor PORT NODE
"""

from __future__ import annotations

import sys

import aiohttp
from aiohttp import web

HOP_BY_HOP = {"host", "connection", "transfer-encoding", "keep-alive", "content-length"}


def main(port: int, node: str) -> None:
    """Serve until killed."""
    app = web.Application(client_max_size=64 << 20)
    app.cleanup_ctx.append(_client)
    app.router.add_route("*", "/{path:.*}", _proxy)
    app["node"] = f"http://{node}"
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


async def _client(app: web.Application):  # type: ignore[no-untyped-def]
    app["client"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    yield
    await app["client"].close()


async def _proxy(request: web.Request) -> web.StreamResponse:
    headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
    client: aiohttp.ClientSession = request.app["client"]
    body = await request.read()
    async with client.request(
        request.method, request.app["node"] + request.path_qs, data=body, headers=headers
    ) as node:
        passed = {name: value for name, value in node.headers.items() if name.lower() not in HOP_BY_HOP}
        return web.Response(status=node.status, body=await node.read(), headers=passed)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

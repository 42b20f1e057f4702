"""Runs the server of the package optimade behind a fault injector.

``python _optimade_server.py DATA PORT FAULTS``

DATA is a JSON-lines file of entries. FAULTS is the share of requests that are dropped, delayed, truncated or
answered with an error. The program prints the address when it is ready.
"""

import asyncio
import os
import random
import sys


def make_app(data, address):
    os.environ["OPTIMADE_CONFIG_FILE"] = os.devnull
    from optimade.server.config import ServerConfig
    from optimade.server.create_app import create_app

    config = ServerConfig(
        insert_test_data=False, insert_from_jsonl=data, database_backend="mongomock", base_url=address,
        page_limit=25, page_limit_max=500, log_level="error",
        provider={"prefix": "test", "name": "Test", "description": "Test"},
    )  # fmt: skip
    return create_app(config)


class FaultInjector:
    """ASGI middleware that disturbs a share of the requests."""

    def __init__(self, app, share):
        self.app, self.share, self.random = app, share, random.Random(0)

    async def __call__(self, scope, receive, send):
        fault = self.random.choice(["drop", "delay", "truncate", "busy", "error"])
        if scope["type"] != "http" or self.random.random() >= self.share:
            return await self.app(scope, receive, send)
        if fault == "delay":
            await asyncio.sleep(0.05)
            return await self.app(scope, receive, send)
        if fault in ("busy", "error"):
            status = {"busy": 429, "error": 503}[fault]
            headers = [(b"retry-after", b"0.01")] if fault == "busy" else []
            await send({"type": "http.response.start", "status": status, "headers": headers})
            return await send({"type": "http.response.body", "body": b"no"})
        return await self._broken(scope, receive, send, keep=0 if fault == "drop" else 0.6)

    async def _broken(self, scope, receive, send, keep):
        """Send the first part of the answer, with or without the right length, and close the connection."""
        messages = []

        async def collect(message):
            messages.append(message)

        await self.app(scope, receive, collect)
        body = b"".join(m.get("body", b"") for m in messages[1:])
        start = messages[0]
        if self.random.random() < 0.5:  # without a length, the client cannot see that bytes are missing
            start["headers"] = [h for h in start["headers"] if h[0] != b"content-length"]
        await send(start)
        await send({"type": "http.response.body", "body": body[: int(keep * len(body))], "more_body": True})
        raise ConnectionResetError


def main(data, port, share):
    import uvicorn

    app = FaultInjector(make_app(data, f"http://127.0.0.1:{port}"), float(share))
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="critical")


if __name__ == "__main__":
    main(*sys.argv[1:])

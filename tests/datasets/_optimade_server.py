"""Runs the server of the package optimade behind a fault injector.

``python _optimade_server.py DATA PORT FAULTS``

DATA is a JSON-lines file of entries. FAULTS is the share of requests that are dropped, delayed, truncated or
answered with an error. The program prints the name of each fault.
"""

import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

FAULTS = ("drop", "delay", "truncate", "busy", "error")


def entry_of(crystals, i):
    """Return a crystal of a set as an entry of an OPTIMADE database."""
    from gemmi import Element

    crystal = crystals[i]
    symbols = [f"{z}_{o:.4f}" for z, o in zip(crystal.atomic_numbers, crystal.occupancies, strict=True)]
    species = []
    for name in sorted(set(symbols)):
        z, share = name.split("_")
        share = float(share)
        vacant = {"chemical_symbols": [Element(int(z)).name, "vacancy"], "concentration": [share, 1 - share]}
        full = {"chemical_symbols": [Element(int(z)).name], "concentration": [1.0]}
        species.append({"name": name, **(full if share == 1 else vacant)})
    elements = sorted({Element(int(z)).name for z in crystal.atomic_numbers})
    attributes = {
        "elements": elements,
        "nelements": len(elements),
        "lattice_vectors": crystal.lattices[0].tolist(),
        "cartesian_site_positions": (crystal.frac_coords @ crystal.lattices[0]).tolist(),
        "species": species,
        "species_at_sites": symbols,
        "nsites": len(symbols),
        "nperiodic_dimensions": 3,
        "dimension_types": [1, 1, 1],
        "structure_features": ["disorder"]
        if any("vacancy" in s["chemical_symbols"] for s in species)
        else [],
        "last_modified": {"$date": "2024-01-01T00:00:00Z"},
        "chemical_formula_reduced": crystal.formulas[0],
    }
    return {"id": f"test-{crystal.ids[0]}", "type": "structures", "attributes": attributes}


def write_database(path, entries):
    lines = [{"x-optimade": {"meta": {"api_version": "1.2.0"}}}, *entries]
    path.write_text("\n".join(json.dumps(line) for line in lines))


class Server:
    """The server in a process of its own; ``stop`` ends it."""

    def __init__(self, data, faults, output=None):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, __file__, data, str(port), str(faults)]
        self.process = subprocess.Popen(command, stdout=output)
        for _ in range(1800):
            try:
                with urllib.request.urlopen(f"{self.url}/versions"):
                    return
            except (urllib.error.HTTPError, ConnectionError, TimeoutError):
                if faults:
                    return
            except urllib.error.URLError:
                time.sleep(0.1)
        raise RuntimeError("the server does not start")

    def stop(self):
        self.process.kill()
        self.process.wait()


def make_app(data, address):
    os.environ["OPTIMADE_CONFIG_FILE"] = os.devnull
    from optimade.server.config import ServerConfig
    from optimade.server.create_app import create_app

    config = ServerConfig(
        insert_test_data=False, insert_from_jsonl=data, database_backend="mongomock", base_url=address,
        page_limit_max=500, log_level="error",
        provider={"prefix": "test", "name": "Test", "description": "Test"},
    )  # fmt: skip
    return create_app(config)


class FaultInjector:
    """ASGI middleware that disturbs a share of the requests."""

    def __init__(self, app, share):
        self.app, self.share, self.random = app, share, random.Random(0)

    async def __call__(self, scope, receive, send):
        fault = self.random.choice(FAULTS)
        if scope["type"] != "http" or self.random.random() >= self.share:
            return await self.app(scope, receive, send)
        sys.stdout.write(f"{fault}\n")
        sys.stdout.flush()
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

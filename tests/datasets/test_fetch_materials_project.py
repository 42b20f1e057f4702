"""`fetch_materials_project` with a server on this machine that answers as the Materials Project does."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

import pytest

pytest.importorskip("mp_api.client")
from pymatgen.core import Lattice, Structure

from xtalsk.crystals import BrokenEntryWarning
from xtalsk.datasets import DownloadError, _materials_project, fetch_materials_project
from xtalsk.datasets._page_store import PageStore

KEY = "0123456789abcdef0123456789abcdef"


def rock_salt(k):
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(4 + k / 10), ["Mg", "O"], [[0, 0, 0], [0.5] * 3])


class Handler(BaseHTTPRequestHandler):
    """Serves seven crystals, of which the fifth has no structure; every third request finds it busy."""

    requests = []

    def do_GET(self):
        url = urlparse(self.path)
        question = {key: values[0] for key, values in parse_qs(url.query).items()}
        if url.path.endswith("heartbeat"):
            return self.reply(
                {"db_version": "2026.01.01", "version": "0.87.0", "access_controlled_batch_ids": []}
            )
        self.requests.append(question)
        if len(self.requests) % 3 == 2:
            return self.reply({"detail": "busy"}, 429)
        if self.headers["x-api-key"] != KEY:
            return self.reply({"detail": "Invalid API key"}, 401)
        ids = question.get("material_ids", ",".join(f"mp-{k}" for k in range(1, 8))).split(",")
        documents = [self.document(i, question["_fields"].split(",")) for i in ids]
        limit, skip = int(question.get("_limit", 1000)), int(question.get("_skip", 0))
        return self.reply({"data": documents[skip : skip + limit], "meta": {"total_doc": len(ids)}})

    def document(self, identifier, fields):
        k = int(identifier[3:])
        document = {
            "material_id": identifier, "structure": rock_salt(k).as_dict(), "theoretical": k % 2 == 0,
            "symmetry": {"number": 225}, "last_updated": "2026-01-01T00:00:00",
        }  # fmt: skip
        if k == 5:
            document["structure"] = None
        return {field: document[field] for field in fields if field in document}

    def reply(self, content, status=200):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(_materials_project, "_PAGE", 4)
    Handler.requests.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def fetch(server, folder, **options):
    options = {"api_key": KEY, "max_wait": 0.01, "elements": ["Mg", "O"]} | options
    return fetch_materials_project(endpoint=server, data_home=folder, **options)


def test_structures_arrive_with_provenance_also_after_an_interruption(server, tmp_path, monkeypatch):
    real = PageStore.add

    def stop_at_second(store, *args):
        if store.state["n_pages"] == 1:
            raise KeyboardInterrupt
        real(store, *args)

    with monkeypatch.context() as patch:
        patch.setattr(PageStore, "add", stop_at_second)
        with pytest.raises(KeyboardInterrupt):
            fetch(server, tmp_path)
    Handler.requests.clear()
    with pytest.warns(BrokenEntryWarning, match=r"1 of 7 entries were left out:\nmp-5: it has no structure"):
        answer = fetch(server, tmp_path)
    assert not any("mp-1" in question.get("material_ids", "") for question in Handler.requests)
    assert answer.crystals.ids.tolist() == [f"mp-{k}" for k in (1, 2, 3, 4, 6, 7)]
    assert set(answer.crystals.space_groups) == {225}
    assert answer.crystals.lattices[:, 0, 0].tolist() == pytest.approx([4.1, 4.2, 4.3, 4.4, 4.6, 4.7])
    assert answer.provenance["theoretical"].tolist() == [False, True, False, True, True, False]
    assert set(answer.provenance["license"]) == {"CC-BY-4.0"}
    assert set(answer.provenance["stated_space_group"]) == {225}
    assert answer.database["version"] == "2026.01.01"
    n_requests = len(Handler.requests)
    with pytest.warns(BrokenEntryWarning):
        fetch(server, tmp_path, download_if_missing=False)
    assert len(Handler.requests) == n_requests


def test_wrong_questions_are_told(server, tmp_path):
    with pytest.raises(ValueError, match="at least one criterion"):
        fetch_materials_project(KEY, data_home=tmp_path)
    with pytest.raises(ValueError, match="Invalid API key"):
        fetch(server, tmp_path, api_key=KEY[::-1])
    with pytest.raises((DownloadError, ValueError), match=r"attempts failed|does not answer"):
        fetch("http://127.0.0.1:9/", tmp_path, max_attempts=2)

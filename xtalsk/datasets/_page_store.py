"""Pages of a download on disk, so that an interrupted download continues where it stopped."""

import gzip
import json
import shutil
import zlib
from pathlib import Path

from xtalsk.utils._container import open_new

_STATE = "state.json"


class PageStore:
    """Pages of one query, and how far its download has come.

    A page is written before the state that counts it. After a kill, the last page is fetched and written
    again; no page is lost or counted twice.

    Parameters
    ----------
    folder : Path
        Made if needed.
    query : dict
        What was asked for. A folder with the pages of another query is refused.

    Attributes
    ----------
    state : dict
        ``query``, ``n_pages``, ``n_entries``, ``next`` (address of the next page, or None), ``finished`` and
        whatever `update` was given.
    """

    def __init__(self, folder, query):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state = {"query": query, "n_pages": 0, "n_entries": 0, "next": None, "finished": False}
        path = self.folder / _STATE
        if path.exists():
            try:
                state = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(f"{path} is damaged ({error}); remove the folder and fetch again") from error
            if state.get("query") != query:
                raise ValueError(f"{self.folder} holds the answer to another query: {state.get('query')}")
            self.state = state

    def clear(self):
        """Remove all pages and results."""
        shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)
        self.state = {"query": self.state["query"], "n_pages": 0, "n_entries": 0, "next": None}
        self.state["finished"] = False

    def add(self, entries, next_url, **more):
        """Store one page of entries (dicts) and the address of the next page."""
        data = json.dumps(entries, separators=(",", ":")).encode()
        with open_new(self._page(self.state["n_pages"])) as file:
            file.write(gzip.compress(data, 6, mtime=0))
        n_pages, n_entries = self.state["n_pages"] + 1, self.state["n_entries"] + len(entries)
        self.update(n_pages=n_pages, n_entries=n_entries, next=next_url, finished=next_url is None, **more)

    def update(self, **values):
        """Change and store the state."""
        self.state |= values
        with open_new(self.folder / _STATE) as file:
            file.write(json.dumps(self.state, indent=1).encode())

    def _page(self, k):
        return self.folder / f"page_{k:06d}.json.gz"

    def pages(self):
        """Return the paths of all pages, in order."""
        return [self._page(k) for k in range(self.state["n_pages"])]


def read_page(path):
    """Return the entries of a stored page, a list of dicts.

    Raises
    ------
    ValueError
        If the file is damaged or missing; the message names it.
    """
    try:
        return json.loads(gzip.decompress(Path(path).read_bytes()))
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({error}); fetch again with refresh=True") from error

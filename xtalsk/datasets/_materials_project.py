"""Crystals of the Materials Project."""

import time

import requests
from pymatgen.core import Structure
from sklearn.utils import check_scalar
from tqdm import tqdm

from xtalsk.crystals._pymatgen import parts_from_structure
from xtalsk.datasets._data_home import get_data_home
from xtalsk.datasets._fetched import open_store, read_fetched
from xtalsk.datasets._patient_session import DownloadError, patient_session

_PAGE = 1000  # crystals of one request
_LICENSE = "CC-BY-4.0"
_FIELDS = ("material_id", "formula_pretty", "structure", "symmetry", "last_updated", "theoretical")


def fetch_materials_project(
    api_key=None,
    *,
    symprec=0.01,
    endpoint=None,
    data_home=None,
    download_if_missing=True,
    refresh=False,
    max_attempts=8,
    max_wait=60.0,
    n_jobs=None,
    verbose=0,
    **criteria,
):
    """Fetch crystals of the Materials Project with its client ``mp-api``.

    The structures are stored in pages of 1,000 as they arrive. The same call continues an interrupted
    download, and reads a finished one from disk without a connection. `fetch_optimade` with ``"mp"`` needs no
    key.

    Parameters
    ----------
    api_key : str or None, default=None
        Key of https://materialsproject.org/api; None uses the setting of ``mp-api`` (``MP_API_KEY``).
    symprec : float, default=0.01
        Tolerance of the search for symmetry in Å. spglib determines the space groups.
    endpoint : str or None, default=None
        Address of another server with this interface.
    data_home, download_if_missing, refresh, max_attempts, max_wait, n_jobs, verbose
        As in `fetch_optimade`.
    **criteria
        Arguments of ``MPRester.materials.summary.search``, such as ``elements=["Ti", "O"]``,
        ``num_elements=(2, 3)``, ``is_stable=True`` or ``theoretical=False``. At least one is needed.

    Returns
    -------
    sklearn.utils.Bunch
        As from `fetch_optimade`; ``provenance`` also has the column ``theoretical``.

    Raises
    ------
    ValueError
        If there is no criterion, the server refuses the query, or no entry can be used.
    DownloadError
        If the server does not answer after all attempts. What arrived is kept.
    ImportError
        If the package ``mp-api`` is not installed; ``pip install xtalsk[fetch]``.

    References
    ----------
    A. Jain et al., "The Materials Project", APL Mater. 1, 011002 (2013).

    Examples
    --------
    >>> from xtalsk.datasets import fetch_materials_project
    >>> stable = fetch_materials_project(elements=["Ti", "O"], is_stable=True)  # doctest: +SKIP
    """
    check_scalar(max_attempts, "max_attempts", int, min_val=1)
    if not criteria:
        raise ValueError("give at least one criterion, such as elements=['Ti', 'O'] or is_stable=True")
    query = {"endpoint": endpoint, "criteria": {key: criteria[key] for key in sorted(criteria)}}
    query["criteria"] = {k: list(v) if isinstance(v, tuple) else v for k, v in query["criteria"].items()}
    folder = get_data_home(data_home) / "materials_project"
    store = open_store(folder, endpoint or "materials_project", query, refresh, download_if_missing)
    if not store.state["finished"]:
        try:
            from mp_api.client import MPRester
            from mp_api.client.core import MPRestError
        except ImportError as error:
            raise ImportError(
                "fetch_materials_project needs the package mp-api: pip install xtalsk[fetch]"
            ) from error
        session = patient_session(max_attempts, max_wait, tqdm.write if verbose > 1 else None)()
        try:
            with session:
                _download(store, MPRester, session, api_key, endpoint, criteria, verbose)
        except MPRestError as error:
            raise ValueError(f"the Materials Project refuses the query {criteria}: {error}") from error
    return read_fetched(store, crystal_of_document, symprec, ("theoretical",), None, n_jobs, verbose)


def _download(store, MPRester, session, api_key, endpoint, criteria, verbose):
    """Fetch the pages that a store lacks."""
    try:
        session.headers["x-api-key"] = api_key or ""
        client = MPRester(
            api_key, endpoint=endpoint, session=session, use_document_model=False, mute_progress_bars=True
        )
        search = client.materials.summary.search
        if "ids" not in store.state:
            ids = [document["material_id"] for document in search(fields=["material_id"], **criteria)]
            database = {
                "url": client.endpoint,
                "provider": "The Materials Project",
                "license": _LICENSE,
                "version": client.db_version,
                "fetched": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            }
            store.update(ids=sorted(ids), n_announced=len(ids), database=database)
        _download_pages(store, search, verbose)
    except DownloadError as error:
        n = store.state["n_entries"]
        raise DownloadError(f"{error}. {n} entries are stored; the same call continues after them") from None
    except requests.RequestException as error:
        raise DownloadError(f"{endpoint or 'the Materials Project'} does not answer: {error}") from error


def _download_pages(store, search, verbose):
    """Fetch the structures of the identifiers in a store, from the first one that it lacks."""
    ids = store.state["ids"]
    with tqdm(desc="entries", total=len(ids), initial=store.state["n_entries"], disable=verbose < 1) as bar:
        while not store.state["finished"]:
            start = store.state["n_pages"] * _PAGE
            page = ids[start : start + _PAGE]
            documents = search(material_ids=page, fields=list(_FIELDS)) if page else []
            by_id = {document["material_id"]: document for document in documents}
            entries = [{"id": i, "attributes": _plain(by_id.get(i, {}))} for i in page]
            store.add(entries, None if start + _PAGE >= len(ids) else str(start + _PAGE))
            bar.update(len(page))


def _plain(document):
    """Return a document of the Materials Project as the attributes of an entry, in types of JSON."""
    structure, symmetry = document.get("structure"), document.get("symmetry") or {}
    updated = document.get("last_updated")
    return {
        "structure": structure.as_dict() if isinstance(structure, Structure) else structure,
        "space_group_it_number": symmetry.get("number"),
        "last_modified": None if updated is None else str(updated),
        "theoretical": document.get("theoretical"),
    }


def crystal_of_document(attributes, symprec):
    """Return the arrays of one document for `CrystalSet.from_parts`; ValueError if it is broken."""
    if not attributes.get("structure"):
        raise ValueError("it has no structure")
    return parts_from_structure(Structure.from_dict(attributes["structure"]), symprec)

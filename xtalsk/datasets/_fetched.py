"""Stored pages of a database to crystals and their provenance."""

import warnings
from dataclasses import replace

import pandas as pd
from joblib import Parallel, delayed
from sklearn.utils import Bunch
from tqdm import tqdm

from xtalsk.crystals import BrokenEntryWarning, CrystalSet
from xtalsk.datasets._page_store import PageStore, read_page
from xtalsk.utils._container import open_new
from xtalsk.utils._fingerprint import fingerprint

_LONGEST_NAME = 60  # characters of the name of a database in the name of a folder


def open_store(folder, database, query, refresh, download_if_missing):
    """Return the `PageStore` of a query.

    Parameters
    ----------
    folder : Path
        Folder of all queries of this kind.
    database : str
        Name or address.
    query : dict
    refresh : bool
        Whether to remove what is stored.
    download_if_missing : bool
        False raises OSError if the answer is not complete.
    """
    name = "".join(c if c.isalnum() else "_" for c in database.partition("://")[2] or database)
    store = PageStore(folder / f"{name[:_LONGEST_NAME]}_{fingerprint(query)[:12]}", query)
    if refresh:
        store.clear()
    if not (store.state["finished"] or download_if_missing):
        raise OSError(f"{store.folder} does not hold the whole answer, and download_if_missing=False")
    return store


def read_fetched(store, convert, symprec, extra, name_field, n_jobs, verbose):
    """Return the result of a finished download; see `fetch_optimade`.

    Parameters
    ----------
    store : PageStore
    convert, symprec, extra
        As in `_read_entries`.
    name_field : str or None
        The property that becomes the names of the crystals.
    n_jobs : int or None
    verbose : int
    """
    crystals, provenance, broken = _read(store, convert, symprec, extra, n_jobs, verbose)
    if name_field:
        crystals = replace(crystals, names=provenance[name_field].fillna("").to_numpy())
    if len(broken):
        reasons = dict(zip(broken["id"], broken["reason"], strict=True))
        warnings.warn(BrokenEntryWarning(reasons, store.state["n_entries"]), stacklevel=3)
    return Bunch(
        crystals=crystals, provenance=provenance, broken=broken, database=store.state["database"],
        folder=store.folder,
    )  # fmt: skip


def _read(store, convert, symprec, extra, n_jobs, verbose):
    """Return crystals, provenance and broken entries of stored pages; files keep them for the next call."""
    names = (f"crystals_{symprec:g}.npz", f"provenance_{symprec:g}.csv", f"broken_{symprec:g}.csv")
    paths = [store.folder / name for name in names]
    if not all(path.exists() for path in paths):
        _write(store, convert, symprec, extra, n_jobs, verbose, paths)
    tables = [
        pd.read_csv(path, dtype={"id": str}, keep_default_na=False, na_values=[""]) for path in paths[1:]
    ]
    return CrystalSet.load(paths[0]), *tables


def _write(store, convert, symprec, extra, n_jobs, verbose, paths):
    """Turn stored pages into files of crystals, provenance and broken entries."""
    tasks = (delayed(_read_entries)(path, convert, symprec, extra) for path in store.pages())
    results = Parallel(n_jobs=n_jobs, return_as="generator")(tasks)
    sets, rows, broken, known = [], [], {}, set()
    for crystals, provenance, reasons in tqdm(
        results, total=store.state["n_pages"], desc="pages read", disable=verbose < 1
    ):
        new = [i for i, row in enumerate(provenance) if row["id"] not in known]  # pages can overlap
        known.update(row["id"] for row in provenance)
        broken |= reasons
        if new:
            sets.append(crystals[new])
            rows += [provenance[i] for i in new]
    if not sets:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(broken.items())[:5])
        raise ValueError(f"none of {store.state['n_entries']} entries can be used. {reasons}".strip())
    table = pd.DataFrame(rows)
    table["stated_space_group"] = [int(number or 0) for number in table["stated_space_group"]]
    table["database"], table["license"] = store.state["database"]["url"], store.state["database"]["license"]
    CrystalSet.concatenate(sets).save(paths[0])
    reasons = pd.DataFrame({"id": list(broken), "reason": list(broken.values())})
    for path, rows in zip(paths[1:], (table, reasons), strict=True):
        with open_new(path) as file:
            rows.to_csv(file, index=False)


def _read_entries(path, convert, symprec, extra):
    """Return the crystals of a stored page, what else is known of them, and the broken entries.

    Parameters
    ----------
    path : Path
    convert : callable
        From the attributes of an entry and ``symprec`` to the arrays of a crystal. It raises ValueError for a
        broken entry.
    symprec : float
        Tolerance of the search for symmetry in Å.
    extra : tuple of str
        Further properties to keep.

    Returns
    -------
    crystals : CrystalSet or None
        None if no entry can be used.
    provenance : list of dict
        One for each crystal: ``id``, ``last_modified``, ``stated_space_group`` and the extra properties.
    broken : dict of str to str
        The reason for each other entry, by its identifier.
    """
    parts, provenance, broken = [], [], {}
    for place, entry in enumerate(read_page(path)):
        identifier = str(entry.get("id", f"{path.name} entry {place}"))
        attributes = entry.get("attributes") or {}
        try:
            part = convert(attributes, symprec)
            CrystalSet.from_parts([part], [identifier], [""])  # checks that the values are physical
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            text = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            broken[identifier] = text
            continue
        parts.append(part)
        provenance.append(
            {
                "id": identifier,
                "formula": part["formula"],
                "last_modified": attributes.get("last_modified"),
                "stated_space_group": attributes.get("space_group_it_number"),
                **{name: attributes.get(name) for name in extra},
            }
        )
    ids = [row["id"] for row in provenance]
    crystals = CrystalSet.from_parts(parts, ids, [""] * len(ids)) if parts else None
    return crystals, provenance, broken

"""Packaged list of known inorganic compounds: formula and space group, without atoms."""

from importlib.resources import as_file, files

import numpy as np
import pandas as pd

from xtalsk.symmetry import check_space_group

_DATA = files("xtalsk.datasets") / "data"


def load_compounds(*, return_descr=False):
    """Load a list of known inorganic compounds: formula and space group of entries of an open database.

    It covers far more compounds than there are structures in the package. A composition can be looked up in
    it, with `LibraryMatch` and `CompoundBlend`. The entries are those of the Crystallography Open Database
    that dara-xrd lists: inorganic, one entry for each formula and space group. 9,000 of them are minerals.

    Parameters
    ----------
    return_descr : bool
        Whether to return the description as well.

    Returns
    -------
    compounds : DataFrame of shape (n_compounds, 4)
        ``id`` is ``cod:`` and the number of the entry, ``formula`` the formula as given there,
        ``space_group`` its number, and ``n_structures`` how many structures of `load_amcsd` and
        `load_experimental` are this compound: a common polymorph has been measured more often.
    descr : str
        Only with ``return_descr=True``: sources and licences.

    See Also
    --------
    load_amcsd : Mineral structures.
    CompoundBlend : Joins what such a list says of a composition with what a classifier says.

    Examples
    --------
    >>> from xtalsk.datasets import load_compounds
    >>> compounds = load_compounds()
    >>> compounds[compounds["formula"] == "CaTiO3"].sort_values("space_group")["space_group"].tolist()
    [59, 62, 140, 221]
    """
    with as_file(_DATA / "compounds.csv.gz") as path:
        types = {"id": str, "formula": str, "space_group": "int64", "n_structures": "int64"}
        compounds = pd.read_csv(path, dtype=types, keep_default_na=False)  # "NaN" is sodium and nitrogen
    if not return_descr:
        return compounds
    return compounds, (_DATA / "compounds.md").read_text(encoding="utf-8")


def check_compounds(compounds):
    """Return the formulas and the space-group numbers of a table like that of `load_compounds`.

    Returns
    -------
    formulas : list of str
    space_groups : ndarray of int

    Raises
    ------
    ValueError
        If it is no such table, a space group is none, or a number of structures is no number from 0.
    """
    absent = [name for name in ("formula", "space_group") if name not in getattr(compounds, "columns", ())]
    if absent:
        raise ValueError(
            f"compounds must be a table with the columns formula and space_group, it lacks {absent}"
        )
    groups = check_space_group(compounds["space_group"].to_numpy())
    if "n_structures" in compounds:
        counts = pd.to_numeric(compounds["n_structures"], errors="coerce")
        if wrong := compounds["n_structures"][~(counts.ge(0) & np.isfinite(counts))].tolist():
            raise ValueError(f"n_structures of compounds must be numbers from 0, got {wrong[:3]}")
    return list(compounds["formula"]), groups

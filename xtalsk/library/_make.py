"""Libraries from crystals."""

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer

from xtalsk.crystals._faults import find_faults
from xtalsk.datasets import make_specimens


def make_library(crystals, features, *, conditions="ideal", on_error="warn", random_state=None, verbose=0):
    """Make a library for `LibraryMatch`: the features of one simulated pattern of each crystal.

    Parameters
    ----------
    crystals : CrystalSet
    features : ColumnTransformer
        From `make_features`; it is fitted. The column ``"formula"`` of the specimens has the exact formula
        of each crystal; the other columns are simulated. The library and the measurements need the same
        names of blocks and columns. For example, fractions that `EDSComposition` measures in spectra are
        compared with those of ``("formula", ElementFractions())`` if both blocks have the same name.
    conditions : {"ideal", "typical", "harsh", "measured"} or dict
        Conditions of the simulation, see `make_specimens`.
    on_error : {"warn", "raise"}
        What to do with crystals whose structure has faults, see `make_specimens`.
    random_state : int, RandomState or None
        Seed of the simulation.
    verbose : int
        1 and more shows progress.

    Returns
    -------
    X : DataFrame of shape (n_entries, n_features)
        Its ``attrs["modalities"]`` has the column of the specimens of each block, such as ``"powder"``.
    y : ndarray of int64
        Space-group numbers.
    entries : DataFrame
        Columns ``id``, ``formula`` and ``mineral`` (the name of the crystal).

    Raises
    ------
    ValueError
        If ``features`` is not a ColumnTransformer, or a crystal cannot be simulated.

    Examples
    --------
    >>> from xtalsk import ElementFractions, LibraryMatch, PowderProfile, load_amcsd, make_features
    >>> from xtalsk.library import make_library
    >>> features = make_features(
    ...     diffraction=("powder", PowderProfile()), chemistry=("formula", ElementFractions())
    ... )
    >>> X, y, entries = make_library(load_amcsd()[:20], features, random_state=0)
    >>> X.shape, entries.loc[0, "mineral"]
    ((20, 1122), 'Galena')
    >>> match = LibraryMatch().fit(X, y, entries)
    """
    if not isinstance(features, ColumnTransformer):
        raise ValueError(f"features must come from make_features, got {type(features).__name__}")
    columns = {
        block: column
        for block, transformer, column in features.transformers
        if isinstance(column, str) and transformer != "drop"
    }
    modalities = tuple(sorted(set(columns.values()) - {"formula"}))
    keep = np.setdiff1d(np.arange(len(crystals)), list(find_faults(crystals)))
    X, y, _ = make_specimens(
        crystals,
        modalities or "formula",
        conditions=conditions,
        on_error=on_error,
        random_state=random_state,
        verbose=verbose,
    )
    formulas, ids, minerals = (getattr(crystals, name)[keep] for name in ("formulas", "ids", "names"))
    X["formula"] = formulas
    entries = pd.DataFrame({"id": ids, "formula": formulas, "mineral": minerals})
    table = features.fit_transform(X)
    table.attrs["modalities"] = columns
    return table, y, entries

"""Libraries made of crystals."""

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer

from xtalsk.crystals._faults import find_faults
from xtalsk.datasets import make_specimens


def make_library(crystals, features, *, conditions="ideal", on_error="warn", random_state=None, verbose=0):
    """Make the library of `LibraryMatch`: a pattern of every crystal, featurised.

    Parameters
    ----------
    crystals : CrystalSet
    features : ColumnTransformer
        From `make_features`. Each of its columns of specimens that is ``"formula"`` gets the exact formula;
        others are rendered. Blocks of the library must be named, and their columns too, as in what is to be
        matched: fractions found in spectra by `EDSComposition` match those of ``("formula",
        ElementFractions())`` if both blocks have the same name. It is fitted.
    conditions : {"ideal", "typical", "harsh"} or dict
        How patterns are rendered, see `make_specimens`.
    on_error : {"warn", "raise"}
        What to do with crystals that cannot be right, see `make_specimens`.
    random_state : int, RandomState or None
    verbose : int
        Above 0 shows progress.

    Returns
    -------
    X : DataFrame of shape (n_entries, n_features)
    y : ndarray of int64
        Space-group numbers.
    entries : DataFrame
        Columns ``id``, ``formula`` and ``mineral`` (the group of the crystal).

    Raises
    ------
    ValueError
        If the features are not blocks of columns of specimens, or a crystal cannot be rendered.

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
        c for _, transformer, c in features.transformers if isinstance(c, str) and transformer != "drop"
    }
    rendered = tuple(sorted(columns - {"formula"}))
    keep = np.setdiff1d(np.arange(len(crystals)), list(find_faults(crystals)))
    X, y, _ = make_specimens(
        crystals,
        rendered or "formula",
        conditions=conditions,
        on_error=on_error,
        random_state=random_state,
        verbose=verbose,
    )
    formulas, ids, minerals = (getattr(crystals, name)[keep] for name in ("formulas", "ids", "names"))
    X["formula"] = formulas
    entries = pd.DataFrame({"id": ids, "formula": formulas, "mineral": minerals})
    return features.fit_transform(X), y, entries

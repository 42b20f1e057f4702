"""Libraries from crystals."""

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer

from xtalsk.crystals._faults import find_faults
from xtalsk.datasets import make_specimens
from xtalsk.library._lines import features_of_lines, is_of_spots, radial_profile, takes_lines
from xtalsk.simulation import compute_reflections


def make_library(crystals, features, *, conditions="ideal", on_error="warn", random_state=None, verbose=0):
    """Make a library for `LibraryMatch`: the features of one simulated pattern of each crystal.

    Ideal rings need no image. If all features of rings begin with a `RadialProfile`, its profile is computed
    from the lines of each crystal, with background and compression as for images. That takes seconds instead
    of minutes, and no dark middle of an image is taken for a beam stop. Profiles of single spots
    (``statistic="spots"``) are NaN, and `LibraryMatch` does not use them.

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
        Its ``attrs["modalities"]`` has the column of the specimens of each block, such as ``"powder"``. Its
        ``attrs["grids"]`` has the width of the bins (``step`` in 1/Å) and the ``scale`` of each profile, and
        ``attrs["unused"]`` the blocks of single spots.
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
    transformers = {block: transformer for block, transformer, _ in features.transformers}
    from_lines = [block for block, column in columns.items() if column == "rings"]
    if conditions != "ideal" or not all(takes_lines(transformers[block]) for block in from_lines):
        from_lines = []
    modalities = tuple(sorted(set(columns.values()) - {"formula"} - ({"rings"} if from_lines else set())))
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
    if from_lines:
        X["rings"] = None
    entries = pd.DataFrame({"id": ids, "formula": formulas, "mineral": minerals})
    table = features.fit_transform(X)
    if from_lines:
        _set_lines(table, features, from_lines, crystals[keep], verbose)
    fitted = {block: features.named_transformers_[block] for block in columns}
    table.attrs["modalities"] = columns
    table.attrs["unused"] = [block for block, transformer in fitted.items() if is_of_spots(transformer)]
    table.attrs["grids"] = {
        block: {"step": float(transformer.q_[1] - transformer.q_[0]), "scale": transformer.scale}
        for block, transformer in fitted.items()
        if hasattr(transformer, "q_") and hasattr(transformer, "scale")
    }
    return table, y, entries


def _set_lines(table, features, blocks, crystals, verbose):
    """Set the columns of blocks of rings in a table of features to those of ideal lines."""
    transformers = {block: features.named_transformers_[block] for block in blocks}
    end = max(radial_profile(transformer).q_range[1] for transformer in transformers.values())
    reflections = compute_reflections(crystals, "electron", d_min=1 / (end + 0.02), verbose=verbose)
    for block, transformer in transformers.items():
        is_own = table.columns.str.startswith(f"{block}__")
        table.loc[:, is_own] = features_of_lines(transformer, reflections)

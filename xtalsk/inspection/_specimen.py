"""One specimen and the pipeline that identifies it: the measured cell, and what the pipeline sees of it."""

import os
import warnings

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from xtalsk.columns import MODALITIES
from xtalsk.diffraction import PowderProfile, RadialProfile, RingGeometry
from xtalsk.io import DiffractionImage, Profile
from xtalsk.utils import is_missing

_KINDS = {"rings": RadialProfile, "powder": PowderProfile}
_EXPECTED = (
    "expected a DiffractionImage, a Profile, a path to a file, or a row: a dict, a Series or a DataFrame of "
    "one row with the columns of the specimen, such as {'rings': image, 'formula': 'NiO'}"
)


def first_step(transformer):
    """Return the first step of a pipeline, or the transformer itself."""
    return transformer.steps[0][1] if isinstance(transformer, Pipeline) else transformer


def find_profiles(pipeline):
    """Return the columns that a pipeline uses, and its transformer of each modality.

    Parameters
    ----------
    pipeline : Pipeline
        Fitted, with features of rings or powder scans.

    Returns
    -------
    columns : list of str, or None
        None if the pipeline begins with the transformer and takes a list of cells.
    profiles : dict of str to RadialProfile or PowderProfile
        The fitted transformer of the columns of ring images or of scans.

    Raises
    ------
    ValueError
        If the pipeline has no such transformer.
    """
    if not isinstance(pipeline, Pipeline) or len(pipeline) < 2 or not hasattr(pipeline[-1], "predict_proba"):
        raise ValueError(
            "expected a fitted Pipeline of features and a classifier with predict_proba, such as "
            f"make_pipeline(make_features(...), LibraryMatch()), got {type(pipeline).__name__}"
        )
    for kind, of_kind in _KINDS.items():
        if isinstance(pipeline[0], of_kind):
            return None, {kind: pipeline[0]}
    blocks = [
        block for step in pipeline[:-1] if isinstance(step, ColumnTransformer) for block in _fitted(step)
    ]
    profiles = {}
    for column, transformer in sorted(blocks, key=lambda block: _preference(block[1])):
        if isinstance(first_step(transformer), tuple(_KINDS.values())):
            profiles.setdefault(column, first_step(transformer))
    if not profiles:
        raise ValueError(
            "the pipeline has no features of a RadialProfile or a PowderProfile, so there is no profile to "
            f"draw; its features are {[type(transformer).__name__ for _, transformer in blocks]}"
        )
    return sorted({column for column, _ in blocks}), profiles


def _fitted(features):
    """Return pairs (column, fitted transformer) of a ColumnTransformer."""
    blocks = getattr(features, "transformers_", None)
    if blocks is None:
        raise ValueError("the pipeline is not fitted: call fit, or fit its features and its classifier")
    return [(column, block) for _, block, column in blocks if isinstance(column, str)]


def _preference(transformer):
    """Return the rank of a transformer: first a profile that is a feature, of means along the rings."""
    return isinstance(transformer, Pipeline), getattr(transformer, "statistic", "mean") != "mean"


def read_row(specimen, columns, profiles):
    """Return the input of a pipeline for one specimen, and the column and the cell that are drawn.

    Parameters
    ----------
    specimen : cell, path, dict, Series or DataFrame of one row
    columns, profiles
        From `find_profiles`.

    Returns
    -------
    X : DataFrame of one row, or Series of one cell
    column : str
    cell : object

    Raises
    ------
    ValueError
        If the specimen has unknown columns or no cell to draw, or is none of these.
    """
    if columns is None:
        ((column, transformer),) = profiles.items()
        return _series_for(transformer, specimen), column, specimen
    row = _to_dict(specimen, profiles)
    unknown = [name for name in row if name not in columns and name not in MODALITIES]
    if unknown:
        raise ValueError(f"the row has unknown columns {unknown}; the pipeline uses {columns}")
    measured = [name for name in profiles if not is_missing(row.get(name))]
    if not measured:
        raise ValueError(f"the row needs a measured cell in one of {sorted(profiles)}, got {sorted(row)}")
    row = dict.fromkeys(columns) | row
    X = pd.DataFrame({name: _as_column(cell) for name, cell in row.items()})
    return X, measured[0], row[measured[0]]


def _to_dict(specimen, profiles):
    """Return a specimen as a dict of cells by column."""
    if isinstance(specimen, pd.DataFrame):
        if len(specimen) != 1:
            raise ValueError(f"expected a DataFrame of one row, got {len(specimen)}; use X.iloc[[i]]")
        return {name: specimen[name].iloc[0] for name in specimen.columns}
    if isinstance(specimen, pd.Series | dict):
        return dict(specimen)
    if isinstance(specimen, Profile):
        kind = PowderProfile
    elif isinstance(specimen, DiffractionImage | np.ndarray):
        kind = RadialProfile
    elif isinstance(specimen, str | os.PathLike) or hasattr(specimen, "axes_manager"):
        kind = tuple(_KINDS.values())
    else:
        raise ValueError(f"{_EXPECTED}; got {type(specimen).__name__}")
    fitting = [column for column, transformer in profiles.items() if isinstance(transformer, kind)]
    if len(fitting) != 1:
        raise ValueError(
            f"a {type(specimen).__name__} fits {fitting or 'none'} of the columns {sorted(profiles)} of the "
            "pipeline; give a row, such as {'rings': image}"
        )
    return {fitting[0]: specimen}


def _as_column(cell):
    """Return one cell as a column of objects."""
    column = np.empty(1, dtype=object)
    column[0] = cell
    return column


def _series_for(transformer, cell):
    """Return one cell as a column of the name that a transformer was fitted on."""
    return pd.Series(_as_column(cell), name=getattr(transformer, "feature_names_in_", [None])[0])


def reduce_cell(transformer, cell):
    """Return a checked cell, its profile on the grid ``q_`` of a transformer, and its `RingGeometry`.

    The geometry of a scan is None.

    Raises
    ------
    ValueError
        If the cell cannot be used or holds nothing.
    """
    cell = transformer._check_cell(cell)
    reason = transformer._blank_reason(cell)
    if reason is not None:
        raise ValueError(f"there is nothing to draw: {reason}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the pipeline gives the same warnings
        profile = np.asarray(transformer.transform(_series_for(transformer, cell)), dtype=float)[0]
        geometry = _ring_geometry(transformer, cell) if isinstance(cell, DiffractionImage) else None
    return cell, profile, geometry


def _ring_geometry(transformer, cell):
    """Return the `RingGeometry` of an image, with a mask of the pixels that are not used."""
    _, found = transformer.find_geometry([cell])
    center, ellipticity, valid = (values[0].numpy() for values in found)
    return RingGeometry(center, ellipticity, ~valid)

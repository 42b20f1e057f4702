"""Checks of the arguments of streams."""

import numpy as np

from xtalsk.columns import modality_of
from xtalsk.datasets._compounds import check_compounds as check_table
from xtalsk.streaming._instruments import INSTRUMENTS
from xtalsk.utils import check_number


def check_columns(blocks):
    """Return the columns that the features use."""
    columns = list(dict.fromkeys(column for _, transformer, column in blocks if transformer != "drop"))
    available = [*INSTRUMENTS, "formula"]
    unknown = [c for c in columns if c not in available and modality_of(c) != "spots"]
    if unknown:
        raise ValueError(
            f"features use the columns {unknown}; a stream makes {available}, and spots_1, spots_2 and so on"
        )
    return columns


def check_compounds(compounds, share, formulas):
    """Return formulas and space groups of compounds, and their share of the specimens."""
    if compounds is None:
        return [], np.zeros(0, dtype=np.int64), 0.0
    if formulas is None:
        raise ValueError("compounds needs features of the column 'formula'")
    check_number(share, "compound_share", min_val=0, max_val=1)
    return *check_table(compounds), float(share)


def check_missing(missing, modalities):
    """Return the probability of each modality to be missing."""
    unknown = sorted(set(missing) - set(modalities))
    if unknown or not all(0 <= p <= 1 for p in missing.values()):
        raise ValueError(f"missing must give probabilities from 0 to 1 for {modalities}, got {missing}")
    return {modality: float(missing.get(modality, 0.0)) for modality in modalities}


def check_weights(weights, n, rows):
    """Return the weights of the crystals that are used."""
    weights = np.ones(n) if weights is None else np.asarray(weights, dtype=float)
    if weights.shape != (n,) or not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError(f"weights must be {n} finite numbers, one for each crystal, none below 0")
    if not weights[rows].any():
        raise ValueError("weights are 0 for all crystals that can be used")
    return weights[rows]

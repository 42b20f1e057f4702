"""Similar structures of other elements: the search for the label of a phase that is not in the library.

Isostructural compounds have the same pattern up to a scale and the same stoichiometry, whatever their
elements are. Their entries are compared by profile and by stoichiometry.
"""

import numpy as np
import torch

from xtalsk.library._chemistry import check_excused, element_shares, sorted_amounts
from xtalsk.library._constants import (
    NO_SUPPORT,
    STOICHIOMETRY_WEIGHT,
    TOLERATED_CHI2,
    WITHOUT_STRAYS_COST,
)


def stoichiometry_penalty(compositions, stray):
    """Return what a different stoichiometry subtracts from the score of each entry.

    The largest atomic fractions of both sides are compared in descending order, with the errors of
    `stabilise_variance`. A measured composition may also be that without the stray elements, at a cost.
    Presence has no stoichiometry.

    Parameters
    ----------
    compositions : list of (float32 ndarray of shape (n, n_elements), CompositionLibrary)
        For each block of chemistry the measured amounts and the library.
    stray : sequence of str
        Symbols of the elements of film and grid.

    Returns
    -------
    float32 Tensor of shape (n, n_entries), or None
        0 for rows or entries without fractions. None if there is no block of fractions.
    """
    tables = [
        _misfit(measured, library, stray) for measured, library in compositions if library.kind == "fractions"
    ]
    return torch.from_numpy(sum(tables) * np.float32(STOICHIOMETRY_WEIGHT / len(tables))) if tables else None


def _misfit(measured, library, stray):
    """Return log(1 + χ² / 4) of the stoichiometry of each row and entry, (n, n_entries)."""
    shares = np.nan_to_num(element_shares(measured, library.numbers, library.kind))
    chi2 = _chi2(shares, library)
    support = np.setdiff1d(check_excused(stray, "stray"), check_excused(NO_SUPPORT)).astype(int) - 1
    rows = np.flatnonzero((shares[:, support] > 0).any(axis=1) & (shares.sum(1) > shares[:, support].sum(1)))
    if len(rows):
        specimen = shares[rows]
        specimen[:, support] = 0
        chi2[rows] = np.minimum(chi2[rows], _chi2(specimen, library) + np.float32(WITHOUT_STRAYS_COST))
    chi2[~shares.any(axis=1)] = 0
    chi2[:, library.no_composition] = 0
    return np.log1p(chi2 / TOLERATED_CHI2)


def _chi2(shares, library):
    """Return χ² of the stoichiometry of shares (n, 98) with that of each entry, (n, n_entries)."""
    measured, entries = sorted_amounts(shares), library.stoichiometry
    chi2 = (-2 * measured) @ entries.T
    chi2 += np.square(measured).sum(axis=1)[:, None]
    chi2 += np.square(entries).sum(axis=1)
    return np.maximum(chi2, 0, out=chi2)

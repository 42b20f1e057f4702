"""What a list of known compounds says of a composition, joined with the answer of a classifier."""

import numpy as np

from xtalsk.library._constants import COMMON_POWER, CONFIDENCE_POWER, LEAST_PROBABILITY, LISTED_LOGIT, POWERS


def join_list(answer, by_diffraction, by_list, misfit, prior, logit=LISTED_LOGIT, powers=POWERS):
    """Join the answer of a classifier with what a list of compounds says, see `CompoundBlend`.

    Parameters
    ----------
    answer, by_diffraction : ndarray of shape (n, n_classes)
        Probabilities of the classifier with the composition and without it, NaN without diffraction.
    by_list : ndarray of shape (n, n_classes)
        Shares of the classes among similar compounds.
    misfit : ndarray of shape (n,)
        That of the most similar compound.
    prior : ndarray of shape (n_classes,)
    logit : (float, float)
        The logit of the probability to be in the list is first - second · misfit.
    powers : (float, float)
        Powers of ``by_diffraction``, if it is not sure, and of ``prior``. The former rises to 1 with the
        confidence.

    Returns
    -------
    proba : ndarray of shape (n, n_classes)
    listed : ndarray of shape (n,)
        Probability that the compound is in the list.
    """
    confidence = by_diffraction.max(axis=1, keepdims=True)
    power = powers[0] + (1 - powers[0]) * confidence**CONFIDENCE_POWER
    ratio = (by_diffraction + LEAST_PROBABILITY) ** power / prior ** powers[1]
    ratio /= ratio @ prior[:, None]
    share = 1 / (1 + np.exp(np.minimum(logit[1] * misfit - logit[0], 500.0)))[:, None]
    known = share * np.where(np.isnan(ratio), 1, ratio) * by_list
    unknown = (1 - share) * answer
    total = (known + unknown).sum(axis=1, keepdims=True)
    return (known + unknown) / total, (known.sum(axis=1, keepdims=True) / total)[:, 0]


def read_compounds(compounds):
    """Return the table of the list, the atomic fractions of its formulas and its space groups."""
    from xtalsk.datasets._compounds import check_compounds, load_compounds
    from xtalsk.simulation.spectra._formulas import atomic_fractions  # imports pymatgen

    compounds = load_compounds() if compounds is None else compounds
    formulas, groups = check_compounds(compounds)
    if not formulas:
        raise ValueError("compounds has no row")
    return compounds.drop(columns="space_group"), atomic_fractions(formulas), groups


def common_weights(compounds):
    """Return the weight of each compound of a table by its number of structures, 1 if the table has none."""
    if "n_structures" not in compounds:
        return np.ones(len(compounds))
    return np.maximum(compounds["n_structures"].to_numpy(dtype=float), 1) ** COMMON_POWER

"""Probability that an entry of the library is the measured phase."""

import numpy as np
from scipy.special import expit

from xtalsk.columns import modality_of
from xtalsk.library._constants import MAX_GAP

FITTED_MODALITIES = ("powder", "rings")
"""Modalities of profiles for which the probability is known."""


def modality_of_blocks(blocks, columns):
    """Return the one modality of blocks of profiles, or None if it is unknown or if there are several.

    Parameters
    ----------
    blocks : list of str
        Names of the blocks of profiles.
    columns : dict of {block: column}
        Column of the specimens of each block, as far as known; see `make_library`.
    """
    modalities = {modality_of(columns.get(block, block)) for block in blocks}
    modality = modalities.pop() if len(modalities) == 1 else None
    return modality if modality in FITTED_MODALITIES else None


def gap_to_others(scores, labels):
    """Return how much the score of each entry exceeds that of the best entry with another label.

    Parameters
    ----------
    scores : ndarray of shape (n, n_best)
        Best first; -inf for excluded entries.
    labels : ndarray of shape (n, n_best)

    Returns
    -------
    ndarray of shape (n, n_best)
        inf where no other label is left.
    """
    is_best = labels == labels[:, :1]
    others = np.where(is_best, -np.inf, scores).max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return scores - np.where(is_best, others, scores[:, :1])


def match_features(matches, labels, sharpness):
    """Return what the probability depends on, shape (n, n_best, 3).

    These are the similarity, the gap to the best entry of another label, and the penalty of the chemistry;
    the last two in units of similarity.
    """
    gap = np.clip(gap_to_others(matches.scores, labels) / sharpness, -MAX_GAP, MAX_GAP)
    return np.stack([matches.similarity, gap, matches.penalty / sharpness], axis=-1)


def match_probabilities(matches, labels, sharpness, has_chemistry, logits):
    """Return the probability that each of the best entries is right.

    Parameters
    ----------
    matches : Matches
    labels : ndarray of shape (n, n_best)
        Label of each entry.
    sharpness : float
    has_chemistry : bool ndarray of shape (n,)
        Whether the row has chemistry that was compared.
    logits : dict of {bool: sequence of float} or None
        Intercept and slopes without and with chemistry: an item of `MATCH_LOGITS` or `LABEL_LOGITS`.

    Returns
    -------
    ndarray of shape (n, n_best)
        0 for excluded entries. NaN for rows without a profile, or if the logits are unknown.
    """
    probability = np.full(matches.scores.shape, np.nan)
    if logits is not None:
        with np.errstate(invalid="ignore"):
            features = match_features(matches, labels, sharpness)
            for chemistry in (False, True):
                intercept, *slopes = logits[chemistry]
                rows = has_chemistry == chemistry
                probability[rows] = expit(intercept + features[rows] @ np.array(slopes))
    probability[np.isinf(matches.penalty)] = 0
    return probability

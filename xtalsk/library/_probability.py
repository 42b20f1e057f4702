"""Probabilities of search-match: which phase was measured, and which label is right.

The phases of a library exclude each other. One of them was measured, or none of them. The probability of a
phase is the probability that the measured phase is in the library at all, times the share of this phase.

If the measured phase is not in the library, its structure may be: another compound of the same structure has
the same label. The probability of a label is therefore the sum over the phases of this label, plus the
probability that no phase was measured times that of the label among similar structures. What is left is the
probability that neither the phase nor its structure is known. All of them add up to 1.
"""

import numpy as np
from scipy.special import expit, softmax

from xtalsk.columns import modality_of
from xtalsk.library._constants import (
    MAX_GAP,
    PHASE_LOGITS,
    PHASE_SHARPNESS,
    STRUCTURE_LOGITS,
    STRUCTURE_SHARPNESS,
)

FITTED_MODALITIES = ("powder", "rings")
"""Modalities of profiles for which the probabilities are known."""


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


def phases_of(entries, labels):
    """Return the number of the phase of each entry: entries of one label and one name are one phase.

    Parameters
    ----------
    entries : DataFrame of n_entries rows
        The name is that in the column ``mineral``, or the ``formula`` if there is no mineral. An entry
        without both is a phase of its own.
    labels : ndarray of int, shape (n_entries,)

    Returns
    -------
    int ndarray of shape (n_entries,)
    """
    names = np.array([f"entry {i}" for i in range(len(entries))], dtype=object)
    for column in ("formula", "mineral"):
        if column in entries:
            named = entries[column].notna().to_numpy() & (entries[column] != "").to_numpy()
            names[named] = (column + " " + entries[column].astype(str)).to_numpy()[named]
    _, numbers = np.unique(names.astype(str), return_inverse=True)
    return np.unique(labels.astype(np.int64) * len(entries) + numbers, return_inverse=True)[1]


def gap_to_others(scores, labels):
    """Return how much the best score of each row exceeds that of the best entry with another label.

    Parameters
    ----------
    scores : ndarray of shape (n, n_best)
        Best first; -inf for excluded entries.
    labels : ndarray of shape (n, n_best)

    Returns
    -------
    ndarray of shape (n,)
        inf where no other label is left.
    """
    others = np.where(labels == labels[:, :1], -np.inf, scores).max(axis=1)
    with np.errstate(invalid="ignore"):
        return scores[:, 0] - others


def match_features(matches, labels, sharpness):
    """Return what the probability of a row depends on, shape (n, 3).

    These are the similarity of the best entry, the gap to the best entry of another label, and the penalty of
    the best entry; the last two in units of similarity.
    """
    gap = np.clip(gap_to_others(matches.scores, labels) / sharpness, 0, MAX_GAP)
    return np.stack([matches.similarity[:, 0], gap, matches.penalty[:, 0] / sharpness], axis=-1)


def first_of(numbers):
    """Return for each number in a row (n, n_best) the position of the first one of its value."""
    order = np.argsort(numbers, axis=1, kind="stable")
    ordered = np.take_along_axis(numbers, order, axis=1)
    start = np.zeros(numbers.shape, dtype=np.int64)
    start[:, 1:] = np.where(ordered[:, 1:] != ordered[:, :-1], np.arange(1, numbers.shape[1]), 0)
    first = np.take_along_axis(order, np.maximum.accumulate(start, axis=1), axis=1)
    out = np.empty_like(first)
    np.put_along_axis(out, order, first, axis=1)
    return out


def is_first(numbers):
    """Return for each number in a row (n, n_best) whether it is the first one of its value."""
    return first_of(numbers) == np.arange(numbers.shape[1])


def _row_probabilities(features, has_chemistry, logits):
    """Return the logistic function of features (n, 3): NaN for rows without profile."""
    out = np.full(len(features), np.nan)
    for chemistry in (False, True):
        intercept, *slopes = logits[chemistry]
        rows = has_chemistry == chemistry
        out[rows] = expit(intercept + features[rows] @ np.array(slopes))
    return out


def phase_probabilities(matches, labels, phases, sharpness, has_chemistry, kind):
    """Return the probabilities of the phases of the best entries, and that the phase is in the library.

    Parameters
    ----------
    matches : Matches
    labels, phases : ndarray of shape (n, n_best)
        Label and phase of each entry.
    sharpness : float
    has_chemistry : bool ndarray of shape (n,)
        Whether the row has chemistry that was compared.
    kind : str
        Kind of the profiles: a key of `PHASE_LOGITS`.

    Returns
    -------
    probability : ndarray of shape (n, n_best)
        That of the phase of each entry; entries of one phase have the same. 0 for excluded entries. NaN for
        rows without a profile, or if the kind is unknown.
    in_library : ndarray of shape (n,)
        Their sum over different phases. 0 if every entry is excluded.
    """
    excluded = ~np.isfinite(matches.scores)
    if kind not in PHASE_LOGITS:
        unknown = np.full(matches.scores.shape, np.nan)
        unknown[excluded] = 0
        return unknown, np.where(excluded.all(axis=1), 0, np.nan)
    with np.errstate(invalid="ignore"):
        features = match_features(matches, labels, sharpness)
        in_library = _row_probabilities(features, has_chemistry, PHASE_LOGITS[kind])
    none = excluded.all(axis=1)
    in_library[none] = 0
    factor = np.where(has_chemistry, PHASE_SHARPNESS[kind][True], PHASE_SHARPNESS[kind][False])
    scores = np.where(is_first(phases), factor[:, None] * matches.scores, -np.inf)
    share = np.zeros(scores.shape)
    share[~none] = softmax(scores[~none], axis=1)
    probability = in_library[:, None] * np.take_along_axis(share, first_of(phases), axis=1)
    probability[excluded] = 0
    return probability, in_library


def structure_probabilities(matches, labels, sharpness, has_chemistry, kind):
    """Return the weight of each entry in the label of a phase that is not in the library, (n, n_best).

    They add up to the probability that the label of the best entry is right, although the best entry is
    another compound. The parameters are those of `phase_probabilities`; ``matches`` are similar structures.
    """
    with np.errstate(invalid="ignore"):
        features = match_features(matches, labels, sharpness)
    right = _row_probabilities(features, has_chemistry, STRUCTURE_LOGITS[kind])
    return right[:, None] * softmax(STRUCTURE_SHARPNESS[kind] * matches.scores, axis=1)

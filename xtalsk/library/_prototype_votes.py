"""Votes of the candidates of `PrototypeMatch`, and the probability that one of them is right."""

import numpy as np
from scipy.special import expit, softmax

from xtalsk.library._prototype_constants import ANSWER_LOGITS, CLASSIFIER_EXPONENT, RARE, VOTE_SHARPNESS


def candidate_shares(match, modality):
    """Return the share of each candidate of a `Match` in the vote, (n,); the sum is 1."""
    return softmax(VOTE_SHARPNESS[modality] * match.score)


def answer_probability(match, modality):
    """Return the probability that the structure of one of the candidates of a `Match` is right.

    It depends on the similarity of the best candidate, and on its score without the profile: a chemistry and
    a stoichiometry that fit make a structure likely.
    """
    intercept, similarity, chemistry = ANSWER_LOGITS[modality]
    return float(expit(intercept + similarity * match.similarity[0] + chemistry * match.chemistry[0]))


def blend_votes(proba, classes, matches, groups, modality, weights=None):
    """Return probabilities after the vote of the candidates of each row.

    The candidates share the probability that one of them is right. The probabilities before the vote are
    those of all other cases. Candidates whose space group is no class do not vote.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        Before the vote.
    classes : ndarray of int, shape (n_classes,)
        Space groups, sorted.
    matches : list of (Match or None)
        None: no candidates, and the probabilities stay.
    groups : ndarray of int
        Space group of each prototype.
    modality : {"powder", "rings"}
    weights : ndarray of shape (n_samples, n_classes), or None
        Factors of the votes for each class. They change the probability that a candidate is right, too.
    """
    out = np.array(proba, dtype=float)
    for i, match in enumerate(matches):
        if match is None:
            continue
        own = groups[match.rows]
        place = np.searchsorted(classes, own).clip(max=len(classes) - 1)
        known = classes[place] == own
        votes = answer_probability(match, modality) * candidate_shares(match, modality)[known]
        out[i] *= 1 - votes.sum()
        np.add.at(out[i], place[known], votes if weights is None else votes * weights[i, place[known]])
        out[i] /= out[i].sum()
    return out


def vote_weights(proba, prior):
    """Return factors of votes from the probabilities of a classifier, (n_samples, n_classes).

    A class that is more probable than by its share ``prior`` (n_classes,) among the prototypes has a weight
    above 1.
    """
    return ((proba + RARE) / (prior + RARE)) ** CLASSIFIER_EXPONENT

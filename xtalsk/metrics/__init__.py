"""Scores of a classifier's probabilities at every level of symmetry.

A classifier predicts probabilities of space groups; the probabilities of the coarser levels are their sums. A
label that is not in the training data has no probability. Such a sample counts as wrong. So does a sample
without answer, whose probabilities are all NaN because nothing was measured.

At each level, the class with the highest probability is scored. At coarser levels this is the highest sum,
which can belong to another class than the most probable space group.
"""

from xtalsk.metrics._pairs import confused_pairs
from xtalsk.metrics._scorers import make_level_scorers
from xtalsk.metrics._scores import (
    SCORED_LEVELS,
    balanced_accuracy,
    expected_calibration_error,
    level_probabilities,
    level_scores,
    top_k_accuracy,
)

__all__ = [
    "SCORED_LEVELS",
    "balanced_accuracy",
    "confused_pairs",
    "expected_calibration_error",
    "level_probabilities",
    "level_scores",
    "make_level_scorers",
    "top_k_accuracy",
]

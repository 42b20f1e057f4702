"""Statistical tests of the difference between two models: over folds, and over specimens."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from scipy.stats import t as student_t
from sklearn.utils.validation import check_consistent_length

from xtalsk.symmetry import to_level


class PairedTest(NamedTuple):
    """Result of `paired_test`.

    Attributes
    ----------
    difference : float
        Mean over the folds of the score of ``a`` minus the score of ``b``.
    standard_error : float
        Standard error of the difference, corrected for the overlap of the training parts.
    statistic : float
        Student's t.
    degrees_of_freedom : int
        Number of folds minus one.
    pvalue : float
        Two-sided p-value: probability of a difference at least as large if the models are equally good.
    confidence_interval : (float, float)
        95% interval of the difference.
    """

    difference: float
    standard_error: float
    statistic: float
    degrees_of_freedom: int
    pvalue: float
    confidence_interval: tuple[float, float]


def paired_test(table, a, b, metric):
    r"""Test whether one model of a comparison is better than another.

    This is the corrected resampled t-test of Nadeau and Bengio [1]_. The training parts of the folds overlap,
    so the differences :math:`d_j` of J folds are not independent, and the ordinary paired t-test gives too
    many false positives. The corrected test multiplies their variance :math:`s^2` by a factor that depends on
    the sizes of the test and the training part:

    .. math:: t = \bar d \Big/ \sqrt{\left(\frac{1}{J} + \frac{n_\mathrm{test}}{n_\mathrm{train}}\right) s^2}

    Parameters
    ----------
    table : DataFrame
        From `compare`.
    a, b : str
        Names of two models of the table.
    metric : str
        A score of the table, such as ``"space_group_accuracy"``.

    Returns
    -------
    PairedTest
        ``difference``, ``standard_error``, ``statistic``, ``degrees_of_freedom``, ``pvalue`` and
        ``confidence_interval``. If the difference is the same in all folds, the p-value is 1 for a
        difference of 0, and 0 otherwise.

    Raises
    ------
    ValueError
        If the table does not have the models or the metric, or has fewer than two folds.

    References
    ----------
    .. [1] C. Nadeau and Y. Bengio, Inference for the Generalization Error, Machine Learning 52, 239 (2003).

    Examples
    --------
    >>> import pandas as pd
    >>> from xtalsk.model_selection import paired_test
    >>> table = pd.DataFrame(
    ...     {"model": ["a"] * 3 + ["b"] * 3, "fold": [0, 1, 2] * 2, "n_train": 200, "n_test": 100,
    ...      "accuracy": [0.7, 0.72, 0.71, 0.6, 0.64, 0.62]})
    >>> result = paired_test(table, "a", "b", "accuracy")
    >>> round(result.difference, 3), round(result.pvalue, 3)
    (0.09, 0.01)
    """
    if metric not in table.columns:
        raise ValueError(f"the table has no metric {metric!r}, only {list(table.columns)}")
    unknown = [name for name in (a, b) if name not in set(table["model"])]
    if unknown:
        raise ValueError(f"the table has no model {unknown[0]!r}, only {list(table['model'].unique())}")
    sizes, scores_a, scores_b = (
        table[table["model"] == name].set_index("fold")[columns]
        for name, columns in ((a, ["n_train", "n_test"]), (a, metric), (b, metric))
    )
    difference = (scores_a - scores_b).to_numpy()
    n_folds = len(difference)
    if n_folds < 2:
        raise ValueError("a paired test needs two folds or more, got one")
    ratio = (sizes["n_test"] / sizes["n_train"]).mean()
    mean = difference.mean()
    error = np.sqrt((1 / n_folds + ratio) * difference.var(ddof=1))
    statistic = 0.0 if abs(mean) < 1e-12 else mean / max(error, 1e-300)  # error may be 0
    margin = student_t.ppf(0.975, n_folds - 1) * error
    return PairedTest(
        float(mean),
        float(error),
        float(statistic),
        n_folds - 1,
        float(2 * student_t.sf(abs(statistic), n_folds - 1)),
        (float(mean - margin), float(mean + margin)),
    )


class McNemarTest(NamedTuple):
    """Result of `mcnemar_test`.

    Attributes
    ----------
    only_a, only_b : int
        Number of specimens for which only this model is right.
    difference : float
        Accuracy of ``a`` minus accuracy of ``b``.
    pvalue : float
        Two-sided p-value: probability of a difference at least as large if the models are equally good.
    """

    only_a: int
    only_b: int
    difference: float
    pvalue: float


def mcnemar_test(y_true, predicted_a, predicted_b, *, level="space_group"):
    """Test whether one of two models is better on the same specimens.

    This is the exact form of McNemar's test [1]_. Specimens for which both models are right, or both wrong,
    do not count. If the models are equally good, each of the others is a fair toss of a coin. The specimens
    must be independent: repeats of one compound make the p-value too small.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or None
        Labels. None: the predictions are booleans that say whether a model is right, for instance whether
        the label is among its first five.
    predicted_a, predicted_b : array-like of shape (n_samples,)
        Predicted labels. NaN, None and the space group 0 are no answer and count as wrong.
    level : str or None, default="space_group"
        One of `xtalsk.symmetry.LEVELS`: the labels are space-group numbers, which are compared at this
        level. None: any labels. It does not matter for booleans.

    Returns
    -------
    McNemarTest
        ``only_a``, ``only_b``, ``difference`` and ``pvalue``. The p-value is 1 if both models are right for
        the same specimens.

    Raises
    ------
    ValueError
        If the lengths differ, there are no specimens, a label is not a space group although there is a
        level, or only some of the arguments are booleans. The message names the argument.

    References
    ----------
    .. [1] Q. McNemar, Note on the sampling error of the difference between correlated proportions or
       percentages, Psychometrika 12, 153 (1947).

    Examples
    --------
    >>> from xtalsk.model_selection import mcnemar_test
    >>> y = [14, 14, 15, 62, 62, 62, 225, 227]
    >>> mcnemar_test(y, [14, 14, 15, 62, 62, 62, 225, 216], [14, 15, 14, 33, 63, 19, 225, 227])
    McNemarTest(only_a=5, only_b=1, difference=0.5, pvalue=0.21875)
    >>> mcnemar_test(None, [True, True, False], [True, False, True])
    McNemarTest(only_a=1, only_b=1, difference=0.0, pvalue=1.0)
    """
    check_consistent_length(y_true, predicted_a, predicted_b)
    a = _is_right(y_true, predicted_a, level, "predicted_a")
    b = _is_right(y_true, predicted_b, level, "predicted_b")
    if not len(a):
        raise ValueError("expected at least one specimen, got none")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    pvalue = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return McNemarTest(only_a, only_b, (only_a - only_b) / len(a), pvalue)


def _is_right(y_true, predicted, level, name):
    """Return for each specimen whether the prediction is right; no answer is wrong."""
    predicted = np.asarray(predicted)
    if predicted.ndim != 1:
        raise ValueError(f"{name} must have shape (n_samples,), got {predicted.shape}")
    if y_true is None:
        if predicted.dtype != bool:
            raise ValueError(f"{name} must be booleans if y_true is None, got {predicted.dtype}")
        return predicted
    if level is None:
        return (predicted == np.asarray(y_true)) & ~pd.isna(predicted)
    if predicted.dtype == bool:
        raise ValueError(f"{name} must be space groups, got booleans; they need y_true=None")
    no_answer = pd.isna(predicted) | (predicted == 0)
    try:
        answers = to_level(np.where(no_answer, 1, predicted), level)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return (answers == to_level(y_true, level)) & ~no_answer

"""Statistical test of the difference between two models."""

from typing import NamedTuple

import numpy as np
from scipy.stats import t as student_t


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

"""Checks of what the classifier is given."""

import numbers

import numpy as np
from sklearn.utils import check_scalar
from sklearn.utils.class_weight import compute_sample_weight

from xtalsk.neural._augment import check_augment
from xtalsk.neural._loss import check_hierarchy_weights
from xtalsk.neural._mixing import check_modality_dropout
from xtalsk.neural._net import SCHEDULES
from xtalsk.utils import check_device, check_number, check_option

_COUNTS = ("hidden_size", "embedding_size", "n_filters", "max_epochs", "batch_size", "n_iter_no_change")
PRECISIONS = ("float32", "bfloat16")


def check_params(model):
    """Check the parameters of a `FusionClassifier`, except ``branches``, which needs the data.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type or out of range; the message names it.
    """
    for name in _COUNTS:
        check_scalar(getattr(model, name), name, numbers.Integral, min_val=1)
    for name, high, boundaries in (
        ("dropout", 1, "left"),
        ("block_loss", np.inf, "left"),
        ("mixup", np.inf, "left"),
        ("label_smoothing", 1, "left"),
        ("learning_rate", np.inf, "neither"),
        ("weight_decay", np.inf, "left"),
        ("validation_fraction", 0.5, "right"),
    ):
        limits = {"min_val": 0, "max_val": high, "include_boundaries": boundaries}
        check_number(getattr(model, name), name, **limits)
    if model.weight_averaging is not None:
        check_scalar(
            model.weight_averaging,
            "weight_averaging",
            numbers.Real,
            min_val=0,
            max_val=1,
            include_boundaries="left",
        )
    for name in ("verbose", "n_test_time_scales", "n_residual"):
        check_scalar(getattr(model, name), name, numbers.Integral, min_val=0)
    for name in ("early_stopping", "profile_vote"):
        check_option(name, getattr(model, name), (True, False))
    check_option("hierarchy", model.hierarchy, (None, "space_group"))
    check_option("precision", model.precision, PRECISIONS)
    check_option("schedule", model.schedule, SCHEDULES)
    check_hierarchy_weights(model.hierarchy, model.hierarchy_weights)
    check_augment(model.augment)
    check_modality_dropout(model.modality_dropout)
    check_sampling(model.sampling)
    check_device(model.device)


def check_sampling(sampling):
    """Turn the parameter ``sampling`` into the power of the class frequencies that it divides by.

    Raises
    ------
    ValueError
        If it is neither None, "balanced" nor a number from 0 to 1.
    """
    power = sampling
    if sampling is None or isinstance(sampling, str):
        power = {None: 0.0, "balanced": 1.0}.get(sampling)
    if not (isinstance(power, numbers.Real) and 0 <= power <= 1):
        raise ValueError(f"sampling must be None, 'balanced' or a number from 0 to 1, got {sampling!r}")
    return float(power)


def name_rows(rows):
    """Say which rows, the first ten of them.

    Examples
    --------
    >>> from xtalsk.neural._checks import name_rows
    >>> name_rows([3]), name_rows([3, 7])
    ('row 3', 'rows 3, 7')
    """
    listed = ", ".join(str(r) for r in rows[:10])
    return f"row{'s' * (len(rows) > 1)} {listed}{', ...' * (len(rows) > 10)}"


def to_float32(X, names):
    """Cast a feature matrix to float32.

    Raises
    ------
    ValueError
        If a value is infinite or does not fit; the message names its row and column.
    """
    with np.errstate(over="ignore"):
        X = X.astype(np.float32, copy=False)
    infinite = np.isinf(X)
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        label = f" ({names[column]!r})" if names is not None else ""
        raise ValueError(
            f"X contains infinity or a value too large for float32 in row {row}, column {column}{label}; "
            f"mark missing values as NaN"
        )
    return X


def check_weights(sample_weight, class_weight, y, classes):
    """Return one finite, non-negative float64 weight for each label in ``y``.

    Raises
    ------
    ValueError
        If there are not as many sample weights, one is negative or not finite (the message names its row),
        or ``class_weight`` names a label that is not among ``classes``.
    """
    weight = np.ones(len(y)) if sample_weight is None else np.array(sample_weight, dtype=np.float64)
    if weight.ndim == 0:
        weight = np.full(len(y), weight)
    if weight.shape != (len(y),):
        raise ValueError(f"sample_weight must have shape ({len(y)},), got {weight.shape}")
    bad = ~(np.isfinite(weight) & (weight >= 0))
    if bad.any():
        row = np.flatnonzero(bad)[0]
        raise ValueError(f"sample_weight must be finite and not negative, got {weight[row]} in row {row}")
    if not isinstance(class_weight, dict):
        return weight * compute_sample_weight(class_weight, y)
    # a batch may lack labels that have a weight, which scikit-learn's function refuses
    unknown = sorted(set(class_weight) - set(classes.tolist()))
    if unknown:
        raise ValueError(f"class_weight names labels that are not among the classes: {unknown}")
    return weight * np.array([class_weight.get(label, 1.0) for label in y.tolist()])

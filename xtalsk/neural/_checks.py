"""Checks of the parameters and weights of the classifier."""

import numbers

import numpy as np
from sklearn.utils import check_scalar
from sklearn.utils.class_weight import compute_sample_weight

from xtalsk.neural._augment import check_augment
from xtalsk.neural._callbacks import SCHEDULES
from xtalsk.neural._labels import check_space_groups
from xtalsk.neural._loss import check_hierarchy_weights
from xtalsk.neural._mixing import check_modality_dropout
from xtalsk.utils import ALL_MISSING, check_device, check_number, check_option

_COUNTS = ("hidden_size", "embedding_size", "n_filters", "max_epochs", "batch_size", "n_iter_no_change")
PRECISIONS = ("float32", "bfloat16")


def check_params(model):
    """Check the parameters of a `FusionClassifier`, except ``branches``, which are checked with the data.

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
    check_space_groups(model.hierarchy, model.space_groups)
    check_option("all_missing", model.all_missing, ALL_MISSING)
    check_option("precision", model.precision, PRECISIONS)
    check_option("pool", model.pool, (None, "numbered"))
    check_option("schedule", model.schedule, SCHEDULES)
    check_hierarchy_weights(model.hierarchy, model.hierarchy_weights)
    check_augment(model.augment)
    check_modality_dropout(model.modality_dropout)
    check_sampling(model.sampling)
    check_device(model.device)


def check_sampling(sampling):
    """Return the power of the class frequency by which the parameter ``sampling`` divides.

    Raises
    ------
    ValueError
        If ``sampling`` is neither None, "balanced" nor a number from 0 to 1.
    """
    power = sampling
    if sampling is None or isinstance(sampling, str):
        power = {None: 0.0, "balanced": 1.0}.get(sampling)
    if not (isinstance(power, numbers.Real) and 0 <= power <= 1):
        raise ValueError(f"sampling must be None, 'balanced' or a number from 0 to 1, got {sampling!r}")
    return float(power)


def check_weights(sample_weight, class_weight, y, classes):
    """Return one finite, non-negative float64 weight for each label in ``y``.

    Raises
    ------
    ValueError
        If the number of weights differs from the number of labels, if a weight is negative or not finite (the
        message names its row), or if ``class_weight`` names a label that is not among ``classes``.
    """
    weight = np.ones(len(y)) if sample_weight is None else np.array(sample_weight, dtype=np.float64)
    if weight.ndim == 0:
        weight = np.full(len(y), weight)
    if weight.shape != (len(y),):
        raise ValueError(f"sample_weight must have shape ({len(y)},), got {weight.shape}")
    is_invalid = ~(np.isfinite(weight) & (weight >= 0))
    if is_invalid.any():
        row = np.flatnonzero(is_invalid)[0]
        raise ValueError(f"sample_weight must be finite and not negative, got {weight[row]} in row {row}")
    if not isinstance(class_weight, dict):
        return weight * compute_sample_weight(class_weight, y)
    # scikit-learn's function refuses a weight of a label that ``y`` lacks
    unknown = sorted(set(class_weight) - set(classes.tolist()))
    if unknown:
        raise ValueError(f"class_weight names labels that are not among the classes: {unknown}")
    return weight * np.array([class_weight.get(label, 1.0) for label in y.tolist()])

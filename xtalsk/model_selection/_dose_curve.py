"""Accuracy against the dose: electrons of a pattern, counts of a spectrum."""

from itertools import product

import numpy as np
import pandas as pd
from sklearn.isotonic import IsotonicRegression

from xtalsk.columns import MODALITIES, modality_of
from xtalsk.model_selection._paired_test import paired_test
from xtalsk.model_selection._rendering import COUNTED, IMAGES, Rendering, check_doses
from xtalsk.model_selection._sweep import (
    Sweep,
    add_kinds,
    check_modalities,
    check_models,
    run_levels,
    specimen_columns,
)


def dose_curve(
    estimators,
    crystals,
    *,
    electrons=None,
    counts=None,
    conditions="typical",
    train_conditions=None,
    retrain=False,
    chemistry_only=True,
    cv=5,
    n_replicas=1,
    n_zones=None,
    random_state=None,
    n_jobs=None,
    verbose=0,
):
    """Score models on the same crystals, measured at several doses.

    The crystals are simulated again at each dose with the same random numbers: grains, orientations, the
    camera and the composition stay, and only the counting noise changes. So doses and models are compared on
    the same specimens.

    Models that are not fitted are fitted once in each fold, on specimens of ``train_conditions``, and scored
    at each dose on crystals of other compounds; or they are fitted again at each dose (``retrain``). Fitted
    models, such as those of `load_pretrained`, are only scored.

    Parameters
    ----------
    estimators : pipeline or dict of str to pipeline
        Features by column, as from `make_features`, and a classifier. All are fitted, or none. A single
        pipeline has the name ``"model"`` in the table.
    crystals : CrystalSet
        For fitted models: crystals that they have not seen, unless the question is about known compounds.
    electrons : float, sequence of float or None, default=None
        Electrons of each image, increasing. None keeps those of ``conditions``.
    counts : float, sequence of float or None, default=None
        Counts of each X-ray spectrum or composition, increasing. None keeps those of ``conditions``. With
        several electrons and several counts, all combinations are levels.
    conditions : str or dict, default="typical"
        As in `make_specimens`.
    train_conditions : str, dict or None, default=None
        Conditions of the specimens that unfitted models learn from; None means ``conditions``. A range of
        doses in them trains across doses.
    retrain : bool, default=False
        Whether unfitted models are fitted again at each dose, on specimens of this dose.
    chemistry_only : bool, default=True
        Whether models with diffraction and chemistry are repeated with chemistry only. They are always
        repeated with diffraction only.
    cv : int, splitter or iterable of splits, default=5
        Folds, as in `compare`. Fitted models are scored on the test part of each fold (of ``GroupKFold`` for
        an int), so that the spread of the folds shows the uncertainty of the crystals.
    n_replicas, n_zones : int
        Specimens of each crystal, and spot patterns of each specimen. ``n_zones=None``: as many as the models
        have columns ``spots_1``, ``spots_2``, ..., or one.
    random_state : int, RandomState or None, default=None
    n_jobs : int or None, default=None
        Number of models and folds to fit and score in parallel.
    verbose : int, default=0
        Above 0 shows a progress bar of the levels.

    Returns
    -------
    DataFrame
        One row for each level, model and fold: ``model``, ``electrons``, ``counts`` (NaN where the conditions
        decide), ``fold``, the scores of `level_scores` at each level of symmetry, ``answered`` (share of the
        specimens with an answer; the others count as wrong), ``n_train`` (infinite for fitted models) and
        ``n_test``. As in `compare`, ``"<name> (diffraction only)"``, ``"<name> (chemistry only)"`` and
        ``"prior"`` are references.

    Raises
    ------
    ValueError
        If no dose is given; if a dose is not above 0, out of order, or beyond the range of the conditions or
        the camera; if a model does not use the modality that is varied; if some models are fitted and others
        not, or ``retrain`` or ``train_conditions`` are given for fitted models. All this is checked before
        anything is simulated.

    See Also
    --------
    acquisition_curve : Pixels, positions and steps instead of doses.
    paired_differences : Differences of two models at each level.
    dose_to_reach : Dose at which a model reaches an accuracy.
    xtalsk.inspection.DoseCurveDisplay : Figure of the table.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from xtalsk import ElementPresence, RadialProfile, load_amcsd, make_baseline, make_features
    >>> from xtalsk import RingConditions, dose_curve
    >>> features = make_features(
    ...     diffraction=("rings", RadialProfile(n_bins=64)), presence=("formula", ElementPresence()))
    >>> trees = make_pipeline(features, make_baseline("extra_trees", n_estimators=20, random_state=0))
    >>> table = dose_curve(
    ...     trees, load_amcsd()[:24], electrons=[1e2, 1e5], cv=2, random_state=0,
    ...     conditions={"rings": RingConditions(image_size=64)})
    >>> table.groupby(["model", "electrons"])["n_test"].sum().unstack().shape
    (4, 2)
    """
    models, is_fitted = check_models(estimators)
    electrons, counts = check_doses("electrons", electrons), check_doses("counts", counts)
    if electrons == counts == [None]:
        raise ValueError("dose_curve needs electrons, counts or both")
    for values, modalities, name in ((electrons, IMAGES, "electrons"), (counts, COUNTED, "counts")):
        if values != [None]:
            check_modalities(models, modalities, name)
    check_fitting(is_fitted, retrain=retrain, train_conditions=train_conditions)
    columns = sorted({column for model in models.values() for column in specimen_columns(model)})
    rendering = Rendering(crystals, columns, conditions, n_replicas, n_zones, random_state)
    for level in product((electrons[0], electrons[-1]), (counts[0], counts[-1])):
        rendering.at(*level)
    levels = [{"electrons": e, "counts": c} for e, c in product(electrons, counts)]
    sweep = prepare(
        models, is_fitted, rendering, levels[0], cv, n_jobs, chemistry_only, train_conditions, retrain
    )
    relevant = dose_dependence(sweep.models)
    return run_levels(
        sweep, levels, lambda level: rendering.specimens(**level), relevant, retrain=retrain, verbose=verbose
    ).astype({"electrons": float, "counts": float})


def check_fitting(is_fitted, **arguments):
    """Raise ValueError if an argument for unfitted models is given although the models are fitted."""
    given = [name for name, value in arguments.items() if value not in (None, False)]
    if is_fitted and given:
        raise ValueError(f"{given[0]} needs models that are not fitted; use sklearn.base.clone(pipeline)")


def prepare(models, is_fitted, rendering, level, cv, n_jobs, chemistry_only, train_conditions, retrain):
    """Return the `Sweep` of models and their references, fitted unless ``retrain``."""
    X = rendering.specimens(**level)
    y, groups = rendering.labels()
    known = add_kinds(models, is_fitted, X, chemistry_only)
    sweep = Sweep(known, is_fitted, y, groups, cv, n_jobs)
    if retrain or is_fitted:
        return sweep if retrain else sweep.fit(X)
    source = Rendering(
        rendering.crystals,
        rendering.columns,
        rendering.conditions if train_conditions is None else train_conditions,
        rendering.n_replicas,
        rendering.n_zones,
        rendering.seed + 1,
    )
    return sweep.fit(source.specimens())


def dose_dependence(models):
    """Return ``uses`` of `run_levels`: the doses that each model depends on."""
    modalities = {name: used_modalities(name, model) for name, model in models.items()}

    def uses(name, level):
        has_images, has_counts = (bool(modalities[name] & set(kinds)) for kinds in (IMAGES, COUNTED))
        return level["electrons"] if has_images else None, level["counts"] if has_counts else None

    return uses


def used_modalities(name, model):
    """Return the modalities that a model or a reference reads, as a set."""
    if name == "prior":
        return set()
    inner = getattr(model, "estimator", model)
    used = {modality_of(column) for column in specimen_columns(inner)}
    kind = getattr(model, "kind", None)
    return used if kind is None else {m for m in used if MODALITIES[m] == kind}


def paired_differences(table, a, b, metric="space_group_accuracy", *, x=None):
    """Return the difference of two models at each level of a curve, with its interval.

    Parameters
    ----------
    table : DataFrame
        From `dose_curve` or `acquisition_curve`.
    a, b : str
        Names of two models.
    metric : str, default="space_group_accuracy"
    x : str or None, default=None
        Column of the levels, such as ``"electrons"``; None takes the one that varies.

    Returns
    -------
    DataFrame
        One row for each level: its value, and ``difference``, ``standard_error``, ``pvalue``, ``low`` and
        ``high`` (95%) of `paired_test`. For fitted models, the folds are independent parts of the crystals.

    Raises
    ------
    ValueError
        If the table lacks a model or the metric, or several columns vary.

    Examples
    --------
    >>> import pandas as pd
    >>> from xtalsk.model_selection import paired_differences
    >>> table = pd.DataFrame(
    ...     {"model": ["a", "a", "b", "b"], "electrons": 100.0, "fold": [0, 1, 0, 1], "n_train": 200,
    ...      "n_test": 100, "accuracy": [0.7, 0.72, 0.6, 0.63]})
    >>> paired_differences(table, "a", "b", "accuracy", x="electrons")["difference"].round(3).tolist()
    [0.095]
    """
    x = x or varied_column(table)
    rows = []
    for value, part in table.groupby(x):
        result = paired_test(part, a, b, metric)
        low, high = result.confidence_interval
        rows.append((value, result.difference, result.standard_error, result.pvalue, low, high))
    return pd.DataFrame(rows, columns=[x, "difference", "standard_error", "pvalue", "low", "high"])


def varied_column(table):
    """Return the one column of levels that has several values; raise ValueError if there is not one."""
    columns = list(table.columns)
    between = columns[columns.index("model") + 1 : columns.index("fold")]
    varied = [c for c in between if pd.api.types.is_numeric_dtype(table[c]) and len(table[c].unique()) > 1]
    if len(varied) != 1:
        raise ValueError(
            f"expected one column of levels with several values, got {varied or between}; choose rows of the "
            "table, such as table[table['counts'] == 1000], or name x"
        )
    return varied[0]


def dose_to_reach(table, model, accuracy, metric="space_group_accuracy", *, x=None):
    """Return the dose at which a model reaches an accuracy.

    The mean of the folds is made monotone (isotonic regression), and interpolated in the logarithm of the
    dose.

    Parameters
    ----------
    table : DataFrame
        From `dose_curve`.
    model : str
    accuracy : float
    metric : str, default="space_group_accuracy"
    x : str or None, default=None
        Column of the doses; None takes the one that varies.

    Returns
    -------
    float
        Infinite if the model does not reach the accuracy; the lowest dose of the table if it has it there.

    Raises
    ------
    ValueError
        If the table lacks the model or the metric, or several columns vary.

    Examples
    --------
    >>> import pandas as pd
    >>> from xtalsk.model_selection import dose_to_reach
    >>> table = pd.DataFrame(
    ...     {"model": "a", "electrons": [1e2, 1e3, 1e4], "fold": 0, "accuracy": [0.2, 0.4, 0.8]})
    >>> round(dose_to_reach(table, "a", 0.6, "accuracy"))
    3162
    """
    x = x or varied_column(table)
    if metric not in table or model not in set(table["model"]):
        raise ValueError(f"the table has no {metric!r} of a model {model!r}")
    means = table[table["model"] == model].groupby(x)[metric].mean()
    doses = np.log(means.index.to_numpy(dtype=float))
    scores = IsotonicRegression().fit_transform(doses, means.to_numpy())
    above = np.flatnonzero(scores >= accuracy)
    if not len(above):
        return np.inf
    i = above[0]
    if i == 0:
        return float(np.exp(doses[0]))
    share = (accuracy - scores[i - 1]) / (scores[i] - scores[i - 1])
    return float(np.exp(doses[i - 1] + share * (doses[i] - doses[i - 1])))

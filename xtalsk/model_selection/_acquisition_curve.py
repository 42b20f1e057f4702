"""Accuracy against the share of a measurement that is recorded: pixels, positions, steps and range."""

from itertools import product

import numpy as np
from tqdm import tqdm

from xtalsk.columns import modality_of
from xtalsk.model_selection._dose_curve import check_fitting, prepare, used_modalities
from xtalsk.model_selection._rendering import IMAGES, Rendering, check_doses
from xtalsk.model_selection._sweep import (
    check_modalities,
    check_models,
    run_levels,
    specimen_columns,
    stack_levels,
)
from xtalsk.model_selection._thinning import (
    RECONSTRUCTIONS,
    SAMPLINGS,
    GrainMap,
    check_fractions,
    points_in_step,
    thin_images,
    thin_scan,
)
from xtalsk.utils import check_number, check_option

_USED_BY = {"pixels": IMAGES, "positions": IMAGES, "step": ("powder",), "two_theta_max": ("powder",)}
_FEWEST_POINTS = 2


def acquisition_curve(
    estimators,
    crystals,
    *,
    pixels=None,
    positions=None,
    step=None,
    two_theta_max=None,
    sampling=SAMPLINGS,
    reconstruction=None,
    grain_size=4.0,
    electrons=None,
    counts=None,
    conditions="typical",
    train_conditions=None,
    retrain=False,
    chemistry_only=False,
    cv=5,
    n_replicas=1,
    n_zones=None,
    random_state=None,
    n_jobs=None,
    verbose=0,
):
    """Score models on the same measurements, of which only a part was recorded.

    Give one of ``pixels``, ``positions``, ``step`` and ``two_theta_max``. The specimens are simulated
    once, and each level leaves out a part of them. What is recorded keeps its dose: half of the positions
    get half of the electrons, and a scan with twice the step takes half of the time.

    Parameters
    ----------
    estimators, crystals
        As in `dose_curve`.
    pixels : sequence of float or None, default=None
        Fractions of the pixels of each image, increasing, at most 1. The pixels are the same in all images.
    positions : sequence of float or None, default=None
        Fractions of the positions of a scan. The crystals of each fold are the grains of one map, and the
        score is the share of all positions with the right label. Positions that are not recorded get the
        probabilities of their neighbours. ``n_replicas`` patterns of each crystal take turns in its grain.
    step : sequence of float or None, default=None
        Steps of powder scans in degrees of 2θ, increasing: multiples of the step of the conditions.
    two_theta_max : sequence of float or None, default=None
        Ends of powder scans in degrees of 2θ, increasing.
    sampling : {"random", "lines"} or sequence of them, default=("random", "lines")
        Which pixels or positions are recorded: random ones, or every n-th line. Fractions of lines are 1/n.
    reconstruction : {None, "nearest", "linear", "biharmonic"}, default=None
        How the pixels or positions between the recorded ones are filled in: from the nearest one, by linear
        interpolation, or by the biharmonic equation (needs scikit-image). None leaves pixels NaN, which the
        features skip, but then the centre of rings is often not found; positions are filled from the nearest
        one.
    grain_size : float, default=4.0
        Mean edge of the grains in steps of the scan, for ``positions``.
    electrons, counts : float or None, default=None
        One dose for all specimens; None keeps that of ``conditions``.
    conditions, train_conditions, retrain, chemistry_only, cv
        As in `dose_curve`. With ``retrain``, models learn from specimens with the same part left out;
        ``positions`` do not need it.
    n_replicas, n_zones, random_state, n_jobs, verbose
        As in `dose_curve`.

    Returns
    -------
    DataFrame
        As from `dose_curve`, with the varied quantity and ``sampling`` as columns of the levels.

    Raises
    ------
    ValueError
        If not exactly one quantity is varied; if its values are out of range or order; if a model does not
        use the modality that is varied; if the models are not all fitted or all unfitted, or fitted although
        ``retrain`` or ``train_conditions`` are given. All this is checked before anything is simulated.
    ModuleNotFoundError
        If scikit-image is needed and not installed.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from xtalsk import PowderProfile, load_amcsd, make_baseline, make_features
    >>> from xtalsk import acquisition_curve
    >>> features = make_features(diffraction=("powder", PowderProfile(n_bins=64)))
    >>> trees = make_pipeline(features, make_baseline("extra_trees", n_estimators=20, random_state=0))
    >>> table = acquisition_curve(trees, load_amcsd()[:24], two_theta_max=[40, 90], cv=2, random_state=0)
    >>> table.groupby(["model", "two_theta_max"])["n_test"].sum().unstack().shape
    (2, 2)
    """
    models, is_fitted = check_models(estimators)
    name, values = _one_of(pixels=pixels, positions=positions, step=step, two_theta_max=two_theta_max)
    check_modalities(models, _USED_BY[name], name)
    check_fitting(is_fitted, retrain=retrain, train_conditions=train_conditions)
    doses = {"electrons": _one_dose("electrons", electrons), "counts": _one_dose("counts", counts)}
    columns = sorted({column for model in models.values() for column in specimen_columns(model)})
    rendering = Rendering(crystals, columns, conditions, n_replicas, n_zones, random_state)
    rendering.conditions = rendering.at(**doses)
    samplings = _check_samplings(sampling, reconstruction)
    check_number(grain_size, "grain_size", min_val=1)
    if name in ("pixels", "positions"):
        fractions = check_fractions(name, values, samplings)
        levels = [{name: f, "sampling": s} for f, s in product(fractions, samplings)]
    else:
        levels = [{name: v} for v in _check_scans(name, values, rendering.conditions["powder"])]
    retrain = retrain and name != "positions"
    sweep = prepare(models, is_fitted, rendering, {}, cv, n_jobs, chemistry_only, train_conditions, retrain)
    whole = rendering.specimens()
    if name == "positions":
        return _score_maps(sweep, whole, levels, reconstruction or "nearest", grain_size, rendering, verbose)
    return run_levels(
        sweep,
        levels,
        lambda level: _thin(whole, level, reconstruction, rendering.seed),
        _dependence(sweep.models, _USED_BY[name]),
        retrain=retrain,
        verbose=verbose,
    )


def _one_of(**quantities):
    """Return name and values of the one quantity that is not None."""
    given = {name: values for name, values in quantities.items() if values is not None}
    if len(given) != 1:
        raise ValueError(f"expected one of {list(quantities)}, got {list(given) or 'none'}")
    return given.popitem()


def _one_dose(name, dose):
    """Return a dose as float or None."""
    doses = check_doses(name, dose)
    if len(doses) > 1:
        raise ValueError(f"{name} must be one dose here, got {dose!r}; dose_curve takes several")
    return doses[0]


def _check_samplings(sampling, reconstruction):
    """Return the samplings as a list; raise ValueError if one, or the reconstruction, is unknown."""
    samplings = [sampling] if isinstance(sampling, str) else list(sampling)
    if not samplings:
        raise ValueError("sampling must name at least one way")
    for one in samplings:
        check_option("sampling", one, SAMPLINGS)
    if check_option("reconstruction", reconstruction, RECONSTRUCTIONS) == "biharmonic":
        import skimage  # noqa: F401 - fails now rather than after the simulation
    return samplings


def _check_scans(name, values, conditions):
    """Return steps or ends of powder scans as a list of floats."""
    values = check_doses(name, values)
    start, stop, step = conditions.two_theta
    if name == "step":
        for value in values:
            points_in_step(step, value)
        if values[-1] * _FEWEST_POINTS > stop - start:
            raise ValueError(
                f"step must leave {_FEWEST_POINTS} points from {start:g} to {stop:g}, got {values}"
            )
    elif values[0] < start + step * _FEWEST_POINTS or values[-1] > stop:
        raise ValueError(
            f"two_theta_max must be within the scan, {start:g} to {stop:g} degrees, got {values}"
        )
    return values


def _thin(X, level, reconstruction, seed):
    """Return specimens of which only the part of a level is recorded."""
    level = dict(level)
    fraction, sampling = level.pop("pixels", None), level.pop("sampling", None)
    thinned = {}
    for column in X.columns:
        if fraction is not None and modality_of(column) in IMAGES and X[column].notna().any():
            thinned[column] = thin_images(X[column], fraction, sampling, reconstruction, seed)
        elif level and modality_of(column) == "powder":
            thinned[column] = [thin_scan(cell, **level) for cell in X[column]]
    return X.assign(**thinned)


def _dependence(models, modalities):
    """Return ``uses`` of `run_levels`: models without the modalities do not depend on the level."""
    depends = {name: bool(used_modalities(name, model) & set(modalities)) for name, model in models.items()}
    return lambda name, level: tuple(level.values()) if depends[name] else ()


def _score_maps(sweep, X, levels, reconstruction, grain_size, rendering, verbose):
    """Return the scores of maps in which a part of the positions is recorded, see `acquisition_curve`."""
    crystal = np.arange(len(X)) // rendering.n_replicas
    maps = [
        GrainMap(crystal[test], grain_size, rendering.seed + fold)
        for fold, (_, test) in enumerate(sweep.splits)
    ]
    predicted = sweep.predict(X, list(sweep.models))

    def tables(level):
        fraction, sampling = level["positions"], level["sampling"]
        return sweep.score(
            predicted, lambda fold, proba, y: maps[fold].fill(proba, y, fraction, sampling, reconstruction)
        )

    return stack_levels([(level, tables(level)) for level in tqdm(levels, disable=not verbose, unit="level")])

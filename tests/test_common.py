"""Tests that every public estimator of the package must pass.

The tests discover the estimators. Each estimator needs an entry below: constructor arguments with which it is
fast, and, if it transforms a column of specimens, examples of its cells.
"""

import gc
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from xtalsk.io import DiffractionImage, Profile, Spectrum
from xtalsk.library import LibraryMatch
from xtalsk.persistence import load, save
from xtalsk.simulation import EDSConditions, EELSConditions, simulate_eds, simulate_eels
from xtalsk.utils import BrokenCellWarning, CellTransformer, _cell_transformer
from xtalsk.utils.discovery import all_estimators

ESTIMATORS = dict(all_estimators())
TRANSFORMERS = sorted(name for name, cls in ESTIMATORS.items() if issubclass(cls, CellTransformer))

# Constructor arguments with which the checks are fast.
ARGUMENTS = {
    "CompoundBlend": {"estimator": DecisionTreeClassifier(random_state=0)},
    "CompositionStatistics": {"presets": ("magpie", "ionic")},
    "ConformalSets": {"estimator": GaussianNB()},
    "EDSComposition": {},
    "EELSComposition": {},
    "ElementFractions": {},
    "ElementPresence": {},
    "FusionClassifier": {
        "max_epochs": 20,
        "batch_size": 16,
        "hidden_size": 16,
        "embedding_size": 8,
        "device": "cpu",
        "random_state": 0,
    },
    "LibraryBlend": {
        "classifier": DecisionTreeClassifier(random_state=0),
        "library": LibraryMatch(baseline=None, power=1, smoothing=0, max_shift=0),
    },
    "LibraryMatch": {"baseline": None, "power": 1, "smoothing": 0, "max_shift": 0},
    "IndexingScores": {"q_range": (0.05, 1.15)},
    "PeakHistogram": {},
    "PeakList": {"q_range": (0.05, 1.15)},
    "PolarImage": {"n_radii": 12, "n_frequencies": 8},
    "PowderProfile": {"n_bins": 64},
    "PrototypeBlend": {"classifier": DecisionTreeClassifier(random_state=0)},
    "PrototypeMatch": {},
    "RadialProfile": {"n_bins": 64},
    "RankedElements": {"n_ranks": 3},
    "SpecimenColumns": {},
    "SpectrumBins": {"n_bins": 64},
    "SpotLattice": {},
    "SpotProfile": {"n_bins": 64},
    "SymmetryCalibration": {"estimator": GaussianNB()},
}

# Checks of scikit-learn that an estimator fails, with the reason.
EXPECTED_FAILED_CHECKS = {
    "FusionClassifier": {
        "check_sample_weight_equivalence_on_dense_data": (
            "a row of weight two is in one mini-batch, two equal rows are in different ones; scikit-learn "
            "exempts its own SGDClassifier and HistGradientBoostingClassifier, too"
        ),
    },
}


def make_image(seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    q = np.hypot(y - 31 - rng.uniform(), x - 31 - rng.uniform()) * 0.04
    rings = sum(np.exp(-(((q - q0) / 0.03) ** 2)) for q0 in rng.uniform(0.3, 1.1, 3))
    return rng.poisson(200 * rings + 500 * np.exp(-q / 0.1)).astype(float)


def make_spots(seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64] - rng.uniform(30, 33, (2, 1, 1))
    h, k = np.mgrid[-3:4, -3:4].reshape(2, -1, 1, 1)
    a, b = rng.uniform(7, 9), rng.uniform(9, 11)
    spots = np.exp(-((y - a * h) ** 2 + (x - b * k - 2 * h) ** 2) / 3) * rng.uniform(0.2, 1, (49, 1, 1))
    return rng.poisson(200 * spots.sum(0) + 50 * np.exp(-np.hypot(y, x) / 15)).astype(float)


def make_profile(seed):
    rng = np.random.default_rng(seed)
    two_theta = np.linspace(10, 90, 400)
    lines = sum(np.exp(-(((two_theta - t) / 0.3) ** 2)) for t in rng.uniform(15, 80, 5))
    return Profile(rng.poisson(500 * lines + 20), two_theta=two_theta, wavelength=1.5406)


def make_spectrum(seed):
    rng = np.random.default_rng(seed)
    energy = np.arange(-100, 15000, 10.0)
    lines = sum(np.exp(-(((energy - e) / 50) ** 2)) for e in rng.uniform(500, 8000, 5))
    return Spectrum(rng.poisson(500 * lines + 20), energy=energy, beam_energy=15)


def make_xrays(formula):
    conditions = EDSConditions(energy=(0, 9990, 10), counts=2e4, beam_energy=15, window=1.0, copper=0.0)
    counts = simulate_eds([formula], conditions=conditions, random_state=0)[0]
    return Spectrum(counts, conditions.axis(), beam_energy=15, takeoff_angle=35)


def make_losses(formula):
    beam = {"beam_energy": 200, "convergence_angle": 10, "collection_angle": 20}
    conditions = EELSConditions(energy=(300, 900, 1.0), jump_ratio=1.0, counts=1e9)
    counts = simulate_eels([formula], conditions=conditions, random_state=0)[0]
    return Spectrum(counts, conditions.axis(), **beam)


COMPOSITIONS = ["SiO2", {"Ca": 1, "C": 1, "O": 3}, "Fe0.94O", None, "NaCl", float("nan"), "Ca(OH)2"]
IMAGES = [DiffractionImage(make_image(s), pixel_size=0.04) for s in range(3)] + [None]
IMAGES += [DiffractionImage(make_image(3), pixel_size=0.04, center=(31.5, 31.5)), float("nan")]
SPOTS = [DiffractionImage(make_spots(s), pixel_size=0.02) for s in range(3)] + [None]
SPOTS += [DiffractionImage(make_spots(3), pixel_size=0.02, center=(31.5, 31.5)), float("nan")]
PROFILES = [make_profile(s) for s in range(3)] + [None, make_profile(3), float("nan"), make_profile(4)]
SPECTRA = [make_spectrum(s) for s in range(3)] + [None, make_spectrum(3), float("nan"), make_spectrum(4)]
XRAYS = [make_xrays(formula) for formula in ("TiO2", "FeS2", "CaF2", "NaCl", "SiO2")]
XRAYS = [*XRAYS[:2], None, XRAYS[2], float("nan"), *XRAYS[3:]]
LOSSES = [make_losses(formula) for formula in ("TiO2", "Fe2O3", "CaF2", "Cr2O3")]
LOSSES = [*LOSSES[:2], None, LOSSES[2], float("nan"), LOSSES[3]]

# Valid cells of each transformer, some of them missing, and one invalid cell.
CELLS = {
    "CompositionStatistics": (COMPOSITIONS, "SiOx"),
    "EDSComposition": (XRAYS, "no/such/file.msa"),
    "EELSComposition": (LOSSES, "no/such/file.msa"),
    "ElementFractions": (COMPOSITIONS, "SiOx"),
    "ElementPresence": (COMPOSITIONS, {"Si": -1}),
    "PeakHistogram": ([*PROFILES, *IMAGES], "no/such/file.xy"),
    "PolarImage": (SPOTS, np.ones((64, 64))),
    "PowderProfile": (PROFILES, "no/such/file.xy"),
    "RadialProfile": (IMAGES, np.ones((64, 64))),
    "RankedElements": (COMPOSITIONS, 14),
    "SpectrumBins": (SPECTRA, "no/such/file.msa"),
    "SpotLattice": (SPOTS, np.ones((64, 64))),
    "SpotProfile": (SPOTS, np.ones((64, 64))),
}


def make_estimator(name):
    if name not in ARGUMENTS:
        pytest.fail(f"tests/test_common.py has no entry in ARGUMENTS for {name}; add one")
    return ESTIMATORS[name](**ARGUMENTS[name])


def make_cells(name):
    if name not in CELLS:
        pytest.fail(f"tests/test_common.py has no entry in CELLS for {name}; add one")
    cells, broken = CELLS[name]
    column = pd.Series(dict(enumerate(cells)), dtype=object, name="measured")
    return column.set_axis([f"specimen {i}" for i in range(len(cells))]), broken


@pytest.fixture(params=TRANSFORMERS)
def case(request):
    """Return a transformer, a column of valid cells, and an invalid cell."""
    return make_estimator(request.param), *make_cells(request.param)


def assert_same(a, b):
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def assert_close(a, b):
    """Compare features that were computed in different batches."""
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_has_an_entry(name):
    assert make_estimator(name).get_params() is not None
    if name in TRANSFORMERS:
        assert len(make_cells(name)[0]) > 3


def test_every_entry_belongs_to_an_estimator():
    unknown = (set(ARGUMENTS) | set(CELLS) | set(EXPECTED_FAILED_CHECKS)) - set(ESTIMATORS)
    assert not unknown


@parametrize_with_checks(
    [ESTIMATORS[name](**ARGUMENTS[name]) for name in ESTIMATORS if name in ARGUMENTS],
    expected_failed_checks=lambda estimator: EXPECTED_FAILED_CHECKS.get(type(estimator).__name__, {}),
)
def test_sklearn_checks(estimator, check):
    check(estimator)


def test_output_is_float32_with_named_columns(case):
    transformer, column, _ = case
    out = transformer.fit_transform(column)
    names = transformer.get_feature_names_out()
    assert out.dtype == np.float32
    assert out.shape == (len(column), len(names))
    assert len(set(names)) == len(names)
    assert pd.Series(names).str.fullmatch("[a-z0-9]+(_[a-z0-9]+)*").all()
    assert not np.isinf(out).any()


def test_missing_rows_are_nan_and_others_are_not(case):
    transformer, column, _ = case
    out = transformer.fit_transform(column)
    assert_same(np.isnan(out).all(axis=1), column.isna())
    assert np.isnan(transformer.transform([None, None])).all()


def test_rows_do_not_depend_on_each_other(case):
    transformer, column, _ = case
    out = transformer.fit_transform(column)
    assert_close(transformer.transform(column[::-1])[::-1], out)
    assert_close(transformer.transform(column[1:4]), out[1:4])
    assert_close(np.concatenate([transformer.transform([cell]) for cell in column]), out)
    assert_close(clone(transformer).fit(column[:1]).transform(column), out)


def test_all_forms_of_columns_are_equal(case):
    transformer, column, _ = case
    out = transformer.fit_transform(column)
    array = column.to_numpy(dtype=object)
    for X in (list(column), tuple(column), array, array[:, np.newaxis], column.to_frame()):
        assert_same(transformer.fit(X).transform(X), out)
        assert transformer.n_features_in_ == 1


def test_pandas_output(case):
    transformer, column, _ = case
    out = transformer.fit_transform(column)
    framed = clone(transformer).set_output(transform="pandas").fit(column).transform(column)
    assert framed.index.tolist() == column.index.tolist()
    assert framed.columns.tolist() == transformer.get_feature_names_out().tolist()
    assert (framed.dtypes == np.float32).all()
    assert_same(framed, out)


def test_input_is_not_changed(case):
    transformer, column, _ = case
    before = pickle.dumps(list(column))
    params = transformer.get_params()
    transformer.fit_transform(column)
    assert pickle.dumps(list(column)) == before
    assert transformer.get_params() == params


def test_clone_params_and_pickle(case):
    transformer, column, _ = case
    copy = clone(transformer)
    assert copy is not transformer
    assert copy.get_params() == transformer.get_params()
    assert clone(transformer).set_params(on_error="warn").on_error == "warn"
    out = transformer.fit_transform(column)
    assert_same(pickle.loads(pickle.dumps(transformer)).transform(column), out)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_files_give_the_estimator_back(name, tmp_path):
    estimator, y = make_estimator(name), None
    if name in TRANSFORMERS:
        X, _ = make_cells(name)
    elif not estimator.__sklearn_tags__().input_tags.two_d_array:
        X = pd.DataFrame({"formula": ["NaCl", "SiO2", None]})
    else:
        X = np.random.default_rng(0).gamma(1.0, size=(48, 64)).astype(np.float32)
        y = np.repeat([2, 14, 62, 225], 12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # such as that PrototypeMatch has no composition
        estimator.fit(X, y)
    save(estimator, tmp_path / "file")
    loaded = load(tmp_path / "file")
    for method in ("transform", "predict_proba"):
        if hasattr(estimator, method):
            assert_same(getattr(loaded, method)(X), getattr(estimator, method)(X))
    assert vars(loaded).keys() >= vars(estimator).keys()


def test_jobs_do_not_change_the_result(case):
    transformer, column, _ = case
    if "n_jobs" not in transformer.get_params():
        pytest.skip("does not run in parallel")
    out = transformer.fit_transform(column)
    assert_close(clone(transformer).set_params(n_jobs=2).fit_transform(column), out)


def test_not_fitted(case):
    transformer, column, _ = case
    with pytest.raises(NotFittedError):
        transformer.transform(column)
    with pytest.raises(NotFittedError):
        transformer.get_feature_names_out()


def test_another_column_is_an_error(case):
    transformer, column, _ = case
    transformer.fit(column)
    assert transformer.feature_names_in_.tolist() == ["measured"]
    with pytest.raises(ValueError, match=r"'measured'.*'other'"):
        transformer.transform(column.rename("other"))
    transformer.fit(list(column))
    assert not hasattr(transformer, "feature_names_in_")


def test_wrong_shapes(case):
    transformer, column, _ = case
    for X in ([], "SiO2", 3, column.to_frame().assign(second=column), np.array(None, dtype=object)):
        with pytest.raises(ValueError, match=r"expected|fitted"):
            transformer.fit(X)


def test_errors_name_the_broken_cell(case):
    transformer, column, broken = case
    column = column.copy()
    column.iloc[2] = broken
    with pytest.raises(ValueError, match=rf"{type(transformer).__name__}: row 2 of column measured: \S+"):
        transformer.fit(column).transform(column)


def test_broken_cells_can_count_as_missing(case):
    transformer, column, broken = case
    out = transformer.fit_transform(column)
    column = column.copy()
    column.iloc[2] = broken
    transformer.set_params(on_error="warn").fit(column)
    with pytest.warns(BrokenCellWarning, match="1 of .* specimens count as not measured:\nrow 2 of column"):
        with_missing = transformer.transform(column)
    assert np.isnan(with_missing[2]).all()
    assert_close(np.delete(with_missing, 2, axis=0), np.delete(out, 2, axis=0))
    with pytest.raises(ValueError, match="on_error must be one of"):
        transformer.set_params(on_error="ignore").fit(column)


class MeanIntensity(CellTransformer):
    """Mean of a profile times a factor; counts the cells that it computes."""

    computed = 0

    def __init__(self, factor=1.0, *, on_error="raise", cache=True):
        self.factor = factor
        self.on_error = on_error
        self.cache = cache

    def _check_cell(self, cell):
        return cell

    def _features(self, cells):
        MeanIntensity.computed += len(cells)
        return np.array([[self.factor * cell.intensity.mean()] for cell in cells])

    def _feature_names(self):
        return ["mean"]


def test_the_cache_keeps_four_parameter_sets_of_each_cell(monkeypatch):
    monkeypatch.setattr(MeanIntensity, "computed", 0)
    profiles = [make_profile(seed) for seed in range(2)]
    for factor, n_computed in [(1, 2), (2, 4), (3, 6), (4, 8), (1, 8), (5, 10), (2, 10), (1, 12)]:
        out = MeanIntensity(factor).fit_transform([*profiles, None])
        expected = [factor * profile.intensity.mean() for profile in profiles]
        np.testing.assert_allclose(out[:2, 0], expected, rtol=1e-6)
        assert MeanIntensity.computed == n_computed
    assert {len(_cell_transformer._cache[profile]) for profile in profiles} == {4}
    n_cells = len(_cell_transformer._cache)
    del profiles
    gc.collect()
    assert len(_cell_transformer._cache) == n_cells - 2

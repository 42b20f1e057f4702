import pickle
import warnings

import numpy as np
import pytest
from matminer.featurizers import composition as matminer
from pymatgen.core import Composition
from sklearn.base import clone

from xtalsk.composition import CompositionStatistics, ElementFractions, _statistics

CELLS = ["SiO2", "Fe0.94O", "Ca2Mg4.5Fe0.5Si8O24H2", "Cf2O3", "HeNe", "Pu", "XeF6", "Fe0.5Mn0.5", "LaRa3"]
PRESETS = ["magpie", "deml", "matminer", "matscholar_el", "megnet_el"]


def from_matminer(featurizer, cells=CELLS):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.array([featurizer.featurize(Composition(c)) for c in cells], dtype=np.float32)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_agree_with_matminer(preset):
    cells = CELLS if preset != "deml" else [c for c in CELLS if c not in ("Cf2O3", "LaRa3", "Pu")]
    featurizer = matminer.ElementProperty.from_preset(preset, impute_nan=False)
    out = CompositionStatistics(presets=(preset,)).fit_transform(cells)
    np.testing.assert_allclose(out, from_matminer(featurizer, cells), rtol=2e-5, atol=2e-5)


def test_elements_without_a_property_are_nan():
    statistics = CompositionStatistics(("deml", "magpie", "ionic")).set_output(transform="pandas")
    out = statistics.fit_transform(["Cf2O3", "HeNe", "SiO2"])
    assert np.isnan(out.loc[0, "deml_mean_first_ioniz"])
    assert np.isnan(out.loc[1, ["magpie_mean_electronegativity", "ionic_max"]]).all()
    assert np.isfinite(out.loc[2]).all()


@pytest.mark.parametrize(
    ("preset", "featurizer", "columns"),
    [
        ("stoichiometry", matminer.Stoichiometry(), slice(None)),
        ("valence", matminer.ValenceOrbital(impute_nan=False), slice(None)),
        ("ionic", matminer.IonProperty(impute_nan=False, fast=True), slice(1, 3)),
    ],
)
def test_other_presets_agree_with_matminer(preset, featurizer, columns):
    cells = [c for c in CELLS if c != "HeNe"]
    out = CompositionStatistics(presets=(preset,)).fit_transform(cells)
    np.testing.assert_allclose(out, from_matminer(featurizer, cells)[:, columns], rtol=1e-5, atol=1e-6)


def test_matminer_featurizers_are_called_once_for_each_composition(monkeypatch):
    calls = []

    def count(self, comp):
        calls.append(comp.reduced_formula)
        return featurize(self, comp)

    featurize = matminer.TMetalFraction.featurize
    monkeypatch.setattr(matminer.TMetalFraction, "featurize", count)
    monkeypatch.setattr(_statistics, "_cache", {})
    cells = ["Fe2O3", "FeO", "Fe4O6", None, {"Fe": 0.4, "O": 0.6}]
    statistics = CompositionStatistics(presets=("stoichiometry", matminer.TMetalFraction()))
    out = statistics.fit_transform(cells)
    np.testing.assert_allclose(out[:, -1], [0.4, 0.5, 0.4, np.nan, 0.4], rtol=1e-6)
    again = clone(statistics).fit_transform(cells)
    np.testing.assert_array_equal(again, out)
    assert calls == ["Fe2O3", "FeO"]


def test_the_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(_statistics, "_cache", {})
    monkeypatch.setattr(_statistics, "MAX_CACHED_COMPOSITIONS", 3)
    cells = ["Fe2O3", "FeO", "NaCl", "MnO", "NiO"]
    statistics = CompositionStatistics(presets=(matminer.TMetalFraction(),))
    out = statistics.fit_transform(cells)
    np.testing.assert_allclose(out[:, 0], [0.4, 0.5, 0, 0.5, 0.5], rtol=1e-6)
    assert len(_statistics._cache) == 3


def test_matminer_featurizers_in_parallel():
    presets = (matminer.TMetalFraction(), matminer.Stoichiometry())
    serial = CompositionStatistics(presets).fit_transform(CELLS)
    _statistics._cache.clear()
    np.testing.assert_array_equal(CompositionStatistics(presets, n_jobs=2).fit_transform(CELLS), serial)


def test_a_failing_featurizer_names_the_composition():
    statistics = CompositionStatistics(presets=(matminer.IonProperty(),)).fit(CELLS)
    with pytest.raises(ValueError, match=r"IonProperty failed on O0\.515"):
        statistics.transform(["NaCl", "Fe0.9412345O"])


@pytest.mark.parametrize("presets", ["magpie", (), ("magpy",), (3,), ("magpie", "magpie")])
def test_presets_are_checked(presets):
    with pytest.raises(ValueError, match="preset"):
        CompositionStatistics(presets=presets).fit(CELLS)


def test_a_table_of_measured_fractions():
    rng = np.random.default_rng(0)
    table = ElementFractions().fit_transform(CELLS) * rng.lognormal(0, 0.05, (len(CELLS), 98))
    statistics = CompositionStatistics().fit(table)
    out = statistics.transform(table)
    assert out.shape == (len(CELLS), 132 + 6 + 8 + 2)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(statistics)).transform(table), out)
    np.testing.assert_allclose(out[:, 3], table @ np.arange(1, 99) / table.sum(axis=1), rtol=1e-5)

"""Spectra on one grid: counts are conserved, lines stay where they are, and the network knows the axis."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from xtalsk.columns import find_blocks
from xtalsk.compose import make_features
from xtalsk.composition import ElementPresence
from xtalsk.io import Spectrum, read_spectrum
from xtalsk.neural import FusionClassifier
from xtalsk.neural._augment import check_augment, limit_stretch
from xtalsk.neural._disturbances import stretch
from xtalsk.spectra import SpectrumBins
from xtalsk.spectra._functional import bin_spectra, energy_edges, rebin_counts


def tensors(energy, counts):
    return (torch.as_tensor(np.atleast_2d(x), dtype=torch.float64) for x in (energy, counts))


def rebin(energy, counts, edges):
    return rebin_counts(*tensors(energy, counts), torch.as_tensor(edges, dtype=torch.float64))[0].numpy()


def line(center, width=50.0, energy=None, height=1000.0, level=20.0):
    energy = np.arange(-100, 12000, 10.0) if energy is None else energy
    return Spectrum(level + height * np.exp(-(((energy - center) / width) ** 2)), energy=energy)


@pytest.mark.parametrize("width", [0.7, 3.0, 10.0, 37.3, 400.0])
def test_counts_are_conserved(width):
    rng = np.random.default_rng(0)
    energy, counts = 5 + 10.0 * np.arange(200), rng.poisson(30, 200).astype(float)
    edges = np.linspace(0, 2000, round(2000 / width) + 1)
    bins = rebin(energy, counts, edges)
    assert bins.sum() == pytest.approx(counts.sum())
    below = np.interp(edges, np.arange(0, 2001, 10), np.append(0, counts.cumsum()))
    np.testing.assert_allclose(bins, np.diff(below), atol=1e-9)


def test_equal_bins_give_the_counts_back():
    counts = np.array([3.0, 0, 7, -2, 5.5])
    np.testing.assert_allclose(rebin(np.arange(5.0), counts, np.arange(-0.5, 5)), counts)
    np.testing.assert_allclose(
        rebin(np.arange(5.0), counts, np.arange(-0.5, 4.6, 0.25)), counts.repeat(4) / 4
    )
    np.testing.assert_allclose(rebin(np.arange(4.0), counts[:4], [-0.5, 1.5, 3.5]), [3, 5])


def test_channels_of_unequal_width():
    energy = np.array([0.0, 1.0, 3.0, 7.0])  # ends at -0.5, 0.5, 2, 5, 9
    np.testing.assert_allclose(rebin(energy, [1, 3, 6, 8], [-0.5, 0.5, 2, 5, 9]), [1, 3, 6, 8])
    np.testing.assert_allclose(rebin(energy, [1, 3, 6, 8], [0.5, 3.5, 7]), [6, 7])


def test_channels_that_were_not_measured():
    counts = np.full(100, 4.0)
    counts[40:60] = np.nan
    bins = rebin(np.arange(100.0), counts, np.arange(-10.5, 121, 5))
    covered = rebin(np.arange(100.0), counts, np.arange(-0.5, 100, 5))
    assert np.isnan(bins[[0, 1, 10, 11, 12, 13, 22, 23]]).all()
    np.testing.assert_allclose(covered[~np.isnan(covered)], 20)
    assert np.isnan(covered).sum() == 4
    partly = rebin(np.arange(100.0), counts, [36.5, 41.5, 46.5])  # three channels of five, then none
    np.testing.assert_allclose(partly, [20, np.nan])


@pytest.mark.parametrize("spacing", ["linear", "sqrt"])
@pytest.mark.parametrize("background", [None, "snip"])
def test_lines_stay_where_they_are(spacing, background):
    bins = SpectrumBins(400, (200, 10200), spacing=spacing, background=background).fit([None])
    for energy in (np.arange(-500, 12000, 5.0), np.arange(3.2, 20000, 10.01), np.arange(0, 11000, 2.5)):
        for center in (525, 1740, 6400, 9000):
            features = bins.transform([line(center, energy=energy)])[0]
            width = np.gradient(bins.energy_)[features.argmax()]
            assert bins.energy_[features.argmax()] == pytest.approx(center, abs=width)


def test_calibrations_and_doses_do_not_matter():
    bins = SpectrumBins(256, scale="linear").fit([None])
    fine, coarse = (line(3000, energy=np.arange(-477.8, 20000, step)) for step in (5.004, 10.01))
    a, b, c = bins.transform([fine, coarse, Spectrum(fine.counts * 7, energy=fine.energy)])
    np.testing.assert_allclose(a, b, atol=0.02 * a.max())
    np.testing.assert_allclose(a, c, rtol=1e-5)
    assert a.mean() == pytest.approx(1, abs=1e-5)


def test_scales_and_background():
    spectrum = line(3000, level=200)
    linear, root, log = (
        SpectrumBins(128, scale=scale).fit_transform([spectrum])[0] for scale in ("linear", "sqrt", "log")
    )
    np.testing.assert_allclose(root, np.sqrt(linear), rtol=1e-5)
    np.testing.assert_allclose(log, np.log1p(linear), rtol=1e-5)
    net = SpectrumBins(128, background="snip", scale="linear").fit_transform([spectrum])[0]
    assert np.median(net) < 0.02 < np.median(linear)
    dark = Spectrum(spectrum.counts - 230, energy=spectrum.energy)
    assert (SpectrumBins(128).fit_transform([dark]) >= 0).all()


def test_dead_spectra_and_uncovered_bins():
    energy = np.arange(-100, 5000, 10.0)
    out = SpectrumBins(100, (0, 10000)).fit_transform([Spectrum(0 * energy, energy=energy)])[0]
    assert (out[:49] == 0).all()
    assert np.isnan(out[50:]).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_bins": 4}, "n_bins"),
        ({"energy_range": (5, 5)}, "energy_range must hold two increasing"),
        ({"energy_range": (-100, 5000)}, "non-negative"),
        ({"energy_range": 5}, "energy_range must be two numbers in eV"),
        ({"spacing": "log"}, "spacing must be one of"),
        ({"background": "linear"}, "background must be one of"),
        ({"background_width": 0}, "background_width"),
        ({"scale": "cube"}, "scale must be one of"),
    ],
)
def test_bad_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        SpectrumBins(**params).fit([None])


def test_cells_that_cannot_be_used(tmp_path):
    bins = SpectrumBins().fit([None])
    with pytest.raises(ValueError, match=r"row 0 .*covers 0 to 110 eV, less than two bins of energy_range"):
        bins.transform([Spectrum(np.ones(12), energy=10.0 * np.arange(12))])
    with pytest.raises(ValueError, match=r"row 1 .*expected a Spectrum.* give Spectrum\(counts, energy"):
        bins.transform([None, np.ones(2048)])
    np.savez(tmp_path / "a.npz", counts=line(3000).counts, energy=line(3000).energy)
    np.testing.assert_array_equal(bins.transform([tmp_path / "a.npz"]), bins.transform([line(3000)]))


def test_hyperspy_signals_as_cells():
    exspy = pytest.importorskip("exspy")
    signal = exspy.data.EDS_SEM_TM002()
    table = pd.DataFrame({"eds": pd.Series([signal, None, line(3000)], dtype=object)})
    out = make_features(eds=("eds", SpectrumBins(128))).fit_transform(table)
    assert out.shape == (3, 128)
    assert np.isnan(out).all(axis=1).tolist() == [False, True, False]


def test_the_function_is_what_the_transformer_uses():
    spectra = [line(c) for c in (1000, 3000)]
    bins = SpectrumBins(128, spacing="sqrt").fit([None])
    energy, counts = tensors([s.energy for s in spectra], [s.counts for s in spectra])
    edges = energy_edges(128, (100, 10240), "sqrt", energy)
    expected = bin_spectra(energy, counts, edges).float().numpy()
    np.testing.assert_array_equal(bins.transform(spectra), expected)
    assert (edges[0].item(), edges[-1].item()) == pytest.approx((100, 10240))
    widths = edges.diff()
    assert (widths[-1] / widths[0]).item() == pytest.approx(np.sqrt(11240 / 1100), rel=0.02)


def test_names_count_from_the_zero_that_a_stretch_keeps():
    names = SpectrumBins(100, (1000, 2000)).fit([None]).get_feature_names_out()
    assert (names[0], names[-1]) == ("e_0100", "e_0199")
    names = SpectrumBins(64, spacing="sqrt").fit([None]).get_feature_names_out()
    first = np.sqrt(1100) / (np.sqrt(11240) - np.sqrt(1100)) * 64
    assert names[0] == f"e_{round(first):04d}"


def test_a_block_of_energies_is_hardly_stretched():
    names = [f"eds__e_{i:04d}" for i in range(10, 110)] + [f"rings__q_{i:04d}" for i in range(100)]
    eds, rings = find_blocks(names, 200)
    assert (eds.layout, eds.first, eds.axis) == ("profile", 10, "e")
    assert (rings.layout, rings.first, rings.axis) == ("profile", 0, "q")
    amounts = check_augment(1.0)
    assert limit_stretch(amounts, rings.axis) == amounts
    assert limit_stretch(amounts, eds.axis) == {**amounts, "stretch": 0.002}
    assert limit_stretch({**amounts, "stretch": 0.0}, eds.axis)["stretch"] == 0


def test_a_stretch_is_a_change_of_the_gain():
    bins = SpectrumBins(500, (100, 10100), scale="linear").fit([None])
    first = int(bins.get_feature_names_out()[0][2:])
    x = torch.from_numpy(bins.transform([line(6400, level=0)]))
    moved, _ = stretch(x, torch.ones_like(x, dtype=torch.bool), torch.tensor([[1 / 1.02]]), first)
    centers = [(v * bins.energy_).sum() / v.sum() for v in (x[0].numpy(), moved[0].numpy())]
    assert centers == pytest.approx([6400, 1.02 * 6400], abs=1)


FORMULAS = ["SiO2", "CaF2", "FeO", "Al2O3"]
CENTERS = [1740, 3690, 6400, 1487]


@pytest.fixture(scope="module")
def specimens():
    """Spectra with one line that tells the class, and formulas of some."""
    rng = np.random.default_rng(0)
    y = np.arange(48) % 4
    spectra = [line(CENTERS[k] + rng.normal(0, 3), height=rng.uniform(300, 900)) for k in y]
    formulas = [FORMULAS[k] if i % 3 else None for i, k in enumerate(y)]
    return pd.DataFrame({"eds": pd.Series(spectra, dtype=object), "formula": formulas}), y


def small(max_epochs=12, **params):
    return FusionClassifier(
        max_epochs=max_epochs,
        batch_size=16,
        hidden_size=16,
        embedding_size=8,
        n_filters=8,
        device="cpu",
        random_state=0,
        **params,
    )


def test_the_network_gives_spectra_a_branch(specimens):
    X, y = specimens
    features = make_features(eds=("eds", SpectrumBins(128)), formula=("formula", ElementPresence()))
    model = make_pipeline(features, small(max_epochs=24)).fit(X, y)
    assert model.score(X, y) > 0.9
    module = model[-1].net_.module_
    branches = [type(branch[0]).__name__ for branch in module.branches]
    assert branches == ["Conv1dBranch", "ElementsBranch"]
    assert module.branches[0][0].augment.stretch == 0.002
    assert module.branches[0][0].augment.first == round(100 * 128 / 10140)


def test_grid_search_over_the_bins(specimens):
    X, y = specimens
    X = X.assign(formula="SiO2")  # tells nothing
    features = make_features(eds=("eds", "drop"), formula=("formula", ElementPresence()))
    grid = {"columntransformer__eds": ["drop", SpectrumBins(256), SpectrumBins(64, spacing="sqrt")]}
    search = GridSearchCV(make_pipeline(features, small()), grid, cv=2).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_["columntransformer__eds"] != "drop"


def test_measured_spectra(measured_data):
    bins = SpectrumBins().fit([None])
    for name, center in {"k309/Fe std": 6400, "k412/Fe std": 6400, "example2/Si std": 1740}.items():
        path = measured_data / "eds" / f"{name}.msa"
        features = bins.transform([path])[0]
        assert not np.isnan(features).any()
        high = bins.energy_ > 1200
        assert bins.energy_[high][features[high].argmax()] == pytest.approx(center, abs=20)
        np.testing.assert_array_equal(bins.transform([read_spectrum(path)])[0], features)

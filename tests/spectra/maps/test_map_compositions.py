import warnings

import numpy as np
import pytest

from xtalsk.io import Spectrum
from xtalsk.simulation import EDSConditions, simulate_eds
from xtalsk.spectra import EDSComposition, SpectrumBins, map_compositions
from xtalsk.utils import BrokenCellWarning
from xtalsk.utils._formula import SYMBOLS

ANALYSIS = EDSComposition(thickness_nm=50, takeoff_angle=20)


def map_of(scene, counts=None, analysis=ANALYSIS, **options):
    options = {"energy": scene.energy, "beam_energy": 200.0, "random_state": 0} | options
    return map_compositions(analysis, scene.counts if counts is None else counts, **options)


@pytest.fixture(scope="module")
def compositions(scene):
    return map_of(scene)


def true_fractions(scene, compositions):
    return scene.true[:, [SYMBOLS.index(symbol) for symbol in compositions.elements]]


def test_rare_phase_is_found_in_its_region(scene, compositions):
    assert compositions.elements == ["O", "Mg", "Si", "Ti", "Fe", "Zr"]
    places = compositions.evidence.groupby("element").found_in.agg(set)
    assert "whole map" not in places["Zr"]
    assert "whole map" in places["Fe"]
    rare = compositions.regions[scene.phase == 2]
    assert len(np.unique(rare)) == 1
    assert (compositions.regions == rare[0]).sum() == (scene.phase == 2).sum()


def test_fractions_have_honest_uncertainties(scene, compositions):
    true = true_fractions(scene, compositions)
    within = []
    for k in range(3):
        own = compositions.fractions[scene.phase == k]
        error = compositions.uncertainty[scene.phase == k]
        np.testing.assert_allclose(own.mean(0), true[k], atol=0.03)
        within.append(np.abs(own - true[k])[:, true[k] > 0] <= error[:, true[k] > 0])
        absent = true[k] == 0
        assert np.mean(own[:, absent] <= 2 * error[:, absent]) > 0.9
    assert 0.6 < np.mean(np.concatenate([part.ravel() for part in within])) < 0.75
    np.testing.assert_allclose(compositions.fractions.sum(-1), 1, rtol=1e-5)


def test_sum_of_the_pixels_agrees_with_the_analysis_of_the_sum(scene, compositions):
    total = scene.counts[scene.phase == 0].sum(0)
    fit = ANALYSIS.fit([None]).analyse(Spectrum(total, scene.energy, beam_energy=200))
    for symbol in fit.elements:
        mean = compositions.element(symbol)[scene.phase == 0].mean()
        assert mean == pytest.approx(fit.fractions[SYMBOLS.index(symbol)], abs=0.02)


@pytest.mark.parametrize(("chunk_size", "n_jobs"), [(37, None), (700, 2)])
def test_chunks_and_jobs_do_not_matter(scene, compositions, chunk_size, n_jobs):
    other = map_of(scene, chunk_size=chunk_size, n_jobs=n_jobs)
    np.testing.assert_array_equal(other.regions, compositions.regions)
    np.testing.assert_allclose(other.fractions, compositions.fractions, atol=1e-6)
    np.testing.assert_allclose(other.uncertainty, compositions.uncertainty, atol=1e-6)


@pytest.fixture(scope="module")
def small(scene):
    return scene.counts[:20, 20:36]


def test_arrays_on_disk_and_of_dask(scene, small, tmp_path):
    dask = pytest.importorskip("dask.array")
    np.save(tmp_path / "map.npy", small)
    on_disk = np.load(tmp_path / "map.npy", mmap_mode="r")
    compositions = map_of(scene, small)
    for counts in (on_disk, dask.from_array(small, (15, 10, 1000)), small.reshape(-1, small.shape[-1])):
        other = map_of(scene, counts)
        assert other.fractions.shape == (*counts.shape[:-1], len(compositions.elements))
        np.testing.assert_allclose(other.fractions.reshape(compositions.fractions.shape),
                                   compositions.fractions, atol=1e-6)  # fmt: skip


@pytest.mark.parametrize("is_lazy", [False, True])
def test_hyperspy_signals_bring_axis_and_beam_energy(scene, small, is_lazy):
    hs = pytest.importorskip("hyperspy.api")
    signal = hs.signals.Signal1D(small)
    signal = signal.as_lazy() if is_lazy else signal
    axis = signal.axes_manager.signal_axes[0]
    axis.scale, axis.offset, axis.units = 0.01, scene.energy[0] / 1e3, "keV"
    for name, map_axis in zip("xy", signal.axes_manager.navigation_axes, strict=True):
        map_axis.name, map_axis.scale, map_axis.units = name, 2.5, "nm"
    signal.metadata.set_item("Acquisition_instrument.TEM.beam_energy", 200.0)
    signal.metadata.set_item("Signal.signal_type", "EDS_TEM")
    other = map_compositions(ANALYSIS, signal, random_state=0)
    np.testing.assert_allclose(other.fractions, map_of(scene, small).fractions, atol=1e-5)
    image = other.to_hyperspy()
    assert [axis.name for axis in image.axes_manager.signal_axes] == ["x", "y"]
    assert image.axes_manager.signal_axes[0].scale == 2.5
    np.testing.assert_array_equal(image.data[1], other.element("Mg"))


def test_signals_of_energy_losses_are_refused(scene):
    hs = pytest.importorskip("hyperspy.api")
    signal = hs.signals.Signal1D(scene.counts[:2, :2])
    signal.axes_manager.signal_axes[0].scale, signal.axes_manager.signal_axes[0].units = 10, "eV"
    signal.metadata.set_item("Signal.signal_type", "EELS")
    with pytest.raises(ValueError, match=r"X-rays.*EELSComposition"):
        map_compositions(ANALYSIS, signal, beam_energy=200)


def test_unusable_pixels_are_named_and_the_rest_is_mapped(scene, compositions):
    counts = scene.counts.astype(np.float32)
    counts[3, 5] = 0
    counts[7, 2, 100] = np.nan
    counts[9, 9] = np.nan
    counts[..., 1500] = np.nan
    with pytest.warns(BrokenCellWarning, match=r"1 with no counts \(pixel \(3, 5\)\), 2 with NaN channels"):
        other = map_of(scene, counts)
    assert other.status[3, 5] == 1
    assert other.status[7, 2] == other.status[9, 9] == 2
    assert np.isnan(other.fractions[other.status > 0]).all()
    good = other.status == 0
    assert good.sum() == good.size - 3
    difference = np.abs(other.fractions - compositions.fractions)[good]
    assert np.median(difference) < 0.01
    with pytest.raises(ValueError, match=r"pixels \(7, 2\), \(9, 9\)"):
        map_of(scene, counts, on_error="raise")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"energy": None}, "without an energy axis: give energy"),
        ({"energy": np.arange(5.0)}, r"each of the 2048 channels .* got the shape \(5,\)"),
        ({"beam_energy": None}, "no beam energy"),
        ({"regions": "all"}, "regions must be one of"),
        ({"regions": np.zeros((3, 3), int)}, r"shape of the map, \(8, 8\), got .* \(3, 3\)"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"on_error": "ignore"}, "on_error"),
    ],
)
def test_invalid_options(scene, options, message):
    with pytest.raises(ValueError, match=message):
        map_of(scene, scene.counts[:8, :8], **options)


def test_axis_in_another_unit(scene):
    with pytest.raises(ValueError, match="is the axis in eV"):
        map_of(scene, scene.counts[:8, :8], energy=scene.energy / 1e3)


@pytest.mark.parametrize(
    ("spectra", "message"),
    [
        (np.zeros((2, 2, 2, 200)), r"\(n, channels\), got the shape \(2, 2, 2, 200\)"),
        (np.zeros(200), r"got the shape \(200,\)"),
        (np.zeros((0, 2, 200)), "at least one pixel"),
        (np.full((2, 2, 200), "a"), "expected an array of counts, got dtype"),
        (np.zeros((2, 2, 200)), "none of the 4 pixels holds counts"),
    ],
)  # fmt: skip
def test_invalid_arrays(spectra, message):
    with pytest.raises(ValueError, match=message):
        map_compositions(ANALYSIS, spectra, energy=np.arange(200) * 20.0, beam_energy=200)


def test_other_estimators_are_refused(scene):
    with pytest.raises(TypeError, match=r"EDSComposition.*got SpectrumBins"):
        map_of(scene, analysis=SpectrumBins())


def test_uniform_noise_is_one_region_without_false_elements(scene):
    counts = np.random.default_rng(1).poisson(scene.rates[0] * 40, (40, 40, 2048))
    compositions = map_of(scene, counts)
    assert compositions.elements == ["O", "Mg", "Si"]
    assert (compositions.regions == 0).all()
    assert set(compositions.evidence.found_in) == {"whole map"}


def test_spectra_without_lines(scene):
    counts = np.random.default_rng(1).poisson(1e3 / (scene.energy + 2e3), (12, 12, 2048))
    compositions = map_of(scene, counts)
    assert compositions.elements == []
    assert compositions.fractions.shape == (12, 12, 0)
    assert (compositions.status == 3).all()
    assert compositions.to_frame().isna().all(axis=None)


def test_elements_of_few_pixels_are_found_by_their_excess(scene):
    rng = np.random.default_rng(2)
    rates = simulate_eds(["Mg2SiO4", "PbO2"], conditions="ideal", random_state=0)
    rates = rates / rates.sum(1, keepdims=True)
    counts = rng.poisson(rates[0] * 60, (30, 30, 2048))
    counts[[4, 17, 29], [8, 3, 29]] = rng.poisson(rates[1] * 60, (3, 2048))
    compositions = map_of(scene, counts, regions=None)
    assert "Pb" in compositions.elements
    assert set(compositions.evidence[compositions.evidence.element == "Pb"].found_in) == {"excess 0"}
    lead = compositions.element("Pb")
    assert lead[[4, 17, 29], [8, 3, 29]].min() > 0.15
    assert np.median(lead) < 0.02
    assert (compositions.regions[[4, 17, 29], [8, 3, 29]] == 1).all()


def test_regions_of_the_user(scene, compositions):
    regions = np.where(scene.phase == 2, 7, scene.phase)
    regions[0] = -1
    other = map_of(scene, regions=regions)
    np.testing.assert_array_equal(other.regions, regions)
    assert {"region 0", "region 1", "region 7"} < set(other.evidence.found_in)
    assert (other.status == 0).all()
    assert np.abs(other.fractions - compositions.fractions).max() < 0.2
    assert np.median(np.abs(other.fractions - compositions.fractions)) < 0.01


def test_number_of_regions(scene):
    other = map_of(scene, regions=2)
    assert {"region 0", "region 1"} == {place for place in other.evidence.found_in if "region" in place}


def test_excluded_elements_are_fitted_but_no_part_of_the_composition(scene):
    other = map_of(scene, analysis=EDSComposition(thickness_nm=50, takeoff_angle=20, exclude=["Fe"]))
    assert "Fe" not in other.elements
    assert np.isnan(other.all_fractions()[:, SYMBOLS.index("Fe")]).all()
    assert other.element("Ti")[scene.phase == 1].mean() == pytest.approx(0.25, abs=0.03)


def test_counts_that_were_divided(scene, compositions):
    with warnings.catch_warnings():
        warnings.simplefilter("error", BrokenCellWarning)
        other = map_of(scene, scene.counts.astype(np.float32) / 128)
    np.testing.assert_array_equal(other.counts, compositions.counts)
    np.testing.assert_allclose(other.fractions, compositions.fractions, atol=1e-5)


def test_correction_of_the_axis_and_grid_lines():
    conditions = EDSConditions.ideal()
    shifted = conditions.axis() + 12.0
    rates = simulate_eds(["SrTiO3", "Al2O3"], conditions="ideal", random_state=0)
    counts = np.random.default_rng(0).poisson(rates[np.arange(400) % 2] / rates.sum(1).max() * 300)
    compositions = map_compositions(ANALYSIS, counts, energy=shifted, beam_energy=200, random_state=0)
    assert compositions.elements == ["O", "Al", "Ti", "Sr"]
    assert compositions.element("Al")[1::2].mean() == pytest.approx(0.4, abs=0.03)
    assert compositions.element("Sr")[::2].mean() == pytest.approx(0.2, abs=0.03)

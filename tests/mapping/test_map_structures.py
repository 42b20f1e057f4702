import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from scipy.ndimage import shift
from sklearn.cluster import KMeans
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline

from xtalsk import (
    BrokenFileError,
    ElementFractions,
    LibraryMatch,
    RadialProfile,
    RingConditions,
    RingGeometry,
    Scan,
    ScanAxis,
    SpecimenColumns,
    SpectrumBins,
    SpotConditions,
    SpotLattice,
    StructureMap,
    compute_reflections,
    load_amcsd,
    make_features,
    make_library,
    map_structures,
    simulate_rings,
    simulate_spots,
)
from xtalsk.io import read_scan
from xtalsk.mapping import _constants as const
from xtalsk.mapping import _identify
from xtalsk.mapping._average import read_images
from xtalsk.mapping._columns import geometry_finder
from xtalsk.mapping._geometry import centers_at, find_geometry, fit_plane
from xtalsk.mapping._jobs import Shared
from xtalsk.mapping._run import N_PROBES
from xtalsk.utils import BrokenCellWarning

SIZE, PIXEL_SIZE = 64, 2 / 64
SHAPE = 6, 8
FORMULAS = "NiO", "TiO2"
CONDITIONS = RingConditions(
    image_size=SIZE, q_max=1.0, off_center=0.0, background=0.5, support=0.3, direct_beam=0.1,
    ring_width=0.03, detector="ideal",
)  # fmt: skip


def first_of(crystals, formula, space_group):
    rows = np.flatnonzero((crystals.formulas == formula) & (crystals.space_groups == space_group))
    return crystals[rows[:1]]


@pytest.fixture(scope="module")
def phases():
    crystals = load_amcsd()
    return first_of(crystals, "NiO", 225), first_of(crystals, "TiO2", 136)


@pytest.fixture(scope="module")
def pipeline(phases):
    names = [str(phase.ids[0]) for phase in phases]
    crystals = load_amcsd()
    crystals = crystals[np.r_[np.flatnonzero(np.isin(crystals.ids.astype(str), names)), 0:9000:1500]]
    features = make_features(
        diffraction=("rings", RadialProfile(n_bins=256, q_range=(0.1, 1.0))),
        fractions=("formula", ElementFractions()),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = LibraryMatch().fit(*make_library(crystals, features, random_state=0))
    return make_pipeline(SpecimenColumns(["rings", "formula"]), features, library)


@pytest.fixture(scope="module")
def rates(phases):
    """Return the mean image of both phases and of an amorphous film, with sum 1."""
    conditions = [CONDITIONS, CONDITIONS, CONDITIONS.__class__(**{**vars(CONDITIONS), "background": 1.0})]
    images = [
        simulate_rings(compute_reflections(phase, "electron", 0.65), [0], c, electrons=1e6, random_state=0)[0]
        for phase, c in zip([*phases, phases[0]], conditions, strict=True)
    ]
    return np.array([image / image.sum() for image in images])


@pytest.fixture(scope="module")
def phase():
    """Return the truth: NiO left, TiO2 right."""
    return np.repeat([[0] * 4 + [1] * 4], SHAPE[0], axis=0)


@pytest.fixture
def scan(rates, phase):
    return np.random.default_rng(0).poisson(2e4 * rates[phase]).astype(np.uint16)


def truth_of(phase):
    return np.array([225, 136])[phase]


def test_labels_confidence_and_candidates(pipeline, scan, phase):
    found = map_structures(pipeline, scan, pixel_size=PIXEL_SIZE)
    np.testing.assert_array_equal(found.label, truth_of(phase))
    assert (found.status == const.OK).all()
    assert (found.confidence > 0.8).all()
    np.testing.assert_allclose(found.probability["space_group"].sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(
        found.at_level("crystal_system")[0], np.where(phase == 0, "cubic", "tetragonal")
    )
    assert found.candidates_at((0, 0)).loc[0, "formula"] == "NiO"
    assert found.candidates_at((0, 7)).loc[0, "formula"] == "TiO2"
    assert {example["code"] for example in found.examples} == set(np.unique(found.code))


def test_the_pipeline_is_not_changed(pipeline, scan):
    before = pickle.dumps(pipeline)
    map_structures(pipeline, scan[:1, :2], pixel_size=PIXEL_SIZE)
    assert pickle.dumps(pipeline) == before


def test_labels_and_candidates_need_one_search(pipeline, scan, monkeypatch):
    searches, search = [], LibraryMatch._match_chunk
    monkeypatch.setattr(LibraryMatch, "_match_chunk", lambda *args: searches.append(1) or search(*args))
    map_structures(pipeline, scan, pixel_size=PIXEL_SIZE, geometry=RingGeometry((31.5, 31.5)))
    assert len(searches) == 1


def test_unusable_frames_have_reasons(pipeline, scan, rates):
    scan = scan.astype(np.float32)
    scan[0, 0] = 0
    scan[0, 1] = np.nan
    scan[0, 2, :5] = np.nan
    scan[0, 3, 0, 0] = np.inf
    scan[1, 0] = np.random.default_rng(1).poisson(2e4 * rates[2])
    found = map_structures(pipeline, scan, pixel_size=PIXEL_SIZE)
    assert found.reason[0, 0] == const.BLANK
    assert found.reason[0, 1] == const.NO_PIXEL
    assert found.reason[0, 3] == const.CHANGED
    assert found.label[0].tolist() == [0, 0, 225, 225, 136, 136, 136, 136]
    assert found.status[1, 0] == const.NOT_INDEXED
    assert found.label[1, 0] == 0
    assert (found.status == const.OK).sum() == found.status.size - 3


def broken_at(array, chunks, place):
    """Return a dask array, one chunk of which cannot be read."""
    dask = pytest.importorskip("dask.array")

    def read(block, block_info=None):
        if tuple(block_info[0]["chunk-location"][:2]) == place:
            raise OSError("checksum of the chunk is wrong")
        return block

    chunks = (*chunks, *array.shape[2:])
    return dask.from_array(array, chunks=chunks).map_blocks(read, dtype=array.dtype, meta=array[:0, :0])


def test_a_broken_chunk_is_reported_and_the_rest_mapped(pipeline, scan, phase):
    broken = broken_at(scan, (2, 4), (1, 1))
    with pytest.warns(BrokenCellWarning, match=r"8 images .*\n\(2, 4\), .*checksum of the chunk is wrong"):
        found = map_structures(pipeline, broken, pixel_size=PIXEL_SIZE, chunk_size=20)
    is_broken = found.status == const.BROKEN
    assert is_broken[2:4, 4:].all()
    assert is_broken.sum() == 8
    np.testing.assert_array_equal(found.label[~is_broken], truth_of(phase)[~is_broken])
    with pytest.raises(BrokenFileError, match="checksum"):
        map_structures(pipeline, broken, pixel_size=PIXEL_SIZE, on_error="raise")


def assert_equal_maps(a, b):
    np.testing.assert_array_equal(a.status, b.status)
    np.testing.assert_array_equal(a.code, b.code)
    np.testing.assert_allclose(a.confidence, b.confidence, atol=2e-3)
    for level in a.labels:
        np.testing.assert_allclose(a.probability[level], b.probability[level], atol=2e-3)


@pytest.mark.parametrize("average", [None, 0.7])
def test_chunks_and_jobs_do_not_change_the_result(pipeline, scan, average):
    options = {"pixel_size": PIXEL_SIZE, "geometry": RingGeometry((31.5, 31.5)), "average": average}
    whole = map_structures(pipeline, scan, **options)
    assert_equal_maps(map_structures(pipeline, scan, chunk_size=5, **options), whole)
    with parallel_config("threading"):
        assert_equal_maps(map_structures(pipeline, scan, chunk_size=20, n_jobs=2, **options), whole)


def test_what_processes_share_is_unpacked_once(pipeline, scan):
    shared = Shared({"scan": scan})
    copies = [pickle.loads(pickle.dumps(shared)) for _ in range(2)]
    np.testing.assert_array_equal(copies[0].get()["scan"], scan)
    assert copies[0].get() is copies[1].get()


def test_an_average_is_the_weighted_mean_of_measured_neighbours():
    values = 1 + np.arange(5 * 6.0).reshape(5, 6)
    images = values[..., None, None] * np.linspace(1, 2, 16).reshape(4, 4)
    images[2, 2] = 0  # dead
    scan = Scan(images)
    out, problems = read_images(scan, (slice(1, 4), slice(1, 4)), sigma=0.8)
    assert not problems
    weights = np.exp(-0.5 * (np.arange(-2, 3) / 0.8) ** 2)
    kernel = weights[:, None] * weights
    padded, known = np.pad(values, 2), np.pad(np.ones((5, 6)), 2)
    known[4, 4] = 0
    window = np.s_[1:6, 2:7]  # about position (1, 2)
    kernel *= known[window]
    expected = (kernel * padded[window]).sum() / kernel.sum()
    np.testing.assert_allclose(out[1], expected * np.linspace(1, 2, 16).reshape(4, 4), rtol=1e-5)
    assert (out[4] == 0).all()  # a dead frame stays one


def test_averages_read_sparse_patterns(pipeline, rates):
    phase = np.repeat([[0] * 8 + [1] * 8], 12, axis=0)
    scan = np.random.default_rng(2).poisson(60 * rates[phase]).astype(np.uint8)
    options = {"pixel_size": PIXEL_SIZE, "min_confidence": 0.0}
    accuracies = [
        (map_structures(pipeline, scan, average=a, **options).best_label == truth_of(phase)).mean()
        for a in (None, 1.5)
    ]
    assert accuracies[0] < 0.85
    assert accuracies[1] > 0.97


def test_groups_share_the_answer_of_their_mean(pipeline, rates):
    phase = np.repeat([[0] * 10 + [1] * 10], 16, axis=0)
    scan = np.random.default_rng(3).poisson(150 * rates[phase]).astype(np.uint8)
    scan[3, 3] = 0
    found = map_structures(pipeline, scan, group=2, pixel_size=PIXEL_SIZE, random_state=0)
    assert found.group[3, 3] == -1
    assert found.reason[3, 3] == const.BLANK
    indexed = found.status == const.OK
    assert indexed.sum() == found.status.size - 1
    assert (found.label == truth_of(phase))[indexed].mean() > 0.98
    for number in (0, 1):
        assert len(np.unique(found.label[found.group == number])) == 1
    clustered = map_structures(
        pipeline, scan, group=KMeans(2, random_state=0), pixel_size=PIXEL_SIZE, random_state=0
    )
    assert (clustered.label == found.label).mean() > 0.97


def test_the_centre_may_drift(pipeline, rates):
    shape = 8, 8
    which = np.repeat([[0] * 4 + [1] * 4], 8, axis=0)
    rng, scan = np.random.default_rng(4), np.empty((*shape, SIZE, SIZE), np.float32)
    for row, column in np.ndindex(shape):
        image = shift(rates[which[row, column]], (0.6 * row - 2, 0.4 * column - 1.5), order=1)
        scan[row, column] = rng.poisson(1e4 * np.maximum(image, 0))
    plain, corrected = (
        map_structures(pipeline, scan, drift=drift, pixel_size=PIXEL_SIZE) for drift in (None, "plane")
    )
    assert (corrected.label == truth_of(which)).mean() > 0.97
    similarity = [found.candidates["similarity"][..., 0].mean() for found in (plain, corrected)]
    assert similarity[1] > similarity[0] + 0.02


def test_a_plane_of_centres_ignores_a_wrong_one():
    places = np.stack(np.meshgrid(np.arange(6), np.arange(6), indexing="ij"), -1).reshape(-1, 2) * 10.0
    centers = np.array([30.0, 32.0]) + places @ np.array([[0.1, 0.0], [0.02, -0.05]])
    wrong = centers.copy()
    wrong[7] += 15
    np.testing.assert_allclose(centers_at(fit_plane(places, wrong), places), centers, atol=0.15)


def test_a_folder_resumes_and_refuses_another_map(pipeline, scan, tmp_path, monkeypatch):
    options = {"pixel_size": PIXEL_SIZE, "chunk_size": 8, "folder": tmp_path}
    whole = map_structures(pipeline, scan, **options)
    chunks = sorted(tmp_path.glob("*.chunk"))
    assert len(chunks) == 6
    chunks[0].unlink()
    damaged = bytearray(chunks[1].read_bytes())
    damaged[-1] ^= 1
    chunks[1].write_bytes(damaged)
    computed = []
    identify = _identify.Identifier.identify
    monkeypatch.setattr(
        _identify.Identifier, "identify", lambda self, **kw: computed.append(1) or identify(self, **kw)
    )
    again = map_structures(pipeline, scan, **options)
    assert len(computed) == N_PROBES + 2
    assert_equal_maps(again, whole)
    np.testing.assert_array_equal(again.candidates, whole.candidates)
    np.testing.assert_array_equal(again.reason, whole.reason)
    with pytest.raises(ValueError, match=r"another map, which differs in \['n_candidates'\]"):
        map_structures(pipeline, scan, n_candidates=1, **options)
    with pytest.raises(ValueError, match=r"differs in \['scan'\]"):
        map_structures(pipeline, scan + 1, **options)
    other = make_pipeline(*pipeline[:-1], copy.copy(pipeline[-1]))  # of equal parameters
    other[-1]._labels = other[-1]._labels[::-1]
    with pytest.raises(ValueError, match=r"differs in \['pipeline'\]"):
        map_structures(other, scan, **options)


def test_chemistry_alone_and_beside_the_scan(pipeline, scan, phase):
    formulas = np.array(FORMULAS, dtype=object)[phase]
    fused = map_structures(pipeline, scan, formulas, pixel_size=PIXEL_SIZE)
    np.testing.assert_array_equal(fused.label, truth_of(phase))
    alone = map_structures(pipeline, None, formulas, min_confidence=0.0)
    np.testing.assert_array_equal(alone.best_label, truth_of(phase))
    fractions = np.zeros((*SHAPE, 98), dtype=np.float32)
    fractions[..., 0] = np.nan
    fractions[phase == 0] += 0.5 * np.isin(np.arange(98), (7, 27))
    fractions[phase == 1] += np.where(np.arange(98) == 7, 2 / 3, np.where(np.arange(98) == 21, 1 / 3, 0))
    fractions[0, 0] = np.nan
    alone = map_structures(pipeline, None, fractions, min_confidence=0.0)
    assert alone.reason[0, 0] == const.NO_CHEMISTRY
    np.testing.assert_array_equal(alone.best_label.ravel()[1:], truth_of(phase).ravel()[1:])
    for option in ({"average": 0.7}, {"group": 2}):
        found = map_structures(pipeline, scan, fractions, pixel_size=PIXEL_SIZE, random_state=0, **option)
        assert (found.best_label == truth_of(phase)).mean() > 0.85
    with pytest.raises(ValueError, match=r"the scan has the shape \(6, 8\), the spectra have \(5, 8\)"):
        map_structures(pipeline, scan, formulas[:5], pixel_size=PIXEL_SIZE)


def test_mixed_patterns_are_marked(pipeline, rates):
    shares = np.array([0.0, 0.5, 1.0])
    images = (1 - shares)[:, None, None] * rates[0] + shares[:, None, None] * rates[1]
    scan = np.random.default_rng(5).poisson(5e4 * images)
    found = map_structures(pipeline, scan, pixel_size=PIXEL_SIZE, min_confidence=0.0)
    assert found.is_mixture.tolist() == [False, True, False]
    assert {int(found.best_label[1]), int(found.second_label[1])} == {225, 136}
    assert 0.25 < found.second_share[1] < 0.75


def make_dummy(**blocks):
    features = make_features(**blocks)
    columns = list(dict.fromkeys(column for column, _ in blocks.values()))
    X = pd.DataFrame({name: [None, None] for name in columns})
    return make_pipeline(features, DummyClassifier().fit(features.fit_transform(X), ["a", "b"]))


def test_columns_that_do_not_match(scan, pipeline):
    powder = make_dummy(fractions=("formula", ElementFractions()))
    with pytest.raises(ValueError, match=r"columns of the pipeline are \['formula'\].*\['rings', 'spots'\]"):
        map_structures(powder, scan, pixel_size=PIXEL_SIZE)
    both = make_dummy(a=("rings", RadialProfile()), b=("spots", RadialProfile()))
    with pytest.raises(ValueError, match="several of them fit; choose one with column"):
        map_structures(both, scan, pixel_size=PIXEL_SIZE)
    found = map_structures(both, scan[:1, :2], column="spots", pixel_size=PIXEL_SIZE, min_confidence=0.0)
    assert list(found.labels) == ["label"]
    bins = make_dummy(a=("rings", RadialProfile()), b=("eds", SpectrumBins()))
    with pytest.raises(ValueError, match="SpectrumBins of column 'eds' needs spectra"):
        map_structures(bins, scan, np.zeros((*SHAPE, 98)), pixel_size=PIXEL_SIZE)
    with pytest.raises(ValueError, match="expected a fitted Pipeline"):
        map_structures(LibraryMatch(), scan)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pixel_size": None}, "no calibration"),
        ({"levels": ("genus",)}, "levels must be one of"),
        ({"levels": "space_group"}, "levels must be a list"),
        ({"average": 0}, "average must be a positive number"),
        ({"group": 1}, "group must be None, a number"),
        ({"drift": "spline"}, "drift must be"),
        ({"geometry": "find"}, "geometry must be"),
        ({"on_error": "skip"}, "on_error must be one of"),
        ({"min_confidence": 2}, "min_confidence"),
    ],
)
def test_invalid_parameters(pipeline, scan, options, message):
    with pytest.raises(ValueError, match=message):
        map_structures(pipeline, scan, **{"pixel_size": PIXEL_SIZE, **options})


def test_signals_give_axes_and_calibration(pipeline, scan, phase, tmp_path):
    signals = pytest.importorskip("hyperspy.api").signals
    axes = [
        {"name": "y", "size": 6, "scale": 2.0, "offset": 1.0, "units": "nm", "navigate": True},
        {"name": "x", "size": 8, "scale": 2.0, "units": "nm", "navigate": True},
        {"name": "ky", "size": SIZE, "scale": 10 * PIXEL_SIZE, "units": "1/nm", "navigate": False},
        {"name": "kx", "size": SIZE, "scale": 10 * PIXEL_SIZE, "units": "1/nm", "navigate": False},
    ]
    signal = signals.Signal2D(scan, axes=axes)
    signal.save(tmp_path / "scan.hspy")
    for source in (signal, signal.as_lazy(), tmp_path / "scan.hspy"):
        found = map_structures(pipeline, source)
        np.testing.assert_array_equal(found.label, truth_of(phase))
        assert found.axes[0] == ScanAxis("y", 6, 2.0, 1.0, "nm")
    code = found.to_hyperspy("code")
    assert code.axes_manager["x"].scale == 2.0
    np.testing.assert_array_equal(code.data, found.code)
    assert found.to_hyperspy("crystal_system").data.shape == (6, 8, len(found.labels["crystal_system"]))


def test_saved_maps_are_equal(pipeline, scan, tmp_path):
    scan[0, 0] = 0
    found = map_structures(pipeline, scan, pixel_size=PIXEL_SIZE)
    path = tmp_path / "map.npz"
    found.save(path)
    loaded = StructureMap.load(path)
    assert_equal_maps(loaded, found)
    assert loaded.axes == found.axes
    pd.testing.assert_frame_equal(loaded.to_frame(), found.to_frame())
    pd.testing.assert_frame_equal(
        loaded.candidates_at((1, 1)), found.candidates_at((1, 1)), check_dtype=False
    )
    np.testing.assert_array_equal(loaded.examples[0]["image"], found.examples[0]["image"])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BrokenFileError, match=r"map\.npz: expected a map"):
        StructureMap.load(path)


def test_another_confidence(pipeline, scan):
    found = map_structures(pipeline, scan, pixel_size=PIXEL_SIZE)
    strict = found.with_confidence(float(np.median(found.confidence)))
    assert 0 < (strict.status == const.NOT_INDEXED).sum() < strict.status.size
    assert_equal_maps(strict.with_confidence(0.5), found)


def test_xarray_keeps_axes(pipeline, scan):
    pytest.importorskip("xarray")
    found = map_structures(pipeline, scan, pixel_size=PIXEL_SIZE)
    table = found.to_xarray()
    assert table["label"].dims == ("y", "x")
    assert table["probability_space_group"].sel(space_group=225).values[0, 0] > 0.8


def test_spots_are_not_taken_for_ellipses(phases):
    reflections = compute_reflections(phases[0], "electron", d_min=0.6)
    conditions = SpotConditions(
        image_size=128, zone_axis="low_index", electrons=1e5, off_center=0.0, ellipticity=0.0
    )
    scan = simulate_spots(reflections, [0] * 6, conditions, random_state=0).reshape(2, 3, 128, 128)
    finder = geometry_finder([SpotLattice()], 2 / 128)
    geometry, _ = find_geometry(read_scan(scan, pixel_size=2 / 128), finder, 2 / 128)
    assert geometry.ellipticity == (0.0, 0.0)
    np.testing.assert_allclose(geometry.center, (63.5, 63.5), atol=0.5)
    rings = geometry_finder([RadialProfile(ellipticity="auto")], 2 / 128)
    assert rings.ellipticity == "auto"

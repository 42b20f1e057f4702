import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from joblib import parallel_config
from sklearn.pipeline import make_pipeline

from xtalsk import IndexingScores, PowderProfile, RadialProfile, load_amcsd, make_features, make_specimens
from xtalsk.diffraction._peak_search import find_lines
from xtalsk.diffraction.indexing._cells import cell_volume, reduce_cells
from xtalsk.diffraction.indexing._functional import figure_names, lattice_figures
from xtalsk.diffraction.indexing._tables import families
from xtalsk.io import DiffractionImage, Profile
from xtalsk.symmetry import bravais_lattice

Q_RANGE = (0.05, 1.15)
STEP = (Q_RANGE[1] - Q_RANGE[0]) / 1024
Q = Q_RANGE[0] + (np.arange(1024) + 0.5) * STEP
REFLECTIONS = np.stack(np.meshgrid(*[np.arange(-9, 10)] * 3), -1).reshape(-1, 3)
BRAVAIS = {"cF": "cubic_f", "tP": "tetragonal_p", "tI": "tetragonal_i", "hP": "hexagonal_p"}
CENTRINGS = {
    "p": lambda h, k, m: h == h,
    "i": lambda h, k, m: (h + k + m) % 2 == 0,
    "c": lambda h, k, m: (h + k) % 2 == 0,
    "f": lambda h, k, m: ((h + k) % 2 == 0) & ((h + m) % 2 == 0),
    "r": lambda h, k, m: (k - h + m) % 3 == 0,
}
# Metric tensors of direct cells: a, b, c in Å, the angle of the special axes in degrees.
CELLS = {
    "cubic_p": (4.12, 4.12, 4.12, 90),
    "cubic_i": (5.67, 5.67, 5.67, 90),
    "cubic_f": (5.64, 5.64, 5.64, 90),
    "tetragonal_p": (4.59, 4.59, 2.96, 90),
    "tetragonal_i": (3.78, 3.78, 9.51, 90),
    "hexagonal_p": (4.91, 4.91, 5.41, 120),
    "hexagonal_r": (4.99, 4.99, 17.06, 120),
    "orthorhombic_p": (4.96, 5.74, 7.97, 90),
    "orthorhombic_c": (3.87, 10.2, 6.1, 90),
    "orthorhombic_i": (4.3, 5.6, 9.1, 90),
    "orthorhombic_f": (6.1, 8.3, 10.9, 90),
}


def lattice_lines(name):
    """Positions in 1/Å of all lines of a lattice, and its volume in Å³."""
    a, b, c, angle = CELLS[name]
    basis = np.diag([a, b, c]).astype(float)
    basis[1] = b * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle)), 0])
    allowed = REFLECTIONS[CENTRINGS[name[-1]](*REFLECTIONS.T) & REFLECTIONS.any(axis=1)]
    q = np.linalg.norm(allowed @ np.linalg.inv(basis).T, axis=1)
    return np.unique(q.round(5)), np.linalg.det(basis)


def draw(lines, heights=1.0, shift=0.0, width=0.0012, noise=0.01, seed=0):
    """Profile of Gaussian lines against `Q`."""
    lines = np.atleast_1d(lines)[:, np.newaxis]
    heights = np.broadcast_to(heights, len(lines))[:, np.newaxis]
    profile = (heights * np.exp(-0.5 * ((Q - lines - shift) / width) ** 2)).sum(axis=0)
    return profile + abs(np.random.default_rng(seed).normal(0, noise, Q.size))


def figures_of(profiles):
    values = IndexingScores(Q_RANGE).fit(np.atleast_2d(profiles)).transform(np.atleast_2d(profiles))
    return pd.DataFrame(values, columns=figure_names())


@pytest.fixture(scope="module")
def minerals():
    """Figures of ideal patterns of minerals of small cells, their lattices and volumes."""
    crystals = load_amcsd()
    size = abs(np.linalg.det(crystals.lattices))
    lattice = bravais_lattice(crystals.space_groups)
    rng = np.random.RandomState(0)
    small = [np.flatnonzero((lattice == name) & (size < 600)) for name in BRAVAIS]
    chosen = np.concatenate([rng.permutation(rows)[:12] for rows in small])
    X, y, _ = make_specimens(crystals[chosen], "powder", conditions="ideal", random_state=0, on_error="raise")
    features = make_features(lattice=("powder", make_pipeline(PowderProfile(), IndexingScores())))
    return features.fit_transform(X), bravais_lattice(y), size[chosen]


def test_lines_are_located_between_bins_in_order():
    true = np.array([0.2031, 0.3127, 0.4553, 0.7019])
    q, prominence, total = find_lines(torch.tensor(draw(true, [1, 0.5, 2, 1]))[None].float(), Q[0], STEP, 6)
    np.testing.assert_allclose(q[0, :4], true, atol=0.25 * STEP)
    assert torch.isinf(q[0, 4:]).all()
    assert (prominence[0, 4:] == 0).all()
    assert total[0] == 4
    assert prominence[0].argmax() == 2


def test_noise_has_few_lines():
    rng = np.random.default_rng(0)
    profiles = torch.from_numpy(1 + rng.normal(0, 0.2, (10, 1024))).float()
    assert find_lines(profiles, Q[0], STEP, 20)[2].mean() < 12  # of 1,024 bins


@pytest.mark.parametrize("name", CELLS)
def test_volume_of_known_lattices(name):
    lines, size = lattice_lines(name)
    figures = figures_of(draw(lines[lines < 0.9])).iloc[0]
    assert np.exp(figures[f"{name}_log_volume"]) == pytest.approx(size, rel=0.01)
    assert figures[f"{name}_explained"] >= 0.85
    assert figures[f"{name}_log_m20"] > np.log(20)
    others = figures.filter(like="_evidence").drop(f"{name}_evidence")
    assert (figures[f"{name}_evidence"] > others).mean() > 0.7


def test_foreign_lines_and_a_zero_error_do_not_hide_the_lattice():
    lines, size = lattice_lines("tetragonal_p")
    lines = np.append(lines[lines < 0.9], [0.2533, 0.4171, 0.4688])
    heights = np.append(np.random.default_rng(1).uniform(0.4, 1, len(lines) - 3), [0.2, 0.25, 0.2])
    figures = figures_of(draw(lines, heights, shift=0.0005)).iloc[0]
    assert np.exp(figures["tetragonal_p_log_volume"]) == pytest.approx(size, rel=0.01)
    assert 0.75 < figures["tetragonal_p_explained"] < 1


def test_a_lattice_of_another_scale_has_the_same_figures():
    lines, _ = lattice_lines("hexagonal_p")
    first, second = figures_of([draw(lines[lines < 0.9]), draw(0.9 * lines[0.9 * lines < 0.81])]).to_numpy()
    volume = figure_names().index("hexagonal_p_log_volume")
    assert second[volume] - first[volume] == pytest.approx(-3 * np.log(0.9), abs=0.01)


def test_a_screw_axis_shows_in_the_absences():
    a, c = 5.2, 5.9
    index = REFLECTIONS[REFLECTIONS.any(axis=1)]
    screw = (index[:, :2] == 0).all(axis=1) & (index[:, 2] % 2 == 1)
    q = np.sqrt((index[:, :2] ** 2).sum(axis=1) / a**2 + index[:, 2] ** 2 / c**2)
    with_all, without = (np.unique(q[keep].round(5)) for keep in (slice(None), ~screw))
    observed = figures_of([draw(with_all[with_all < 0.8]), draw(without[without < 0.8])])[
        "tetragonal_screw_2"
    ]
    assert observed[0] > 0.7 > 0.5 > observed[1]


def test_minerals(minerals):
    figures, lattice, size = minerals
    is_right = []
    for name, column in BRAVAIS.items():
        own = lattice == name
        volume = np.exp(figures.loc[own, f"lattice__{column}_log_volume"])
        is_right.append(abs(volume / size[own] - 1) < 0.01)
        merit = figures.loc[own].filter(like="log_m20")
        assert (merit[f"lattice__{column}_log_m20"] > merit.max(axis=1) - 0.5).mean() >= 0.85
    assert np.concatenate(is_right).mean() >= 0.85


def test_missing_rows_and_ends():
    lines, size = lattice_lines("cubic_f")
    profile = draw(lines[lines < 0.9])
    short = np.where((Q < 0.1) | (Q > 0.8), np.nan, profile)
    figures = figures_of([profile, np.full(1024, np.nan), short, np.zeros(1024)])
    assert figures.iloc[1].isna().all()
    assert np.isfinite(figures.drop(index=1)).all(axis=None)
    assert np.exp(figures.loc[[0, 2], "cubic_f_log_volume"]).to_numpy() == pytest.approx(size, rel=0.01)
    assert figures.loc[3, "lines"] == 0
    assert (figures.loc[3].filter(like="log_volume") == 0).all()


def test_rows_do_not_depend_on_each_other():
    names = ("cubic_p", "hexagonal_r", "orthorhombic_p")
    profiles = [draw(lattice_lines(name)[0], noise=0.05) for name in names]
    together = figures_of(profiles)
    alone = pd.concat([figures_of(p) for p in profiles], ignore_index=True)
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-3)


def test_jobs_do_not_change_the_result():
    profiles = np.array([draw(lattice_lines("cubic_i")[0], seed=seed) for seed in range(40)])
    one = IndexingScores(Q_RANGE).fit_transform(profiles)
    with parallel_config("threading"):
        np.testing.assert_array_equal(IndexingScores(Q_RANGE, n_jobs=2).fit_transform(profiles), one)


def test_function_and_transformer_agree():
    profile = draw(lattice_lines("cubic_i")[0]).astype(np.float32)[np.newaxis]
    values = lattice_figures(torch.from_numpy(profile), Q[0], STEP)
    np.testing.assert_allclose(values, figures_of(profile), rtol=1e-5, atol=1e-5)


def test_names_need_no_tables(monkeypatch):
    monkeypatch.setattr("xtalsk.diffraction.indexing._tables.families", None)
    monkeypatch.setattr("xtalsk.diffraction.indexing._functional.families", None)
    assert "orthorhombic_glide_n_3" in figure_names()


def test_names():
    names = pd.Series(figure_names())
    assert names.is_unique
    assert names.str.fullmatch("[a-z0-9]+(_[a-z0-9]+)*").all()
    assert len(names) == 125


@pytest.mark.parametrize("profile", [PowderProfile(), RadialProfile()])
def test_range_of_defaults_is_known_from_names(profile):
    names = profile.fit([None]).get_feature_names_out()
    X = pd.DataFrame(np.zeros((2, len(names))), columns=names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert IndexingScores().fit(X).q_range_ == profile.q_range
        assert IndexingScores().fit(X.add_prefix("diffraction__")).q_range_ == profile.q_range
    with pytest.warns(UserWarning, match="columns without names"):
        assert IndexingScores().fit(X.to_numpy()).q_range_ == profile.q_range


@pytest.mark.parametrize(
    "profile", [PowderProfile(512), PowderProfile(q_range=(0.1, 0.9)), RadialProfile(1024)]
)
def test_unknown_range_is_an_error(profile):
    names = profile.fit([None]).get_feature_names_out()
    X = pd.DataFrame(np.zeros((2, len(names))), columns=names)
    with pytest.raises(ValueError, match="give q_range"):
        IndexingScores().fit(X)
    assert IndexingScores(profile.q_range).fit(X).q_range_ == profile.q_range
    with pytest.raises(ValueError, match="give q_range"):
        IndexingScores().fit(np.zeros((2, 700)))


@pytest.mark.parametrize("wrong", [(0.05, 0.75), (0.05, 1.25), (0.5, 11.5), (0.0, 1.1)])
def test_a_range_that_does_not_fit_the_names_is_an_error(wrong):
    names = PowderProfile().fit([None]).get_feature_names_out()
    X = pd.DataFrame(np.zeros((2, len(names))), columns=names).add_prefix("lattice__")
    if wrong == (0.5, 11.5):  # in 1/nm: the same numbers, so that only the lines show it
        assert IndexingScores(wrong).fit(X).q_range_ == wrong
        return
    with pytest.raises(ValueError, match=r"q_range=.*does not fit the names.*is lattice__q_0047"):
        IndexingScores(wrong).fit(X)


@pytest.mark.parametrize("factor", [2 * np.pi, 10])
def test_ranges_of_other_units_are_told(factor):
    profile = draw(lattice_lines("cubic_f")[0])[np.newaxis]
    scores = IndexingScores((factor * Q_RANGE[0], factor * Q_RANGE[1])).fit(profile)
    with pytest.warns(UserWarning, match=r"q_range=.*is doubtful.*not 2π/d, not 1/nm"):
        scores.transform(profile)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"q_range": (1, 0.5)}, "q_range must hold two increasing"),
        ({"q_range": 3}, "q_range must be two numbers"),
        ({"q_range": Q_RANGE, "tolerance": 0.0}, "tolerance == 0.0"),
    ],
)
def test_bad_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        IndexingScores(**params).fit(np.zeros((2, 64)))


def test_ring_images(draw_rings):
    rings = [(np.sqrt(n) / 4.08, h) for n, h in ((3, 1), (4, 0.6), (8, 0.5), (11, 0.6), (12, 0.3), (16, 0.2))]
    image = draw_rings(rings, electrons=1e7, beam=0)
    features = make_features(lattice=("rings", make_pipeline(RadialProfile(), IndexingScores())))
    column = pd.Series([DiffractionImage(image, pixel_size=0.0155), None], dtype=object)
    figures = features.fit_transform(column.to_frame("rings"))
    assert figures.iloc[1].isna().all()
    assert np.exp(figures.loc[0, "lattice__cubic_f_log_volume"]) == pytest.approx(4.08**3, rel=0.03)


def test_oblique_cells_are_reduced():
    family = families()[-2]
    cell = torch.tensor([[0.02, 0.01, 0.05, 0.047], [0.05, 0.01, 0.02, -0.013]])
    reduced = reduce_cells(cell, family)
    assert (reduced[:, 3] <= reduced[:, 0]).all()
    assert (reduced[:, 0] <= reduced[:, 2]).all()
    expected = (0.01 * (cell[:, 0] * cell[:, 2] - cell[:, 3] ** 2 / 4)).rsqrt()
    np.testing.assert_allclose(cell_volume(reduced, family), expected, rtol=1e-3)


def test_profile_of_a_scan_against_two_theta():
    lines, size = lattice_lines("cubic_i")
    two_theta = np.arange(10, 90, 0.01)
    q = 2 * np.sin(np.radians(two_theta / 2)) / 1.5406
    scan = Profile(draw_scan(q, lines), two_theta=two_theta, wavelength=1.5406)
    pipeline = make_pipeline(PowderProfile(), IndexingScores()).set_output(transform="pandas")
    figures = pipeline.fit_transform([scan]).iloc[0]
    assert np.exp(figures["cubic_i_log_volume"]) == pytest.approx(size, rel=0.005)


def draw_scan(q, lines):
    return 10 + 1000 * np.exp(-0.5 * ((q[:, np.newaxis] - lines[lines < 0.95]) / 0.001) ** 2).sum(axis=1)

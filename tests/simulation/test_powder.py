"""Powder patterns."""

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure
from scipy.stats import chisquare
from scipy.stats import poisson as poisson_law

from xtalsk.crystals import CrystalSet
from xtalsk.simulation import PowderConditions, Sometimes, compute_reflections, simulate_powder
from xtalsk.simulation._chunks import columns_on
from xtalsk.simulation._counting import quantile_table
from xtalsk.simulation._line_profiles import broaden, gather_lines
from xtalsk.simulation.powder import _background, _compiled_render, _simulate
from xtalsk.simulation.powder._compiled_render import CompiledRenderer
from xtalsk.simulation.powder._constants import BLOCK, EDGE, LOWEST_VARIANCE
from xtalsk.simulation.powder._lines import (
    WIDTH_COLUMNS,
    compiled_widths,
    line_widths,
    lorentz_polarisation,
    width_nodes,
)
from xtalsk.simulation.powder._pattern_kernels import record_counts
from xtalsk.simulation.reflections._strain import STRAIN_COLUMNS, draw_strains, strained_q
from xtalsk.simulation.reflections._texture import march

WAVELENGTH = 1.540593
IDEAL = PowderConditions.ideal()
GOLD_Q = np.sqrt(np.array([3, 4, 8, 11, 12])) / 4.078


def angles(q, wavelength=WAVELENGTH):
    return 2 * np.degrees(np.arcsin(q * wavelength / 2))


def pseudo_voigt(x, fwhm, eta):
    gaussian = np.sqrt(4 * np.log(2) / np.pi) / fwhm * np.exp(-4 * np.log(2) * (x / fwhm) ** 2)
    lorentzian = fwhm / (2 * np.pi) / (x**2 + (fwhm / 2) ** 2)
    return (1 - eta) * gaussian + eta * lorentzian


def peak(counts, axis, near, half=0.5):
    """Centre of gravity of the upper half of a peak."""
    part = np.abs(axis - near) < half
    height = np.clip(counts[part] - counts[part].max() / 2, 0, None)
    return np.average(axis[part], weights=height)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_broadening_is_the_pseudo_voigt_function(eta):
    lines = torch.zeros(1, 400, dtype=torch.float64)
    lines[0, 200] = 1.0
    fwhm = 9.0
    shape = broaden(lines, torch.tensor([fwhm]).double(), torch.tensor([eta]).double())[0].numpy()
    expected = pseudo_voigt(np.arange(400) - 200, fwhm, eta)
    np.testing.assert_allclose(shape, expected, atol=0.004 * expected.max())


def test_tails_lean_to_low_angles():
    lines = torch.zeros(1, 1, 400, dtype=torch.float64)
    lines[0, 0, 200] = 1.0
    widths = torch.full((1, 1), 6.0, dtype=torch.float64)
    shape = broaden(lines, widths, 0 * widths, tail=5 + 0 * widths)[0].numpy()
    assert shape.sum() == pytest.approx(1)
    assert np.average(np.arange(400), weights=shape) == pytest.approx(195, abs=1e-3)
    third = np.average((np.arange(400) - 195) ** 3, weights=shape)
    assert third == pytest.approx(-2 * 5**3, rel=1e-3)  # of an exponential distribution


def test_pattern_is_the_sum_of_its_lines(rutile):
    """Agrees with a direct sum in double precision to 1% of the strongest point, for Kα1 and Kα2."""
    conditions = replace(
        IDEAL, two_theta=(20, 120, 0.02), ka2=0.5, u=0.02, v=-0.004, w=0.006, crystallite_size=500.0,
        microstrain=1e-3, peak_counts=1e8,
    )  # fmt: skip
    r = compute_reflections(rutile, "xray", conditions.d_min(), wavelength=WAVELENGTH)
    counts = simulate_powder(r, None, conditions, random_state=0)[0] / 1e8
    axis = conditions.axis()
    column = {
        name: torch.tensor([float(getattr(conditions, name))]).double()
        for name in ("u", "v", "w", "crystallite_size", "microstrain")
    }
    total = 0
    for wavelength, share in ((1.540593, 1.0), (1.544427, 0.5)):
        q, strength = r.q.double(), r.intensity.double() * r.multiplicity
        seen = q * wavelength / 2 < 0.9
        two_theta = torch.from_numpy(angles(q[seen].numpy(), wavelength))
        fwhm, eta = line_widths(two_theta, column, WAVELENGTH)
        lp = lorentz_polarisation(torch.deg2rad(two_theta / 2), torch.tensor(0.0).double())
        for x, w, e, s in zip(two_theta, fwhm[0], eta[0], strength[seen] * lp * share, strict=True):
            if axis[0] < x < axis[-1]:
                total = total + float(s) * pseudo_voigt(axis - float(x), float(w), float(e))
    np.testing.assert_allclose(counts, total / total.max(), atol=0.01)


def direct_profile(conditions, two_theta):
    """Profile of one line by a direct convolution with its tail on a fine axis: angles and intensity."""
    column = {
        n: torch.tensor([float(getattr(conditions, n))])
        for n in ("u", "v", "w", "crystallite_size", "microstrain")
    }
    fwhm, eta = (float(v) for v in line_widths(torch.tensor([two_theta]), column, WAVELENGTH))
    step = 0.002
    x = np.arange(-3, 3 + step / 2, step)
    shape = pseudo_voigt(x, fwhm, eta)
    tau = conditions.asymmetry / np.tan(np.radians(two_theta))
    tail = np.exp(np.minimum(x, 0) / tau) / tau * (x <= 0) * step
    return x + two_theta, np.convolve(shape, tail / tail.sum(), mode="same")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tails_and_widths_are_right_at_every_angle(dtype):
    """Single lines from 8 to 89.5 degrees agree with a direct convolution to 3% of their height."""
    from xtalsk.simulation.powder._simulate import line_profiles

    conditions = PowderConditions(
        two_theta=(5.0, 90.0, 0.01),
        asymmetry=0.01,
        u=0.01,
        v=-0.002,
        w=0.003,
        crystallite_size=1500.0,
        microstrain=5e-4,
    )
    angles_ = torch.tensor([8.0, 15.0, 30.0, 60.0, 82.0, 88.0, 89.5], dtype=dtype)
    n = len(angles_)
    names = ("u", "v", "w", "crystallite_size", "microstrain", "asymmetry")
    column = {name: torch.full((n,), float(getattr(conditions, name)), dtype=dtype) for name in names}
    lines = torch.arange(n), angles_, torch.ones(n, dtype=dtype)
    axis = torch.from_numpy(conditions.axis()).to(dtype)
    profiles = line_profiles(None, np.arange(n), lines, column, axis, conditions).double().numpy()
    for row, angle in zip(profiles, angles_.tolist(), strict=True):
        x, expected = direct_profile(conditions, angle)
        near = np.abs(conditions.axis() - angle) < 0.5
        expected = np.interp(conditions.axis(), x, expected)
        np.testing.assert_allclose(row[near], (expected / expected.max())[near], atol=0.03)


def expected_counts(reflections, rows, conditions, compiled, seed=0):
    """Expected counts under equal conditions, by the compiled loops or by torch."""
    rows = np.asarray(rows)
    values = _simulate.draw_powder(conditions, reflections, rows, np.random.RandomState(seed))
    arrays = {name: values[name].to_numpy(dtype=float) for name in values}
    column = columns_on(arrays, reflections.q)
    nodes = width_nodes(torch.from_numpy(conditions.axis()).to(reflections.q), column, conditions)
    if compiled:
        renderer = CompiledRenderer(reflections, conditions, nodes)
        return renderer.expected_counts(rows, arrays, _simulate.pattern_seeds(seed, len(rows)))
    with mock.patch.object(_simulate, "poisson", lambda rates, _: rates):
        arrays |= {"background_removed": 0 * arrays["zoning"], "full_scale": 0 * arrays["zoning"]}
        with mock.patch.object(_simulate, "_scaled", lambda counts, _: counts):
            return _simulate.render_powder(reflections, rows, arrays, conditions, None, nodes).numpy()


@pytest.mark.parametrize("preset", ["ideal", "typical", "harsh"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiled_patterns_agree_with_torch(amcsd, preset, dtype):
    """Expected counts differ by less than 2e-3 (single) and 5e-4 (double) of the strongest point."""
    chosen = amcsd[::400]
    conditions = replace(
        getattr(PowderConditions, preset)(), line_scatter=0.0, monochromator=Sometimes(0.5, 26.6)
    )
    rows = np.arange(len(chosen)).repeat(2)
    d_min = conditions.d_min()
    single, other = (compute_reflections(chosen, "xray", d_min, dtype=t) for t in (torch.float32, dtype))
    own = expected_counts(single, rows, conditions, compiled=True)
    reference = expected_counts(other, rows, conditions, compiled=False)
    scale = reference.max(axis=1, keepdims=True)
    limit = 2e-3 if dtype == torch.float32 else 5e-4
    np.testing.assert_allclose(own / scale, reference / scale, atol=limit)
    np.testing.assert_allclose(own.sum(1), reference.sum(1), rtol=1e-3)


def test_a_pattern_does_not_depend_on_the_chunk_or_on_threads(rutile, gold, monkeypatch):
    r = compute_reflections(CrystalSet.concatenate([rutile, gold]), "xray", 1.0, wavelength=WAVELENGTH)
    rows, conditions = np.arange(20) % 2, PowderConditions.harsh()
    together = simulate_powder(r, rows, conditions, random_state=0)
    for name, value in (("PATTERNS_PER_CHUNK", 3), ("PATTERNS_PER_CHUNK", 20)):
        monkeypatch.setattr(_simulate, name, value)
        np.testing.assert_array_equal(together, simulate_powder(r, rows, conditions, random_state=0))
    monkeypatch.setattr(_compiled_render, "PATTERNS_PER_BLOCK", 1)
    n_threads = torch.get_num_threads()
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            np.testing.assert_array_equal(together, simulate_powder(r, rows, conditions, random_state=0))
    finally:
        torch.set_num_threads(n_threads)


def test_torch_patterns_do_not_depend_on_the_chunk(rutile):
    """In double precision, which the compiled loops do not render."""
    r = compute_reflections(rutile, "xray", 1.0, wavelength=WAVELENGTH, dtype=torch.float64)
    conditions = replace(PowderConditions(), line_scatter=0.0)
    with mock.patch.object(_simulate, "poisson", lambda rates, _: 1e5 * rates / rates.amax(1, keepdim=True)):
        together = simulate_powder(r, np.zeros(8, int), conditions, random_state=0)
        with mock.patch.object(_simulate, "PATTERNS_PER_CHUNK", 3):
            apart = simulate_powder(r, np.zeros(8, int), conditions, random_state=0)
    np.testing.assert_allclose(together, apart, atol=2)


def test_compiled_counts_follow_the_poisson_distribution(gold_xray):
    """Mean, variance and the distribution of counts from 0.5 to 5000 expected counts."""
    conditions = replace(IDEAL, two_theta=(30, 90, 0.1), peak_counts=5000.0, background=0.5)
    rows = np.zeros(4000, int)
    counts = simulate_powder(gold_xray, rows, conditions, random_state=0).astype(float)
    rates = expected_counts(gold_xray, rows[:1], conditions, compiled=True)[0].astype(float)
    deviation = (counts.mean(0) - rates) / np.sqrt(rates / len(counts))
    assert np.abs(deviation).max() < 5
    assert abs(np.mean(deviation**2) - 1) < 0.3
    np.testing.assert_allclose(counts.var(0) / rates, 1, atol=6 * np.sqrt((2 + 1 / rates.min()) / 4000))
    for point in (0, int(np.abs(rates - 8).argmin()), int(rates.argmax())):
        law = poisson_law(rates[point])
        edges = np.unique(law.ppf(np.linspace(0.02, 0.98, 15)))
        drawn = np.histogram(counts[:, point], [-1, *(edges + 0.5), np.inf])[0]
        probability = np.diff([0, *law.cdf(edges), 1])
        assert chisquare(drawn, probability * len(counts)).pvalue > 1e-4


def test_compiled_scatter_of_lines_is_log_normal(gold_xray):
    """The areas of single lines scatter independently by the given standard deviation of their logarithm."""
    conditions = replace(IDEAL, two_theta=(30, 90, 0.02), line_scatter=0.3)
    rows = np.zeros(2000, int)
    patterns = expected_counts(gold_xray, rows, conditions, compiled=True)
    areas = [patterns[:, np.abs(conditions.axis() - angle) < 1].sum(1) for angle in angles(GOLD_Q[:3])]
    logarithms = np.log(areas)
    ratios = logarithms[1:] - logarithms[0]
    np.testing.assert_allclose(ratios.std(1), 0.3 * np.sqrt(2), rtol=0.06)
    assert abs(np.corrcoef(ratios)[0, 1] - 0.5) < 0.06


@pytest.mark.parametrize("n_points", [10, 100, 4001])
def test_compiled_background_removal_agrees_with_torch(n_points, monkeypatch):
    """Without random wander, and without scattering near the direct beam."""
    rng = np.random.RandomState(0)
    n, step = 12, 0.02
    rates = 20 + rng.gamma(0.3, 100, (n, n_points)).astype(np.float32)
    values = {name: np.zeros(n) for name in _compiled_render.FIELDS}
    values |= {
        "background_removed": np.ones(n),
        "opening_degrees": rng.uniform(0.3, 4, n),
        "baseline_depth": rng.normal(1.3, 0.1, n),
        "last_pinned": np.arange(n) % 2.0,
    }
    column = {name: torch.from_numpy(values[name]).float() for name in values}
    constants = BLOCK, EDGE, 2, 0.0, 0.0, 0.4, LOWEST_VARIANCE
    net = np.empty_like(rates)
    arguments = (np.arange(n), rates, _compiled_render.as_records(values, n), np.arange(n, dtype=np.uint64))
    record_counts(*arguments, np.zeros(n_points), step, constants, *quantile_table(), net)
    raw = _compiled_render.as_records(values | {"background_removed": np.zeros(n)}, n)
    counts = np.empty_like(rates)
    arguments = (*arguments[:2], raw, arguments[3])
    record_counts(*arguments, np.zeros(n_points), step, constants, *quantile_table(), counts)
    monkeypatch.setattr(_background, "WANDER", 0.0)
    expected = _background.remove_background(
        torch.from_numpy(counts), torch.from_numpy(rates), column, step, torch.Generator()
    )
    np.testing.assert_allclose(net, expected.numpy(), atol=0.51 + 1e-3)  # compiled counts are rounded


def test_line_positions(gold_xray):
    conditions = replace(IDEAL, two_theta=(30, 90, 0.01), zero_shift=0.2)
    counts = simulate_powder(gold_xray, None, conditions, random_state=0)[0]
    assert abs(counts.max() / 1e6 - 1) < 0.01
    for angle in angles(GOLD_Q) + 0.2:
        assert abs(peak(counts, conditions.axis(), angle) - angle) < 0.004


def test_displaced_sample(gold_xray):
    conditions = replace(IDEAL, two_theta=(30, 90, 0.01), displacement=0.2, radius=200.0)
    counts = simulate_powder(gold_xray, None, conditions, random_state=0)[0]
    for angle in angles(GOLD_Q):
        shift = -np.degrees(2 * 0.2 * np.cos(np.radians(angle / 2)) / 200)
        assert abs(peak(counts, conditions.axis(), angle + shift) - angle - shift) < 0.004


def test_doublet(gold_xray):
    conditions = replace(IDEAL, two_theta=(80, 85, 0.005), ka2=0.5, w=0.0016)
    counts = simulate_powder(gold_xray, None, conditions, random_state=0)[0].astype(float)
    first, second = angles(GOLD_Q[4]), angles(GOLD_Q[4], 1.544427)
    heights = [counts[np.abs(conditions.axis() - at).argmin()] for at in (first, second)]
    assert heights[1] / heights[0] == pytest.approx(0.5, abs=0.03)


def test_lorentz_polarisation():
    """Values of (1 + cos² 2θ) / (sin² θ cos θ) from International Tables C, and the monochromator."""
    theta = torch.deg2rad(torch.tensor([5.0, 20.0, 45.0], dtype=torch.float64))
    plain = lorentz_polarisation(theta, torch.zeros(1, dtype=torch.float64))
    np.testing.assert_allclose(2 * plain, [260.3, 14.44, 2.83], rtol=2e-3)
    graphite = lorentz_polarisation(theta, torch.tensor([26.6], dtype=torch.float64))
    k = np.cos(np.radians(26.6)) ** 2
    c = np.cos(2 * theta.numpy()) ** 2
    np.testing.assert_allclose(graphite / plain, (1 + k * c) / (1 + c) * 2 / (1 + k), rtol=1e-9)


def test_widths_in_their_limits():
    """Caglioti widths alone are Gaussian; size alone gives Scherrer's width, microstrain alone 4 e tanθ."""
    two_theta = torch.tensor([20.0, 60.0, 120.0], dtype=torch.float64)

    def widths(**fields):
        fields = {"u": 0.0, "v": 0.0, "w": 0.0, "crystallite_size": np.inf, "microstrain": 0.0} | fields
        column = {name: torch.tensor([value], dtype=torch.float64) for name, value in fields.items()}
        fwhm, eta = line_widths(two_theta, column, WAVELENGTH)
        return fwhm[0].numpy(), eta[0].numpy()

    tangent, cosine = (f(np.radians(two_theta.numpy() / 2)) for f in (np.tan, np.cos))
    fwhm, eta = widths(w=0.01)
    np.testing.assert_allclose(fwhm, 0.1)
    np.testing.assert_allclose(eta, 0, atol=1e-9)
    fwhm, _ = widths(u=0.02, v=-0.01, w=0.008)
    np.testing.assert_allclose(fwhm**2, 0.02 * tangent**2 - 0.01 * tangent + 0.008)
    fwhm, eta = widths(crystallite_size=200.0)
    np.testing.assert_allclose(fwhm, np.degrees(0.9 * WAVELENGTH / 200 / cosine), rtol=1e-3)
    np.testing.assert_allclose(eta, 1, atol=1e-3)
    fwhm, _ = widths(microstrain=0.003)
    np.testing.assert_allclose(fwhm, np.degrees(4 * 0.003 * tangent), rtol=1e-3)


def test_march_function_in_its_limits():
    x = torch.linspace(0, 1, 20001, dtype=torch.float64)
    np.testing.assert_allclose(march(x, torch.tensor(1.0)), 1)
    for r in (0.3, 0.7, 2.0):
        density = march(x, torch.tensor(r).double())
        assert float(torch.trapezoid(density, x)) == pytest.approx(1, abs=1e-5)  # no grain is lost
        assert float(density[-1]) == pytest.approx(r**-3)
        assert float(density[0]) == pytest.approx(r**1.5)


def test_texture_of_plates(rutile):
    """The intensity of a line changes by the mean of the March function over the members of its family."""
    r = compute_reflections(rutile, "xray", 1.2, wavelength=WAVELENGTH)
    from xtalsk.simulation.reflections._texture import march_factors

    rows, planes = np.array([0]), np.array([[0, 0, 1]])
    pattern, lines = gather_lines(r, rows)
    factors = march_factors(r, rows, planes, torch.tensor([0.6]), pattern, lines).numpy()
    reciprocal = Lattice(rutile.lattices[0]).reciprocal_lattice_crystallographic
    for hkl, factor in zip(r.hkl.tolist(), factors, strict=True):
        g = reciprocal.get_cartesian_coords(hkl)
        cosine = g[2] / np.linalg.norm(g)  # equal for all members, which the fourfold axis relates
        expected = (0.36 * cosine**2 + (1 - cosine**2) / 0.6) ** -1.5
        np.testing.assert_allclose(factor, expected, rtol=1e-4)
    planes = np.array([[1, 0, 0]])
    factors = march_factors(r, rows, planes, torch.tensor([0.6]), pattern, lines).numpy()
    row = r.hkl.tolist().index([1, 0, 1])  # half of the members are near the a axis, half normal to it
    g = reciprocal.get_cartesian_coords([1, 0, 1])
    cosines = np.array([g[0] / np.linalg.norm(g), 0])
    expected = ((0.36 * cosines**2 + (1 - cosines**2) / 0.6) ** -1.5).mean()
    np.testing.assert_allclose(factors[row], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("symbol", "lattice", "free"),
    [
        ("Fm-3m", Lattice.cubic(4), 1),
        ("P6/mmm", Lattice.hexagonal(3, 5), 2),
        ("R-3m", Lattice.rhombohedral(4, 50), 2),
        ("P4/mmm", Lattice.tetragonal(4, 5), 2),
        ("Pmmm", Lattice.orthorhombic(3, 4, 5), 3),
        ("P2/m", Lattice.monoclinic(3, 4, 5, 100), 4),
        ("P-1", Lattice.from_parameters(3, 4, 5, 80, 95, 100), 6),
    ],
)
def test_strain_keeps_the_symmetry(symbol, lattice, free):
    """Strains of a crystal span as many dimensions as its metric has, and lines do not split."""
    primitive = Structure(lattice, ["W"], [[0, 0, 0]])
    r = compute_reflections(CrystalSet.from_pymatgen([primitive]), "xray", 1.0)
    rows = np.zeros(50, int)
    strains = draw_strains(r, rows, np.full(50, 0.01), np.random.RandomState(0))
    assert np.linalg.matrix_rank(strains, tol=1e-8) == free
    pattern, lines = gather_lines(r, rows)
    moved = strained_q(r, rows, strains, pattern, lines)
    assert 0.002 < float((moved / r.q[lines] - 1).std()) < 0.02
    if free == 1:
        ratio = (moved / r.q[lines]).view(50, -1)
        np.testing.assert_allclose(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-5)


def test_strained_lines_are_those_of_the_strained_cell(rutile):
    r = compute_reflections(rutile, "xray", 1.0)
    conditions = replace(IDEAL, strain=0.01, two_theta=(20, 90, 0.02))
    _, values = simulate_powder(r, None, conditions, random_state=0, return_conditions=True)
    strain = values[list(STRAIN_COLUMNS)].to_numpy()
    assert np.abs(strain).max() > 1e-3
    e = strain[0][[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
    reciprocal = Lattice(rutile.lattices[0] @ (np.eye(3) + e)).reciprocal_lattice_crystallographic
    rows = np.array([0])
    moved = strained_q(r, rows, strain, *gather_lines(r, rows))
    for hkl, q in zip(r.hkl.tolist(), moved, strict=True):
        np.testing.assert_allclose(q, np.linalg.norm(reciprocal.get_cartesian_coords(hkl)), rtol=1e-6)


def test_mean_background_and_poisson_noise(gold_xray):
    conditions = PowderConditions(
        two_theta=(20, 60, 0.02), background=(400, 600), peak_counts=1000, crystallite_size=np.inf,
        microstrain=0, air=0, hump=0, waviness=0,
    )  # fmt: skip
    counts, values = simulate_powder(
        gold_xray, np.zeros(40, int), conditions, random_state=1, return_conditions=True
    )
    assert values.background.between(400, 600).all()
    flat = counts[:, :300].astype(float)  # 20 to 26 degrees hold no line
    steps = np.diff(flat, axis=1)
    np.testing.assert_allclose(flat.mean(1), values.background, rtol=0.02)
    np.testing.assert_allclose(steps.var() / 2, flat.mean(), rtol=0.05)  # Poisson: variance equals mean


def test_second_phase_adds_its_lines(gold, rutile):
    both = CrystalSet.concatenate([gold, rutile])
    r = compute_reflections(both, "xray", 1.05, wavelength=WAVELENGTH)
    conditions = replace(IDEAL, two_theta=(20, 60, 0.02), impurity=0.2)
    counts, values = simulate_powder(r, [0] * 20, conditions, random_state=0, return_conditions=True)
    axis, clean = (
        conditions.axis(),
        simulate_powder(r, [0], replace(conditions, impurity=0), random_state=0)[0],
    )
    strongest = np.abs(axis - 27.4) < 0.3  # 110 of rutile
    for row, guest in enumerate(values.impurity_row):
        height = counts[row][strongest].max() / counts[row].max()
        assert guest == 1  # never the crystal itself
        assert height == pytest.approx(0.2, abs=0.02)
    assert clean[strongest].max() < 1e3


def test_published_patterns_have_no_background(gold_xray):
    conditions = replace(
        PowderConditions.harsh(), background=300.0, peak_counts=5000.0, impurity=0.0, two_theta=(20, 90, 0.01)
    )
    counts = simulate_powder(gold_xray, np.zeros(5, int), conditions, random_state=0)
    raw = simulate_powder(
        gold_xray, np.zeros(5, int), replace(conditions, background_removed=0.0, full_scale=0.0),
        random_state=0,
    )  # fmt: skip
    assert (counts.max(1) == 1000).all()
    flat = slice(0, 1500)
    assert np.median(raw[:, flat]) > 200
    assert np.median(counts[:, flat]) < 0.02 * 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"two_theta": (5, 150, 0.02)}, "150 degrees needs"),
        ({"two_theta": (5, 20, 0.02)}, r"crystal 0 \(0\) has no line between"),
        ({"rows": [1]}, "rows must be from 0 to 0"),
        ({"conditions": 3}, "must be a PowderConditions or one of"),
    ],
)
def test_powder_arguments(gold_xray, arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate_powder(gold_xray, **arguments)


def test_line_counts_are_the_sum_of_all_points(gold_xray):
    conditions = replace(IDEAL, two_theta=(30, 90, 0.02), line_counts=50_000.0)
    counts = simulate_powder(gold_xray, np.zeros(5, int), conditions, random_state=0)
    np.testing.assert_allclose(counts.sum(1), 50_000, rtol=0.02)


def test_zoned_crystals_split_lines(rutile):
    """Zoning makes lines wider and leaves their areas unchanged."""
    r = compute_reflections(rutile, "xray", 1.2, wavelength=WAVELENGTH)
    plain = replace(IDEAL, two_theta=(25, 79, 0.01), w=0.0025)
    one = simulate_powder(r, None, plain, random_state=3)[0].astype(float)
    zoned, values = simulate_powder(
        r, None, replace(plain, zoning=0.01), random_state=3, return_conditions=True
    )
    two = zoned[0].astype(float)
    strains = values[[f"zone_{name}" for name in STRAIN_COLUMNS]].to_numpy()
    assert np.abs(strains).max() > 1e-3
    axis = plain.axis()
    first = (axis > 26) & (axis < 29)
    spread = [np.sqrt(np.cov(axis[first], aweights=c[first])) for c in (one, two)]
    assert spread[1] > 1.5 * spread[0]
    share = [c[first].sum() / c.sum() for c in (one, two)]
    assert share[0] == pytest.approx(share[1], rel=0.03)


def test_removed_background_leaves_low_angle_scatter(gold_xray):
    harsh = replace(PowderConditions.harsh(), two_theta=(5, 90, 0.01), background=100.0, impurity=0.0)
    sums = []
    for scatter in (0.0, 3.0):
        counts = simulate_powder(
            gold_xray, np.zeros(10, int), replace(harsh, low_angle_scatter=scatter), random_state=0
        )
        sums.append(counts[:, 50:200].mean())  # 5.5 to 7 degrees
    assert sums[1] > 1.2 * sums[0]


def test_grains_lie_on_the_plane_of_the_widest_spacing(rutile):
    from xtalsk.simulation.reflections._texture import draw_grain_planes

    r = compute_reflections(rutile, "xray", 1.2, wavelength=WAVELENGTH)
    planes = draw_grain_planes(r, np.zeros(400, int), np.random.RandomState(0))
    assert 0.45 < (planes == [1, 1, 0]).all(1).mean() < 0.7  # 110 of rutile, its cleavage


def test_compiled_widths_agree_with_torch():
    two_theta = np.linspace(0.5, 179, 40)
    values = PowderConditions(crystallite_size=(50.0, 5000.0)).draw(20, 0)
    column = {name: torch.from_numpy(values[name].to_numpy()) for name in WIDTH_COLUMNS}
    expected = line_widths(torch.from_numpy(two_theta), column, WAVELENGTH)
    for own, reference in zip(compiled_widths(two_theta, values, WAVELENGTH), expected, strict=True):
        np.testing.assert_allclose(own, reference, rtol=1e-9)

import json
import sqlite3
from base64 import b64decode
from dataclasses import replace

import gemmi
import numpy as np
import pytest
import torch
from pymatgen.analysis.diffraction.xrd import XRDCalculator
from pymatgen.core import Lattice, Structure

from xtalsk.crystals import BrokenEntryWarning, CrystalSet
from xtalsk.crystals._labels import element_of_label
from xtalsk.physics._form_factors import anomalous_factors, form_factors
from xtalsk.simulation import RingConditions, compute_reflections, simulate_rings, simulate_spots, vary_sites
from xtalsk.simulation.reflections import _fast_kernels
from xtalsk.simulation.reflections._compute import DEFAULT_U_ISO
from xtalsk.simulation.reflections._families import find_families, laue_group
from xtalsk.simulation.reflections._structure_factors import padded_intensities, squared_structure_factors
from xtalsk.utils import _compiled

CU_K_ALPHA = 1.5406


def gemmi_structure(row):
    """The entry before expansion, with rounded special positions; None if gemmi does not know its setting."""
    _, formula, *cell, labels, x, y, z, occupancy, u_iso, operations = row

    def decode(text, default):
        if text == "0":
            return np.full(len(labels), default)
        values = np.frombuffer(b64decode(text), np.int32) / 4e6
        return np.where(np.isin(values, (2.0, 3.0)), default, values)

    labels = json.loads(labels)
    small = gemmi.SmallStructure()
    small.cell = gemmi.UnitCell(*[float(v) for v in cell])
    small.symops = json.loads(operations)
    coords = np.stack([decode(v, 0.0) for v in (x, y, z)], axis=1)
    for label, xyz, o, u in zip(labels, coords, decode(occupancy, 1.0), decode(u_iso, -1.0), strict=True):
        site = gemmi.SmallStructure.Site()
        site.label = label
        site.element = gemmi.Element(element_of_label(label, formula))
        site.fract = gemmi.Fractional(*xyz)
        site.occ = min(o, 1.0) if o > 0 else 1.0
        site.u_iso = u if u > 0 else DEFAULT_U_ISO
        small.add_site(site)
    small.determine_and_set_spacegroup("S.")
    if small.spacegroup is None:  # a setting that gemmi does not list
        return None
    small.change_occupancies_to_crystallographic(0.06)
    return small


def gemmi_lines(small, radiation, d_min, wavelength=None):
    """All q and |F|² up to 1 / d_min, not merged by symmetry."""
    if radiation == "xray":
        calculator = gemmi.StructureFactorCalculatorX(small.cell)
    else:
        calculator = gemmi.StructureFactorCalculatorE(small.cell)
    limits = [int(length / d_min) for length in small.cell.parameters[:3]]
    hkl = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in limits], indexing="ij"), -1).reshape(-1, 3)
    q = np.array([small.cell.calculate_1_d2(h) for h in hkl.tolist()]) ** 0.5
    inside = (q > 0) & (q <= 1 / d_min)
    hkl, q = hkl[inside], q[inside]
    f = np.array([calculator.calculate_sf_from_small_structure(small, h) for h in hkl.tolist()])
    return q, np.abs(f) ** 2


def clustered(own_x, own_strength, other_x, other_strength, tolerance):
    """Strengths of both lists, summed over clusters of neighbouring positions, shape (2, n)."""
    x = np.concatenate([own_x, other_x])
    order = np.argsort(x)
    cluster = np.empty(len(x), dtype=int)
    cluster[order] = np.cumsum(np.diff(x[order], prepend=x.min()) > tolerance)
    own, other = np.split(cluster, [len(own_x)])
    n = cluster.max() + 1
    return np.stack([np.bincount(own, own_strength, n), np.bincount(other, other_strength, n)])


def own_lines(r, i):
    rows = slice(r.offsets[i], r.offsets[i + 1])
    return r.q[rows].numpy(), (r.intensity * r.multiplicity)[rows].numpy()


@pytest.fixture(scope="module")
def database():
    larixite = pytest.importorskip("larixite")
    connection = sqlite3.connect(larixite.__file__.replace("__init__.py", "amcsd_cif1.db"))
    query = """select cif.id, formula, a, b, c, alpha, beta, gamma, atoms_sites, atoms_x, atoms_y, atoms_z,
        atoms_occupancy, atoms_u_iso, symmetry_xyz from cif join spacegroups on spacegroups.id = spacegroup_id
        where cif.id = ?"""
    return lambda amcsd_id: connection.execute(query, (int(amcsd_id),)).fetchone()


@pytest.mark.parametrize("radiation", ["xray", "electron"])
def test_lines_and_intensities_agree_with_gemmi(sixty, amcsd, database, radiation):
    """With rounded special positions (9475, 7694), mixed sites (19271), tin, wurtzite, a 33° rhombohedron."""
    special = amcsd[np.isin(amcsd.ids, ["9475", "7694", "19271", "9162", "11540", "10531"])]
    assert len(special) == 6
    crystals = CrystalSet.concatenate([sixty, special])
    r = compute_reflections(crystals, radiation, d_min=1.5)
    compared = 0
    for i, name in enumerate(crystals.ids):
        small = gemmi_structure(database(name))
        if small is None:
            continue
        lines = gemmi_lines(small, radiation, 1.5)
        own, reference = clustered(*own_lines(r, i), *lines, tolerance=1e-4)
        scale = reference.max()
        np.testing.assert_allclose(own, reference, atol=1e-4 * scale, rtol=0, err_msg=name)
        unsure = np.maximum(own, reference) < 3e-5 * scale
        assert (((own > 1e-5 * scale) == (reference > 1e-5 * scale)) | unsure).all(), name
        compared += 1
    assert compared >= 50


def test_lines_agree_with_pymatgen(sixty):
    """Lines agree to 3% of the strongest: pymatgen's form factors are off by 1 to 4%, that of tin by more."""
    calculator = XRDCalculator(wavelength=CU_K_ALPHA, debye_waller_factors={})
    checked = 0
    for i in range(0, len(sixty), 2):
        crystal = sixty[i]
        if 50 in crystal.atomic_numbers:
            continue
        pattern = calculator.get_pattern(crystal.to_pymatgen(0), scaled=True, two_theta_range=(0, 90))
        at_rest = compute_reflections(
            crystal, "xray", d_min=CU_K_ALPHA / 2 / np.sin(np.pi / 4), default_u_iso=0.0
        )
        if np.isfinite(crystal.u_iso).any():
            continue
        q, strength = own_lines(at_rest, 0)
        theta = np.arcsin(q * CU_K_ALPHA / 2)
        lp = (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
        two_theta = np.degrees(2 * theta)
        own, reference = clustered(two_theta, strength * lp, pattern.x, pattern.y, tolerance=0.02)
        own, reference = own[:-1], reference[:-1]  # the last cluster is cut by the range
        np.testing.assert_allclose(
            100 * own / own.max(), 100 * reference / reference.max(), atol=3.0, err_msg=crystal.ids[0]
        )
        checked += 1
    assert checked >= 10


def test_anomalous_scattering_agrees_with_a_direct_sum():
    """Zincblende has no inversion centre: the mean of Friedel mates differs from either."""
    sphalerite = Structure.from_spacegroup("F-43m", Lattice.cubic(5.41), ["Zn", "S"], [[0, 0, 0], [0.25] * 3])
    crystals = CrystalSet.from_pymatgen([sphalerite])
    r = compute_reflections(crystals, "xray", d_min=1.0, wavelength=CU_K_ALPHA, default_u_iso=0.0)
    energy = 12398.419843 / CU_K_ALPHA
    for hkl, q, value in zip(r.hkl.numpy(), r.q.numpy(), r.intensity.numpy(), strict=True):
        squares = []
        for sign in (1, -1):
            f = 0
            for z, xyz in zip(crystals.atomic_numbers, crystals.frac_coords, strict=True):
                f0 = gemmi.Element(int(z)).it92.calculate_sf(q * q / 4)
                f1, f2 = gemmi.cromer_liberman(int(z), energy)
                f = f + (f0 + f1 + 1j * f2) * np.exp(2j * np.pi * sign * (hkl @ xyz))
            squares.append(abs(f) ** 2)
        np.testing.assert_allclose(value, np.mean(squares), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("radiation", ["xray", "electron"])
def test_form_factors_agree_with_gemmi(radiation):
    q = torch.linspace(0.05, 2.0, 7, dtype=torch.float64)
    z = torch.tensor([1, 8, 26, 50, 98])
    own = form_factors(z, q, radiation)
    assert own.shape == (7, 5)
    for k, number in enumerate(z.tolist()):
        element = gemmi.Element(number)
        table = element.it92 if radiation == "xray" else element.c4322
        reference = [table.calculate_sf(float(v) ** 2 / 4) for v in q]
        np.testing.assert_allclose(own[:, k], reference, rtol=1e-5)


def test_crystals_do_not_depend_on_each_other(sixty):
    together = compute_reflections(sixty, "electron", d_min=1.2, dtype=torch.float64)
    for i in (0, 20, 49):
        alone = compute_reflections(sixty[i], "electron", d_min=1.2, dtype=torch.float64)
        rows = slice(together.offsets[i], together.offsets[i + 1])
        np.testing.assert_array_equal(alone.hkl, together.hkl[rows])
        np.testing.assert_allclose(alone.intensity, together.intensity[rows], rtol=1e-9, atol=1e-9)


def test_multiplicities_fill_the_sphere(sixty):
    """Multiplicities of a lattice without absences add up to the number of its points."""
    lone = Structure.from_spacegroup("P6/mmm", Lattice.hexagonal(3.1, 3.4), ["W"], [[0, 0, 0]])
    r = compute_reflections(CrystalSet.from_pymatgen([lone]), "xray", d_min=0.7)
    reciprocal = lone.lattice.reciprocal_lattice_crystallographic
    points = reciprocal.get_points_in_sphere([[0, 0, 0]], [0, 0, 0], 1 / 0.7)
    assert int(r.multiplicity.sum()) == len(points) - 1


@pytest.mark.parametrize("radiation", ["xray", "electron"])
def test_single_precision_agrees_with_a_direct_sum(sixty, radiation):
    """Sixty structures agree with a sum over atoms in double precision to 1e-4 of the strongest line."""
    wavelength = CU_K_ALPHA if radiation == "xray" else None
    r = compute_reflections(sixty, radiation, d_min=1.0, wavelength=wavelength)
    energy = 12398.419843 / CU_K_ALPHA
    for i in range(len(sixty)):
        rows = slice(r.offsets[i], r.offsets[i + 1])
        crystal, hkl = sixty[i], r.hkl[rows].double()
        q = np.linalg.norm(hkl.numpy() @ np.linalg.inv(crystal.lattices[0]).T, axis=1)
        np.testing.assert_allclose(r.q[rows], q, rtol=1e-6)
        f0 = form_factors(
            torch.from_numpy(crystal.atomic_numbers.astype(int)), torch.from_numpy(q), radiation
        )
        u_iso = np.where(np.isnan(crystal.u_iso), DEFAULT_U_ISO, crystal.u_iso)
        scale = crystal.occupancies * np.exp(-2 * np.pi**2 * u_iso * q[:, None] ** 2)
        extra = np.zeros(len(crystal.u_iso), complex)
        if radiation == "xray":
            extra = np.array(
                [complex(*gemmi.cromer_liberman(int(z), energy)) for z in crystal.atomic_numbers]
            )
        phase = np.exp(2j * np.pi * hkl.numpy() @ crystal.frac_coords.T)
        squares = [np.abs(((f0.numpy() + extra) * scale * p).sum(1)) ** 2 for p in (phase, phase.conj())]
        expected, own = np.mean(squares, axis=0), r.intensity[rows].numpy()
        strength = expected * r.multiplicity[rows].numpy()
        np.testing.assert_allclose(
            own * r.multiplicity[rows].numpy(), strength, rtol=0, atol=1e-4 * strength.max()
        )


@pytest.mark.parametrize("radiation", ["xray", "electron"])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_compiled_structure_factors_agree_with_torch(sixty, radiation, dtype, limit):
    """|F|² agrees relative to the strongest reflection; displacements are NaN in many of these crystals."""
    assert np.isnan(sixty.u_iso).any()
    assert np.isfinite(sixty.u_iso).any()
    u_iso = np.where(np.isnan(sixty.u_iso), DEFAULT_U_ISO, sixty.u_iso)
    counts, hkl, q, _ = find_families(sixty, 1.0, np.ones(len(sixty), bool))
    starts = np.concatenate([[0], np.cumsum(counts)])
    anomalous = anomalous_factors(CU_K_ALPHA) if radiation == "xray" else None
    options = {"radiation": radiation, "anomalous": anomalous, "dtype": dtype, "device": "cpu"}
    own = squared_structure_factors(sixty, u_iso, counts, hkl, q, verbose=0, **options)
    reference = padded_intensities(sixty, u_iso, starts, hkl, q, **options)
    assert own.dtype == reference.dtype == dtype
    strongest = np.repeat(np.maximum.reduceat(reference.numpy(), starts[:-1]), counts)
    np.testing.assert_allclose(own.numpy() / strongest, reference.numpy() / strongest, atol=limit)


def test_families_are_those_of_all_reflections_in_the_sphere(sixty):
    """Each reflection in the sphere is a member of one family; its largest member represents it."""
    d_min = 1.6
    counts, hkl, q, multiplicity = find_families(sixty, d_min, np.arange(len(sixty)) != 7)
    assert counts[7] == 0
    for i, rows in enumerate(np.split(np.arange(len(q)), np.cumsum(counts)[:-1])):
        if i == 7:
            continue
        lattice = sixty.lattices[i]
        size = (np.linalg.norm(lattice, axis=1) / d_min).astype(int) + 1
        box = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in size], indexing="ij"), -1).reshape(-1, 3)
        lengths = np.linalg.norm(box @ np.linalg.inv(lattice).T, axis=1)
        inside = box[(lengths > 0) & (lengths <= 1 / d_min)]
        images = inside @ laue_group(sixty.rotation_sets[sixty.rotation_index[i]])
        members = {}
        for image in images.transpose(1, 0, 2).tolist():
            family = {tuple(h) for h in image}
            members[max(family)] = len(family)
        own = dict(zip(map(tuple, hkl[rows].tolist()), multiplicity[rows].tolist(), strict=True))
        assert own == members
        assert (np.diff(q[rows]) >= 0).all()
        np.testing.assert_allclose(q[rows], np.linalg.norm(hkl[rows] @ np.linalg.inv(lattice).T, axis=1))


def test_reflections_do_not_depend_on_threads(sixty):
    n_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = compute_reflections(sixty, "electron", 1.2)
        torch.set_num_threads(3)
        three = compute_reflections(sixty, "electron", 1.2)
    finally:
        torch.set_num_threads(n_threads)
    np.testing.assert_array_equal(one.intensity, three.intensity)


def test_compiled_exponential():
    @_fast_kernels.fast
    def exponentials(x, out):
        for i in range(len(x)):
            out[i] = _fast_kernels.exponential(x[i])

    x = np.concatenate([np.linspace(-707, 700, 10_001), [0.0, -1e-12, -0.34, 1e-300]])
    out = np.empty_like(x)
    exponentials(x, out)
    np.testing.assert_allclose(out, np.exp(x), rtol=1e-12)
    low = np.array([-1e4, -np.inf])
    exponentials(low, low)
    assert (low < 1e-300).all()


def test_a_machine_without_a_folder_for_machine_code_compiles(monkeypatch):
    original = _compiled.njit

    def njit(cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function")
        return original(**options)

    monkeypatch.setattr(_compiled, "njit", njit)
    assert _fast_kernels.fast(lambda x: 2 * x)(3) == 6


def test_equal_crystals_are_computed_once(sixty, tmp_path, monkeypatch):
    first = compute_reflections(sixty[:4], "xray", 1.0, wavelength=CU_K_ALPHA, memory=tmp_path)

    def fail(*args, **kwargs):
        raise AssertionError("computed again")

    from xtalsk.simulation.reflections import _compute as _reflections

    monkeypatch.setattr(_reflections, "squared_structure_factors", fail)
    again = compute_reflections(sixty[:4], "xray", 1.0, wavelength=CU_K_ALPHA, memory=tmp_path)
    np.testing.assert_array_equal(first.intensity, again.intensity)
    np.testing.assert_array_equal(first.offsets, again.offsets)
    for changed in (
        {"d_min": 1.1},
        {"wavelength": 0.71},
        {"default_u_iso": 0.01},
        {"dtype": torch.float64},
    ):
        arguments = {"d_min": 1.0, "wavelength": CU_K_ALPHA} | changed
        with pytest.raises(AssertionError, match="computed again"):
            compute_reflections(sixty[:4], "xray", memory=tmp_path, **arguments)
    moved = replace(sixty[:4], frac_coords=sixty[:4].frac_coords + 1e-4)
    with pytest.raises(AssertionError, match="computed again"):
        compute_reflections(moved, "xray", 1.0, wavelength=CU_K_ALPHA, memory=tmp_path)


def test_memory_of_torch_does_not_grow_with_one_huge_crystal(sixty, monkeypatch):
    from xtalsk.simulation.reflections import _structure_factors

    crystal = sixty[59]
    counts, hkl, q, _ = find_families(crystal, 1.0, np.ones(1, bool))
    u_iso = np.where(np.isnan(crystal.u_iso), DEFAULT_U_ISO, crystal.u_iso)
    arguments = crystal, u_iso, np.array([0, counts[0]]), hkl, q, "electron", None, torch.float32, "cpu"
    whole = padded_intensities(*arguments)
    monkeypatch.setattr(_structure_factors, "PAIRS_PER_CHUNK", 100)
    sliced = padded_intensities(*arguments)
    np.testing.assert_allclose(whole, sliced, rtol=1e-4, atol=1e-6 * float(whole.max()))


def test_faulty_crystals_are_named(sixty):
    three = sixty[:3]
    crowded = replace(
        three, frac_coords=np.where(three.crystal_of_site[:, None] == 1, 0.5, three.frac_coords)
    )
    n_sites = np.diff(three.offsets)[1]
    assert n_sites > 1
    with pytest.warns(BrokenEntryWarning, match=f"crystal 1 .* of its site 0 add up to {n_sites}"):
        r = compute_reflections(crowded, d_min=1.0)
    lengths = np.diff(r.offsets)
    assert lengths[1] == 0
    assert lengths[[0, 2]].min() > 0
    for render in (simulate_rings, simulate_spots):
        with pytest.raises(ValueError, match=r"crystal 1 .* has no reflections: it was left out as faulty"):
            render(r)
    assert len(simulate_rings(r, [0, 2], RingConditions(image_size=32))) == 2
    with pytest.raises(ValueError, match="1 of 3 entries were left out"):
        compute_reflections(crowded, d_min=1.0, on_error="raise")
    across = replace(three, frac_coords=three.frac_coords.copy())  # both ends of the cell are the same point
    across.frac_coords[:2] = [[0.9999, 0.5, 0], [0, 0.5, 0.00001]]
    if np.diff(three.offsets)[0] > 1:
        with pytest.warns(BrokenEntryWarning, match="crystal 0"):
            compute_reflections(across, d_min=1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_systematic_absences_are_left_out_where_no_other_line_is(dtype):
    """100 and 111 of body-centred iron stay absent where no other line is within reach."""
    iron = Structure.from_spacegroup("Im-3m", Lattice.cubic(2.87), ["Fe"], [[0, 0, 0]])
    for radiation in ("xray", "electron"):
        r = compute_reflections(CrystalSet.from_pymatgen([iron]), radiation, d_min=2.25, dtype=dtype)
        assert len(r.q) == 0


def test_varied_sites_keep_the_symmetry(amcsd):
    """Lines merged by symmetry equal the direct sum over all members of a family."""
    quartz = amcsd[(amcsd.names == "Quartz") & (amcsd.formulas == "SiO2")][:1]
    varied = vary_sites(quartz, vacancies=0.3, u_iso=0.5, random_state=0)
    assert (varied.occupancies < quartz.occupancies).all()
    assert varied.occupancies.min() > 0.7
    for z in (8, 14):
        assert len(np.unique(varied.occupancies[varied.atomic_numbers == z])) == 1
    before, after = (compute_reflections(c, "electron", 1.0) for c in (quartz, varied))
    np.testing.assert_array_equal(before.hkl, after.hkl)
    ratio = after.intensity / before.intensity
    assert ratio.std() > 0.01
    again = vary_sites(quartz, vacancies=0.3, u_iso=0.5, random_state=0)
    np.testing.assert_array_equal(varied.u_iso, again.u_iso)
    same = vary_sites(quartz, vacancies=0, u_iso=0, random_state=0)
    np.testing.assert_array_equal(same.occupancies, quartz.occupancies)
    with pytest.raises(ValueError, match="vacancies must be a share"):
        vary_sites(quartz, vacancies=1.0)
    with pytest.raises(ValueError, match="u_iso must be at least 0"):
        vary_sites(quartz, u_iso=-1)


def test_empty_and_bad_arguments(sixty):
    with pytest.raises(ValueError, match="at least one crystal, got an empty set"):
        compute_reflections(sixty[:0])
    with pytest.raises(ValueError, match="d_min must be a positive"):
        compute_reflections(sixty, d_min=0)
    with pytest.raises(ValueError, match="radiation must be one of"):
        compute_reflections(sixty, "neutron")
    with pytest.raises(ValueError, match="wavelength must be a positive"):
        compute_reflections(sixty, "xray", wavelength=-1)
    with pytest.raises(ValueError, match="device must be"):
        compute_reflections(sixty, device="quantum")
    with pytest.raises(ValueError, match="default_u_iso must be at least 0"):
        compute_reflections(sixty, default_u_iso=-0.1)
    with pytest.raises(ValueError, match="dtype must be one of"):
        compute_reflections(sixty, dtype=torch.int64)

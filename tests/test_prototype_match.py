"""`PrototypeMatch`: structures of compounds that no library has."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure
from sklearn.base import clone

import xtalsk
from xtalsk import (
    CrystalSet,
    ElementFractions,
    PowderProfile,
    PrototypeMatch,
    RadialProfile,
    compute_reflections,
    load_amcsd,
    make_features,
    make_specimens,
)
from xtalsk.crystals._constants import MIN_CONTACT
from xtalsk.crystals._elements import element_volumes
from xtalsk.library._line_agreement import line_agreement
from xtalsk.library._lines import features_of_lines
from xtalsk.library._prototype_candidates import find_candidates, make_species
from xtalsk.library._prototype_lines import FACTOR_STEP, PrototypeLines, factor_tables, invariant_strains
from xtalsk.library._prototype_match import packaged
from xtalsk.library._prototype_search import refined_lattice
from xtalsk.library._prototype_table import PrototypeTable
from xtalsk.persistence._parts import _put_prototypes
from xtalsk.utils import NotMeasuredWarning


def rock_salt(a, *elements):
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), elements, [[0, 0, 0], [0.5] * 3])


def cesium_chloride(a, *elements):
    return Structure.from_spacegroup("Pm-3m", Lattice.cubic(a), elements, [[0, 0, 0], [0.5] * 3])


def zincblende(a, *elements):
    return Structure.from_spacegroup("F-43m", Lattice.cubic(a), elements, [[0, 0, 0], [0.25] * 3])


def perovskite(a, *elements):
    places = [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0]]
    return Structure.from_spacegroup("Pm-3m", Lattice.cubic(a), elements, places)


def rutile(a, c, u, *elements):
    places = [[0, 0, 0], [u, u, 0]]
    return Structure.from_spacegroup("P4_2/mnm", Lattice.tetragonal(a, c), elements, places)


def fluorite(a, *elements):
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), elements, [[0, 0, 0], [0.25] * 3])


KNOWN = [rock_salt(5.64, "Na", "Cl"), rock_salt(4.21, "Mg", "O"), rock_salt(6.29, "K", "Cl")]
KNOWN += [rock_salt(6.00, "Na", "Br"), cesium_chloride(4.12, "Cs", "Cl"), cesium_chloride(4.57, "Cs", "I")]
KNOWN += [zincblende(5.41, "Zn", "S"), zincblende(5.45, "Ga", "P"), zincblende(5.65, "Ga", "As")]
KNOWN += [perovskite(3.905, "Sr", "Ti", "O"), perovskite(4.19, "Ba", "Zr", "O")]
KNOWN += [
    rutile(4.59, 2.96, 0.305, "Ti", "O"),
    rutile(4.74, 3.19, 0.307, "Sn", "O"),
    fluorite(5.46, "Ca", "F"),
]
KNOWN += [zincblende(6.48, "In", "Sb"), zincblende(5.66, "Al", "As"), fluorite(6.20, "Ba", "F")]
KNOWN += [fluorite(5.41, "Ce", "O"), rock_salt(5.16, "Sr", "O"), rock_salt(4.63, "Na", "F")]
NEW = [rock_salt(6.60, "K", "Br"), zincblende(6.06, "Al", "Sb"), perovskite(4.11, "Sr", "Hf", "O")]
NEW += [rutile(4.42, 3.10, 0.305, "V", "O"), cesium_chloride(4.29, "Cs", "Br")]


@pytest.fixture(scope="module")
def known():
    return CrystalSet.from_pymatgen(KNOWN, ids=[f"k{i}" for i in range(len(KNOWN))])


@pytest.fixture(scope="module")
def measured():
    """Features and labels of compounds that are not among the prototypes."""
    crystals = CrystalSet.from_pymatgen(NEW)
    specimens, y, _ = make_specimens(
        crystals, ("powder", "formula"), conditions={"powder": "typical", "formula": "ideal"}, random_state=0
    )
    features = make_features(
        diffraction=("powder", PowderProfile()), chemistry=("formula", ElementFractions())
    )
    return features.fit_transform(specimens.assign(formula=crystals.formulas)), y, crystals


@pytest.fixture(scope="module")
def match(known, measured):
    return PrototypeMatch(known, max_scale_error=0.1).fit(measured[0])


def test_space_groups_of_unknown_compounds(match, measured):
    X, y, _ = measured
    np.testing.assert_array_equal(match.predict(X), y)
    proba = match.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert (proba.max(axis=1) > 0.5).all()


def test_structures_have_the_right_cells_and_sites(match, measured):
    X, y, crystals = measured
    predicted = match.structures(X)
    np.testing.assert_array_equal(predicted.space_groups, y)
    np.testing.assert_allclose(predicted.lattices, crystals.lattices, atol=0.03)
    assert predicted.formulas.tolist() == ["KBr", "AlSb", "SrHfO3", "VO2", "CsBr"]
    reference = compute_reflections(crystals, "xray", d_min=1.5)
    own = compute_reflections(predicted, "xray", d_min=1.5)
    for i in range(len(crystals)):
        lines = [
            r.q[r.offsets[i] : r.offsets[i + 1]][r.intensity[r.offsets[i] : r.offsets[i + 1]].argmax()]
            for r in (own, reference)
        ]
        assert abs(float(lines[0] / lines[1]) - 1) < 0.01


def test_tetragonal_cell_is_refined_along_both_axes(match, measured):
    X, _, crystals = measured
    row = match.candidates(X[3:4], n=1).iloc[0]
    assert row["space_group"] == 136
    assert row["similarity"] > 0.6
    np.testing.assert_allclose([row["a"], row["c"]], crystals.lattices[3][[0, 2], [0, 2]], rtol=0.01)


def test_composition_errors_do_no_harm(match, measured):
    X, y, _ = measured
    X, rng = X.copy(), np.random.default_rng(0)
    chemistry = X.columns.str.startswith("chemistry__")
    X.loc[:, chemistry] *= np.exp(0.1 * rng.standard_normal((len(X), chemistry.sum()))).astype(np.float32)
    np.testing.assert_array_equal(match.predict(X), y)


def test_carbon_film_and_hydrogen_are_left_out(match, measured):
    X, y, _ = measured
    X = X.copy()
    X["chemistry__c"], X["chemistry__h"] = 0.3, 0.2
    np.testing.assert_array_equal(match.predict(X), y)


def test_elements_that_replace_each_other_share_a_site(known, match, measured):
    X = measured[0][:1].copy()
    X.loc[:, X.columns.str.startswith("chemistry__")] = 0
    X["chemistry__k"], X["chemistry__rb"], X["chemistry__br"] = 0.3, 0.2, 0.5
    crystal = match.structures(X)
    assert crystal.space_groups[0] == 225
    mixed = np.isin(crystal.atomic_numbers, [19, 37])
    assert set(np.round(crystal.occupancies[mixed], 2)) == {0.4, 0.6}


def test_missing_blocks_give_the_prior(match, measured):
    X = measured[0].copy()
    X.iloc[0, X.columns.str.startswith("diffraction__")] = np.nan
    X.iloc[1, X.columns.str.startswith("chemistry__")] = np.nan
    np.testing.assert_allclose(match.predict_proba(X)[:2], [match.prior_] * 2)
    assert np.isnan(match.similarity(X)[:2]).all()
    assert set(match.candidates(X)["row"]) == {2, 3, 4}
    X.iloc[2] = np.nan
    with pytest.raises(ValueError, match="row 2"):
        match.predict(X)
    lenient = clone(match).set_params(all_missing="missing").fit(X)
    with pytest.warns(NotMeasuredWarning, match="row 2"):
        assert lenient.predict(X)[2] == 0


@pytest.mark.parametrize("formula", ["H2", "Au", "LiBeBCNONaMgAlSiPSClKCaScTi", "Na0.2Cl0.5"])
def test_odd_compositions_give_an_answer(match, measured, formula):
    X = measured[0][:1].copy()
    X.loc[:, X.columns.str.startswith("chemistry__")] = ElementFractions().fit_transform([formula])
    proba = match.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1)


def test_profile_without_lines_gives_the_prior(match, measured):
    X = measured[0][:1].copy()
    X.loc[:, X.columns.str.startswith("diffraction__")] = 1.0
    np.testing.assert_allclose(match.predict_proba(X), [match.prior_])
    with pytest.raises(ValueError, match="no row of X has a candidate"):
        match.structures(X)


def test_rows_do_not_depend_on_each_other(match, measured):
    X = measured[0]
    np.testing.assert_array_equal(
        match.predict_proba(X), np.concatenate([match.predict_proba(X[i : i + 1]) for i in range(len(X))])
    )


def test_saved_classifier_gives_the_same_answer(match, measured):
    X = measured[0]
    loaded = pickle.loads(pickle.dumps(match))
    np.testing.assert_array_equal(loaded.predict_proba(X), match.predict_proba(X))
    few = loaded.set_params(n_refined=0)  # parameters of the search count at once
    assert few.similarity(X[3:4])[0] < match.similarity(X[3:4])[0] - 0.1


def test_labels_restrict_the_answer(known, measured):
    X, y, _ = measured
    model = PrototypeMatch(known, max_scale_error=0.1).fit(X[1:], y[1:])
    assert set(model.classes_) == {136, 216, 221}
    model = PrototypeMatch(known, max_scale_error=0.1).fit(X[:2], [225, 227])
    assert model.predict_proba(X[1:2])[0] == pytest.approx(
        [0.5, 0.5], abs=0.05
    )  # its candidates have no class
    with pytest.raises(ValueError, match="space-group numbers"):
        PrototypeMatch(known).fit(X[:2], ["a", "b"])


def test_bad_arguments(known, measured):
    X = measured[0]
    for parameters, message in (
        ({"prototypes": [1]}, "CrystalSet"),
        ({"prototypes": known[:0]}, "at least one prototype"),
        ({"prototypes": known, "q_range": (0.1, 0.9)}, "does not fit the names"),
        ({"prototypes": known, "max_scale_error": 0.5}, "max_scale_error"),
        ({"prototypes": known, "stray": ("Xx",)}, "stray"),
    ):
        with pytest.raises(ValueError, match=message):
            PrototypeMatch(**parameters).fit(X)
    with pytest.warns(UserWarning, match="no block of atomic fractions"):
        PrototypeMatch(known).fit(X.loc[:, X.columns.str.startswith("diffraction")], [1] * len(X))


def test_rings(known):
    crystals = CrystalSet.from_pymatgen(NEW)
    transformer = RadialProfile().fit([None])
    profiles = features_of_lines(transformer, compute_reflections(crystals, "electron", d_min=0.78))
    features = make_features(rings=("rings", RadialProfile()), chemistry=("formula", ElementFractions()))
    specimens, y, _ = make_specimens(crystals, ("formula",), random_state=0)
    X = features.fit_transform(specimens.assign(rings=None, formula=crystals.formulas))
    X.loc[:, X.columns.str.startswith("rings__")] = profiles
    model = PrototypeMatch(known, max_scale_error=0.1).fit(X)
    assert model.modality_ == "rings"
    assert (model.predict(X) == y).sum() >= 4


def test_partial_factors_give_the_reflections_of_the_package(known):
    table = PrototypeTable(known)
    lines = PrototypeLines(known, table, 0.7)
    factors, imaginary, _ = factor_tables("xray")
    reflections = compute_reflections(known, "xray", d_min=1 / 0.7, wavelength=1.5406, dtype=torch.float64)
    for row in (0, 6, 9, 11):
        hkl, q, _, parts = lines.of([row])[0]
        own = table.elements[row, : table.n_groups[row]]
        place = q / FACTOR_STEP
        parts = parts.reshape(len(q), -1, 2)
        intensity = 0
        for f in (factors, imaginary):
            values = np.stack([np.interp(place, np.arange(f.shape[1]), f[z]) for z in own], axis=1)
            intensity = intensity + ((values[..., None] * parts).sum(axis=1) ** 2).sum(axis=1)
        expected = {
            tuple(h): float(i)
            for h, i in zip(
                reflections.hkl[slice(*reflections.offsets[row : row + 2])].tolist(),
                reflections.intensity[slice(*reflections.offsets[row : row + 2])],
                strict=True,
            )
        }
        strongest = max(expected.values())
        assert {tuple(h) for h in hkl.astype(int).tolist()} >= set(expected)
        for h, value in zip(hkl.astype(int).tolist(), intensity, strict=True):
            assert abs(value - expected.get(tuple(h), 0.0)) < 2e-3 * strongest


@pytest.mark.parametrize(
    ("structure", "n"),
    [
        (KNOWN[0], 1),
        (KNOWN[11], 2),
        (
            Structure(
                Lattice([[4, 0, 0], [0.3, 5, 0], [1, 0.5, 6]]), ["Na", "Cl"], [[0, 0, 0], [0.4, 0.3, 0.2]]
            ),
            6,
        ),
    ],
)
def test_strains_keep_the_symmetry(structure, n):
    crystal = CrystalSet.from_pymatgen([structure])
    strains = invariant_strains(crystal.lattices[0], crystal.rotation_sets[crystal.rotation_index[0]])
    assert len(strains) == n
    lattice = refined_lattice(crystal.lattices[0], 0.9, (strains, np.linspace(0.01, 0.02, n)))
    metric = lattice @ lattice.T
    for rotation in crystal.rotation_sets[crystal.rotation_index[0]]:
        np.testing.assert_allclose(rotation.T @ metric @ rotation, metric, atol=1e-9)


def test_candidates_take_elements_by_amount_and_kind(known):
    table = PrototypeTable(known[9:10])
    shares = np.zeros(98)
    shares[[19, 39, 7]] = 0.2, 0.2, 0.6  # CaZrO3: two elements of one amount
    species, variants = make_species(shares, [])
    found = find_candidates(table, species, variants, 10)
    best = species[found.species[0, :3]].argmax(axis=1)
    groups = dict(zip(table.elements[found.rows[0], :3].tolist(), best.tolist(), strict=True))
    assert groups[8] == 8
    assert groups[38] == 20
    orders = {tuple(row) for row in found.species[:, :3].tolist()}
    assert len(orders) > 1  # the other order is a candidate too


def test_volumes_of_elements_predict_cells():
    crystals = load_amcsd()[:2000]
    volumes = element_volumes(crystals)
    predicted = np.bincount(
        crystals.crystal_of_site, volumes[crystals.atomic_numbers] * crystals.occupancies, len(crystals)
    )
    assert np.median(np.abs(predicted / crystals.volumes - 1)) < 0.12
    assert np.isfinite(volumes).all()


def test_packaged_prototypes_are_the_default_and_are_not_written(known, measured, monkeypatch, tmp_path):
    monkeypatch.setattr("xtalsk.library._prototype_match.packaged", lambda: (known, PrototypeTable(known)))
    match, own = PrototypeMatch().fit(*measured[:2]), PrototypeMatch(known).fit(*measured[:2])
    assert match.prototypes_ is known
    np.testing.assert_array_equal(match.predict_proba(measured[0]), own.predict_proba(measured[0]))
    for name, model in (("packaged", match), ("own", own)):
        xtalsk.save(model, tmp_path / name)
    assert (tmp_path / "packaged").stat().st_size < (tmp_path / "own").stat().st_size - 3000
    loaded = xtalsk.load(tmp_path / "packaged")
    np.testing.assert_array_equal(loaded.predict_proba(measured[0]), own.predict_proba(measured[0]))


def test_the_prototypes_of_the_package_are_read_once():
    crystals, table = packaged()
    assert len(crystals) == len(table.n_groups) > 36_000
    assert packaged()[0] is crystals


def test_files_from_before_the_packaged_prototypes_were_left_out(match, measured):
    state = {k: v for k, v in vars(match).items() if k not in ("_own", "_own_table")}
    loaded = _put_prototypes(state | {"prototypes_": match.prototypes_}, None)
    np.testing.assert_array_equal(loaded.predict_proba(measured[0]), match.predict_proba(measured[0]))


def test_impossible_structures_are_flagged(measured):
    """Iodine in place of the pairs of carbon atoms of a carbide."""
    places = [[0, 0, 0], [0, 0, 0.42]]
    carbides = [
        Structure.from_spacegroup("I4/mmm", Lattice.tetragonal(a, c), [metal, "C"], places)
        for a, c, metal in ((3.88, 6.38, "Ca"), (4.11, 6.56, "Sr"))
    ]
    X = measured[0][:2].copy()
    X.loc[:, X.columns.str.startswith("chemistry__")] = ElementFractions().fit_transform(["BaI2", "Au"])
    model = PrototypeMatch(CrystalSet.from_pymatgen(carbides)).fit(X)
    best = model.candidates(X)
    assert not best["is_possible"].any()
    assert (best["contact"] < MIN_CONTACT).all()
    with pytest.warns(UserWarning, match=r"closer than 0\.6 .* in row 0, candidate 1; row 0, candidate 2$"):
        crystals = model.structures(X, n=2)
    assert crystals.ids.tolist() == ["0-1", "0-2"]
    assert [name.split(":")[0] for name in crystals.names] == ["impossible"] * 2


def test_possible_structures_are_not_flagged(match, measured):
    X = measured[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predicted = match.structures(X)
    assert not [name for name in predicted.names if name.startswith("impossible")]
    assert match.candidates(X, n=1)["is_possible"].all()


def test_disorder_of_prototypes_is_kept(measured):
    """A mixed site is one site of the predicted crystal; vacancies and half-occupied places stay."""
    lattice = Lattice.cubic(4.3)
    metals, oxygens = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], [[0.5] * 3, [0, 0, 0.5]]
    oxygens += [[0, 0.5, 0], [0.5, 0, 0]]
    oxide = Structure(lattice, [{"Fe": 0.6, "Mg": 0.3}] * 4 + ["O"] * 4, metals + oxygens)
    X = measured[0][:1].copy()
    X.loc[:, X.columns.str.startswith("chemistry__")] = ElementFractions().fit_transform(["Mn9O10"])
    crystal = PrototypeMatch(CrystalSet.from_pymatgen([oxide])).fit(X).structures(X)
    assert crystal.space_groups.tolist() == [225]
    assert np.unique(crystal.occupancies[crystal.atomic_numbers == 25]) == pytest.approx([0.9])
    assert (crystal.atomic_numbers == 25).sum() == 4
    read = CrystalSet.from_cifs(crystal.to_cif(0))
    assert read.occupancies == pytest.approx(crystal.occupancies)
    assert Structure.from_str(crystal.to_cif(0), fmt="cif").composition["Mn"] == pytest.approx(3.6)


@pytest.mark.parametrize("formula", ["LiBaWSeF", "H2", "LiBeBCNONaMgAlSiPSClKCaScTiVCrMnFeCoNiCuZnGaGeAsSe"])
def test_compositions_without_candidates_give_the_prior(match, measured, formula):
    X = measured[0][:1].copy()
    X.loc[:, X.columns.str.startswith("chemistry__")] = ElementFractions().fit_transform([formula])
    np.testing.assert_allclose(match.predict_proba(X), [match.prior_])
    assert np.isnan(match.similarity(X)).all()
    assert match.candidates(X).empty
    with pytest.raises(ValueError, match="no row of X has a candidate"):
        match.structures(X)


def test_fractions_need_not_sum_to_one(match, measured):
    X = measured[0].copy()
    X.loc[:, X.columns.str.startswith("chemistry__")] *= 7
    np.testing.assert_allclose(match.predict_proba(X), match.predict_proba(measured[0]), atol=1e-6)


def test_predicted_crystals_are_written_and_read(match, measured, tmp_path):
    predicted = match.structures(measured[0])
    paths = predicted.to_cifs(tmp_path)
    assert [path.name for path in paths] == [f"{row}-1.cif" for row in range(len(predicted))]
    read = CrystalSet.from_cifs(paths)
    np.testing.assert_array_equal(read.space_groups, predicted.space_groups)
    for i, path in enumerate(paths):
        structure = Structure.from_file(path)
        assert structure.matches(predicted.to_pymatgen(i))
        assert structure.is_valid(1.0)


def test_lines_explained_and_missing(match, measured):
    X, _, crystals = measured
    best = match.candidates(X, n=1)
    assert (best["lines_explained"] > 0.9).all()
    assert (best["lines_missing"] < 0.2).all()
    q, profile = match._prepare().q, X.loc[0, X.columns.str.startswith("diffraction__")].to_numpy(float)
    explained, missing = line_agreement(q, profile, crystals[[4]], "powder")  # CsBr is not KBr
    assert explained < 0.5
    assert missing > 0.4
    none, all_missing = line_agreement(q, np.zeros_like(q), crystals[[0]], "powder")
    assert np.isnan(none)
    assert all_missing == 1


def test_similarity_of_each_crystal_system(match, measured):
    X, y, _ = measured
    table = match.level_similarity(X)
    assert list(table) == ["cubic", "tetragonal"]
    np.testing.assert_allclose(table.max(axis=1), match.similarity(X), atol=0.01)  # of the best score
    assert (table["tetragonal"] > table["cubic"].fillna(-1)).tolist() == (y == 136).tolist()

from dataclasses import replace

import numpy as np
import pytest

from xtalsk.crystals import BrokenEntryWarning
from xtalsk.datasets import compound_groups, load_amcsd, make_specimens
from xtalsk.datasets._spectra import densities
from xtalsk.io import DiffractionImage, Profile, Spectrum
from xtalsk.simulation import EDSConditions, EELSConditions, PowderConditions, RingConditions, SpotConditions

SMALL = RingConditions(image_size=64)


@pytest.fixture(scope="module")
def crystals():
    return load_amcsd()[::900]


def test_columns_cells_and_labels(crystals):
    X, y, groups = make_specimens(
        crystals, ("rings", "powder", "formula"), n_replicas=2, random_state=0,
        conditions={"rings": SMALL, "powder": PowderConditions(two_theta=(10, 60, 0.05))},
    )  # fmt: skip
    assert list(X) == ["rings", "powder", "formula"]
    assert len(X) == len(y) == len(groups) == 2 * len(crystals)
    np.testing.assert_array_equal(y, np.repeat(crystals.space_groups, 2))
    np.testing.assert_array_equal(groups[::2], groups[1::2])
    assert all(isinstance(c, DiffractionImage) and c.data.shape == (64, 64) for c in X["rings"])
    assert all(isinstance(c, Profile) and c.two_theta[-1] == pytest.approx(60) for c in X["powder"])
    assert all(isinstance(c, str) or c is None for c in X["formula"])
    assert (X["rings"][0].data != X["rings"][1].data).any()
    # cells are views of one array: splitting copies no pixels
    assert X["rings"][0].data.base is X["rings"][1].data.base


def test_columns_do_not_depend_on_one_another(crystals):
    options = {"random_state": 5, "conditions": {"rings": SMALL}}
    both = make_specimens(crystals, ("rings", "formula"), **options)[0]
    alone = make_specimens(crystals, "formula", **options)[0]
    again = make_specimens(crystals, ("rings", "formula"), **options)[0]
    assert both["formula"].tolist() == alone["formula"].tolist()
    for a, b in zip(both["rings"], again["rings"], strict=True):
        np.testing.assert_array_equal(a.data, b.data)


def test_missing_modalities(crystals):
    tiny = RingConditions(image_size=32)
    X, _, _ = make_specimens(
        crystals, n_replicas=40, missing=0.6, random_state=0, conditions={"rings": tiny}, electrons=100
    )
    absent = X.isna()
    assert not absent.all(axis=1).any()
    np.testing.assert_allclose(absent.mean(), 0.6 - 0.6**2 / 2, atol=0.06)
    X, _, _ = make_specimens(crystals, missing={"rings": 1.0}, conditions={"rings": tiny}, random_state=0)
    visible = X["formula"].notna()
    assert X.loc[visible, "rings"].isna().all()


def test_groups_join_formula_and_name(crystals):
    six = replace(
        load_amcsd()[:6],
        formulas=["CaCO3", "C Ca O3", "CaCO3", "MgCO3", "NaCl", "KCl"],
        names=["Calcite", "Aragonite", "", "Calcite", "", ""],
    )
    groups = compound_groups(six)
    assert len(set(groups[:4])) == 1
    assert len(set(groups)) == 3
    series = replace(
        six, formulas=[f"La{2 - x}Ca{x}CuO4" for x in (0.02, 0.1, 0.18, 0.26, 0.34, 1.0)], names=[""] * 6
    )
    assert compound_groups(series).tolist() == [0, 0, 0, 0, 0, 1]
    assert len(set(compound_groups(series, tolerance=1e-6))) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"modalities": ("rings", "sound")}, "modalities must be distinct names"),
        ({"modalities": ()}, "modalities must be distinct names"),
        ({"n_replicas": 0}, "n_replicas must be a positive integer"),
        ({"missing": 1.5}, "probabilities from 0 to 1"),
        ({"missing": {"eds": 0.1}}, r"missing names \['eds'\]"),
        ({"modalities": "eds", "counts": 0}, "counts must be above 0"),
        (
            {"conditions": {"eds": EELSConditions()}},
            "of 'eds' must be an EDSConditions .* got EELSConditions",
        ),
        ({"n_zones": 1.5}, "n_zones must be a positive integer"),
        ({"conditions": "rough"}, "conditions must be one of .* or a dict .* got 'rough'"),
        (
            {"conditions": RingConditions()},
            r"a dict .* for example {'rings': RingConditions\(...\)}; got a RingConditions",
        ),
        ({"conditions": {"rings": PowderConditions()}}, "must be a RingConditions"),
        ({"conditions": {"sound": "harsh"}}, r"conditions name \['sound'\]"),
        ({"on_error": "ignore"}, "on_error must be one of"),
        ({"electrons": 0}, "electrons must be above 0"),
    ],
)
def test_arguments(crystals, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_specimens(crystals, **arguments)


def test_several_zones_are_several_columns(crystals):
    conditions = {"spots": SpotConditions(image_size=64)}
    X, _, _ = make_specimens(crystals, "spots", n_zones=2, conditions=conditions, random_state=0)
    assert list(X) == ["spots_1", "spots_2"]
    assert (X["spots_1"][0].data != X["spots_2"][0].data).any()
    assert list(make_specimens(crystals[:2], "spots", conditions=conditions)[0]) == ["spots"]
    X, _, _ = make_specimens(
        crystals, ("spots", "formula"), n_zones=2, missing={"spots": 1.0}, conditions=conditions
    )
    assert X.loc[X["formula"].notna(), ["spots_1", "spots_2"]].isna().all(axis=None)


def test_conditions_are_kept_in_words(crystals):
    X, _, _ = make_specimens(crystals[:2], conditions={"rings": SMALL}, electrons=(1e3, 1e4))
    assert "electrons=(1000.0, 10000.0)" in X.attrs["conditions"]["rings"]
    assert "image_size=64" in X.attrs["conditions"]["rings"]


def test_faulty_crystals_are_left_out_and_listed(crystals):
    three = crystals[:3]
    crowded = replace(three, frac_coords=np.where(three.crystal_of_site[:, None] == 1, 0, three.frac_coords))
    with pytest.warns(BrokenEntryWarning, match="1 of 3 entries were left out:\ncrystal 1 "):
        X, y, groups = make_specimens(crowded, "formula", n_replicas=2)
    assert len(X) == len(y) == len(groups) == 4
    with pytest.raises(ValueError, match="occupancies on the position of its site 0 add up to"):
        make_specimens(crowded, "formula", on_error="raise")


SPECTRA = {
    "eds": EDSConditions(energy=(5.0, 10005.0, 10.0)),
    "eels": EELSConditions(energy=(100.0, 900.0, 2.0), convergence_angle=(0.0, 20.0)),
}


def test_spectra(crystals):
    X, y, _ = make_specimens(
        crystals, ("eds", "eels"), n_replicas=2, conditions=SPECTRA, counts=(2e4, 3e4), random_state=0
    )
    assert len(X) == len(y) == 2 * len(crystals)
    for name, conditions in SPECTRA.items():
        cells = X[name]
        assert all(isinstance(c, Spectrum) for c in cells)
        np.testing.assert_array_equal(cells[0].energy, conditions.axis())
        assert all(c.energy is cells[0].energy for c in cells)
        assert cells[0].counts.base is cells[1].counts.base
        assert (cells[0].counts != cells[1].counts).any()
    assert all(2e4 - 700 < c.counts.sum() < 3e4 + 900 for c in X["eds"])
    assert all(c.counts.sum() > 1e6 for c in X["eels"])
    assert {c.beam_energy for c in X["eds"]} == {200}
    assert all(15 <= c.takeoff_angle <= 25 and c.collection_angle is None for c in X["eds"])
    assert all(80 <= c.beam_energy <= 300 and c.takeoff_angle is None for c in X["eels"])
    assert len({c.convergence_angle for c in X["eels"]}) == len(X)
    assert all(8 <= c.collection_angle <= 50 for c in X["eels"])
    assert "counts=(20000.0, 30000.0)" in X.attrs["conditions"]["eds"]
    assert "energy=(100.0, 900.0, 2.0)" in X.attrs["conditions"]["eels"]


def test_a_parallel_beam_has_an_angle(crystals):
    conditions = {"eels": replace(SPECTRA["eels"], convergence_angle=0.0)}
    X, _, _ = make_specimens(crystals[:1], "eels", conditions=conditions, random_state=0)
    assert 0 < X["eels"][0].convergence_angle < 0.01


def test_spectra_do_not_depend_on_other_columns(crystals):
    options = {"random_state": 5, "conditions": SPECTRA | {"rings": SMALL}, "missing": 0.3}
    every = make_specimens(crystals, ("rings", "eds", "formula", "eels"), **options)[0]
    pair = make_specimens(crystals, ("eds", "formula"), **options)[0]
    without = make_specimens(crystals, ("eds", "formula"), **options | {"missing": 0.0})[0]
    assert every.isna().any(axis=None)
    assert pair["eds"].isna().any()
    for table in (every, pair):
        for i in np.flatnonzero(table["eds"].notna()):
            np.testing.assert_array_equal(table["eds"][i].counts, without["eds"][i].counts)
            assert table["eds"][i].takeoff_angle == without["eds"][i].takeoff_angle
    alone = make_specimens(crystals, "eels", **options | {"missing": 0.0})[0]
    for i in np.flatnonzero(every["eels"].notna()):
        np.testing.assert_array_equal(every["eels"][i].counts, alone["eels"][i].counts)


def test_presets_hold_for_spectra_too(crystals):
    X, _, _ = make_specimens(crystals[:2], ("eds", "eels"), conditions="harsh", random_state=0)
    assert "harsh" not in X.attrs["conditions"]["eds"]
    assert X.attrs["conditions"]["eds"] == repr(EDSConditions.harsh())
    assert X.attrs["conditions"]["eels"] == repr(EELSConditions.harsh())
    bulk = {"eds": EDSConditions.scanning()}
    X, _, _ = make_specimens(crystals[:2], "eds", conditions=bulk, random_state=0)
    assert all(10 <= c.beam_energy <= 25 for c in X["eds"])


def test_crystals_without_lines_have_spectra(crystals):
    """Lithium and hydrogen have no lines in range; their spectra are pure background."""
    light = replace(
        crystals[:2],
        atomic_numbers=np.where(crystals[:2].crystal_of_site == 0, 3, 1),
        formulas=["Li", "H2"],
    )
    X, _, _ = make_specimens(light, ("eds", "eels"), conditions=SPECTRA, random_state=0)
    for cell in (*X["eds"], *X["eels"]):
        assert np.isfinite(cell.counts).all()
        assert cell.counts.sum() > 0


def test_densities():
    crystals = load_amcsd()
    density = densities(crystals)
    assert density.shape == (len(crystals),)
    assert 0.04 < density.min() < 0.1  # solid hydrogen
    assert 22 < density.max() < 23  # osmium
    for name, low, high in (("Corundum", 3.95, 4.05), ("Quartz", 2.6, 2.75), ("Pyrite", 4.95, 5.05)):
        assert low < np.median(density[crystals.names == name]) < high
    half = replace(crystals[:3], occupancies=crystals[:3].occupancies / 2)
    np.testing.assert_allclose(densities(half), density[:3] / 2)


def test_thin_specimens_have_the_density_of_their_crystal(crystals):
    """The same crystal with a shrunk cell absorbs more of its soft X-rays."""
    oxide = load_amcsd()
    oxide = oxide[np.flatnonzero(oxide.names == "Hematite")[:1]]
    dense = replace(oxide, lattices=oxide.lattices * 0.6)
    conditions = {"eds": replace(EDSConditions.ideal(), thickness_nm=300.0)}
    soft = []
    for crystal in (oxide, dense):
        X, _, _ = make_specimens(crystal, "eds", conditions=conditions, random_state=0)
        cell = X["eds"][0]
        inside = (cell.energy > 450) & (cell.energy < 600)
        soft.append(cell.counts[inside].sum() / cell.counts.sum())
    assert soft[1] < 0.8 * soft[0]


def test_empty_set(crystals):
    with pytest.raises(ValueError, match="at least one crystal"):
        make_specimens(crystals[:0])


def test_formulas_have_their_own_conditions():
    crystals = load_amcsd()[:40]
    microscope, _, _ = make_specimens(
        crystals, ("formula",), conditions={"formula": "microscope"}, random_state=0
    )
    cells = microscope["formula"].dropna()
    assert {str, np.ndarray} == {type(cell) for cell in cells}
    assert "grid=Sometimes" in microscope.attrs["conditions"]["formula"]
    typical, _, _ = make_specimens(crystals, "formula", conditions="harsh", random_state=0)
    assert "grid=0.0" in typical.attrs["conditions"]["formula"]
    with pytest.raises(ValueError, match="conditions of 'formula' must be a FormulaConditions or one of"):
        make_specimens(crystals, "formula", conditions={"formula": "harsh"})

import time
from collections import Counter

import numpy as np
import pytest
from pymatgen.core import Composition

from xtalsk.datasets import load_amcsd
from xtalsk.datasets._build_amcsd import clean_formula, read_database
from xtalsk.symmetry import crystal_system


@pytest.fixture(scope="module")
def amcsd():
    return load_amcsd()


def test_counts_by_crystal_system(amcsd):
    assert Counter(crystal_system(amcsd.space_groups).tolist()) == {
        "triclinic": 64, "monoclinic": 1093, "orthorhombic": 1944, "tetragonal": 1166, "trigonal": 1167,
        "hexagonal": 924, "cubic": 2915,
    }  # fmt: skip
    assert len(np.unique(amcsd.space_groups)) == 194


def test_sites_agree_with_the_formulas(amcsd):
    """The atoms of the cell and the formula are independent columns of the source."""
    off = 0
    for i in range(0, len(amcsd), 10):
        sites = slice(amcsd.offsets[i], amcsd.offsets[i + 1])
        counted = np.bincount(amcsd.atomic_numbers[sites], amcsd.occupancies[sites], minlength=99)
        stated = np.zeros(99)
        for element, amount in Composition(amcsd.formulas[i]).items():
            stated[element.Z] += amount
        counted[1] = stated[1] = 0  # most entries lack hydrogen
        if stated.sum():
            off += np.abs(counted / counted.sum() - stated / stated.sum()).max() > 0.03
    assert off <= 3


def test_details_are_kept(amcsd):
    crystal_of_site = amcsd.crystal_of_site
    assert len(np.unique(crystal_of_site[np.isfinite(amcsd.u_iso)])) == 3010 - 5
    assert len(np.unique(crystal_of_site[amcsd.occupancies < 1])) == 2959 - 4
    spinel = amcsd[amcsd.ids == "19271"]
    assert spinel.to_pymatgen(0).composition.almost_equals(8 * Composition("Al1.609MgFe0.391O4"), atol=0.01)
    ice = np.isin(amcsd.names, "Ice") & [Composition(f).get("D", 0) > 0 for f in amcsd.formulas]
    assert ice.any()
    assert all(1 in c.atomic_numbers for c in (amcsd[i] for i in np.flatnonzero(ice)))


def test_loading_is_quick_and_described(amcsd):
    start = time.perf_counter()
    _, descr = load_amcsd(return_descr=True)
    assert time.perf_counter() - start < 5  # 0.25 s measured; the limit is wide for slow machines
    for part in ("9,273", "Downs", "larixite", "CC0"):
        assert part in descr


def test_packaged_file_agrees_with_the_database(amcsd):
    pytest.importorskip("larixite")
    import larixite

    entries, _, left_out = read_database(larixite.__file__.replace("__init__.py", "amcsd_cif1.db"))
    assert sorted(left_out) == [14130, 19001]
    assert [str(e["id"]) for e in entries] == amcsd.ids.tolist()
    atoms = [int(e["keep"].sum()) for e in entries]
    np.testing.assert_array_equal(np.diff(amcsd.offsets), atoms)


def test_clean_formula():
    assert clean_formula("(Al1.609 Mg Fe.391) O4") == "(Al1.609MgFe0.391)O4"
    with pytest.raises(ValueError, match="Qq"):
        clean_formula("Qq O2")

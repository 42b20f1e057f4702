"""The packaged experimental structures beside the AMCSD."""

from collections import Counter
from dataclasses import replace

import numpy as np

from xtalsk import load_amcsd, load_experimental
from xtalsk.crystals._faults import find_faults
from xtalsk.datasets._build_experimental import select
from xtalsk.symmetry import crystal_system


def test_the_description_counts_what_is_there():
    crystals, description = load_experimental(return_descr=True)
    assert f"{len(crystals):,} crystal structures" in description
    for source, n in Counter(text.partition(":")[0] for text in crystals.ids).items():
        assert f"| `{source}:` | {n} |" in description
    systems = Counter(crystal_system(number) for number in crystals.space_groups.tolist())
    assert f"{systems['triclinic']} triclinic, {systems['monoclinic']} monoclinic" in description
    assert not find_faults(crystals)
    assert len(set(crystals.ids)) == len(crystals)


def test_structures_have_the_symmetry_of_their_label():
    crystals = load_experimental()
    row = list(crystals.ids).index("cod:Ag3As_223")
    structure = crystals.to_pymatgen(row)
    assert structure.composition.reduced_formula == "Ag3As"
    assert structure.get_space_group_info()[1] == 223


def test_only_sound_crystals_of_open_sources_are_packed():
    crystals = load_amcsd()[[3, 3, 3]]
    close = crystals.frac_coords.copy()
    close[: crystals.offsets[1]] *= 0.1
    ids = ["cod_benchmark:NaCl_225.cif", "aflow:NaCl.cif", "openchemistry:halides/NaCl-Halite.cif"]
    kept, left_out = select(replace(crystals, ids=ids, names=np.full(3, ""), frac_coords=close))
    assert list(kept.ids) == ["openchemistry:halides/NaCl-Halite"]
    assert list(kept.names) == ["Halite"]
    assert left_out == {"cod_benchmark": 1}
    np.testing.assert_allclose(kept.lattices[0], crystals.lattices[2])

"""Counts of the packaged structures in the list of known compounds."""

import numpy as np
import pandas as pd

from xtalsk import load_amcsd
from xtalsk.datasets._build_compounds import count_structures


def test_each_structure_counts_for_the_nearest_compound_of_its_space_group():
    crystals = load_amcsd()
    names = np.array(crystals.names)
    rows = {name: np.flatnonzero(names == name) for name in ("Quartz", "Coesite", "Halite", "Portlandite")}
    chosen = crystals[np.concatenate(list(rows.values()))]
    compounds = pd.DataFrame(
        [
            ("SiO2", 152),
            ("SiO2", 15),
            ("Si0.97Al0.03O2", 152),
            ("Na0.9K0.1Cl", 225),
            ("CaO2", 164),  # portlandite without its hydrogen
            ("SiO2", 60),
        ],
        columns=["formula", "space_group"],
    )
    counts = count_structures(compounds, chosen)
    quartz = crystals.space_groups[rows["Quartz"]] == 152
    assert counts[0] == quartz.sum() > 0
    assert counts[1] == (crystals.space_groups[rows["Coesite"]] == 15).sum() > 0
    assert counts[2] == 0
    assert counts[3] == 0  # other amounts than in halite by more than 0.02
    assert counts[4] == (crystals.space_groups[rows["Portlandite"]] == 164).sum() > 0
    assert counts[5] == 0


def test_equal_compositions_share_their_structures():
    crystals = load_amcsd()
    halite = crystals[np.flatnonzero(np.array(crystals.names) == "Halite")]
    compounds = pd.DataFrame({"formula": ["NaCl", "Na2Cl2"], "space_group": 225})
    counts = count_structures(compounds, halite)
    assert counts[0] == counts[1] > 0
    assert abs(counts.sum() - len(halite)) <= 1

"""Build the packaged list of known compounds from the table of the Crystallography Open Database in dara-xrd.

Run ``python -m xtalsk.datasets._build_compounds FILE`` with ``cod_filtered_info_2024.json.gz`` of its wheel.
The packaged structures are counted by the compound that they have; run it again when they change.
"""

import argparse
import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd

from xtalsk.crystals import CrystalSet
from xtalsk.datasets._amcsd import load_amcsd
from xtalsk.datasets._experimental import load_experimental
from xtalsk.simulation.spectra._formulas import atomic_fractions

SAME = 0.02  # largest difference of compositions of one compound, in atomic fractions without H; set by eye


def read(path):
    """Return formula, number of the entry and space group of all entries of the table."""
    with gzip.open(path) as file:
        systems = json.load(file)
    rows = [
        (f"cod:{number}", formula, group) for rows in systems.values() for formula, number, group, _ in rows
    ]
    return pd.DataFrame(rows, columns=["id", "formula", "space_group"])


def is_readable(formula):
    """Return whether a formula has elements and amounts only."""
    try:
        return bool(np.isfinite(atomic_fractions([formula])).all())
    except ValueError:
        return False


def without_hydrogen(formulas):
    """Return the atomic fractions of formulas without H, which many structures lack; an array (n, 98)."""
    fractions = atomic_fractions(list(formulas))
    fractions[:, 0] = 0
    return fractions / np.maximum(fractions.sum(axis=1, keepdims=True), 1e-9)


def count_structures(compounds, crystals):
    """Return how many crystals have the space group and, of its compounds, this composition as the nearest.

    Compounds of one composition, without hydrogen, share their crystals.
    """
    listed, own = without_hydrogen(compounds["formula"]), without_hydrogen(crystals.formulas)
    counts = np.zeros(len(compounds))
    for row, group in enumerate(crystals.space_groups):
        places = np.flatnonzero(compounds["space_group"] == group)
        difference = np.abs(listed[places] - own[row]).sum(axis=1) / 2
        near = places[difference < min(difference.min(initial=np.inf) + 1e-6, SAME)]
        counts[near] += 1 / max(len(near), 1)
    return counts.round().astype(int)


def packaged_structures():
    """Return the packaged measured structures; zeolite frameworks that are idealised as SiO2 are left out."""
    crystals = CrystalSet.concatenate([load_amcsd(), load_experimental()])
    return crystals[np.flatnonzero(["zeolites/" not in entry for entry in crystals.ids])]


def main(argv=None):
    """Write the file and print which entries are left out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--out", default=Path(__file__).with_name("data") / "compounds.csv.gz", type=Path)
    options = parser.parse_args(argv)
    compounds = read(options.file)
    readable = compounds["formula"].map(is_readable)
    print(f"left out: {compounds['formula'][~readable].tolist()}")  # noqa: T201
    compounds = compounds[readable].drop_duplicates(["formula", "space_group"]).sort_values("id")
    compounds["n_structures"] = count_structures(compounds, packaged_structures())
    compounds.to_csv(options.out, index=False, compression={"method": "gzip", "mtime": 0})
    print(f"{len(compounds)} compounds, {options.out.stat().st_size / 1e6:.2f} MB")  # noqa: T201


if __name__ == "__main__":
    main()

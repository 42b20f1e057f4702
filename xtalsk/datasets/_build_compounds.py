"""Build the packaged list of known compounds from the table of the Crystallography Open Database in dara-xrd.

Run ``python -m xtalsk.datasets._build_compounds FILE`` with ``cod_filtered_info_2024.json.gz`` of its wheel.
"""

import argparse
import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd

from xtalsk.simulation.spectra._formulas import atomic_fractions


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
    compounds.to_csv(options.out, index=False, compression={"method": "gzip", "mtime": 0})
    print(f"{len(compounds)} compounds, {options.out.stat().st_size / 1e6:.2f} MB")  # noqa: T201


if __name__ == "__main__":
    main()

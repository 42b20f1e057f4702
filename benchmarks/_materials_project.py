"""Computed structures of the Materials Project as a `CrystalSet`.

Run ``python benchmarks/_materials_project.py FOLDER --cache FILE.npz`` to read the tables once (two
minutes of one core for 27,000 structures) and see what they hold. FOLDER has tables ``mp_*.csv.gz`` with the
columns ``material_id`` and ``cif``, and ``spacegroup.number`` where the source gives it.
"""

import argparse
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from xtalsk.crystals import BrokenEntryWarning, CrystalSet
from xtalsk.symmetry import crystal_system

NAMES = ("mp_a", "mp_b", "mp_c", "mp_d")
SYMPREC = 0.1  # Å: what the Materials Project itself labels with


def load_materials_project(folder, names=NAMES, *, cache=None, symprec=SYMPREC, n_jobs=None, verbose=0):
    """Read tables of structures of the Materials Project.

    The cells are those of the source, written without symmetry; space groups are determined with spglib.

    Parameters
    ----------
    folder : path-like
        Holds ``<name>.csv.gz`` for each name.
    names : tuple of str
        The tables to read. A ``material_id`` that several tables hold is taken from the first.
    cache : path-like or None, default=None
        An ``.npz`` file of `CrystalSet.save`: read if it is there, written if not. It knows nothing of
        ``names`` and ``symprec``; delete it to read the tables anew.
    symprec : float, default=0.1
        Tolerance of the symmetry search in Å.
    n_jobs : int or None, default=None
        Number of joblib workers.
    verbose : int, default=0
        Above 0 prints for each table what was read and how often spglib gives the space group of the source.

    Returns
    -------
    CrystalSet
        With ``ids`` the material ids and ``names`` the reduced formulas.

    Warns
    -----
    BrokenEntryWarning
        Names the entries of a table that cannot be used.

    Raises
    ------
    FileNotFoundError
        If a table is missing.
    ValueError
        If a table lacks a column, or none of its entries can be read.
    """
    if cache is not None and Path(cache).exists():
        return CrystalSet.load(cache)
    missing = [name for name in names if not (Path(folder) / f"{name}.csv.gz").exists()]
    if missing or not names:
        raise FileNotFoundError(f"{folder} holds no tables {missing or names}; expected <name>.csv.gz")
    sets, known = [], set()
    for name in names:
        table = pd.read_csv(Path(folder) / f"{name}.csv.gz")
        if "material_id" not in table:
            raise ValueError(f"{name} has no column 'material_id', only {list(table.columns)}")
        new = table[~table["material_id"].isin(known) & ~table["material_id"].duplicated()]
        read = CrystalSet.from_cifs(new, id_column="material_id", symprec=symprec, n_jobs=n_jobs)
        known |= set(read.ids)
        sets.append(read)
        if verbose:
            print(f"{name}: {describe(read, table)}", flush=True)
    crystals = CrystalSet.concatenate(sets)
    crystals = replace(crystals, names=crystals.formulas)
    if cache is not None:
        crystals.save(cache)
    return crystals


def describe(read, table):
    """Say in words how many entries of a table were read, and how often their space group is the table's."""
    said = f"{len(table)} entries, {len(read)} read that are new"
    if "spacegroup.number" in table:
        given = table.drop_duplicates("material_id").set_index("material_id")["spacegroup.number"]
        same = given.loc[read.ids].to_numpy() == read.space_groups
        said += f", {100 * same.mean():.2f}% with the space group of the table"
    systems, counts = np.unique(crystal_system(read.space_groups), return_counts=True)
    return said + "; " + ", ".join(f"{s} {n}" for s, n in zip(systems, counts, strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache", help="where to write the set, or where it is")
    parser.add_argument("--symprec", type=float, default=SYMPREC)
    parser.add_argument("--n-jobs", type=int)
    options = parser.parse_args()
    warnings.simplefilter("always", BrokenEntryWarning)
    crystals = load_materials_project(
        options.folder, cache=options.cache, symprec=options.symprec, n_jobs=options.n_jobs, verbose=1
    )
    systems = pd.Series(crystal_system(crystals.space_groups)).value_counts()
    print(f"{crystals!r}, {len(set(crystals.formulas))} reduced formulas")
    print(systems.to_string())


if __name__ == "__main__":
    main()

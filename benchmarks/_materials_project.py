"""Computed structures of the Materials Project as a `CrystalSet`.

``python benchmarks/_materials_project.py FOLDER --cache FILE.npz`` reads the tables, prints a summary and
writes the cache. It takes two minutes on one core for 27,000 structures. FOLDER holds tables ``mp_*.csv.gz``
with the columns ``material_id``, ``cif`` and, if the source gives it, ``spacegroup.number``.
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
SYMPREC = 0.1  # Å, as in the labels of the Materials Project


def load_materials_project(folder, names=NAMES, *, cache=None, symprec=SYMPREC, n_jobs=None, verbose=0):
    """Read tables of structures of the Materials Project.

    The source gives cells without symmetry. spglib determines the space groups.

    Parameters
    ----------
    folder : path-like
        Folder with a file ``<name>.csv.gz`` for each name.
    names : tuple of str
        The tables to read. A ``material_id`` in several tables is read from the first one.
    cache : path-like or None, default=None
        An ``.npz`` file of `CrystalSet.save`. It is read if it exists and written if not. It does not depend
        on ``names`` and ``symprec``; delete it to read the tables again.
    symprec : float, default=0.1
        Tolerance of the symmetry search in Å.
    n_jobs : int or None, default=None
        Number of joblib workers.
    verbose : int, default=0
        Above 0 prints a summary of each table, with the share of entries whose space group from spglib is
        that of the source.

    Returns
    -------
    CrystalSet
        ``ids`` are the material ids, ``names`` the reduced formulas.

    Warns
    -----
    BrokenEntryWarning
        For the entries of a table that cannot be used. The message names them.

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
    sets, known_ids = [], set()
    for name in names:
        table = pd.read_csv(Path(folder) / f"{name}.csv.gz")
        if "material_id" not in table:
            raise ValueError(f"{name} has no column 'material_id', only {list(table.columns)}")
        new = table[~table["material_id"].isin(known_ids) & ~table["material_id"].duplicated()]
        read = CrystalSet.from_cifs(new, id_column="material_id", symprec=symprec, n_jobs=n_jobs)
        known_ids |= set(read.ids)
        sets.append(read)
        if verbose:
            print(f"{name}: {describe(read, table)}", flush=True)
    crystals = CrystalSet.concatenate(sets)
    crystals = replace(crystals, names=crystals.formulas)
    if cache is not None:
        crystals.save(cache)
    return crystals


def describe(read, table):
    """Return a sentence on the entries that were read from a table, and their agreement in space group."""
    summary = f"{len(table)} entries, {len(read)} read that are new"
    if "spacegroup.number" in table:
        given = table.drop_duplicates("material_id").set_index("material_id")["spacegroup.number"]
        same = given.loc[read.ids].to_numpy() == read.space_groups
        summary += f", {100 * same.mean():.2f}% with the space group of the table"
    systems, counts = np.unique(crystal_system(read.space_groups), return_counts=True)
    return summary + "; " + ", ".join(f"{s} {n}" for s, n in zip(systems, counts, strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache", help="file to read the set from, or to write it to")
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

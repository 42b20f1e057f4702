"""Build the packaged AMCSD file from the SQLite database in the package ``larixite``.

Run ``python -m xtalsk.datasets._build_amcsd`` after ``pip install larixite``. The file has the asymmetric
unit of each entry, with sites moved onto nearby special positions. A pattern for each site lists the symmetry
operations that give each atom of the cell once. `xtalsk.datasets.load_amcsd` applies these operations.
"""

import argparse
import importlib.util
import json
import re
import sqlite3
from base64 import b64decode
from collections import defaultdict
from pathlib import Path

import gemmi
import numpy as np

from xtalsk.crystals._gemmi import lattice_vectors, parse_operations
from xtalsk.crystals._labels import element_of_label
from xtalsk.crystals._orbits import site_symmetry
from xtalsk.crystals._symmetry_search import number_of_operations
from xtalsk.datasets._amcsd import COORDINATE_SCALE
from xtalsk.utils._formula import parse_formula

_SOURCE_SCALE = 4e6  # larixite stores int32 multiples of 1 / 4e6, with 2 and 3 for "?" and "."
_QUERY = """
    select cif.id, minerals.name, spacegroup_id, formula, a, b, c, alpha, beta, gamma, atoms_sites,
           atoms_x, atoms_y, atoms_z, atoms_occupancy, atoms_u_iso
    from cif join minerals on minerals.id = mineral_id order by cif.id
"""


def _decode(text, n_sites, default):
    """Array of a stored column, with ``default`` where the entry or the site has no value."""
    if text in (None, "0"):
        return np.full(n_sites, default)
    values = np.frombuffer(b64decode(text), np.int32) / _SOURCE_SCALE
    return np.where(np.isin(values, (2.0, 3.0)), default, values)


def clean_formula(text):
    """Write a formula such as ``(Al1.609 Mg Fe.391) O4`` with leading zeros and without spaces."""
    formula = re.sub(r"(?<![\d.])\.(\d)", r"0.\1", text.replace(" ", ""))
    parse_formula(formula)
    return formula


def read_entry(row, operations):
    """Asymmetric unit of one row of the database as a dict of arrays."""
    amcsd_id, mineral, group_id, formula, *cell, labels, x, y, z, occupancy, u_iso = row
    labels = json.loads(labels)
    rotations, translations, space_group = operations[group_id]
    lattice = lattice_vectors(gemmi.UnitCell(*[float(v) for v in cell]))
    present = set(re.findall("[A-Z][a-z]?", formula))
    coords = np.stack([np.frombuffer(b64decode(v), np.int32) / _SOURCE_SCALE for v in (x, y, z)], axis=1)
    coords, keep = site_symmetry(coords, rotations, translations, lattice)
    occupancy = _decode(occupancy, len(labels), 1.0)
    u_iso = _decode(u_iso, len(labels), np.nan)
    return {
        "id": amcsd_id,
        "group": "" if mineral == "<missing>" else mineral,
        "formula": clean_formula(formula),
        "operations": group_id,
        "space_group": space_group,
        "cell": [float(v) for v in cell],
        "numbers": np.array([element_of_label(label, present) for label in labels]),
        "coords": coords,
        "occupancies": np.where(occupancy > 0, np.minimum(occupancy, 1.0), 1.0),
        "u_iso": np.where(u_iso > 0, u_iso, np.nan),
        "keep": keep,
    }


def read_database(path):
    """Usable entries of the database, its symmetry operations, and reasons for entries that are left out."""
    connection = sqlite3.connect(path)
    groups = connection.execute("select id, symmetry_xyz from spacegroups").fetchall()
    operations = {}
    for group_id, triplets in groups:
        rotations, translations = parse_operations(json.loads(triplets))
        space_group = number_of_operations(rotations, translations)
        operations[group_id] = rotations, translations, space_group
    entries, left_out = [], {}
    for row in connection.execute(_QUERY):
        try:
            entries.append(read_entry(row, operations))
        except ValueError as error:
            left_out[row[0]] = str(error)
    return entries, operations, left_out


def pack(entries, operations):
    """Arrays of the packaged file, from entries and operations of `read_database`."""
    used = sorted({e["operations"] for e in entries})
    row_of_group = {group_id: i for i, group_id in enumerate(used)}
    pattern_numbers = defaultdict(lambda: len(pattern_numbers))
    patterns = [pattern_numbers[tuple(np.flatnonzero(k))] for e in entries for k in e["keep"]]

    def sites(key):
        return np.concatenate([e[key] for e in entries])

    u_iso = sites("u_iso")
    return {
        "ids": np.array([e["id"] for e in entries], dtype=np.uint32),
        "formulas": np.array("\n".join(e["formula"] for e in entries)),
        "groups": np.array("\n".join(e["group"] for e in entries)),
        "cells": np.round(np.array([e["cell"] for e in entries]) * 1e5).astype(np.int32).T,
        "space_groups": np.array([e["space_group"] for e in entries], dtype=np.uint8),
        "operations": np.array([row_of_group[e["operations"]] for e in entries], dtype=np.uint16),
        "rotations": np.concatenate([operations[g][0] for g in used]).astype(np.int8),
        "translations": np.round(np.concatenate([operations[g][1] for g in used]) * 24).astype(np.int8),
        "n_operations": np.array([len(operations[g][0]) for g in used], dtype=np.uint8),
        "n_sites": np.array([len(e["numbers"]) for e in entries], dtype=np.uint16),
        "numbers": sites("numbers").astype(np.uint8),
        "coords": np.round(sites("coords") * COORDINATE_SCALE).astype(np.int32).T,
        "occupancies": np.round(sites("occupancies") * 1e5).astype(np.int32),
        "u_iso": np.where(np.isnan(u_iso), -1, np.round(u_iso * 1e6)).astype(np.int32),
        "patterns": np.array(patterns, dtype=np.uint16),
        "pattern_operations": np.concatenate([np.array(p, np.uint8) for p in pattern_numbers]),
        "pattern_lengths": np.array([len(p) for p in pattern_numbers], dtype=np.uint8),
    }


def main(argv=None):
    """Write the file and print the entries that are left out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=Path(__file__).with_name("data") / "amcsd.npz", type=Path)
    out = parser.parse_args(argv).out
    package = importlib.util.find_spec("larixite")
    if package is None:
        parser.error("the package larixite with the database is not installed")
    database = Path(package.origin).with_name("amcsd_cif1.db")
    entries, operations, left_out = read_database(database)
    np.savez_compressed(out, **pack(entries, operations))
    print(f"{len(entries)} entries, {out.stat().st_size / 1e6:.2f} MB; left out: {left_out}")  # noqa: T201


if __name__ == "__main__":
    main()

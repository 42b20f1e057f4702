"""Build the packaged file of prototypes from structures of the Materials Project.

Run ``python -m xtalsk.datasets._build_prototypes FILE`` with a file of `CrystalSet.save` that holds ordered
crystals with the ids of the Materials Project. Structures of `load_amcsd` and `load_experimental` come first
and are stored as rows of these sets. Structures are of one type if they have the same space group,
stoichiometry and Wyckoff sequence, and nearly the same average minimum distances (Widdowson et al., MATCH 87,
529 (2022)). Hydrogen and the minor elements of mixed sites do not count, because
`xtalsk.library.PrototypeMatch` leaves them out. Faulty structures and those with atoms closer than radii
allow are left out. Build it again whenever entries of these sets move.
"""

import argparse
import logging
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path

import moyopy
import numpy as np
import spglib
from scipy.spatial import cKDTree
from tqdm import tqdm

from xtalsk.crystals import CrystalSet
from xtalsk.crystals._constants import MIN_CONTACT
from xtalsk.crystals._contacts import contact_of
from xtalsk.crystals._faults import find_faults, main_atoms
from xtalsk.crystals._gemmi import cell_parameters
from xtalsk.crystals._orbits import orbit_origins, site_symmetry
from xtalsk.datasets._build_amcsd import pack
from xtalsk.datasets._prototypes import measured_structures

SYMPREC = {"measured": 0.03, "computed": 0.1}  # Å; that of the labels of the Materials Project
OCCUPANCY_STEP = 0.05  # occupancies that round to one multiple are the same
N_DISTANCES = 24  # average minimum distances of a structure
REACH = 3.0  # Å per cube root of the volume of an atom: neighbours up to this distance are searched
MAX_DIFFERENCE = 0.1  # of the distances of two structures of one type, in the same unit
DECIMALS = 4  # of the stored coordinates
SNAPPED = 0.02  # Å; rounding moves no atom further from a special position


def structure_type(lattice, coords, elements, occupancies, symprec):
    """Return what structures of one type have in common.

    Parameters
    ----------
    lattice : ndarray of shape (3, 3)
        Vectors as rows, in Å.
    coords : ndarray of shape (n, 3)
        Fractional coordinates of all positions of the cell.
    elements : ndarray of int, shape (n,)
    occupancies : ndarray of shape (n,)
    symprec : float
        Tolerance of the search for symmetry in Å.

    Returns
    -------
    sequence : tuple
        Space group, and for each element its Wyckoff letters with occupancies and numbers of orbits. Of all
        descriptions that the Euclidean normaliser of the space group allows, it is the least one.
    distances : ndarray of shape (n_distances,)
        Average minimum distances, in units of the cube root of the volume of an atom.

    Raises
    ------
    ValueError
        If moyopy finds no symmetry.
    """
    levels = np.round(occupancies / OCCUPANCY_STEP).astype(int)
    cell = moyopy.Cell(lattice.tolist(), coords.tolist(), (elements * 100 + levels).tolist())
    symmetry = moyopy.MoyoDataset(cell, symprec=symprec)
    kinds = np.array(symmetry.std_cell.numbers)
    choices = symmetry.normalizer_wyckoff_positions().coset_representatives
    sequences = [_sequence(kinds, positions) for _, positions in choices]
    primitive = symmetry.prim_std_cell
    return (symmetry.number, min(sequences)), average_distances(primitive.basis, primitive.positions)


def _sequence(kinds, positions):
    """Return the Wyckoff positions of each element, without its name, in a fixed order."""
    orbits = defaultdict(Counter)
    for kind, position in zip(kinds.tolist(), positions, strict=True):
        orbits[kind // 100][position.letter, kind % 100, position.multiplicity] += 1
    return tuple(
        sorted(
            tuple(sorted((letter, level, n // size) for (letter, level, size), n in counts.items()))
            for counts in orbits.values()
        )
    )


def average_distances(lattice, coords):
    """Return the mean distances of the nearest, second nearest, ... neighbours of the atoms of a cell."""
    lattice, coords = np.asarray(lattice), np.asarray(coords)
    unit = np.cbrt(np.abs(np.linalg.det(lattice)) / len(coords))
    heights = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    reach = np.ceil(REACH * unit / heights).astype(int)
    steps = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij"), axis=-1)
    points = (coords + steps.reshape(-1, 1, 3)).reshape(-1, 3) @ lattice
    distances, _ = cKDTree(points).query(coords @ lattice, k=N_DISTANCES + 1)
    return distances[:, 1:].mean(axis=0) / unit


def find_types(crystals, symprec, verbose=True):
    """Return the `structure_type` of each crystal, None where it is faulty or has no symmetry.

    Parameters
    ----------
    crystals : CrystalSet
    symprec : float
        In Å.
    verbose : bool
        Whether to show progress.
    """
    sites, occupancies = main_atoms(crystals)
    bounds = np.searchsorted(sites, crystals.offsets)
    faults = find_faults(crystals)
    types = []
    for row in tqdm(range(len(crystals)), disable=not verbose):
        own = slice(*bounds[row : row + 2])
        arrays = crystals.frac_coords[sites[own]] % 1, crystals.atomic_numbers[sites[own]].astype(int)
        types.append(None)
        if row not in faults and len(arrays[0]) and contact_of(crystals, row) >= MIN_CONTACT:
            with suppress(ValueError):
                types[-1] = structure_type(crystals.lattices[row], *arrays, occupancies[own], symprec)
    return types


def number_types(types):
    """Return for each structure the row of the first one of its type, -1 where it has no type."""
    first, known = np.full(len(types), -1), defaultdict(list)
    for row, (sequence, distances) in ((row, t) for row, t in enumerate(types) if t is not None):
        for other in known[sequence]:
            if np.abs(distances - types[other][1]).max() < MAX_DIFFERENCE:
                first[row] = other
                break
        else:
            known[sequence].append(row)
            first[row] = row
    return first


def asymmetric_unit(crystal):
    """Return the standard cell of an ordered `CrystalSet` of one crystal as an entry for `pack`.

    Raises
    ------
    ValueError
        If rounded coordinates give other atoms.
    """
    numbers = crystal.atomic_numbers.astype(int)
    cell = moyopy.Cell(crystal.lattices[0].tolist(), crystal.frac_coords.tolist(), numbers.tolist())
    symmetry = moyopy.MoyoDataset(cell, symprec=SYMPREC["computed"])
    operations = spglib.get_symmetry_from_database(symmetry.hall_number)
    rotations, translations = operations["rotations"], operations["translations"]
    standard = symmetry.std_cell
    coords = np.array(standard.positions)
    unit = np.unique(orbit_origins(coords, rotations, translations))
    lattice = np.array(standard.basis)
    placed = np.round(coords[unit], DECIMALS)
    placed, keep = site_symmetry(placed, rotations, translations, lattice, SNAPPED)
    if keep.sum() != len(coords):
        raise ValueError(f"{crystal.ids[0]}: {keep.sum()} atoms instead of {len(coords)}")
    return {
        "id": 0,
        "group": "",
        "formula": crystal.formulas[0],
        "operations": symmetry.hall_number,
        "space_group": symmetry.number,
        "cell": cell_parameters(lattice[None])[0],
        "numbers": np.array(standard.numbers)[unit],
        "coords": placed,
        "occupancies": np.ones(len(unit)),
        "u_iso": np.full(len(unit), np.nan),
        "keep": keep,
    }, (rotations, translations, symmetry.number)


def pack_computed(crystals):
    """Return arrays for `xtalsk.datasets._amcsd._unpack` of ordered crystals, with ids as one text."""
    entries, symmetries = zip(
        *(asymmetric_unit(crystals[[row]]) for row in range(len(crystals))), strict=True
    )
    operations = {e["operations"]: symmetry for e, symmetry in zip(entries, symmetries, strict=True)}
    return pack(entries, operations) | {"ids": np.array("\n".join(crystals.ids))}


def main(argv=None):
    """Write the file and print the numbers of structures and types."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("computed", metavar="FILE")
    parser.add_argument("--out", default=Path(__file__).with_name("data") / "prototypes.npz", type=Path)
    options = parser.parse_args(argv)
    logging.getLogger("moyopy").setLevel(logging.ERROR)
    measured, computed = measured_structures(), CrystalSet.load(options.computed)
    types = find_types(measured, SYMPREC["measured"]) + find_types(computed, SYMPREC["computed"])
    write(options.out, measured, computed, number_types(types))


def write(path, measured, computed, first):
    """Write the structures that have a type; ``first`` is that of `number_types` for both sets."""
    rows = np.flatnonzero(first >= 0)
    known, new = rows[rows < len(measured)], rows[rows >= len(measured)] - len(measured)
    numbers = np.unique(first[rows], return_inverse=True)[1]
    arrays = pack_computed(computed[new])
    np.savez_compressed(path, measured=known.astype(np.uint16), types=numbers.astype(np.uint16), **arrays)
    kept = f"{len(known)} of {len(measured)} measured and {len(new)} of {len(computed)} computed structures"
    print(f"{kept}, {numbers.max() + 1} types, {path.stat().st_size / 1e6:.2f} MB")  # noqa: T201


if __name__ == "__main__":
    main()

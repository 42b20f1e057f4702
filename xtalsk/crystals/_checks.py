"""Checks of the arrays of a `CrystalSet`."""

import numpy as np

from xtalsk.crystals._constants import MIN_CELL_FULLNESS


def check_shapes(crystals):
    """Raise ValueError if the arrays do not have the lengths that ``offsets`` gives."""
    n, n_sites = len(crystals.offsets) - 1, len(crystals.atomic_numbers)
    if (
        n < 0
        or crystals.offsets[0] != 0
        or crystals.offsets[-1] != n_sites
        or (np.diff(crystals.offsets) < 0).any()
    ):
        raise ValueError("offsets must rise from 0 to the number of sites")
    expected = {
        "lattices": (n, 3, 3),
        "frac_coords": (n_sites, 3),
        "occupancies": (n_sites,),
        "u_iso": (n_sites,),
    }
    expected |= dict.fromkeys(("space_groups", "rotation_index", "formulas", "ids", "names"), (n,))
    for name, shape in expected.items():
        if getattr(crystals, name).shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got {getattr(crystals, name).shape}")
    index = crystals.rotation_index
    if n and not (index.min() >= 0 and index.max() < len(crystals.rotation_sets)):
        raise ValueError(f"rotation_index must point into the {len(crystals.rotation_sets)} rotation sets")


def check_physics(crystals):
    """Raise ValueError for the first crystal or site with a value that is physically impossible."""
    with np.errstate(divide="ignore", invalid="ignore"):
        fullness = crystals.volumes / np.linalg.norm(crystals.lattices, axis=2).prod(axis=1)
    crystal_faults = {
        "a flat, left-handed or non-finite cell": ~(fullness > MIN_CELL_FULLNESS),
        "no atoms": np.diff(crystals.offsets) == 0,
    }
    z, occupancies = crystals.atomic_numbers, crystals.occupancies
    site_faults = {
        "an atomic number outside 1 to 98": (z < 1) | (z > 98),
        "an occupancy outside (0, 1]": ~((occupancies > 0) & (occupancies <= 1)),
        "coordinates that are not finite": ~np.isfinite(crystals.frac_coords).all(axis=1),
        "a negative u_iso": crystals.u_iso < 0,
    }
    for fault, is_faulty in crystal_faults.items():
        if is_faulty.any():
            raise ValueError(f"{_label(crystals, int(np.argmax(is_faulty)))} has {fault}")
    for fault, is_faulty in site_faults.items():
        if is_faulty.any():
            site = int(np.argmax(is_faulty))
            i = int(crystals.crystal_of_site[site])
            raise ValueError(
                f"{_label(crystals, i)} has {fault} at its site {site - int(crystals.offsets[i])}"
            )


def _label(crystals, i):
    """Row and identifier (or formula) of a crystal, for messages."""
    return f"crystal {i} ({crystals.ids[i] or crystals.formulas[i]})"

"""Predicted structures: prototypes with other elements and a refined cell, as a `CrystalSet`."""

import numpy as np

from xtalsk.crystals import CrystalSet
from xtalsk.crystals._formulas import formula_of
from xtalsk.library._prototype_search import refined_lattice


def decorated_crystal(crystals, table, match, k, name):
    """Return candidate ``k`` of a `Match` as a `CrystalSet` of one crystal.

    Two elements that share a site become two sites of one position. Hydrogen of the prototype is left out.

    Parameters
    ----------
    crystals : CrystalSet
        The prototypes.
    table : PrototypeTable
    match : Match
    k : int
    name : str
        Identifier of the crystal.
    """
    row = match.rows[k]
    starts = table.sites[0]
    coords, occupancies, groups = (column[starts[row] : starts[row + 1]] for column in table.sites[1:])
    shares = match.composition[match.species[k]][groups]  # (n_sites, 99)
    site, z = np.nonzero(shares > 0)
    occupancy = occupancies[site] * shares[site, z]
    crystal = crystals[[row]]
    return CrystalSet(
        lattices=refined_lattice(crystal.lattices[0], match.scales[k], match.strains[k])[None],
        offsets=np.array([0, len(site)]),
        atomic_numbers=z,
        frac_coords=coords[site],
        occupancies=np.minimum(occupancy, 1),
        u_iso=np.full(len(site), np.nan),
        space_groups=crystal.space_groups,
        rotation_sets=crystal.rotation_sets,
        rotation_index=crystal.rotation_index,
        formulas=[formula_of(z, occupancy)],
        ids=[name],
        names=[f"{crystal.formulas[0]} type"],
    )

"""The American Mineralogist Crystal Structure Database, as packaged."""

from importlib.resources import files

import gemmi
import numpy as np

from xtalsk.crystals import CrystalSet
from xtalsk.crystals._cif import lattice_vectors
from xtalsk.crystals._orbits import wrap
from xtalsk.crystals._ragged import ragged_arange, unique_rotations

COORDINATE_SCALE = 10_000_000
_DATA = files("xtalsk.datasets") / "data"


def load_amcsd(*, return_descr=False):
    """Load 9,273 measured mineral structures from the AMCSD.

    Every atom of each cell is given, with occupancies, the isotropic displacements that 3,010 entries
    carry, and the hydrogens that were located (those written "D" are deuterium). `CrystalSet.names` holds
    mineral names and `CrystalSet.ids` the AMCSD codes. The text that ``return_descr`` adds says where the
    data come from, how to cite them and what was changed.

    Parameters
    ----------
    return_descr : bool
        Whether to return the description too.

    Returns
    -------
    crystals : CrystalSet
    descr : str
        Only with ``return_descr=True``.

    References
    ----------
    R. T. Downs, M. Hall-Wallace, Am. Mineral. 88, 247 (2003).

    Examples
    --------
    >>> from xtalsk.datasets import load_amcsd
    >>> crystals = load_amcsd()
    >>> crystals
    CrystalSet(9273 crystals, 344181 sites, 194 space groups)
    """
    with (_DATA / "amcsd.npz").open("rb") as file, np.load(file, allow_pickle=False) as archive:
        packed = dict(archive)
    crystals = _unpack(packed)
    if not return_descr:
        return crystals
    return crystals, (_DATA / "amcsd.md").read_text(encoding="utf-8")


def _unpack(packed):
    """Apply the stored symmetry operations to the asymmetric units."""
    n_operations = packed["n_operations"].astype(int)
    first_operation = np.cumsum(n_operations) - n_operations
    lengths = packed["pattern_lengths"].astype(int)
    first_of_pattern = np.cumsum(lengths) - lengths

    n_sites = packed["n_sites"].astype(int)
    entry_of_site = np.repeat(np.arange(len(n_sites)), n_sites)
    images = lengths[packed["patterns"]]  # number of atoms each site gives
    site = np.repeat(np.arange(len(images)), images)
    chosen = packed["pattern_operations"][ragged_arange(first_of_pattern[packed["patterns"]], images)]
    operation = chosen + first_operation[packed["operations"]][entry_of_site][site]

    coords = packed["coords"].T[site] / COORDINATE_SCALE
    coords = np.einsum("aij,aj->ai", packed["rotations"][operation], coords)
    coords += packed["translations"][operation] / 24
    u_iso = packed["u_iso"][site]
    atoms = np.bincount(entry_of_site, weights=images, minlength=len(n_sites)).astype(int)
    by_group = np.split(packed["rotations"], first_operation[1:])
    rotation_sets, index = unique_rotations(by_group)
    return CrystalSet(
        lattices=[lattice_vectors(gemmi.UnitCell(*cell)) for cell in packed["cells"].T / 1e5],
        offsets=np.concatenate([[0], np.cumsum(atoms)]),
        atomic_numbers=packed["numbers"][site],
        frac_coords=wrap(coords),
        occupancies=packed["occupancies"][site] / 1e5,
        u_iso=np.where(u_iso < 0, np.nan, u_iso / 1e6),
        space_groups=packed["space_groups"],
        rotation_sets=rotation_sets,
        rotation_index=index[packed["operations"]],
        formulas=str(packed["formulas"]).split("\n"),
        ids=packed["ids"],
        names=str(packed["groups"]).split("\n"),
    )

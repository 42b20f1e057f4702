"""The packaged American Mineralogist Crystal Structure Database (AMCSD)."""

from importlib.resources import files

import gemmi
import numpy as np

from xtalsk.crystals import CrystalSet
from xtalsk.crystals._gemmi import lattice_vectors
from xtalsk.crystals._orbits import wrap
from xtalsk.crystals._ragged import ragged_arange, unique_rotations

COORDINATE_SCALE = 10_000_000  # the file has coordinates as integers, in units of 1e-7 of the cell
_DATA = files("xtalsk.datasets") / "data"


def load_amcsd(*, return_descr=False):
    """Load 9,273 measured mineral structures from the AMCSD.

    The sites are all atoms of each cell, with occupancies, with isotropic displacements in 3,010 entries, and
    with hydrogen where it was located (deuterium is labelled "D" in the formula). `CrystalSet.names` are
    mineral names and `CrystalSet.ids` are AMCSD codes. The description states the source of the data, how to
    cite it, and all changes.

    Parameters
    ----------
    return_descr : bool
        Whether to return the description as well.

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
    """CrystalSet of the packaged arrays: the stored operations applied to the asymmetric units."""
    n_operations = packed["n_operations"].astype(int)
    first_operation = np.cumsum(n_operations) - n_operations
    lengths = packed["pattern_lengths"].astype(int)
    first_of_pattern = np.cumsum(lengths) - lengths

    n_sites = packed["n_sites"].astype(int)
    entry_of_site = np.repeat(np.arange(len(n_sites)), n_sites)
    n_images = lengths[packed["patterns"]]  # number of atoms in the cell for each site
    site = np.repeat(np.arange(len(n_images)), n_images)
    operation = packed["pattern_operations"][ragged_arange(first_of_pattern[packed["patterns"]], n_images)]
    operation = operation + first_operation[packed["operations"]][entry_of_site][site]

    coords = packed["coords"].T[site] / COORDINATE_SCALE
    coords = np.einsum("aij,aj->ai", packed["rotations"][operation], coords)
    coords += packed["translations"][operation] / 24
    u_iso = packed["u_iso"][site]
    n_atoms = np.bincount(entry_of_site, weights=n_images, minlength=len(n_sites)).astype(int)
    by_group = np.split(packed["rotations"], first_operation[1:])
    rotation_sets, index = unique_rotations(by_group)
    return CrystalSet(
        lattices=[lattice_vectors(gemmi.UnitCell(*cell)) for cell in packed["cells"].T / 1e5],
        offsets=np.concatenate([[0], np.cumsum(n_atoms)]),
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

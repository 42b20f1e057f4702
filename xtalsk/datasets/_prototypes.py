"""The packaged prototypes: known structures and their types."""

from dataclasses import replace
from importlib.resources import files

import numpy as np

from xtalsk.crystals import CrystalSet
from xtalsk.datasets._amcsd import _unpack, load_amcsd
from xtalsk.datasets._experimental import load_experimental

_DATA = files("xtalsk.datasets") / "data"


def load_prototypes(*, unique=False, return_descr=False):
    """Load 37,000 known inorganic structures, or one of each structure type.

    Measured structures come first: those of `load_amcsd` and `load_experimental`. Then come computed ones of
    the Materials Project, in standard cells and without displacements. Faulty structures are left out.
    `CrystalSet.ids` begin with the source, as ``"amcsd:"`` or ``"mp-"``. `CrystalSet.names` are mineral names
    or empty. The description lists the sources, with citations and licences.

    Parameters
    ----------
    unique : bool
        Whether to load only the first structure of each type. A type has one space group, one stoichiometry,
        one sequence of Wyckoff positions and nearly one arrangement of atoms. Hydrogen does not count.
    return_descr : bool
        Whether to return the description as well.

    Returns
    -------
    crystals : CrystalSet
    descr : str
        Only with ``return_descr=True``.

    See Also
    --------
    xtalsk.library.PrototypeMatch : Puts measured elements into prototypes.

    References
    ----------
    A. Jain et al., APL Mater. 1, 011002 (2013). R. T. Downs, M. Hall-Wallace, Am. Mineral. 88, 247 (2003).

    Examples
    --------
    >>> from xtalsk.datasets import load_prototypes
    >>> crystals = load_prototypes(unique=True)
    >>> len(crystals) > 10_000, crystals.ids[0].partition(":")[0]
    (True, 'amcsd')
    """
    with (_DATA / "prototypes.npz").open("rb") as file, np.load(file, allow_pickle=False) as archive:
        packed = dict(archive)
    packed["ids"] = str(packed["ids"]).split("\n")
    crystals = CrystalSet.concatenate([measured_structures()[packed["measured"]], _unpack(packed)])
    if unique:
        crystals = crystals[np.sort(np.unique(packed["types"], return_index=True)[1])]
    if not return_descr:
        return crystals
    return crystals, (_DATA / "prototypes.md").read_text(encoding="utf-8")


def measured_structures():
    """Return `load_amcsd` and `load_experimental` as one set, with the source in all ids."""
    amcsd = load_amcsd()
    return CrystalSet.concatenate(
        [replace(amcsd, ids=[f"amcsd:{i}" for i in amcsd.ids]), load_experimental()]
    )

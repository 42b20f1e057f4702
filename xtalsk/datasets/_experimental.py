"""Packaged experimental structures that the AMCSD lacks."""

from importlib.resources import as_file, files

from xtalsk.crystals import CrystalSet

_DATA = files("xtalsk.datasets") / "data"


def load_experimental(*, return_descr=False):
    """Load experimental structures of inorganic compounds that the packaged AMCSD lacks.

    They come from collections with open licences: the Crystallography Open Database (CC0), OBELiX
    (CC-BY-4.0), OpenChemistry (public domain) and NCrystal (Apache-2.0). Four in ten are monoclinic or
    triclinic. 196 zeolite frameworks among them are idealised, not measured. `CrystalSet.ids` begin with
    the collection. `CrystalSet.names` are mineral names where the source gives one, otherwise empty. The
    description states sources, licences, and which entries were left out.

    Parameters
    ----------
    return_descr : bool
        Whether to return the description as well.

    Returns
    -------
    crystals : CrystalSet
    descr : str
        Only with ``return_descr=True``.

    See Also
    --------
    load_amcsd : Mineral structures.
    fetch_optimade : Any number of structures from open databases.

    Examples
    --------
    A library of both sets finds more phases than one of minerals:

    >>> from xtalsk import CrystalSet, load_amcsd, load_experimental
    >>> crystals = CrystalSet.concatenate([load_amcsd(), load_experimental()])
    >>> len(crystals)
    11507
    """
    with as_file(_DATA / "experimental.npz") as path:
        crystals = CrystalSet.load(path)
    if not return_descr:
        return crystals
    return crystals, (_DATA / "experimental.md").read_text(encoding="utf-8")

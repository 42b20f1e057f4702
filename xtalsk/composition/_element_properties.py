"""Tabulated properties of the elements, for networks that read compositions."""

from functools import cache
from importlib.resources import as_file, files

import numpy as np


@cache
def element_properties():
    """Return standardised properties of the elements from hydrogen to californium.

    The properties are those of pymatgen: electronegativities, numbers, masses, radii, energies, common
    oxidation states, outer electrons, and group, period and block as indicators. The table is in the package.

    Returns
    -------
    ndarray of float32, shape (98, n_properties)
        Each column has mean 0 and standard deviation 1 over the elements that have a value. Other elements
        have 0.

    Examples
    --------
    >>> from xtalsk.composition import element_properties
    >>> element_properties().shape
    (98, 51)
    """
    with as_file(files("xtalsk.composition") / "data" / "element_properties.npy") as path:
        return np.load(path)

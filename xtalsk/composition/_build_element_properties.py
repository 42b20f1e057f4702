"""Build the packaged table of properties of the elements from pymatgen.

Run ``python -m xtalsk.composition._build_element_properties``. Networks in files were trained with it:
a change of it needs new networks.
"""

from pathlib import Path

import numpy as np
from pymatgen.core import Element

from xtalsk.utils._formula import SYMBOLS, electronegativities

_TABULATED = (
    "Mendeleev no",
    "Atomic mass",
    "Atomic radius",
    "Atomic radius calculated",
    "Van der waals radius",
    "Metallic radius",
    "Melting point",
    "Boiling point",
    "Molar volume",
    "Electron affinity",
)
"""Entries of pymatgen's table of elements that are numbers."""

_ORBITALS = "spdf"


def _row(element):
    """Return the properties of an element of pymatgen, NaN where the table has no value."""
    states = element.common_oxidation_states or (0,)
    radii = list(element.ionic_radii.values()) or [np.nan]
    valence = dict.fromkeys(_ORBITALS, 0)
    shells = element.full_electronic_structure
    for shell, orbital, count in shells:
        if shell == max(n for n, o, _ in shells if o == orbital):
            valence[orbital] = count
    return [
        element.Z,
        *[_number(element.data.get(name)) for name in _TABULATED],
        element.ionization_energies[0] if element.ionization_energies else np.nan,
        min(states),
        max(states),
        np.mean(states),
        min(radii),
        max(radii),
        *valence.values(),
        *(np.arange(1, 19) == element.group),
        *(np.arange(1, 8) == element.row),
        *(np.array(list(_ORBITALS)) == element.block),
    ]


def _number(value):
    """Return a value of pymatgen's table, with or without a unit, as a float."""
    try:
        return float(str(value).split()[0])
    except ValueError:  # "no data"
        return np.nan


def compute():
    """Return the table of `element_properties`."""
    table = np.array([_row(Element(symbol)) for symbol in SYMBOLS], dtype=float)
    table = np.column_stack([electronegativities(), table])
    spread = np.nanstd(table, axis=0)
    return np.nan_to_num((table - np.nanmean(table, axis=0)) / np.where(spread > 0, spread, 1)).astype(
        np.float32
    )


if __name__ == "__main__":
    np.save(Path(__file__).with_name("data") / "element_properties.npy", compute())

"""Crystal structures: the columnar `CrystalSet`, CIF files, pymatgen, Wyckoff positions, faults."""

from xtalsk.crystals._broken_entries import BrokenEntryWarning
from xtalsk.crystals._crystal_set import CrystalSet

__all__ = ["BrokenEntryWarning", "CrystalSet"]

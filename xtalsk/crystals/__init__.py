"""What a crystal is."""

from xtalsk.crystals._cif import BrokenEntryWarning
from xtalsk.crystals._crystal_set import CrystalSet

__all__ = ["BrokenEntryWarning", "CrystalSet"]

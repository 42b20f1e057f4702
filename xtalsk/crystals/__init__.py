"""What a crystal is: sets of structures in columnar form."""

from xtalsk.crystals._cif import BrokenEntryWarning
from xtalsk.crystals._crystal_set import CrystalSet

__all__ = ["BrokenEntryWarning", "CrystalSet"]

"""What a crystal is."""

from xtalsk.crystals._cif import BrokenEntryWarning
from xtalsk.crystals._crystal_set import CrystalSet
from xtalsk.crystals._random import make_random_crystals

__all__ = ["BrokenEntryWarning", "CrystalSet", "make_random_crystals"]

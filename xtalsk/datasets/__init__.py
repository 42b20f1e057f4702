"""Where crystals and specimens come from."""

from xtalsk.datasets._amcsd import load_amcsd
from xtalsk.datasets._random import make_random_crystals
from xtalsk.datasets._specimens import compound_groups, make_specimens

__all__ = ["compound_groups", "load_amcsd", "make_random_crystals", "make_specimens"]

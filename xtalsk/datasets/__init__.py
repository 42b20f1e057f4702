"""Where crystals and specimens come from."""

from xtalsk.datasets._amcsd import load_amcsd

__all__ = ["load_amcsd"]

"""The network that fuses diffraction and chemistry."""

from xtalsk.neural._fusion import FusionClassifier

__all__ = ["FusionClassifier"]

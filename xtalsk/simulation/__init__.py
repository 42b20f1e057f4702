"""What an instrument records of a crystal."""

from xtalsk.simulation._formula import measured_formulas
from xtalsk.simulation._powder import powder
from xtalsk.simulation._reflections import Reflections, reflections
from xtalsk.simulation._rings import rings

__all__ = ["Reflections", "measured_formulas", "powder", "reflections", "rings"]

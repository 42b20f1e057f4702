"""What an instrument records of a crystal."""

from xtalsk.simulation._conditions import Sometimes
from xtalsk.simulation._detector import Detector
from xtalsk.simulation._eds import eds
from xtalsk.simulation._eds_conditions import EDSConditions
from xtalsk.simulation._eels import eels
from xtalsk.simulation._eels_conditions import EELSConditions
from xtalsk.simulation._electrons import camera_pixel_size, electron_wavelength
from xtalsk.simulation._formula import measured_formulas
from xtalsk.simulation._powder import powder
from xtalsk.simulation._powder_conditions import PowderConditions
from xtalsk.simulation._reflections import Reflections, reflections
from xtalsk.simulation._ring_conditions import RingConditions
from xtalsk.simulation._rings import rings
from xtalsk.simulation._sites import vary_sites
from xtalsk.simulation._spot_conditions import SpotConditions
from xtalsk.simulation._spots import spots

__all__ = [
    "Detector",
    "EDSConditions",
    "EELSConditions",
    "PowderConditions",
    "Reflections",
    "RingConditions",
    "Sometimes",
    "SpotConditions",
    "camera_pixel_size",
    "eds",
    "eels",
    "electron_wavelength",
    "measured_formulas",
    "powder",
    "reflections",
    "rings",
    "spots",
    "vary_sites",
]

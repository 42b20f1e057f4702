"""Simulated measurements: what an instrument records of a crystal.

Machinery for all instruments is at the top (conditions, chunks, counting, line profiles). Each wing holds one
step or one instrument: `reflections`, `powder`, `images` and `spectra`.
"""

from xtalsk.physics._electrons import camera_pixel_size, electron_wavelength
from xtalsk.simulation._conditions import Sometimes
from xtalsk.simulation.images._detector import Detector
from xtalsk.simulation.images._export import Export
from xtalsk.simulation.images._ring_conditions import RingConditions
from xtalsk.simulation.images._rings import simulate_rings
from xtalsk.simulation.images._spot_conditions import SpotConditions
from xtalsk.simulation.images._spots import simulate_spots
from xtalsk.simulation.powder._conditions import PowderConditions
from xtalsk.simulation.powder._simulate import simulate_powder
from xtalsk.simulation.reflections._compute import Reflections, compute_reflections
from xtalsk.simulation.reflections._sites import vary_sites
from xtalsk.simulation.spectra._eds import simulate_eds
from xtalsk.simulation.spectra._eds_conditions import EDSConditions
from xtalsk.simulation.spectra._eels import simulate_eels
from xtalsk.simulation.spectra._eels_conditions import EELSConditions
from xtalsk.simulation.spectra._formula_conditions import FormulaConditions
from xtalsk.simulation.spectra._measured_formulas import simulate_formulas

__all__ = [
    "Detector",
    "EDSConditions",
    "EELSConditions",
    "Export",
    "FormulaConditions",
    "PowderConditions",
    "Reflections",
    "RingConditions",
    "Sometimes",
    "SpotConditions",
    "camera_pixel_size",
    "compute_reflections",
    "electron_wavelength",
    "simulate_eds",
    "simulate_eels",
    "simulate_formulas",
    "simulate_powder",
    "simulate_rings",
    "simulate_spots",
    "vary_sites",
]

"""Conditions under which an X-ray spectrum was recorded."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """Conditions under which a spectrum was recorded. It is hashable.

    Parameters
    ----------
    beam_energy : float
        Beam energy in eV.
    takeoff_angle : float
        Take-off angle in degrees.
    thickness : float
        Mass thickness in g/cm², ``inf`` for a bulk specimen.
    window : str
        Name of the entrance window, one of `WINDOWS`.
    lowest : float
        Lowest energy in eV that the analysis uses.
    """

    beam_energy: float
    takeoff_angle: float
    thickness: float
    window: str
    lowest: float

    def numbers(self):
        """Return beam energy (eV), sine of the take-off angle, and thickness (g/cm²), tuple of float."""
        return self.beam_energy, math.sin(math.radians(self.takeoff_angle)), self.thickness

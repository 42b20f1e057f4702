"""Conditions under which an X-ray spectrum was recorded."""

from dataclasses import dataclass

import torch


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

    def tensors(self):
        """Return beam energy, take-off angle and thickness, float64 tensor of shape (3, 1)."""
        return torch.tensor([[self.beam_energy], [self.takeoff_angle], [self.thickness]], dtype=torch.float64)

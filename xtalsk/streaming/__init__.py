"""Endless simulated specimens, rendered and transformed into features on the training device."""

from xtalsk.streaming._checkpoint import CheckpointError, read_checkpoint
from xtalsk.streaming._fit import fit_stream
from xtalsk.streaming._stream import SpecimenStream

__all__ = ["CheckpointError", "SpecimenStream", "fit_stream", "read_checkpoint"]

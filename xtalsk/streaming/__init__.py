"""Endless simulated specimens, rendered and transformed into features on the training device, or stored."""

from xtalsk.streaming._checkpoint import CheckpointError, read_checkpoint
from xtalsk.streaming._fit import fit_stream
from xtalsk.streaming._stored import StoredStream, write_stream
from xtalsk.streaming._stream import SpecimenStream

__all__ = [
    "CheckpointError",
    "SpecimenStream",
    "StoredStream",
    "fit_stream",
    "read_checkpoint",
    "write_stream",
]

"""The network that fuses diffraction and chemistry, and its training on streams of tensors."""

from xtalsk.neural._callbacks import schedule_factor
from xtalsk.neural._fusion import FusionClassifier
from xtalsk.neural._state import network_arguments, network_state, rebuild_network, restore_network
from xtalsk.neural._training import learn_chunk, start_stream
from xtalsk.neural._warm_start import copy_weights

__all__ = [
    "FusionClassifier",
    "copy_weights",
    "learn_chunk",
    "network_arguments",
    "network_state",
    "rebuild_network",
    "restore_network",
    "schedule_factor",
    "start_stream",
]

"""What happens to images after counting: readout of the camera and export to a file."""

import numpy as np

from xtalsk.simulation.images._constants import CONTRAST_STEP
from xtalsk.simulation.images._detector import read_out
from xtalsk.simulation.images._export import export_levels
from xtalsk.simulation.images._marks import add_marks
from xtalsk.utils._threads import is_plain

SETTINGS = (
    *("sharing", "blooming", "smear", "saturation", "readout_turned"),
    *("levels", "clipped_dark", "clipped_bright", "gamma", "inverted"),
)
"""Columns of the numbers that the compiled loops use."""


def finish(images, column):
    """Read images out and export them, in place.

    Compiled loops do it for single precision on a CPU, operations on tensors otherwise.

    Parameters
    ----------
    images : tensor of shape (n, size, size)
        Counts from `record` with the conditions of `without_blooming`.
    column : dict of str to tensor of shape (n,)
        Values of the conditions of each image.

    Returns
    -------
    tensor
        ``images``.
    """
    if not is_plain(images):
        images = export_levels(read_out(images, column), column)
    elif column["levels"].isfinite().any() or any(column[name].any() for name in SETTINGS[:3]):
        from xtalsk.simulation.images._finish_kernels import finish_images  # numba: at the first use

        settings = np.stack([column[name].numpy() for name in SETTINGS], axis=1)
        finish_images(images.numpy(), settings, CONTRAST_STEP, 0, len(images))
    if column["mark_seed"].any():
        add_marks(images, column)
    return images

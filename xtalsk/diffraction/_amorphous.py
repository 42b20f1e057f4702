"""Whether a ring profile holds only the broad haloes of amorphous matter, such as a carbon film or glass."""

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks, peak_widths

from xtalsk.diffraction._constants import (
    HALOES_CONTRAST,
    HALOES_MARGINS,
    HALOES_SIGMA,
    HALOES_SMOOTHING,
    HALOES_WIDEST,
    HALOES_WIDTH,
    RINGS_WIDTH,
)

_SECOND_DIFFERENCE = 1.5  # variance of x - (y + z) / 2 for independent x, y, z of variance 1
_GAUSSIAN_AREA = 2 * np.sqrt(
    np.pi
)  # smoothing by σ divides the variance of independent values by this times σ


def has_only_haloes(profile, step, pixel_size):
    """Whether the strongest maximum of a profile is broad, and no sharp one stands out from the noise.

    Widths are taken from the square root of the intensity at half the prominence. The haloes of carbon are
    0.16 1/Å wide and those of silica 0.08 to 0.16; measured rings are 0.011 to 0.054 1/Å wide.
    Crowded rings make maxima that are wider than haloes. Sharp maxima beside the hidden bins of the central
    halo and in the corners of the image do not count.

    Parameters
    ----------
    profile : ndarray of shape (n_bins,)
        Mean intensity of rings, with the background; NaN where it was not measured.
    step : float
        Width of a bin in 1/Å.
    pixel_size : float
        In 1/Å.

    Returns
    -------
    bool
    """
    measured = np.flatnonzero(np.isfinite(profile))
    if len(measured) * step < 4 * HALOES_WIDTH:
        return False
    bins = np.arange(measured[0], measured[-1] + 1)
    root = np.sqrt(np.maximum(np.interp(bins, measured, profile[measured]), 0))
    lag = int(np.ceil(pixel_size / step))
    if 4 * lag >= len(root) or pixel_size > 2 * HALOES_SMOOTHING:
        return False
    smooth = gaussian_filter1d(root, HALOES_SMOOTHING / step, mode="nearest")
    difference = root[lag:-lag] - (root[2 * lag :] + root[: -2 * lag]) / 2
    noise = 1.4826 * np.median(abs(difference)) / np.sqrt(_SECOND_DIFFERENCE)
    noise *= np.sqrt(min(1, pixel_size / (_GAUSSIAN_AREA * HALOES_SMOOTHING)))
    peaks, properties = find_peaks(smooth, prominence=max(HALOES_SIGMA * noise, 1e-9 * smooth.max()))
    if not len(peaks):
        return False
    height = properties["prominences"]
    width = peak_widths(smooth, peaks, 0.5)[0] * step
    top, (start, end) = height.argmax(), HALOES_MARGINS
    is_inner = (peaks * step > start) & ((len(root) - peaks) * step > end)
    return bool(
        HALOES_WIDTH < width[top] < HALOES_WIDEST
        and height[top] > HALOES_CONTRAST * noise
        and not (is_inner & (width < RINGS_WIDTH)).any()
    )

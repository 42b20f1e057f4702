"""How many lines of a pattern a crystal explains, and how many of its lines the pattern lacks."""

import warnings

import numpy as np

from xtalsk.crystals import BrokenEntryWarning
from xtalsk.diffraction import locate_peaks
from xtalsk.library._constants import FWHM
from xtalsk.library._prototype_constants import MAX_Q, WEAKEST_LINE, WIDTHS
from xtalsk.simulation import compute_reflections


def line_agreement(q, profile, crystal, modality):
    """Return the shares of lines explained and of lines missing.

    Lines count by their heights, the square roots of intensities, so that weak ones count too. A measured and
    a calculated line are the same if they are closer than the full width of the lines.

    Parameters
    ----------
    q : ndarray of shape (n_bins,)
        Middle of the bins in 1/Å.
    profile : ndarray of shape (n_bins,)
        NaN where it was not measured.
    crystal : CrystalSet
        Of one crystal.
    modality : {"powder", "rings"}

    Returns
    -------
    explained : float
        Share of the measured lines that the crystal has. NaN if the profile has no line.
    missing : float
        Share of the lines of the crystal, in the measured range, that were not measured. NaN if it has none.
    """
    width = WIDTHS[modality]
    measured = np.isfinite(profile) & (q <= MAX_Q)
    peaks, heights = locate_peaks(q[measured], profile[measured].astype(float), width / FWHM)
    lines, amplitudes = _calculated_lines(crystal, modality, q[measured])
    if not len(lines):
        return (0.0 if len(peaks) else np.nan), np.nan
    if not len(peaks):
        return np.nan, 1.0
    is_close = np.abs(peaks[:, None] - lines) <= width
    explained = heights[is_close.any(axis=1)].sum() / heights.sum()
    return float(explained), float(amplitudes[~is_close.any(axis=0)].sum() / amplitudes.sum())


def _calculated_lines(crystal, modality, q):
    """Return positions and heights of the strong lines of a crystal that lie on the bins of q."""
    radiation = "electron" if modality == "rings" else "xray"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BrokenEntryWarning)  # the column `is_possible` says so
        reflections = compute_reflections(crystal, radiation, d_min=1 / q[-1])
    positions = reflections.q.numpy()
    intensity = reflections.intensity.numpy() * reflections.multiplicity.numpy() / positions**2  # Lorentz
    height = np.sqrt(intensity)
    step = q[1] - q[0]
    on_bins = np.abs(q[np.searchsorted(q, positions).clip(max=len(q) - 1)] - positions) <= step
    kept = on_bins & (height >= WEAKEST_LINE * height.max(initial=0))
    return positions[kept], height[kept]

"""Functions that turn spectra into features, on batched tensors and on any device.

The transformers call these functions for NumPy cells. Streams of simulated spectra call them on the device of
the training. Both get the same features. Values without a measurement are NaN.
"""

import torch
from torch.nn import functional as F

from xtalsk.diffraction._functional import condition

SHIFT = 1000.0
"""Energy in eV that the spacing ``"sqrt"`` adds under the root.

The width of a line of a silicon detector is FWHM² = N² + 8 ln 2 F ε E (Goldstein et al., Scanning Electron
Microscopy and X-Ray Microanalysis, 4th ed., 2018, chapter 16). The energy of a pair is ε = 3.6 eV and the
Fano factor is F = 0.12. The width is proportional to the square root of E + 1000 eV if the noise N is 49 eV,
which gives 129 eV at Mn Kα.
"""


def to_grid(energy, spacing):
    """Convert energies in eV (tensor or array) to the scale of equal bins: E, or sqrt(E + 1000 eV)."""
    return energy if spacing == "linear" else (energy + SHIFT) ** 0.5


def from_grid(position, spacing):
    """Convert positions on the scale of equal bins back to energies in eV."""
    return position if spacing == "linear" else position**2 - SHIFT


def energy_edges(n_bins, energy_range, spacing, like):
    """Return the edges of the bins in eV, float64 on the device of ``like``."""
    low, high = (to_grid(e, spacing) for e in energy_range)
    positions = torch.linspace(low, high, n_bins + 1, dtype=torch.float64, device=like.device)
    return from_grid(positions, spacing)


def rebin_counts(energy, counts, edges):
    """Return the counts in bins. The counts of a channel are spread evenly over its width.

    The sum of the counts does not change: wide bins add channels, narrow bins share them. A channel ends
    half-way to its neighbours.

    Parameters
    ----------
    energy : float64 Tensor of shape (n, m)
        Middle of each channel in eV, increasing.
    counts : float64 Tensor of shape (n, m)
        Counts, NaN in channels that were not measured.
    edges : float64 Tensor of shape (n_bins + 1,)
        Edges of the bins in eV.

    Returns
    -------
    float64 Tensor of shape (n, n_bins)
        Bins of which half or less is measured are NaN. The counts of other bins are scaled to the whole bin.
    """
    middles = (energy[:, 1:] + energy[:, :-1]) / 2
    ends = torch.cat([2 * energy[:, :1] - middles[:, :1], middles, 2 * energy[:, -1:] - middles[:, -1:]], 1)
    measured = ~counts.isnan()
    width = ends.diff(dim=1)
    counts, measured_width = torch.where(measured, counts, 0), width * measured
    edge = edges.clamp(ends[:, :1], ends[:, -1:])
    channel = (torch.searchsorted(ends, edge, right=True) - 1).clamp(0, counts.shape[1] - 1)
    part = (edge - ends.gather(1, channel)) / width.gather(1, channel)
    total, covered = (
        (F.pad(x.cumsum(1), (1, 0)).gather(1, channel) + part * x.gather(1, channel)).diff(dim=1)
        for x in (counts, measured_width)
    )
    bin_width = edges.diff()
    return torch.where(covered > 0.5 * bin_width, total * bin_width / covered, torch.nan)


def bin_spectra(energy, counts, edges, background_width=None, scale="sqrt"):
    """Rebin spectra, subtract the background, divide by the mean over the measured bins, and compress.

    Parameters
    ----------
    energy, counts, edges : float64 Tensors
        See `rebin_counts`.
    background_width : float or None
        Half width of the SNIP window in bins. None subtracts nothing.
    scale : {"linear", "sqrt", "log"}
        Feature N, sqrt(N) or log(1 + N) of the counts N in units of their mean.

    Returns
    -------
    float64 Tensor of shape (n, n_bins)
        Features without unit.
    """
    return condition(rebin_counts(energy, counts, edges), background_width, scale)

"""Spectra to features: pure functions on batched tensors, for any device.

The transformers of this room call these functions for NumPy cells; whoever makes spectra on a device calls
them there, so that training and use see the same numbers. Values that no measurement covers are NaN.
"""

import torch
from torch.nn import functional as F

from xtalsk.diffraction._functional import condition

SHIFT = 1000.0
"""Energy in eV added under the root of the spacing ``"sqrt"``.

The width of a line of a silicon detector is FWHM² = N² + 8 ln 2 F ε E (Goldstein et al., Scanning Electron
Microscopy and X-Ray Microanalysis, 4th ed., 2018, chapter 16), with ε = 3.6 eV a pair and the Fano factor
F = 0.12: it grows as the square root of E + 1000 eV if the noise N is 49 eV, which makes 129 eV at Mn Kα.
"""


def to_grid(energy, spacing):
    """Turn energies in eV, tensor or array, into what the bins divide evenly: E, or sqrt(E + 1000 eV)."""
    return energy if spacing == "linear" else (energy + SHIFT) ** 0.5


def from_grid(position, spacing):
    """Turn what the bins divide evenly back into energies in eV."""
    return position if spacing == "linear" else position**2 - SHIFT


def energy_edges(n_bins, energy_range, spacing, like):
    """Edges of the bins in eV, in double precision on the device of ``like``."""
    low, high = (to_grid(e, spacing) for e in energy_range)
    even = torch.linspace(low, high, n_bins + 1, dtype=torch.float64, device=like.device)
    return from_grid(even, spacing)


def rebin_counts(energy, counts, edges):
    """Count in each bin, as if the counts of a channel were spread evenly over its width.

    No counts are lost or made: wide bins add channels up, narrow ones share them. A channel ends half-way
    to its neighbours.

    Parameters
    ----------
    energy : float64 Tensor of shape (n, m)
        Middle of each channel, increasing.
    counts : float64 Tensor of shape (n, m)
        NaN in channels that were not measured.
    edges : float64 Tensor of shape (n_bins + 1,)

    Returns
    -------
    float64 Tensor of shape (n, n_bins)
        NaN where less than half of a bin is covered; what is covered of others stands for all of it.
    """
    middles = (energy[:, 1:] + energy[:, :-1]) / 2
    ends = torch.cat([2 * energy[:, :1] - middles[:, :1], middles, 2 * energy[:, -1:] - middles[:, -1:]], 1)
    seen = ~counts.isnan()
    width = ends.diff(dim=1)
    counts, covering = torch.where(seen, counts, 0), width * seen
    where = edges.clamp(ends[:, :1], ends[:, -1:])
    index = (torch.searchsorted(ends, where, right=True) - 1).clamp(0, counts.shape[1] - 1)
    part = (where - ends.gather(1, index)) / width.gather(1, index)
    total, covered = (
        (F.pad(x.cumsum(1), (1, 0)).gather(1, index) + part * x.gather(1, index)).diff(dim=1)
        for x in (counts, covering)
    )
    whole = edges.diff()
    return torch.where(covered > 0.5 * whole, total * whole / covered, torch.nan)


def bin_spectra(energy, counts, edges, background_width=None, scale="sqrt"):
    """Rebin, subtract the background, divide by the mean over the covered bins, compress.

    Parameters
    ----------
    energy, counts, edges : float64 Tensors
        As in `rebin_counts`.
    background_width : float or None
        Half width of the SNIP window in bins; None subtracts nothing.
    scale : {"linear", "sqrt", "log"}
        N, sqrt(N) or log(1 + N) of the counts in units of their mean.

    Returns
    -------
    float64 Tensor of shape (n, n_bins)
    """
    return condition(rebin_counts(energy, counts, edges), background_width, scale)

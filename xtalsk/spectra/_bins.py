"""Spectra on a common energy grid."""

from collections import defaultdict

import numpy as np
import torch
from sklearn.utils import check_scalar

from xtalsk.io._spectra import check_spectrum
from xtalsk.spectra._functional import bin_spectra, energy_edges, to_grid
from xtalsk.utils import CellTransformer, check_option

_CHANNELS_PER_BATCH = 2**18  # limits the memory of a batch; set by eye


def check_energy_grid(n_bins, energy_range):
    """Check the parameters of an energy grid, and return its ends.

    Parameters
    ----------
    n_bins : int
        Number of bins.
    energy_range : (float, float)
        Ends of the grid in eV.

    Returns
    -------
    low, high : float
        Ends of the grid in eV.

    Raises
    ------
    ValueError
        If there are less than 8 bins, or if the ends are not two increasing, non-negative numbers.
    """
    check_scalar(n_bins, "n_bins", int, min_val=8)
    try:
        low, high = (float(e) for e in energy_range)
    except (TypeError, ValueError):
        raise ValueError(f"energy_range must be two numbers in eV, got {energy_range!r}") from None
    if not 0 <= low < high < np.inf:
        raise ValueError(
            f"energy_range must hold two increasing, non-negative numbers in eV, got {energy_range!r}"
        )
    return low, high


def batches(cells):
    """Yield lists of indices of spectra with the same number of channels."""
    indices = defaultdict(list)
    for i, cell in enumerate(cells):
        indices[len(cell.counts)].append(i)
    for n_channels, members in indices.items():
        size = max(1, _CHANNELS_PER_BATCH // n_channels)
        for start in range(0, len(members), size):
            yield members[start : start + size]


class SpectrumBins(CellTransformer):
    """X-ray or energy-loss spectra on one energy grid.

    `SpectrumBins` takes four steps. It sums counts in bins; two bins share a channel that crosses their edge.
    It subtracts the SNIP background if ``background`` says so. It divides by the mean over the measured bins.
    It compresses by ``scale``.

    Parameters
    ----------
    n_bins : int, default=512
        Number of bins.
    energy_range : (float, float), default=(100, 10240)
        Ends of the grid in eV. The default excludes the zero peak of X-ray detectors. For EELS, use the range
        of the recorded losses.
    spacing : {"linear", "sqrt"}, default="linear"
        Bins of equal width in the energy E, or in sqrt(E + 1000 eV). With "sqrt", the width of a bin is
        proportional to the resolution of a silicon X-ray detector.
    background : {"snip", None}, default=None
        Background to subtract.
    background_width : float, default=200
        Half width in eV of the widest line that is not part of the background. With ``spacing="sqrt"`` the
        mean width of a bin converts it to bins.
    scale : {"sqrt", "log", "linear"}, default="sqrt"
        Compression sqrt(N), log(1 + N) or N of the counts N in units of their mean.
    on_error : {"raise", "warn"}, default="raise"
        What an unusable cell causes: an error, or a warning and a row of NaN.
    n_jobs : int or None, default=None
        Number of parallel jobs.

    Attributes
    ----------
    energy_ : ndarray of shape (n_bins,)
        Middle of each bin in eV.
    n_features_in_ : int
        Number of input columns, always 1.

    Notes
    -----
    A cell is a `Spectrum`, the path of a file that `read_spectrum` reads, or a HyperSpy signal of one
    spectrum. Bins of which half or less was measured are NaN. Counts can be negative, as after subtraction
    of a dark level. Without background subtraction, such spectra are shifted so that their lowest value is 0.

    Examples
    --------
    >>> import numpy as np
    >>> from xtalsk.io import Spectrum
    >>> from xtalsk.spectra import SpectrumBins
    >>> energy = np.arange(2048) * 10.0
    >>> counts = 50 + 1000 * np.exp(-(((energy - 1740) / 40) ** 2))
    >>> bins = SpectrumBins(n_bins=256).fit([None])
    >>> features = bins.transform([Spectrum(counts, energy=energy)])
    >>> features.shape, round(float(bins.energy_[features[0].argmax()]))
    ((1, 256), 1744)
    """

    def __init__(
        self,
        n_bins=512,
        energy_range=(100.0, 10240.0),
        *,
        spacing="linear",
        background=None,
        background_width=200.0,
        scale="sqrt",
        on_error="raise",
        n_jobs=None,
    ):
        self.n_bins = n_bins
        self.energy_range = energy_range
        self.spacing = spacing
        self.background = background
        self.background_width = background_width
        self.scale = scale
        self.on_error = on_error
        self.n_jobs = n_jobs

    def _check_params(self):
        check_energy_grid(self.n_bins, self.energy_range)
        check_option("spacing", self.spacing, ("linear", "sqrt"))
        check_option("background", self.background, ("snip", None))
        check_scalar(
            self.background_width, "background_width", (int, float), min_val=0, include_boundaries="neither"
        )
        check_option("scale", self.scale, ("sqrt", "log", "linear"))
        edges = self._edges(torch.empty(0)).numpy()
        self.energy_ = (edges[1:] + edges[:-1]) / 2

    def _edges(self, like):
        return energy_edges(
            self.n_bins, check_energy_grid(self.n_bins, self.energy_range), self.spacing, like
        )

    def _check_cell(self, cell):
        cell = check_spectrum(cell)
        measured = cell.energy[~np.isnan(cell.counts)]
        low, high = self.energy_range
        if min(measured[-1], high) - max(measured[0], low) < 2 * np.diff(self.energy_).max():
            raise ValueError(
                f"the spectrum covers {measured[0]:g} to {measured[-1]:g} eV, less than two bins of "
                f"energy_range={self.energy_range}"
            )
        return cell

    def _features(self, cells):
        features = np.empty((len(cells), self.n_bins), dtype=np.float32)
        low, high = self.energy_range
        width = None if self.background is None else self.background_width * self.n_bins / (high - low)
        for members in batches(cells):
            energy, counts = (
                torch.from_numpy(np.stack([np.asarray(getattr(cells[i], name), float) for i in members]))
                for name in ("energy", "counts")
            )
            features[members] = bin_spectra(energy, counts, self._edges(energy), width, self.scale).numpy()
        return features

    def _feature_names(self):
        """Return names with the numbers of the bins, counted from energy 0 of the ``spacing`` scale.

        A stretch of that scale then multiplies the numbers, which augmentation relies on.
        """
        low, high = (to_grid(float(e), self.spacing) for e in self.energy_range)
        first = round(low * self.n_bins / (high - low))
        return [f"e_{first + i:04d}" for i in range(self.n_bins)]

"""Spectra to a common grid of energies."""

from collections import defaultdict

import numpy as np
import torch
from sklearn.utils import check_scalar

from xtalsk.io._spectra import check_spectrum
from xtalsk.spectra._functional import bin_spectra, energy_edges, to_grid
from xtalsk.utils import CellTransformer, check_option


def check_energy_grid(n_bins, energy_range):
    """Return the ends of a grid of energies in eV after checking both."""
    check_scalar(n_bins, "n_bins", int, min_val=8)
    try:
        low, high = (float(e) for e in energy_range)
    except (TypeError, ValueError):
        raise ValueError(f"energy_range must be two numbers in eV, got {energy_range!r}") from None
    if not 0 <= low < high < np.inf:
        raise ValueError(
            f"energy_range must hold two increasing, non-negative numbers of eV, got {energy_range!r}"
        )
    return low, high


def batches(cells):
    """Yield indices of spectra in groups of one length."""
    lengths = defaultdict(list)
    for i, cell in enumerate(cells):
        lengths[len(cell.counts)].append(i)
    for length, members in lengths.items():
        size = max(1, 2**18 // length)
        for start in range(0, len(members), size):
            yield members[start : start + size]


class SpectrumBins(CellTransformer):
    """Spectra of X-rays or energy losses on one grid of energies.

    What comes out is made in this order: counts in each bin (a channel that straddles an edge is shared, so
    that none are lost), less the background if asked for (SNIP), divided by their mean over the covered
    bins, compressed by ``scale``.

    Parameters
    ----------
    n_bins : int, default=512
        Number of bins.
    energy_range : (float, float), default=(100, 10240)
        Ends of the bins in eV. The default leaves out the zero peak of X-ray detectors; set it to the
        recorded losses for EELS.
    spacing : {"linear", "sqrt"}, default="linear"
        Whether bins are equally wide in the energy E, or in sqrt(E + 1000 eV): as wide, everywhere, in
        terms of the resolution of a silicon X-ray detector.
    background : {"snip", None}, default=None
        Whether to subtract the background.
    background_width : float, default=200
        Half width in eV of the widest line that the background passes under; with ``spacing="sqrt"``, at
        the mean width of a bin.
    scale : {"sqrt", "log", "linear"}, default="sqrt"
        Compression of the counts N in units of their mean: sqrt(N), log(1 + N) or N.
    on_error : {"raise", "warn"}, default="raise"
        Whether a cell that cannot be used is an error, or warns and counts as not measured.
    n_jobs : int or None, default=None
        Number of parallel jobs.

    Attributes
    ----------
    energy_ : ndarray of shape (n_bins,)
        Middle of each bin in eV.
    n_features_in_ : int
        1: the column of spectra.

    Notes
    -----
    Cells are `Spectrum`, paths to files that `read_spectrum` knows, or HyperSpy signals of one spectrum. Bins
    of which less than half was measured are NaN. Counts below 0, as a subtracted dark level leaves, are
    allowed; without a background to subtract, the lowest then becomes 0.

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
        out = np.empty((len(cells), self.n_bins), dtype=np.float32)
        low, high = self.energy_range
        width = None if self.background is None else self.background_width * self.n_bins / (high - low)
        for members in batches(cells):
            energy, counts = (
                torch.from_numpy(np.stack([np.asarray(getattr(cells[i], name), float) for i in members]))
                for name in ("energy", "counts")
            )
            out[members] = bin_spectra(energy, counts, self._edges(energy), width, self.scale).numpy()
        return out

    def _feature_names(self):
        """Count the bins from the zero of what they divide evenly, so that stretching it scales them."""
        low, high = (to_grid(float(e), self.spacing) for e in self.energy_range)
        first = round(low * self.n_bins / (high - low))
        return [f"e_{first + i:04d}" for i in range(self.n_bins)]

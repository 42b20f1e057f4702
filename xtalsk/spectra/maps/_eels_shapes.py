"""Shapes of edges and backgrounds for the pixels of an energy-loss spectrum image, from analyses of sums."""

from dataclasses import replace

import numpy as np
from scipy.optimize import nnls

from xtalsk.spectra.eels._analysis import analysis_of, search_spectrum
from xtalsk.spectra.eels._constants import UNCERTAINTY
from xtalsk.spectra.maps._binning import binned, binning_of
from xtalsk.spectra.maps._constants import (
    BACKGROUND_POWERS,
    LEAST_GAIN,
    LEAST_LEVEL,
    LEAST_SHARE,
    NOISE_PIXELS,
)
from xtalsk.spectra.maps._evidence import found_elements
from xtalsk.spectra.maps._models import Noise, PixelModels, SumAnalysis


class EELSShapes:
    """Shapes of the edges of an energy-loss spectrum image.

    Parameters
    ----------
    composition : EELSComposition
    spectrum : Spectrum
        Sum of all pixels.
    is_whole : bool
        Ignored: the noise of the detector is not that of counting.
    """

    def __init__(self, composition, spectrum, is_whole=False):
        self._spectrum = spectrum
        beam = tuple(composition._beam(spectrum).values())
        self.n_sigma, self.excluded = composition.n_sigma, ()
        self._options = composition._allowed(), composition.n_sigma, beam
        self._search = search_spectrum(spectrum, *self._options)
        if self._search is None:
            raise ValueError("the spectra hold no core losses: no channels or no counts above 40 eV")
        bins = self._search.bins
        size = np.bincount(bins.place[bins.place >= 0], minlength=len(bins.energy))
        self._measured = (size > 0) & np.isfinite(bins.error)
        self.n_noise_pixels = NOISE_PIXELS
        self._size, self.energy = size[self._measured], bins.energy[self._measured]
        self.n_bins = len(self.energy)
        shares = bins.place == np.flatnonzero(self._measured)[:, None]
        self.binning = binning_of(shares.astype(float))
        self.gain, self.noise = 1.0, Noise(1.0, np.zeros(self.n_bins))

    def learn_noise(self, counts, model, analyses):
        """Estimate gain and read-out noise from the residuals of pixels.

        Parameters
        ----------
        counts : ndarray of shape (n, n_channels)
            Counts of some pixels.
        model : ndarray of int, shape (n,)
            Which of the ``analyses`` fits each pixel.
        analyses : list of SumAnalysis
        """
        values = binned(self.binning, counts, self.n_bins)
        numbers, _ = found_elements(analyses, self)
        models = self.models(analyses, numbers, len(numbers))
        squares, level = np.zeros((2, self.n_bins))
        for k in np.unique(model):
            columns, root = models.columns[k], models.means[k] ** -0.5
            own = values[model == k]
            fit = np.linalg.lstsq((columns * root).T, (own * root).T, rcond=None)[0].T @ columns
            squares += ((own - fit) ** 2).sum(0) / len(values)
            level += fit.sum(0).clip(0) / len(values)
        squares *= self.n_bins / max(self.n_bins - len(columns), 1)
        weight = 1 / (level + LEAST_LEVEL * level.mean())
        terms, _ = nnls(np.stack([level, self._size]).T * weight[:, None], squares * weight)
        self.gain = max(float(terms[0]), LEAST_GAIN * float(level.mean()))
        self.noise = Noise(self.gain, terms[1] * self._size)

    def analyse(self, counts, name, n_pixels):
        """Analyse the sum of some pixels, counts (n_channels,); None is the whole map.

        Returns
        -------
        SumAnalysis or None
            None if the sum holds no core losses.
        """
        search = self._search
        if counts is not None:
            spectrum = replace(self._spectrum, counts=counts)
            search = search_spectrum(spectrum, *self._options, zero=search.bins)
        return None if search is None else SumAnalysis(name, n_pixels, analysis_of(search), search)

    def absent(self, analyses, numbers):
        """Return fractions of elements that were not found, and errors of those that were.

        Parameters
        ----------
        analyses : list of SumAnalysis
        numbers : ndarray of int
            Atomic numbers of the elements found.

        Returns
        -------
        absent : ndarray of float32, shape (98,)
            See `CompositionMap`.
        systematic : ndarray of shape (n_found,)
            Relative errors of the cross-sections.
        """
        fractions = analyses[0].result.fractions
        absent = np.where(np.isnan(fractions), np.nan, 0).astype(np.float32)
        families = [self._best(analyses, z) for z in numbers]
        return absent, np.array([UNCERTAINTY[s.templates.family[e.lead]] for s, e in families])

    def _best(self, analyses, z):
        """Search that found an element with the highest significance, and the `Element` there."""
        found = [a for a in analyses if z in a.result.atomic_numbers]
        best = max(found, key=lambda a: a.result.significance[z - 1])
        return best.fit, next(element for element in best.fit.elements if element.z == z)

    def models(self, analyses, elements, n_elements):
        """Return the `PixelModels` of some `SumAnalysis`.

        Parameters
        ----------
        analyses : list of SumAnalysis
        elements : ndarray of int
            Atomic numbers of the columns; the first ``n_elements`` are the composition.
        """
        edges, atoms = np.empty((len(elements), self.n_bins)), np.empty(len(elements))
        for i, z in enumerate(elements):
            search, element = self._best(analyses, z)
            curve = self._in_bins(search, search.shape_of(element)).clip(0)
            amplitude = search.amplitudes()[search.elements.index(element)]
            edges[i], atoms[i] = curve / curve.sum(), amplitude / curve.sum()
        atoms[n_elements:] = 0
        columns, means = [], []
        for analysis in analyses:
            curve, background = (self._in_bins(analysis.fit, c) for c in analysis.fit.model.curves())
            columns.append(np.concatenate([edges, self._backgrounds(background)]))
            mean = np.maximum(curve, 0)
            means.append((mean / mean.sum()).clip(LEAST_SHARE))
        n_free = len(columns[0]) - len(elements)
        return PixelModels(np.array(columns), np.array(means), np.tile(atoms, (len(analyses), 1)), n_free)

    def _in_bins(self, search, curve):
        """Return the counts in bins of a fitted curve in units of the errors, ndarray of shape (n_bins,)."""
        bins = search.bins
        known = np.isfinite(bins.error)
        values = np.interp(bins.energy, bins.energy[known], curve[known] * bins.error[known])
        return values[self._measured] * self._size

    def _backgrounds(self, background):
        """Background times powers of ln E, and a constant, ndarray of shape (n_free, n_bins)."""
        place = np.log(self.energy)
        unit = 2 * (place - place[0]) / (place[-1] - place[0]) - 1
        columns = [background * unit**power for power in BACKGROUND_POWERS]
        return np.array(columns) / np.abs(background).sum()

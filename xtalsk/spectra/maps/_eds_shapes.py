"""Shapes of lines and backgrounds for the pixels of an X-ray spectrum image, from analyses of sums."""

import numpy as np

from xtalsk.physics._depth import atomic_weights
from xtalsk.spectra._composition import check_elements
from xtalsk.spectra.eds import _column_kernels
from xtalsk.spectra.eds._columns import N_GROUPS, element_columns, line_table, mass_of, typical_mass
from xtalsk.spectra.eds._constants import LAST_SOFT_K, SENSITIVITY_ERROR, SOFT_SENSITIVITY_ERROR
from xtalsk.spectra.eds._fit import Hypothesis, best_trial, fit_hypothesis, result_of
from xtalsk.spectra.eds._instrument import instrument_columns
from xtalsk.spectra.maps._binning import binning_of
from xtalsk.spectra.maps._constants import LEAST_SHARE
from xtalsk.spectra.maps._models import Noise, PixelModels, SumAnalysis, unit_sums
from xtalsk.utils._formula import N_ELEMENTS


class EDSShapes:
    """Shapes of the lines of an X-ray spectrum image, on the energy axis that the whole map calibrates.

    Parameters
    ----------
    composition : EDSComposition
    spectrum : Spectrum
        Sum of all pixels.
    is_whole : bool
        Whether the counts are whole numbers.
    """

    def __init__(self, composition, spectrum, is_whole):
        self._composition, self._setting = composition, composition._setting(spectrum)
        self.n_sigma, self.excluded = composition.n_sigma, check_elements("exclude", composition.exclude)
        self._options = composition._search_options(spectrum)
        energy = np.asarray(spectrum.energy, dtype=float)
        self._trial = best_trial(spectrum.counts, energy, self._setting, **self._options)
        binned = self._trial.spectrum
        self._measured = binned.measured
        self.binning = binning_of(binned.channel_shares()[self._measured])
        self.n_bins = int(self._measured.sum())
        self.energy = binned.bins.middles[self._measured]
        self.gain, self.n_noise_pixels = None if is_whole else 1.0, 0
        self.noise = Noise(1.0, np.zeros(self.n_bins))

    def analyse(self, counts, name, n_pixels):
        """Analyse the sum of some pixels, counts (n_channels,); None is the whole map; `SumAnalysis`."""
        trial = self._trial
        if counts is not None:
            hypothesis = Hypothesis(trial.hypothesis.shift, trial.hypothesis.rare)
            spectrum = trial.spectrum.with_counts(counts)
            options = self._options
            trial = fit_hypothesis(
                hypothesis, spectrum, self._setting, options["allowed"], options["n_sigma"]
            )
        result = self._composition._quantified(result_of(trial, self._setting))
        return SumAnalysis(name, n_pixels, result, trial)

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
            See `CompositionMap`. An element that could hide under the lines of others in any sum is NaN.
        systematic : ndarray of shape (n_found,)
            Relative errors of the sensitivities.
        """
        fractions = np.array([analysis.result.fractions for analysis in analyses])
        absent = np.where(np.isnan(fractions).any(0), np.nan, 0).astype(np.float32)
        return absent, np.where(numbers <= LAST_SOFT_K, SOFT_SENSITIVITY_ERROR, SENSITIVITY_ERROR)

    def models(self, analyses, elements, n_elements):
        """Return the `PixelModels` of some `SumAnalysis`.

        Parameters
        ----------
        analyses : list of SumAnalysis
        elements : ndarray of int
            Atomic numbers of the columns; the first ``n_elements`` are the composition.
        """
        deviations = self._deviations(analyses, elements)
        columns, means, atoms = zip(
            *(self._model(analysis.fit, elements, n_elements, deviations) for analysis in analyses),
            strict=True,
        )
        return PixelModels(np.array(columns), np.array(means), np.array(atoms))

    def _deviations(self, analyses, elements):
        """Relative deviations of groups of lines, from the sum where each element is most significant."""
        deviations = np.zeros((N_ELEMENTS + 1, N_GROUPS))
        for z in elements:
            significance = [np.nan_to_num(analysis.result.significance[z - 1]) for analysis in analyses]
            fit = analyses[int(np.argmax(significance))].fit.fit
            if fit is not None:
                deviations[z] = fit.group_deviations.reshape(-1, N_GROUPS)[z]
        return deviations

    def _model(self, trial, elements, n_elements, deviations):
        """Columns, mean spectrum and atoms per count of one sum; see `PixelModels`."""
        fit, library = trial.fit, self._trial.spectrum.library
        mass = typical_mass() if fit is None else mass_of(fit.elements, fit.amplitudes)
        order = np.argsort(elements)
        columns = np.empty((len(elements) + 1, len(library.bins)))
        columns[order] = self._element_columns(elements[order], mass, deviations)
        columns[-1] = (trial.estimate.curve if fit is None else fit.rest()).clip(0)
        mean = trial.estimate.curve.clip(0)[self._measured]
        columns, total = unit_sums(columns[:, self._measured])
        atoms = np.zeros(len(columns))
        own = np.arange(n_elements)[total[:n_elements] > 0]
        atoms[own] = 1 / (total[own] * atomic_weights().numpy()[elements[own] - 1])
        return columns, (mean / mean.sum()).clip(LEAST_SHARE), atoms

    def _element_columns(self, elements, mass, deviations):
        """Return the counts in bins of each element per unit of mass fraction, (n_elements, n_bins)."""
        spectrum, fit = self._trial.spectrum, self._trial.fit
        library, table = spectrum.library, line_table(spectrum.bins, self._setting)
        _, counts = element_columns(library, self._setting, elements, mass)
        z = np.repeat(np.arange(N_ELEMENTS + 1), np.diff(table.starts))
        counts = counts * (1 + deviations[z, table.group])
        columns = np.zeros((len(elements), len(library.bins)))
        _column_kernels.fill_elements(table, library.profiles, counts, elements, columns)
        if fit is not None and len(fit.instrument) and len(elements):
            changes = [fit.instrument @ instrument_columns(column, spectrum.bins) for column in columns]
            columns = (columns + np.array(changes)).clip(0)
        return columns

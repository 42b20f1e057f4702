"""Analysis of one core-loss spectrum: elements, atomic fractions and fitted curves."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from xtalsk.spectra._report import composition_table, plot_fit
from xtalsk.spectra.eels._bins import bin_spectrum
from xtalsk.spectra.eels._constants import (
    LEAST_PRESENT,
    MOST_ABSENT,
    SHIFTS,
    UNCERTAINTY,
    USUAL_RESOLUTION,
    WORST_LIMIT,
)
from xtalsk.spectra.eels._search import Search
from xtalsk.spectra.eels._templates import make_templates, strengths
from xtalsk.utils._formula import N_ELEMENTS, SYMBOLS


@dataclass(frozen=True, eq=False)
class EELSAnalysis:
    """Result of the analysis of one energy-loss spectrum.

    Parameters
    ----------
    atomic_numbers : ndarray of int, shape (n_elements,)
        Atomic numbers of the elements found, the element with the strongest evidence first.
    fractions : ndarray of shape (98,)
        Atomic fractions, hydrogen first. NaN for elements that the spectrum cannot show, 0 for elements that
        it can show but that were not found.
    uncertainty : ndarray of shape (98,)
        Standard deviations of the fractions, errors of cross-sections included. NaN where the fraction is.
        For elements that were not found, the error of the fraction that the fit would have; 0 if no element
        was found.
    presence : ndarray of shape (98,)
        Score from 0 to 1 that rises with the significance; above 0.5 for the elements found. NaN where the
        fraction is.
    significance : ndarray of shape (98,)
        Amplitude of each element over its error. NaN where the fraction is.
    edges : tuple of (str, float, float)
        Edges of the elements found, by energy: name such as ``"Ti L23"``, energy of the onset in this
        spectrum in eV, and the significance of the element.
    energy : ndarray of shape (n_bins,)
        Middle of the bins in eV.
    counts, curve, background : ndarray of shape (n_bins,)
        Measured spectrum, fitted spectrum and fitted background, in counts per channel. NaN in the two fitted
        curves for bins without data.
    zero_loss : float or None
        Position of the zero-loss peak on the axis of the spectrum in eV; None if the window does not hold it.
    """

    atomic_numbers: np.ndarray
    fractions: np.ndarray
    uncertainty: np.ndarray
    presence: np.ndarray
    significance: np.ndarray
    edges: tuple
    energy: np.ndarray
    counts: np.ndarray
    curve: np.ndarray
    background: np.ndarray
    zero_loss: float | None = None

    @property
    def elements(self):
        """Symbols of the elements found, list of str in the order of ``atomic_numbers``."""
        return [SYMBOLS[z - 1] for z in self.atomic_numbers]

    def to_frame(self):
        """Return the elements found as a table, the most abundant element first.

        Returns
        -------
        DataFrame
            The columns are ``element`` (symbol), ``atomic_percent``, ``weight_percent``, ``uncertainty``
            (standard deviation of ``atomic_percent``) and ``lines`` (names of the edges that were used).

        Examples
        --------
        >>> from xtalsk.io import Spectrum
        >>> from xtalsk.simulation import EELSConditions, simulate_eels
        >>> from xtalsk.spectra import EELSComposition
        >>> conditions = EELSConditions.ideal()
        >>> counts = simulate_eels(["MgO"], conditions=conditions, random_state=0)[0]
        >>> beam = {"beam_energy": 200, "convergence_angle": 5, "collection_angle": 20}
        >>> analysis = EELSComposition().analyse(Spectrum(counts, conditions.axis(), **beam))
        >>> analysis.to_frame()[["element", "lines"]].sort_values("element")
          element lines
        1      Mg     K
        0       O     K
        """
        edges = {symbol: [] for symbol in self.elements}
        for name, _, _ in self.edges:
            symbol, family = name.split()
            edges[symbol].append(family)
        return composition_table(self, {symbol: ", ".join(names) for symbol, names in edges.items()})

    def plot(self, ax=None):
        """Draw the measured spectrum, the fit, the background and the onsets of the edges.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into. None makes a new figure.

        Returns
        -------
        matplotlib Axes
        """
        return plot_fit(self, [(name, energy) for name, energy, _ in self.edges], "energy loss (eV)", ax)

    def __repr__(self):
        order = sorted(self.atomic_numbers, key=lambda z: -self.fractions[z - 1])
        parts = [f"{SYMBOLS[z - 1]} {self.fractions[z - 1]:.3f}" for z in order]
        return f"EELSAnalysis({', '.join(parts) or 'no element found'})"


def search_spectrum(spectrum, allowed, n_sigma, beam, zero=None):
    """Find the elements of a spectrum.

    Parameters
    ----------
    spectrum : Spectrum
    allowed : ndarray of bool, shape (99,)
        Elements to search for, by atomic number.
    n_sigma : float
        Necessary significance of an element.
    beam : tuple of three floats
        Beam energy in keV, convergence and collection half angle in mrad.
    zero : Bins or None
        Bins that give the position of the zero-loss peak; None finds it in the spectrum.

    Returns
    -------
    Search or None
        None if the window holds no core losses.
    """
    bins = bin_spectrum(np.asarray(spectrum.energy, dtype=float), spectrum.counts, zero)
    if bins is None:
        return None
    resolution = spectrum.energy_resolution or USUAL_RESOLUTION
    templates = make_templates(bins.energy, bins.width, resolution, allowed)
    return Search(bins, templates, strengths(templates, *beam), n_sigma).run()


def analyse_spectrum(spectrum, allowed, n_sigma, beam):
    """Find and quantify the elements of a spectrum; see `search_spectrum` for the parameters.

    Returns
    -------
    EELSAnalysis or None
        None if the window holds no core losses.
    """
    search = search_spectrum(spectrum, allowed, n_sigma, beam)
    return None if search is None else analysis_of(search)


def analysis_of(search):
    """Return the `EELSAnalysis` of a finished search."""
    bins = search.bins
    errors, absent = search.absent_elements()
    significances = search.significances()
    fractions, uncertainty = _quantify(search, errors)
    presence, significance = _presence(search, significances, absent, fractions)
    return EELSAnalysis(
        np.array([element.z for element in search.elements if element.named], dtype=int),
        fractions,
        uncertainty,
        presence,
        significance,
        _edges(search, significances),
        *_curves(search),
        zero_loss=None if bins.shift is None else bins.offset + bins.shift,
    )


def _quantify(search, errors):
    """Atomic fractions and their standard deviations, each of shape (98,); see `EELSAnalysis`.

    ``errors`` are those of the amplitudes of absent elements, by atomic number.
    """
    fractions, uncertainty = np.full(N_ELEMENTS, np.nan), np.full(N_ELEMENTS, np.nan)
    named = np.array([element.named for element in search.elements], dtype=bool)
    if not named.any():
        absent = [z - 1 for z in errors]
        fractions[absent] = uncertainty[absent] = 0.0
        return fractions, uncertainty
    amplitudes = search.amplitudes()[named]
    covariance = search.amplitude_covariance()[np.ix_(named, named)]
    total = amplitudes.sum()
    for z, error in errors.items():
        limit = search.n_sigma * error
        if limit / (total + limit) < WORST_LIMIT:
            fractions[z - 1], uncertainty[z - 1] = 0.0, error / total
    elements = [element for element in search.elements if element.named]
    places = [element.z - 1 for element in elements]
    theory = np.array([UNCERTAINTY[search.templates.family[e.lead]] for e in elements])
    covariance = covariance + np.diag((theory * amplitudes) ** 2)
    fractions[places], uncertainty[places] = _normalise(amplitudes, covariance)
    return fractions, uncertainty


def _normalise(amplitudes, covariance):
    """Fractions of amplitudes and their standard deviations by error propagation, each (n_elements,)."""
    total = amplitudes.sum()
    fractions = amplitudes / total
    jacobian = (np.eye(len(fractions)) - fractions[:, None]) / total
    return fractions, np.sqrt(np.diagonal(jacobian @ covariance @ jacobian.T))


def _presence(search, significances, absent, fractions):
    """Presence and significance of all elements, each of shape (98,); see `EELSAnalysis`.

    ``significances`` are those of the elements in the model, ``absent`` those of absent elements by atomic
    number.
    """
    presence, significance = np.full(N_ELEMENTS, np.nan), np.full(N_ELEMENTS, np.nan)
    for z, value in absent.items():
        if fractions[z - 1] == 0:
            presence[z - 1] = min(expit(value - search.n_sigma), MOST_ABSENT)
            significance[z - 1] = value
    for element, value in zip(search.elements, significances, strict=True):
        if element.named:
            presence[element.z - 1] = max(expit(value - search.n_sigma), LEAST_PRESENT)
            significance[element.z - 1] = value
    return presence, significance


def _edges(search, significances):
    """Edges of the named elements, by energy; see `EELSAnalysis`."""
    t, offset = search.templates, search.bins.offset
    edges = []
    for element, significance in zip(search.elements, significances, strict=True):
        if element.named:
            for family, pose in zip(element.families, element.poses, strict=True):
                name = f"{SYMBOLS[element.z - 1]} {t.family[family]}"
                energy = offset + t.onset[family] + SHIFTS[t.shift[pose]]
                edges.append((name, float(energy), float(significance)))
    return tuple(sorted(edges, key=lambda edge: edge[1]))


def _curves(search):
    """Energy in eV, measured counts, fitted curve and background, each of shape (n_bins,)."""
    bins = search.bins
    error = np.where(np.isfinite(bins.error), bins.error, np.nan)
    curve, background = (values * error * bins.scale for values in search.model.curves())
    return bins.energy + bins.offset, bins.counts * bins.scale, curve, background

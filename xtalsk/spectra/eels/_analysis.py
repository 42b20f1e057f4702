"""What a core-loss spectrum says about the composition: the result for one spectrum."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from xtalsk.spectra.eels._bins import bin_spectrum
from xtalsk.spectra.eels._search import Search
from xtalsk.spectra.eels._templates import SHIFTS, UNCERTAINTY, make_templates, strengths
from xtalsk.utils._formula import N_ELEMENTS, SYMBOLS

_USUAL_RESOLUTION = 1.5  # eV
_WORST_LIMIT = 0.5  # atomic fraction: an element that would go unseen at more is not measurable


@dataclass(frozen=True, eq=False)
class EELSAnalysis:
    """What was found in one energy-loss spectrum.

    Parameters
    ----------
    fractions, deviations, presence : ndarray of shape (98,)
        Atomic fractions, their standard deviations, and the probability that an element is there, hydrogen
        first. NaN for elements that the spectrum cannot tell; zero fractions for those it could, but does not
        show.
    edges : tuple of (str, float, float)
        Of the elements found: name such as ``"Ti L23"``, energy of the onset in this spectrum in eV, and
        how many times its error the element is.
    energy, counts, fitted, background : ndarray of shape (n_bins,)
        Bins in eV, mean counts of their channels, the whole model and the background in it.
    """

    fractions: np.ndarray
    deviations: np.ndarray
    presence: np.ndarray
    edges: tuple
    energy: np.ndarray
    counts: np.ndarray
    fitted: np.ndarray
    background: np.ndarray

    @property
    def elements(self):
        """Symbols of the elements found, the most abundant first."""
        found = np.flatnonzero(np.nan_to_num(self.fractions) > 0)
        return tuple(SYMBOLS[i] for i in sorted(found, key=lambda i: -self.fractions[i]))

    def __repr__(self):
        parts = [f"{s} {self.fractions[SYMBOLS.index(s)]:.3f}" for s in self.elements]
        return f"EELSAnalysis({', '.join(parts) or 'no element found'})"


def analyse_spectrum(spectrum, allowed, n_sigma, beam):
    """Find and quantify the elements of a spectrum.

    Parameters
    ----------
    spectrum : Spectrum
    allowed : ndarray of bool, shape (99,)
        Elements that may be there, by atomic number.
    n_sigma : float
    beam : tuple of three floats
        Beam energy in keV, convergence and collection angle in mrad.

    Returns
    -------
    EELSAnalysis or None
        None where no core losses are in the window.
    """
    bins = bin_spectrum(np.asarray(spectrum.energy, dtype=float), spectrum.counts)
    if bins is None:
        return None
    templates = make_templates(bins.energy, bins.width, spectrum.energy_resolution or _USUAL_RESOLUTION)
    search = Search(bins, templates, strengths(templates, *beam), allowed, n_sigma).run()
    fractions, deviations = _quantify(search)
    return EELSAnalysis(fractions, deviations, _presence(search, fractions), _edges(search), *_curves(search))


def _quantify(search):
    """Fractions and standard deviations of all elements; see `EELSAnalysis`."""
    fractions, deviations = np.full(N_ELEMENTS, np.nan), np.full(N_ELEMENTS, np.nan)
    amplitudes, covariance = search.amplitudes()
    named = np.array([element.named for element in search.elements], dtype=bool)
    amplitudes, covariance = amplitudes[named], covariance[np.ix_(named, named)]
    if not len(amplitudes):
        within = [z - 1 for z in search.errors()]
        fractions[within] = deviations[within] = 0.0
        return fractions, deviations
    total = amplitudes.sum()
    for z, error in search.errors().items():
        limit = search.n_sigma * error
        if limit / (total + limit) < _WORST_LIMIT:
            fractions[z - 1], deviations[z - 1] = 0.0, error / total
    for element in search.elements:
        fractions[element.z - 1] = deviations[element.z - 1] = np.nan
    elements = [element for element in search.elements if element.named]
    places = [element.z - 1 for element in elements]
    theory = np.array([UNCERTAINTY[search.templates.family[e.lead]] for e in elements])
    covariance = covariance + np.diag((theory * amplitudes) ** 2)
    share = amplitudes / total
    jacobian = (np.eye(len(share)) - share[:, None]) / total
    fractions[places] = share
    deviations[places] = np.sqrt(np.diagonal(jacobian @ covariance @ jacobian.T))
    return fractions, deviations


def _presence(search, fractions):
    """Probability that each element is there, from how many times its error it is."""
    presence = np.full(N_ELEMENTS, np.nan)
    margin = search.absent_margins()
    for z, value in margin.items():
        if fractions[z - 1] == 0 or not len(search.elements):
            presence[z - 1] = min(expit(value), 0.49)
    for element, z in zip(search.elements, search.significances(), strict=True):
        presence[element.z - 1] = max(expit(z - search.n_sigma), 0.51) if element.named else np.nan
    return presence


def _edges(search):
    t = search.templates
    out = []
    for element, z in zip(search.elements, search.significances(), strict=True):
        for family, pose in zip(element.families, element.poses, strict=True):
            if element.named:
                name = f"{SYMBOLS[element.z - 1]} {t.family[family]}"
                out.append(
                    (name, float(search.bins.offset + t.onset[family] + SHIFTS[t.shift[pose]]), float(z))
                )
    return tuple(sorted(out, key=lambda edge: edge[1]))


def _curves(search):
    bins, model = search.bins, search.model
    coefficients, _ = model.solve()
    error = np.where(np.isfinite(bins.error), bins.error, np.nan)
    back = coefficients[: search.n_background] @ model.columns[: search.n_background]
    return (
        bins.energy + bins.offset,
        bins.counts * bins.scale,
        coefficients @ model.columns * error * bins.scale,
        back * error * bins.scale,
    )

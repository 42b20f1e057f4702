"""Which elements a spectrum of X-rays shows, and how much of each."""

from dataclasses import dataclass

import numpy as np
import torch

from xtalsk.physics._xray_lines import FAMILIES
from xtalsk.spectra._nonnegative import NonnegativeSystem
from xtalsk.spectra.eds._axis import BinnedSpectrum
from xtalsk.spectra.eds._design import (
    N_GROUPS,
    add_groups,
    background_columns,
    element_columns,
    group_columns,
    mixed_mass,
    near_columns,
    slope_columns,
    typical_background,
    typical_columns,
    usable_lines,
)
from xtalsk.spectra.eds._library import TYPICAL_RESOLUTION, elements_of_lines
from xtalsk.utils._formula import N_ELEMENTS

# What is left of errors of the lines: relative, of position in eV, of the variance of the width, of the
# height within a few widths; and of the background, relative, by energy in eV
_RELATIVE, _POSITION, _BROADNESS, _NEAR = 0.02, 1.5, 0.04, 0.01
_BACKGROUND = (450.0, 1500.0), (0.12, 0.02)
_FEWEST = 0.7  # counts in a bin for which the variance is that of a normal distribution
_BEND = 0.3  # second differences of the pieces of the background, relative to its level
_STRONG, _MAIN, _DOUBTFUL = 25.0, 3.0, 1.0  # standard deviations
_FIRST = 1.5  # standard deviations by which the first element must exceed the threshold: any of 80 may be it
_BOUND, _SPARE = 2.5, 2.0
_K_SLACK, _SLACK, _SOFT_SLACK, _SOFT = 1.5, 3.0, 10.0, 1200.0
_ROUNDS, _CALIBRATIONS = 3, 3
_LEAST_MEASURED = 0.2  # of a line's profile that must lie in measured channels


@dataclass(frozen=True)
class Setting:
    """What is known of how a spectrum was recorded; hashable.

    Parameters
    ----------
    beam_energy : float
        In eV.
    takeoff_angle : float
        In degrees.
    thickness : float
        In g/cm², ``inf`` for a bulk specimen.
    window : str
        One of `WINDOWS`.
    lowest : float
        Energy in eV below which nothing is used.
    """

    beam_energy: float
    takeoff_angle: float
    thickness: float
    window: str
    lowest: float

    def tensors(self):
        """Beam energy, take-off angle and thickness, each of shape (1,)."""
        return torch.tensor([[self.beam_energy], [self.takeoff_angle], [self.thickness]], dtype=torch.float64)


@dataclass(eq=False)
class EDSFit:
    """What was found in a spectrum of X-rays.

    Parameters
    ----------
    elements : ndarray of int
        Atomic numbers of the elements found.
    lines : ndarray of shape (n_found, n_bins)
        Counts in the lines of each.
    energy, width : ndarray of shape (n_bins,)
        Middle and width of each bin in eV, of the true energy.
    counts, curve, background : ndarray of shape (n_bins,)
        Counts as measured, as fitted, and of the fitted background.
    scores : ndarray of shape (98,)
        By how many standard deviations the spectrum shows each element, hydrogen first.
    masses, spreads : ndarray of shape (98,)
        Mass of each element in some unit, 0 if it was not found, and its standard deviation from counting and
        from overlaps.
    measurable : ndarray of bool, shape (98,)
        Whether the spectrum would show the element at all.
    resolution : float
        Full width at half maximum of Mn Kα in eV, as fitted.
    fractions, presence, deviations : ndarray of shape (98,) or None
        Atomic fractions, probability of each element, and standard deviation of the fractions; NaN for
        elements that cannot be measured.
    """

    elements: np.ndarray
    lines: np.ndarray
    energy: np.ndarray
    width: np.ndarray
    counts: np.ndarray
    curve: np.ndarray
    background: np.ndarray
    scores: np.ndarray
    masses: np.ndarray
    spreads: np.ndarray
    measurable: np.ndarray
    resolution: float
    fractions: np.ndarray | None = None
    presence: np.ndarray | None = None
    deviations: np.ndarray | None = None


def _mass(elements, amplitudes):
    """Mass fractions, tensor of shape (1, 98); those of a typical solid where there is no element."""
    if not amplitudes.sum() > 0:
        return mixed_mass()
    mass = np.zeros((1, N_ELEMENTS))
    mass[0, elements - 1] = amplitudes / amplitudes.sum()
    return torch.from_numpy(mass)


def possible_scores(spectrum, setting, background):
    """How significant each element could be at most, if nothing else lay under its lines.

    Each family of lines bounds the amount of its element from above, the lowest bound counts: an element
    whose M lines could explain a peak is ruled out by missing L lines.

    Returns
    -------
    ndarray of shape (99,)
        In standard deviations, by atomic number.
    """
    columns = typical_columns(spectrum.edges, round(spectrum.resolution), setting)[1]
    net = spectrum.counts - background
    variance = spectrum.smooth().clip(1) + (2 * _RELATIVE * net) ** 2 + (0.05 * background) ** 2
    weights = spectrum.measured / variance
    information = columns.multiply(columns) @ weights
    seen = information > 0
    information = np.where(seen, information, 1)
    amount = (columns @ (net * weights) / information).clip(0)
    total = columns @ np.ones(columns.shape[1])
    soft = columns @ spectrum.library.middles < _SOFT * total
    k_line = np.arange(len(amount)) % len(FAMILIES) == 0
    slack = np.where(k_line, _K_SLACK, np.where(soft, _SOFT_SLACK, _SLACK))
    bound = np.where(seen, amount * slack + _BOUND / np.sqrt(information), np.inf)
    hard = (seen & ~soft).reshape(-1, len(FAMILIES)).any(1)
    bound = np.where(soft & np.repeat(hard, len(FAMILIES)), np.inf, bound)  # there are better ones
    least = bound.reshape(-1, len(FAMILIES)).min(1)
    best = np.where(seen, np.sqrt(information), 0).reshape(-1, len(FAMILIES)).max(1)
    return np.where(best > 0, np.where(np.isfinite(least), least, 0) * best, 0)


def _weights(spectrum, curve, lines):
    """Inverse variance of the counts in each bin: counting, and what is left of errors of the model."""
    variance = curve.clip(_FEWEST)
    if lines is not None:
        shift, wider = slope_columns(lines, spectrum.library)
        near = near_columns(spectrum.edges) @ lines
        variance = variance + (_RELATIVE * lines) ** 2 + (_POSITION * shift) ** 2 + (_BROADNESS * wider) ** 2
        known = np.interp(spectrum.library.middles, *_BACKGROUND)
        variance += (_NEAR * near) ** 2 + (known * (curve - lines)) ** 2
    return spectrum.measured / variance


def _stiffness(n_positive, first, hats, background):
    """Quadratic form by which neighbouring pieces of the background (from ``first`` on) tend to be alike.

    The soft pieces follow those of the whole range, and are held back by the small last ones of these.
    """
    n = len(hats)
    bend = np.diff(np.eye(n), 2, axis=0) / (_BEND * max(background.sum() / hats.sum(), 1e-6))
    form = np.zeros((n_positive, n_positive))
    form[first : first + n, first : first + n] = bend.T @ bend
    return form


def _group_rows(elements):
    return (elements[:, None] * N_GROUPS + np.arange(N_GROUPS)).ravel()


def _main_elements(spectrum, setting, elements):
    """Those of some elements that the spectrum is mostly made of, and roughly their mass fractions."""
    groups = typical_columns(spectrum.edges, round(spectrum.resolution), setting)[0]
    columns = add_groups(groups[_group_rows(elements)])
    hats = typical_background(spectrum.edges, setting)
    smooth = spectrum.smooth()
    weights = spectrum.measured / (smooth.clip(1) + (0.1 * smooth) ** 2)
    system = NonnegativeSystem(
        np.vstack([columns, hats]), *spectrum.instrument(None), spectrum.counts, weights
    )
    amplitudes = system.solve()
    found = (amplitudes / system.spreads(amplitudes))[: len(elements)] > _MAIN
    return elements[found], _mass(elements[found], amplitudes[: len(elements)][found])


def calibrate(spectrum, setting, background, allowed):
    """Correct shift and resolution by the strong elements, each group of their lines for itself.

    Returns
    -------
    lines : ndarray of shape (n_bins,) or None
        Counts in lines, None without any strong element.
    curve : ndarray of shape (n_bins,)
        Expected counts.
    """
    strong = np.flatnonzero(allowed & (possible_scores(spectrum, setting, background) > _STRONG))
    lines, curve = None, spectrum.smooth()
    if not len(strong):
        return lines, curve
    strong, mass = _main_elements(spectrum, setting, strong)
    hats = background_columns(spectrum.library, setting, mass)
    for _ in range(_CALIBRATIONS if len(strong) else 0):
        groups = typical_columns(spectrum.edges, round(spectrum.resolution), setting)[0]
        columns = groups[_group_rows(strong)].toarray()
        columns = columns[columns.any(1)]
        n = len(columns)
        free = spectrum.instrument(lines)
        stiff = _stiffness(n + len(hats), n, hats, background)
        weights = _weights(spectrum, curve, lines)
        system = NonnegativeSystem(np.vstack([columns, hats]), *free, spectrum.counts, weights, stiff)
        amplitudes = system.solve()
        lines, curve = amplitudes[:n] @ columns, system.curve(amplitudes)
        if len(free[0]):
            spectrum.correct(amplitudes[n + len(hats) :])
    return lines, curve


class _Round:
    """One fit of all elements that may be there, with the absorption of the composition found so far.

    Parameters
    ----------
    spectrum : BinnedSpectrum
    setting : Setting
    elements : ndarray of int
    amplitudes : ndarray or None
        Of the elements in the round before.
    lines, curve, background : ndarray of shape (n_bins,)
        Found so far.
    """

    def __init__(self, spectrum, setting, elements, amplitudes, lines, curve, background):
        mass = mixed_mass() if amplitudes is None else _mass(elements, amplitudes)
        self.elements = elements
        self.whole, groups = element_columns(spectrum.library, setting, elements, mass)
        if amplitudes is None:
            self._hats = typical_background(spectrum.edges, setting)
        else:
            self._hats = background_columns(spectrum.library, setting, mass)
        positive = np.vstack([self.whole, self._hats, spectrum.pile_up()])
        weights = _weights(spectrum, curve, lines)
        free, precision, expected = spectrum.instrument(lines)
        self._n_instrument = len(free)
        if amplitudes is not None:
            more, more_precision = group_columns(groups, amplitudes, spectrum.library, weights)
            free, precision = np.vstack([free, more]), np.concatenate([precision, more_precision])
            expected = np.concatenate([expected, np.zeros(len(more))])
        stiff = _stiffness(len(positive), len(elements), self._hats, background)
        self._free, self._n_positive = free, len(positive)
        self._system = NonnegativeSystem(positive, free, precision, expected, spectrum.counts, weights, stiff)
        self.keep = np.ones(len(positive), bool)
        self.solution = self._system.solve()
        self.scores = np.zeros(len(elements))

    def prune(self, threshold, one_by_one):
        """Leave elements below a threshold of significance out, the least significant first."""
        n = len(self.elements)
        while True:
            spreads = self._system.spreads(self.solution)[:n]
            scores = self.solution[:n] / spreads
            kept = self.keep[:n]
            self.scores[kept] = scores[kept]
            self.spreads = spreads
            weak = kept & (scores < threshold)
            if not weak.any():
                return
            if one_by_one:  # those far below at once
                least = np.where(kept, scores, np.inf)
                weak = kept & (scores < min(threshold / 2, 2.0))
                weak[np.argmin(least)] = True
            self.keep[:n] &= ~weak
            self.solution = self._system.solve(self.keep, self.solution)

    @property
    def amplitudes(self):
        """Of all elements, 0 for those left out."""
        return self.solution[: len(self.elements)]

    def curve(self):
        """Return the fitted counts."""
        return self._system.curve(self.solution)

    def background(self):
        """Return the fitted background."""
        first = len(self.elements)
        return self.solution[first : first + len(self._hats)] @ self._hats

    def lines(self):
        """Return the counts in lines, with the deviations of their groups."""
        deviations = self.solution[self._n_positive + self._n_instrument :]
        counts = self.amplitudes @ self.whole + deviations @ self._free[self._n_instrument :]
        return counts.clip(0)

    def instrument(self):
        """Return the amplitudes of what the instrument does."""
        return self.solution[self._n_positive : self._n_positive + self._n_instrument]


def identify(counts, energy, setting, *, resolution=TYPICAL_RESOLUTION, n_sigma=4.0, allowed=None):
    """Find the elements of a spectrum.

    Parameters
    ----------
    counts, energy : ndarray of shape (n_channels,)
        Counts, NaN in channels that were not measured, and the middle of each channel in eV.
    setting : Setting
    resolution : float
        Full width at half maximum of Mn Kα in eV, for a start.
    n_sigma : float
        Standard deviations that an element must have, errors of the model included.
    allowed : ndarray of bool, shape (99,) or None
        Elements to look for, by atomic number; all by default.

    Returns
    -------
    EDSFit
    """
    spectrum = BinnedSpectrum(counts, energy, setting, resolution)
    background = spectrum.background()
    allowed = np.ones(N_ELEMENTS + 1, bool) if allowed is None else allowed
    lines, curve = calibrate(spectrum, setting, background, allowed)
    if lines is not None:
        background = (curve - lines).clip(0)
    else:
        lines = np.zeros_like(curve)  # errors of the background count even where there is nothing else
    scores = np.where(allowed, possible_scores(spectrum, setting, background), 0)
    elements, amplitudes, fit = np.flatnonzero(scores > n_sigma + _SPARE), None, None
    for k in range(_ROUNDS if len(elements) else 0):
        last = k == _ROUNDS - 1
        fit = _Round(spectrum, setting, elements, amplitudes, lines, curve, background)
        fit.prune(n_sigma if last else _DOUBTFUL, one_by_one=last)
        if last and not (fit.amplitudes / fit.spreads >= n_sigma + _FIRST).any():
            fit.prune(np.inf, one_by_one=False)
        lines, curve, background = fit.lines(), fit.curve(), fit.background()
        kept = fit.keep[: len(elements)]
        if last or not kept.any():
            break
        if len(fit.instrument()):
            spectrum.correct(fit.instrument())
        elements, amplitudes = elements[kept], fit.amplitudes[kept]
    return _result(spectrum, setting, fit, curve, background)


def _measurable(spectrum, setting):
    """Elements that have a line where the detector sees it and channels were measured."""
    profiles = spectrum.library.profiles
    measured = profiles @ spectrum.measured > _LEAST_MEASURED * (profiles @ np.ones(len(spectrum.counts)))
    measurable = np.zeros(N_ELEMENTS, bool)
    measurable[elements_of_lines()[usable_lines(spectrum.library, setting) & measured] - 1] = True
    return measurable


def _result(spectrum, setting, fit, curve, background):
    """Gather what was found, fit is None where nothing could be."""
    library = spectrum.library
    scores, masses, spreads = np.zeros((3, N_ELEMENTS))
    found, lines = np.empty(0, int), np.empty((0, len(curve)))
    if fit is not None:
        kept = fit.keep[: len(fit.elements)]
        found = fit.elements[kept]
        scores[fit.elements - 1] = fit.scores
        masses[found - 1], spreads[found - 1] = fit.amplitudes[kept], fit.spreads[kept]
        lines = fit.amplitudes[kept, None] * fit.whole[kept]
    width = np.diff(library.edges)
    return EDSFit(
        elements=found,
        lines=lines,
        energy=library.middles,
        width=width,
        counts=spectrum.counts,
        curve=curve,
        background=background,
        scores=scores,
        masses=masses,
        spreads=spreads,
        measurable=_measurable(spectrum, setting),
        resolution=spectrum.resolution,
    )

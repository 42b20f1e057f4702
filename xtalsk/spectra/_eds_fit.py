"""Which elements a spectrum of X-rays shows, and how much of each."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import uniform_filter1d

from xtalsk.simulation._depth import atomic_weights
from xtalsk.simulation._xray_lines import FAMILIES
from xtalsk.spectra._eds_design import (
    background_columns,
    N_GROUPS,
    element_columns,
    group_columns,
    instrument_columns,
    mixed_mass,
    near_columns,
    noise_width,
    shift_shapes,
    slope_columns,
    sum_peaks,
    typical_columns,
)
from xtalsk.spectra._eds_library import bin_edges, make_library
from xtalsk.spectra._nonnegative import NonnegativeSystem
from xtalsk.utils._formula import N_ELEMENTS

_HIGHEST = 40_000.0
_SNIP_BINS = 14
# What is left of errors of the lines: relative, of position in eV, of the variance of the width; of the background
_RELATIVE, _POSITION, _BROADNESS, _BACKGROUND = 0.02, 1.5, 0.04, 0.02
_NEAR = 0.01  # error within a few widths of a line, of its height
_BEND = 0.3  # second differences of the pieces of the background, relative to its level
_STRONG = 25.0  # standard deviations
_PILE_UP_COUNTS = 1e5


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

    @property
    def geometry(self):
        """Beam energy, take-off angle and thickness."""
        return self.beam_energy, self.takeoff_angle, self.thickness


class _Axis:
    """Spectrum in bins, at the calibration found so far."""

    def __init__(self, counts, energy, setting, resolution):
        self.raw, self.energy = counts, energy
        self.step = (energy[-1] - energy[0]) / (len(energy) - 1)
        top = min(0.99 * setting.beam_energy, energy[-1], _HIGHEST)
        bottom = max(setting.lowest, energy[0], first_counted(counts, energy, setting.lowest))
        self.edges = bin_edges(round(self.step, 2), top, 20.0 * np.ceil(bottom / 20.0))
        self.window, self.resolution = setting.window, resolution
        self.shift = np.zeros(len(shift_shapes(energy[:1])))
        self._pile_up = sum_peaks(counts, energy) if counts.sum() > _PILE_UP_COUNTS else None
        self._bin()

    def _rebin(self, counts, energy, times):
        moved = energy + times * (self.shift @ shift_shapes(energy / times))
        edges = np.concatenate([[1.5 * moved[0] - 0.5 * moved[1]], (moved[1:] + moved[:-1]) / 2, [moved[-1]]])
        return np.diff(np.interp(self.library.edges, edges, np.concatenate([[0], np.cumsum(counts)])))

    def _bin(self):
        self.library = make_library(self.edges, round(self.resolution), self.window)
        self.counts = self._rebin(self.raw, self.energy, 1)

    def pile_up(self):
        """Column of the sum peaks, (n, n_bins) with n = 0 or 1."""
        if self._pile_up is None:
            return np.empty((0, len(self.counts)))
        return self._rebin(*self._pile_up, 2)[None]

    def instrument(self, lines):
        """Columns, precision and expected amplitudes of what the instrument does to lines."""
        if lines is None:
            return np.empty((0, len(self.counts))), np.empty(0), np.empty(0)
        columns, precision = instrument_columns(lines, self.library)
        expected = np.zeros(len(columns))
        expected[: len(self.shift)] = self.shift
        return columns, precision, expected

    def correct(self, found):
        """Take over the amplitudes found for the columns of `instrument`."""
        n = len(self.shift)
        self.shift -= found[:n]
        self.resolution = float(np.clip(noise_width(self.resolution, np.clip(found[n], -0.3, 0.3)), 100, 250))
        self._bin()


def first_counted(counts, energy, lowest):
    """Energy in eV above which the electronics let X-rays through, where they cut some off."""
    near = np.flatnonzero((energy >= lowest) & (energy < lowest + 400))
    rising = uniform_filter1d(counts[near].astype(float), 3)
    ahead = np.maximum.accumulate(rising[::-1])[::-1]
    cut = np.flatnonzero(rising < 0.002 * ahead)
    return energy[near[cut[-1]]] + 20.0 if len(cut) and ahead[0] > 100 else lowest


def snip(counts, n_bins):
    """Background under peaks narrower than 2 n bins (Ryan et al. 1988)."""
    v = np.log(np.log(np.sqrt(counts.clip(0) + 1) + 1) + 1)
    for k in range(n_bins, 0, -1):
        v[k:-k] = np.minimum(v[k:-k], (v[: -2 * k] + v[2 * k :]) / 2)
    return (np.exp(np.exp(v) - 1) - 1) ** 2 - 1


def possible_elements(axis, setting, background, score):
    """Elements none of whose families contradicts that they could be there, and how much of them at most.

    Each family on its own bounds the amount of its element from above, whatever else lies under its lines. The
    lowest bound counts, and must be worth ``score`` standard deviations in the family that shows it best.

    Returns
    -------
    elements : ndarray of int
    scores : ndarray
    """
    columns = typical_columns(axis.edges, round(axis.resolution), setting)[1]
    net = axis.counts - background
    variance = uniform_filter1d(axis.counts, 5).clip(1) + (2 * _RELATIVE * net) ** 2 + (0.05 * background) ** 2
    information = columns.multiply(columns) @ (1 / variance)
    seen = information > 0
    information = np.where(seen, information, 1)
    amount = (columns @ (net / variance) / information).clip(0) + 2.5 / np.sqrt(information)
    total = columns @ np.ones(columns.shape[1])
    place = columns @ axis.library.middles / np.where(seen, total, 1)
    slack = np.where(np.arange(len(amount)) % len(FAMILIES) == 0, 1.5, np.where(place > 1200, 3.0, 10.0))
    bound = np.where(seen, amount * slack, np.inf).reshape(-1, len(FAMILIES)).min(1)
    best = np.where(seen, np.sqrt(information), 0).reshape(-1, len(FAMILIES)).max(1)
    scores = np.where(best > 0, np.where(np.isfinite(bound), bound, 0) * best, 0)
    return np.flatnonzero(scores > score), scores


def _variance(curve, lines, library):
    """Variance of the counts in each bin: counting, and what is left of errors of the lines."""
    variance = curve.clip(0.3)
    if lines is not None:
        variance = variance + (_NEAR * (near_columns(tuple(library.edges)) @ lines)) ** 2
        variance = variance + (_BACKGROUND * (curve - lines)) ** 2
        shift, wider = slope_columns(lines, library)
        variance = variance + (_RELATIVE * lines) ** 2 + (_POSITION * shift) ** 2 + (_BROADNESS * wider) ** 2
    return variance


def _main_elements(axis, setting, elements, hats):
    """Those of some elements that the spectrum is mostly made of, and roughly their mass fractions."""
    groups = typical_columns(axis.edges, round(axis.resolution), setting)[0]
    rows = (elements[:, None] * N_GROUPS + np.arange(N_GROUPS)).ravel()
    columns = groups[rows].toarray().reshape(len(elements), N_GROUPS, -1).sum(1)
    curve = uniform_filter1d(axis.counts, 5)
    weights = 1 / (curve.clip(1) + (0.1 * curve) ** 2)
    system = NonnegativeSystem(np.vstack([columns, hats]), *axis.instrument(None), axis.counts, weights)
    amplitudes = system.solve()
    found = (amplitudes / system.spreads(amplitudes))[: len(elements)] > 3
    return elements[found], _mass(elements[found], amplitudes[: len(elements)][found])


def _mass(elements, amplitudes):
    """Mass fractions, tensor of shape (1, 98); those of a typical solid where there is no element."""
    if not amplitudes.sum() > 0:
        return mixed_mass()
    mass = np.zeros((1, N_ELEMENTS))
    mass[0, elements - 1] = amplitudes / amplitudes.sum()
    return torch.from_numpy(mass)


def _stiffness(n_positive, first, hats, background):
    """Quadratic form by which neighbouring pieces of the background (from ``first`` on) tend to be alike."""
    n = len(hats)
    level = max(background.sum() / hats.sum(), 1e-6)
    bend = np.diff(np.eye(n), 2, axis=0) / (_BEND * level)
    form = np.zeros((n_positive, n_positive))
    form[first : first + n, first : first + n] = bend.T @ bend
    return form


def calibrate(axis, setting, strong, background, n_rounds=3):
    """Correct shift and resolution by the strong elements, each group of their lines for itself.

    Returns
    -------
    lines, curve : ndarray of shape (n_bins,)
        Counts in lines, and all.
    """
    hats = background_columns(axis.library, setting, mixed_mass())
    strong, mass = _main_elements(axis, setting, strong, hats)
    if not len(strong):
        return None, uniform_filter1d(axis.counts, 5)
    hats = background_columns(axis.library, setting, mass)
    rows = (strong[:, None] * N_GROUPS + np.arange(N_GROUPS)).ravel()
    lines, curve = None, uniform_filter1d(axis.counts, 5)
    for _ in range(n_rounds):
        columns = typical_columns(axis.edges, round(axis.resolution), setting)[0][rows].toarray()
        columns = columns[columns.any(1)]
        free = axis.instrument(lines)
        weights = 1 / _variance(curve, lines, axis.library)
        stiff = _stiffness(len(columns) + len(hats), len(columns), hats, background)
        system = NonnegativeSystem(np.vstack([columns, hats]), *free, axis.counts, weights, stiff)
        amplitudes = system.solve()
        lines, curve = amplitudes[: len(columns)] @ columns, system.curve(amplitudes)
        if len(free[0]):
            axis.correct(amplitudes[len(columns) + len(hats) :])
    return lines, curve


@dataclass
class EDSFit:
    """Elements found in a spectrum, and the curve fitted.

    Parameters
    ----------
    elements : ndarray of int
        Atomic numbers.
    amounts, spreads : ndarray
        Mass of each element in arbitrary units, and its standard deviation.
    energy, counts, curve, background : ndarray of shape (n_bins,)
        Middle of each bin in eV; counts in it as measured, as fitted, and of the fitted background.
    lines : ndarray of shape (n_elements, n_bins)
        Counts of each element.
    """

    elements: np.ndarray
    amounts: np.ndarray
    spreads: np.ndarray
    energy: np.ndarray
    counts: np.ndarray
    curve: np.ndarray
    background: np.ndarray
    lines: np.ndarray
    resolution: float = 0.0
    shift: object = None
    chi2: float = 0.0


def identify(spectrum_counts, energy, setting, *, resolution=None, significance=4.0, allowed=None, n_rounds=3):
    axis = _Axis(spectrum_counts, energy, setting, resolution or 130.0)
    background = snip(axis.counts, _SNIP_BINS)
    _, scores = possible_elements(axis, setting, background, 0)
    strong = np.flatnonzero(scores > _STRONG)
    lines, curve = None, uniform_filter1d(axis.counts, 5)
    if len(strong):
        lines, curve = calibrate(axis, setting, strong, background)
        background = snip(axis.counts, _SNIP_BINS)
    elements, _ = possible_elements(axis, setting, background, significance+2)
    if allowed is not None: elements = np.intersect1d(elements, allowed)
    mass = mixed_mass()
    amplitudes = None
    for k in range(n_rounds):
        last = k == n_rounds - 1
        if not len(elements):
            return EDSFit(elements, np.empty(0), np.empty(0), axis.library.middles, axis.counts, curve, background, np.empty((0,len(axis.counts))), axis.resolution, axis.shift)
        columns = element_columns(axis.library, setting, elements, mass)
        whole = columns.sum(1)
        hats = background_columns(axis.library, setting, mass)
        positive = np.vstack([whole, hats, axis.pile_up()])
        weights = 1 / _variance(curve, lines, axis.library)
        free, precision, expected = axis.instrument(lines)
        n_instrument = len(free)
        if amplitudes is not None:
            more, more_precision = group_columns(columns, amplitudes, axis.library, weights)
            free, precision = np.vstack([free, more]), np.concatenate([precision, more_precision]); expected=np.concatenate([expected, 0*more_precision])
        stiff = _stiffness(len(positive), len(elements), hats, background)
        system = NonnegativeSystem(positive, free, precision, expected, axis.counts, weights, stiff)
        n = len(elements)
        if not n:
            return EDSFit(elements, np.empty(0), np.empty(0), axis.library.middles, axis.counts, curve, background, np.empty((0,len(axis.counts))), axis.resolution, axis.shift)
        keep = np.ones(len(positive), bool)
        solution = system.solve()
        chi = 1.0
        while True:
            spreads = system.spreads(solution)[:n]
            z = np.where(keep[:n], solution[:n] / spreads, np.inf)
            if not n or z.min() >= (significance if last else 1.0): break
            if last: keep[np.argmin(z)] = False
            else: keep[:n] &= z >= 1.0
            solution = system.solve(keep, solution)
            if not last: break
        curve = system.curve(solution)
        background = solution[n:n+len(hats)] @ hats
        lines = (solution[:n] @ whole) + solution[len(positive)+n_instrument:] @ free[n_instrument:]
        lines = lines.clip(0)
        if not last:
            elements = elements[keep[:n]]; amplitudes = solution[:n][keep[:n]]
            mass = _mass(elements, amplitudes)
            if n_instrument:
                axis.correct(solution[len(positive):])
    kept = keep[:n]
    chi2 = ((axis.counts-curve)**2*weights).mean()
    return EDSFit(elements[kept], solution[:n][kept], spreads[kept], axis.library.middles, axis.counts, curve, background, solution[:n][kept][:,None]*whole[kept], axis.resolution, axis.shift, chi2)

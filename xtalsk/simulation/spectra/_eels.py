"""Simulation of electron energy-loss spectra."""

import numpy as np
import torch
from sklearn.utils import check_random_state

from xtalsk.simulation._chunks import Counts, check_rows, chunks, columns_on
from xtalsk.simulation._conditions import check_conditions
from xtalsk.simulation._counting import make_generator
from xtalsk.simulation.spectra._core_losses import core_losses
from xtalsk.simulation.spectra._eels_conditions import EELSConditions
from xtalsk.simulation.spectra._eels_recording import background, join_low_losses, record, transfer
from xtalsk.simulation.spectra._formulas import check_fractions

_SPECTRA_PER_CHUNK = 16
_BELOW_WINDOW, _ABOVE_WINDOW = 200.0, 20.0  # eV of core losses that are computed below and above the window
_LOW_LOSSES_BELOW = 30.0  # eV: a window that begins below it holds the low losses


def simulate_eels(
    compositions,
    rows=None,
    conditions="typical",
    *,
    random_state=None,
    return_conditions=False,
    verbose=0,
):
    """Simulate core-loss spectra of a spectrometer on a transmission electron microscope.

    The cross-sections of the edges are computed for the beam and the apertures: hydrogenic ones for K and L
    shells, and ones from photoabsorption for M, N and O shells. Edges of elements with empty d or f states
    have white lines. Onsets are shifted, and edges have a simple fine structure. The simulation adds plural
    scattering, the zero-loss peak, a background, errors of the energy axis, and the noise of the detector.

    Parameters
    ----------
    compositions : CrystalSet, sequence of str, or array of shape (n, 98)
        Formulas, or atomic fractions with hydrogen first. Hydrogen and helium have no core losses.
    rows : array-like of int or None
        The composition of each spectrum, repeats allowed; None stands for each composition once.
    conditions : EELSConditions or {"ideal", "typical", "harsh", "measured"}
        Distributions of the conditions, or the name of a preset.
    random_state : int, RandomState or None
        Seed of the random draws.
    return_conditions : bool
        Whether to return the conditions of each spectrum too.
    verbose : int
        Above 0 shows a progress bar.

    Returns
    -------
    counts : ndarray of unsigned int, shape (n_spectra, n_channels)
        Counts on the nominal energy axis ``conditions.axis()``. The true energies differ by the energy shift
        and the dispersion error of each spectrum.
    values : DataFrame of n_spectra rows
        Conditions of each spectrum. Only with ``return_conditions=True``.

    Raises
    ------
    ValueError
        If a formula does not parse, a composition is empty, or an argument is out of range.

    See Also
    --------
    EELSConditions : Conditions of the simulation, with their units.

    References
    ----------
    R. F. Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed., Springer 2011.

    Examples
    --------
    >>> from xtalsk.simulation import EELSConditions, simulate_eels
    >>> axis = EELSConditions.ideal().axis()
    >>> counts = simulate_eels(["MgO"], conditions="ideal", random_state=0)[0].astype(float)
    >>> after, before = (counts[(axis > e) & (axis < e + 20)].mean() for e in (535, 505))
    >>> counts.shape, bool(after > 1.2 * before)  # the oxygen K edge at 532 eV
    ((2048,), True)
    """
    conditions = check_conditions(conditions, EELSConditions)
    fractions = check_fractions(compositions)
    rows = check_rows(rows, len(fractions), "rows of compositions")
    rng = check_random_state(random_state)
    values = conditions.draw(len(rows), rng)
    generator = make_generator(rng, "cpu")
    counts = Counts(len(rows))
    for chunk, part in chunks(rows, values, _SPECTRA_PER_CHUNK, "energy-loss spectra", verbose):
        counts.add(render_eels(fractions[chunk], part, conditions, generator))
    return (counts.values, values) if return_conditions else counts.values


def render_eels(fractions, values, conditions, generator):
    """Simulate the counts of one chunk of spectra, in single precision.

    Parameters
    ----------
    fractions : ndarray of shape (n, 98)
        Atomic fractions.
    values : dict of str to ndarray of shape (n,)
        Conditions of each spectrum; see `EELSConditions` for the units.
    conditions : EELSConditions
        The energy axis is taken from it.
    generator : torch.Generator
        Its device is that of the result.

    Returns
    -------
    tensor of float32, shape (n, n_channels)
    """
    column = columns_on(values, torch.zeros((), device=generator.device))
    nominal, step = conditions.axis(), conditions.energy[2]
    axis, window = _true_axis(nominal, step, column)
    core = core_losses(fractions, axis, column, generator)
    core = _plural_scattering(core, step, column)[:, window]
    axis = axis[:, window]
    rates = background(axis, core, step, column)
    if nominal[0] < _LOW_LOSSES_BELOW:
        rates = join_low_losses(rates, axis, step, column)
    rates = rates + core
    rates = rates * (column["counts"] / rates.sum(1))[:, None]
    return record(rates, column, generator)


def _true_axis(nominal, step, column):
    """Return the true energies of the channels of the window and of further channels on both sides.

    Parameters
    ----------
    nominal : ndarray of shape (n_channels,)
        Nominal energy of each channel in eV.
    step : float
        Width of a channel in eV.
    column : dict of str to tensor of shape (n,)
        Conditions of each spectrum.

    Returns
    -------
    axis : tensor of shape (n, n_wide)
        In eV.
    window : slice
        The channels of the window among them.
    """
    before = int(min(_BELOW_WINDOW, max(nominal[0] + _BELOW_WINDOW, 0)) / step)
    after = int(_ABOVE_WINDOW / step)
    wide = nominal[0] + step * (np.arange(before + len(nominal) + after) - before)
    middle = (nominal[0] + nominal[-1]) / 2
    wide = torch.as_tensor(wide - middle).to(column["counts"])
    stretch = 1 + column["dispersion_error"][:, None]
    axis = wide * stretch + middle - column["energy_shift"][:, None]
    return axis, slice(before, before + len(nominal))


def _plural_scattering(core, step, column):
    """Core losses after plural scattering and blur, tensor of the shape of ``core``."""
    n_points = 2 * core.shape[1]
    spectrum = torch.fft.rfft(core, n=n_points) * transfer(n_points, step, column)
    return torch.fft.irfft(spectrum, n=n_points)[:, : core.shape[1]].clamp_min(0)

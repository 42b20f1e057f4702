"""Spectra of electron energy losses."""

import numpy as np
import torch
from sklearn.utils import check_random_state

from xtalsk.simulation._chunks import Counts, check_rows, chunks, columns_on
from xtalsk.simulation._conditions import check_conditions
from xtalsk.simulation._profiles import make_generator
from xtalsk.simulation.spectra._core_losses import core_losses
from xtalsk.simulation.spectra._eels_conditions import EELSConditions
from xtalsk.simulation.spectra._eels_recording import background, low_losses, record, transfer
from xtalsk.simulation.spectra._formulas import check_fractions

_SPECTRA_PER_CHUNK = 16
_BEYOND, _AFTER = 200.0, 20.0  # eV of core losses that are kept below and above the window


def simulate_eels(
    compositions,
    rows=None,
    conditions="typical",
    *,
    random_state=None,
    return_conditions=False,
    verbose=0,
):
    """Render energy-loss spectra as a spectrometer behind a transmission electron microscope records them.

    Edges have hydrogenic cross-sections (K and L shells) or those of photoabsorption (M, N and O) for the
    beam and the apertures, white lines where d or f states are empty, displaced onsets and a simple fine
    structure. Plural scattering, the zero-loss peak, a background, the axis' errors and the detector come
    to them.

    Parameters
    ----------
    compositions : CrystalSet, sequence of str, or array of shape (n, 98)
        Formulas, or atomic fractions, hydrogen first. Hydrogen and helium have no core losses.
    rows : array-like of int or None
        The composition of each spectrum, repeats allowed; by default each once.
    conditions : EELSConditions or {"ideal", "typical", "harsh"}
    random_state : int, RandomState or None
    return_conditions : bool
        Whether to return what was drawn too.
    verbose : int
        Above 0 shows a progress bar.

    Returns
    -------
    counts : ndarray of unsigned int, shape (n_spectra, n_channels)
        On the axis ``conditions.axis()``, which the drawn errors of the axis make slightly wrong.
    drawn : DataFrame of n_spectra rows
        Only with ``return_conditions=True``.

    Raises
    ------
    ValueError
        If a composition cannot be used or an argument is out of range.

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
    drawn = conditions.draw(len(rows), rng)
    generator = make_generator(rng, "cpu")
    counts = Counts(len(rows))
    for some, part in chunks(rows, drawn, _SPECTRA_PER_CHUNK, "energy-loss spectra", verbose):
        counts.add(render_eels(fractions[some], part, conditions, generator))
    return (counts.values, drawn) if return_conditions else counts.values


def render_eels(fractions, drawn, conditions, generator):
    """Render the counts of one chunk of spectra.

    Parameters
    ----------
    fractions : ndarray of shape (n, 98)
    drawn : dict of str to ndarray of shape (n,)
        See `EELSConditions.draw`.
    conditions : EELSConditions
        For the axis.
    generator : torch.Generator
        Its device is that of the arithmetic, which is in single precision.

    Returns
    -------
    tensor of shape (n, n_channels)
    """
    column = columns_on(drawn, torch.zeros((), device=generator.device))
    nominal, step = conditions.axis(), conditions.energy[2]
    before = int(min(_BEYOND, max(nominal[0] + _BEYOND, 0)) / step)
    after = int(_AFTER / step)
    wide = nominal[0] + step * (np.arange(before + len(nominal) + after) - before)
    middle = (nominal[0] + nominal[-1]) / 2
    wide = torch.as_tensor(wide - middle).to(column["counts"])
    stretch = 1 + column["dispersion_error"][:, None]
    axis = wide * stretch + middle - column["energy_shift"][:, None]
    core = core_losses(fractions, axis, column, generator)
    n_points = 2 * core.shape[1]
    plural = torch.fft.rfft(core, n=n_points) * transfer(n_points, step, column)
    core = torch.fft.irfft(plural, n=n_points).clamp_min(0)
    core, axis = (values[:, before : before + len(nominal)] for values in (core, axis))
    rates = background(axis, core, step, column)
    if nominal[0] < 30:
        rates = rates * torch.sigmoid((axis - 60) / 4) + low_losses(axis, step, rates, column)
    rates = rates + core
    rates = rates * (column["counts"] / rates.sum(1))[:, None]
    return record(rates, column, generator)

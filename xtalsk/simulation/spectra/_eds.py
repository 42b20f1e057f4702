"""Spectra of X-rays."""

from functools import lru_cache

import numpy as np
import torch
from sklearn.utils import check_random_state

from xtalsk.physics._bremsstrahlung import continuum
from xtalsk.physics._depth import film_or_bulk, mass_fractions
from xtalsk.physics._xray_detector import (
    SILICON_KA,
    efficiency,
    escape_share,
    line_tail,
    line_width,
)
from xtalsk.physics._xray_yields import line_tables, line_yields, mass_attenuation
from xtalsk.simulation._chunks import Counts, check_rows, chunks, columns_on
from xtalsk.simulation._conditions import check_conditions
from xtalsk.simulation._counting import poisson
from xtalsk.simulation._profiles import make_generator
from xtalsk.simulation.spectra._eds_conditions import EDSConditions
from xtalsk.simulation.spectra._formulas import check_fractions
from xtalsk.utils import check_device

_SPECTRA_PER_CHUNK = 64
_STRAY = {"copper": 29, "carbon": 6, "silicon": 14}
_WINDOW_OPEN = 0.775
_REACH, _TAIL_REACH = 4.0, 7.0  # standard deviations of a line that are drawn above and below it
_NM_PER_CM = 1e7


def simulate_eds(
    compositions,
    rows=None,
    conditions="typical",
    *,
    density=5.0,
    device="cpu",
    random_state=None,
    return_conditions=False,
    verbose=0,
):
    """Render X-ray spectra as an energy-dispersive detector on an electron microscope records them.

    Ionisation cross-sections and fluorescence yields make the K, L, M and N lines of each element, absorption
    in the specimen and in the detector weakens them, and the detector widens them, lets charge and silicon
    X-rays escape, and takes two for one. To them come bremsstrahlung, the lines of grid, support and
    detector, and counting noise.

    Parameters
    ----------
    compositions : CrystalSet, sequence of str, or array of shape (n, 98)
        Formulas, or atomic fractions, hydrogen first. Hydrogen to beryllium show no line: theirs are below
        0.11 keV, or there are none.
    rows : array-like of int or None
        The composition of each spectrum, repeats allowed; by default each once.
    conditions : EDSConditions or {"ideal", "typical", "harsh"}
    density : float or array-like of shape (n,)
        Of each composition in g/cm³, for the absorption in thin specimens.
    device : {"cpu", "cuda", "auto"} or torch.device
        Where to compute.
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

    See Also
    --------
    EDSConditions : The distributions, with references beside the physics they drive.

    Examples
    --------
    >>> from xtalsk.simulation import EDSConditions, simulate_eds
    >>> axis = EDSConditions.ideal().axis()
    >>> counts = simulate_eds(["SrTiO3"], conditions="ideal", random_state=0)[0]
    >>> counts.shape, float(axis[counts.argmax()])  # strontium Lα at 1.81 keV
    ((2048,), 1815.0)
    """
    conditions = check_conditions(conditions, EDSConditions)
    fractions = check_fractions(compositions)
    rows = check_rows(rows, len(fractions), "rows of compositions")
    density = np.broadcast_to(np.asarray(density, dtype=float), len(fractions))
    if not (np.isfinite(density) & (density > 0)).all():
        raise ValueError("density must be positive numbers of g/cm³")
    rng = check_random_state(random_state)
    drawn = draw_eds(conditions, fractions[rows], density[rows], rng)
    device = check_device(device)
    generator = make_generator(rng, device)
    fractions = torch.from_numpy(fractions).to(device)
    counts = Counts(len(rows))
    for some, part in chunks(rows, drawn, _SPECTRA_PER_CHUNK, "X-ray spectra", verbose):
        counts.add(render_eds(fractions[some], part, conditions, generator))
    return (counts.values, drawn) if return_conditions else counts.values


def draw_eds(conditions, fractions, density, rng):
    """Draw what varies from spectrum to spectrum, a row each; densities go along."""
    drawn = conditions.draw(len(fractions), rng)
    drawn["density"] = density
    return drawn


def render_eds(fractions, drawn, conditions, generator):
    """Render the counts of one chunk of spectra.

    Parameters
    ----------
    fractions : tensor of float64, shape (n, 98)
        Atomic fractions, on the device to compute on.
    drawn : dict of str to ndarray of shape (n,)
        See `draw_eds`.
    conditions : EDSConditions
        For the axis.
    generator : torch.Generator

    Returns
    -------
    tensor of float32, shape (n, n_channels)
    """
    column = columns_on(drawn, fractions)
    rates = expected_counts(fractions, column, conditions, generator)
    return poisson(rates.to(torch.float32), generator)


def expected_counts(fractions, column, conditions, generator):
    """Compute the expectation of the counts in each channel, tensor of shape (n, n_channels)."""
    tables = _tables_on(str(fractions.device))
    axis = torch.from_numpy(conditions.axis()).to(fractions)
    mass = mass_fractions(fractions)
    beam = 1e3 * column["beam_energy"]
    thickness = column["thickness_nm"] * column["density"] / _NM_PER_CM
    setting = beam, column["takeoff_angle"], film_or_bulk(thickness, column["beam_energy"])
    line, row = _present_lines(fractions, tables, beam)
    made = line_yields(mass, line, row, *setting, tables) * mass[row, tables["z"][line] - 1]
    error = torch.randn(fractions.shape, generator=generator, device=fractions.device, dtype=torch.float64)
    made = made * torch.exp(column["yield_error"][row] * error[row, tables["z"][line] - 1])
    energies = tuple(tables["energy"].tolist()), tuple(conditions.axis().tolist())
    detected = made * _detected(energies[0], column)[row, line]
    lines = _stray_lines(line, row, detected, mass, column, tables, energies[0])
    spectrum = _drawn_lines(*lines, column, axis, conditions.energy[2], tables)
    slow = continuum(mass, axis.clamp_min(50.0), _attenuation(energies[1]).to(mass), *setting)
    slow = slow * _detected(energies[1], column) * conditions.energy[2] * (axis > 50.0)
    rates = spectrum + column["continuum"][:, None] * _blurred(slow, conditions.energy[2])
    rates = _with_pile_up(rates, column["pile_up"], conditions)
    total = rates.sum(1, keepdim=True)
    return rates * torch.where(total > 0, column["counts"][:, None] / total.clamp_min(1e-300), 0.0)


@lru_cache(maxsize=4)
def _tables_on(device):
    return {name: table.to(device) for name, table in line_tables().items()}


@lru_cache(maxsize=4)
def _attenuation(axis):
    return mass_attenuation([max(energy, 50.0) for energy in axis])


def _present_lines(fractions, tables, beam):
    """Lines of the elements that are there, and the spectrum of each, in two lists."""
    has = fractions[:, tables["z"] - 1] > 0
    excited = tables["shell_edge"][tables["sources"]].amin(1) < beam[:, None]
    row, line = torch.nonzero(has & excited, as_tuple=True)
    return line, row


def _detected(energies, column):
    """Share of X-rays of each energy that the detectors count, shape (n, n_energies)."""
    n = len(column["window"])
    like = column["window"].new_ones(n, 1)
    film = column["window"][:, None]
    open_area = torch.where(film > 0, _WINDOW_OPEN, 1.0)
    above = tuple(max(energy, 50.0) for energy in energies)
    return efficiency(above, film, open_area, 0 * like, column["dead_layer"][:, None], 0.45 * like)


def _stray_lines(line, row, detected, mass, column, tables, energies):
    """Add lines that do not come from the specimen, in proportion to those that do."""
    total = detected.new_zeros(len(mass)).index_add_(0, row, detected)
    parts = [(line, row, detected)]
    for name, z in _STRAY.items():
        rows = torch.nonzero(column[name] > 0)[:, 0]
        of_z = torch.nonzero(tables["z"] == z)[:, 0]
        if not len(rows):
            continue
        more, where = of_z.repeat(len(rows)), rows.repeat_interleave(len(of_z))
        pure = torch.zeros_like(mass)
        pure[:, z - 1] = 1.0
        film = torch.full_like(column["beam_energy"], 1e-5)
        setting = 1e3 * column["beam_energy"], column["takeoff_angle"], film
        made = line_yields(pure, more, where, *setting, tables) * _detected(energies, column)[where, more]
        own = made.new_zeros(len(mass)).index_add_(0, where, made)
        parts.append((more, where, made * (column[name] * total / own.clamp_min(1e-300))[where]))
    return [torch.cat(column) for column in zip(*parts, strict=True)]


def _drawn_lines(line, row, counts, column, axis, step, tables):
    """Lines with their escape peaks and tails on the axis, tensor of shape (n, n_channels)."""
    out = axis.new_zeros(len(column["energy_shift"]) * len(axis))
    if not len(line):
        return out.view(-1, len(axis))
    energy = tables["energy"][line]
    escape = escape_share(energy, tables["attenuation"][13][line])
    lost = escape > 0
    counts = torch.cat([counts * (1 - escape), (counts * escape)[lost]])
    energy, row = torch.cat([energy, energy[lost] - SILICON_KA]), torch.cat([row, row[lost]])
    width = line_width(energy, column["resolution"][row])
    shown = (energy - column["energy_shift"][row]) / (1 + column["dispersion_error"][row])
    n_channels = int((_REACH + _TAIL_REACH) * float(width.max()) / step) + 2
    first = torch.floor((shown - _TAIL_REACH * width - axis[0]) / step).long()
    edges = axis[0] + step * (first[:, None] + torch.arange(n_channels + 1, device=axis.device) - 0.5)
    share, slope = (torch.from_numpy(part).to(axis) for part in line_tail(energy.cpu().numpy()))
    below = _below((edges - shown[:, None]) / width[:, None], share * column["tail"][row], slope)
    drawn = counts[:, None] * below.diff(dim=1)
    place = first[:, None] + torch.arange(n_channels, device=axis.device)
    inside = (place >= 0) & (place < len(axis))
    flat = (row[:, None] * len(axis) + place)[inside]
    return out.index_add_(0, flat, drawn[inside]).view(-1, len(axis))


def _below(x, share, slope):
    """Share of a line below a distance x from its middle, in standard deviations."""
    share, slope = share[:, None], slope[:, None]
    tail = torch.exp((0.5 / slope**2 + x / slope).clamp_max(50)) * torch.special.ndtr(-x - 1 / slope)
    return torch.special.ndtr(x) + share / (1 + share) * tail


def _blurred(rates, step):
    """Blur the edges of the continuum by a typical resolution at low energies."""
    reach = int(120 / step) + 1
    kernel = torch.exp(-0.5 * ((torch.arange(-reach, reach + 1, device=rates.device) * step) / 30.0) ** 2)
    kernel = (kernel / kernel.sum()).to(rates)[None, None]
    padded = torch.nn.functional.pad(rates[:, None], (reach, reach), mode="replicate")
    return torch.nn.functional.conv1d(padded, kernel)[:, 0]


def _with_pile_up(rates, share, conditions):
    """Let a share of the counts be two taken for one."""
    if not (share > 0).any():
        return rates
    n = rates.shape[1]
    total = rates.sum(1, keepdim=True).clamp_min(1e-300)
    transform = torch.fft.rfft(rates / total, 2 * n)
    pairs = torch.fft.irfft(transform**2, 2 * n).clamp_min(0)
    start = round(
        conditions.energy[0] / conditions.energy[2]
    )  # the sum of channels i and j is at i + j + start
    moved = torch.roll(pairs, start, dims=1)[:, :n]
    return (1 - share)[:, None] * rates + share[:, None] * total * moved

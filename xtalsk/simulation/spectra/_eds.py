"""Simulation of X-ray spectra."""

from functools import lru_cache

import numpy as np
import torch
from sklearn.utils import check_random_state

from xtalsk.physics._bremsstrahlung import continuum
from xtalsk.physics._depth import film_or_bulk, mass_fractions
from xtalsk.physics._xray_detector import (
    POLYMER_OPEN_AREA,
    SILICON_KA,
    efficiency,
    escape_share,
    line_tail,
    line_width,
)
from xtalsk.physics._xray_yields import line_tables, line_yields, mass_attenuation
from xtalsk.simulation._chunks import Counts, check_rows, chunks, columns_on
from xtalsk.simulation._conditions import check_conditions
from xtalsk.simulation._counting import make_generator, poisson
from xtalsk.simulation.spectra._eds_conditions import EDSConditions
from xtalsk.simulation.spectra._formulas import check_fractions
from xtalsk.utils import check_device
from xtalsk.utils._formula import N_ELEMENTS

_SPECTRA_PER_CHUNK = 64
_STRAY = {"copper": 29, "carbon": 6, "silicon": 14}  # atomic number of each field of stray lines
_CRYSTAL = 0.45  # mm of silicon in the detector
_REACH, _TAIL_REACH = 4.0, 7.0  # standard deviations to which a line is drawn above and below its energy
_LEAST_ENERGY = 50.0  # eV: the continuum is zero, and attenuation constant, below
_BLUR = 30.0  # eV: standard deviation of the resolution at low energies, for the continuum
_BLUR_REACH = 120.0  # eV: range of that blur
_FILM_DEPTH = 1e-5  # g/cm²: a film so thin that it does not absorb stray lines
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
    """Simulate X-ray spectra of an energy-dispersive detector on an electron microscope.

    The K, L, M and N lines of each element follow from ionisation cross-sections and fluorescence yields. The
    specimen and the detector absorb X-rays. The detector broadens the lines and adds low-energy tails, escape
    peaks and pile-up. The simulation adds bremsstrahlung, the lines of grid, support and detector, and
    counting noise.

    Parameters
    ----------
    compositions : CrystalSet, sequence of str, or array of shape (n, 98)
        Formulas, or atomic fractions with hydrogen first. Hydrogen to beryllium have no lines above 0.11 keV.
    rows : array-like of int or None
        The composition of each spectrum, repeats allowed; None stands for each composition once.
    conditions : EDSConditions or {"ideal", "typical", "harsh", "measured"}
        Distributions of the conditions, or the name of a preset.
    density : float or array-like of shape (n,)
        Density of each composition in g/cm³, for the absorption in thin specimens.
    device : {"cpu", "cuda", "auto"} or torch.device
        Device of the computation.
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
        Conditions and density of each spectrum. Only with ``return_conditions=True``.

    Raises
    ------
    ValueError
        If a formula does not parse, a composition is empty, or an argument is out of range.

    See Also
    --------
    EDSConditions : Conditions of the simulation, with their units.

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
    values = draw_eds(conditions, fractions[rows], density[rows], rng)
    device = check_device(device)
    generator = make_generator(rng, device)
    fractions = torch.from_numpy(fractions).to(device)
    counts = Counts(len(rows))
    for chunk, part in chunks(rows, values, _SPECTRA_PER_CHUNK, "X-ray spectra", verbose):
        counts.add(render_eds(fractions[chunk], part, conditions, generator))
    return (counts.values, values) if return_conditions else counts.values


def draw_eds(conditions, fractions, density, rng):
    """Draw the conditions of each spectrum.

    Parameters
    ----------
    conditions : EDSConditions
    fractions : ndarray of shape (n, 98)
        Atomic fractions.
    density : ndarray of shape (n,)
        In g/cm³.
    rng : RandomState

    Returns
    -------
    DataFrame of n rows
        A column for each field that is drawn, and ``density`` in g/cm³.
    """
    values = conditions.draw(len(fractions), rng)
    values["density"] = density
    return values


def render_eds(fractions, values, conditions, generator):
    """Simulate the counts of one chunk of spectra.

    Parameters
    ----------
    fractions : tensor of float64, shape (n, 98)
        Atomic fractions. Their device is that of the result.
    values : dict of str to ndarray of shape (n,)
        Conditions of each spectrum; see `draw_eds`.
    conditions : EDSConditions
        The energy axis is taken from it.
    generator : torch.Generator

    Returns
    -------
    tensor of float32, shape (n, n_channels)
    """
    column = columns_on(values, fractions)
    rates = expected_counts(fractions, column, conditions, generator)
    return poisson(rates.to(torch.float32), generator)


def expected_counts(fractions, column, conditions, generator):
    """Return the expected counts in each channel.

    Parameters
    ----------
    fractions : tensor of float64, shape (n, 98)
        Atomic fractions.
    column : dict of str to tensor of shape (n,)
        Conditions of each spectrum; see `draw_eds`.
    conditions : EDSConditions
        The energy axis is taken from it.
    generator : torch.Generator

    Returns
    -------
    tensor of shape (n, n_channels)
    """
    tables = _tables_on(str(fractions.device))
    axis = torch.from_numpy(conditions.axis()).to(fractions)
    mass = mass_fractions(fractions)
    thickness = column["thickness_nm"] * column["density"] / _NM_PER_CM
    depth = film_or_bulk(thickness, column["beam_energy"])
    setting = 1e3 * column["beam_energy"], column["takeoff_angle"], depth
    lines = _specimen_lines(fractions, mass, column, setting, tables, generator)
    lines = _with_stray_lines(*lines, mass, column, tables)
    rates = _line_spectrum(*lines, column, axis, conditions.energy[2], tables)
    rates = rates + _continuum(mass, column, axis, conditions, setting)
    rates = _with_pile_up(rates, column["pile_up"], conditions)
    total = rates.sum(1, keepdim=True)
    return rates * torch.where(total > 0, column["counts"][:, None] / total.clamp_min(1e-300), 0.0)


def _specimen_lines(fractions, mass, column, setting, tables, generator):
    """Lines of the specimen that the detector counts.

    Returns
    -------
    line, row : int64 tensor of shape (m,)
        Row of each line in the tables, and the spectrum it belongs to.
    counts : tensor of shape (m,)
        Intensity of each line.
    """
    line, row = _present_lines(fractions, tables, setting[0])
    element = tables["z"][line] - 1
    emitted = line_yields(mass, line, row, *setting, tables) * mass[row, element]
    error = torch.randn(fractions.shape, generator=generator, device=fractions.device, dtype=torch.float64)
    emitted = emitted * torch.exp(column["yield_error"][row] * error[row, element])
    return line, row, emitted * _detected(_line_energies(tables), column)[row, line]


def _line_energies(tables):
    """Energies of all lines in eV, tuple of float."""
    return tuple(tables["energy"].tolist())


def _continuum(mass, column, axis, conditions, setting):
    """Bremsstrahlung that the detector counts, tensor of shape (n, n_channels)."""
    energies, step = tuple(conditions.axis().tolist()), conditions.energy[2]
    rates = continuum(mass, axis.clamp_min(_LEAST_ENERGY), _attenuation(energies).to(mass), *setting)
    rates = rates * _detected(energies, column) * step * (axis > _LEAST_ENERGY)
    return column["continuum"][:, None] * _blurred(rates, step)


@lru_cache(maxsize=4)
def _tables_on(device):
    """Tables of lines on a device, dict of str to tensor."""
    return {name: table.to(device) for name, table in line_tables().items()}


@lru_cache(maxsize=4)
def _attenuation(energies):
    """Mass attenuation coefficients of all elements at energies in eV, in cm²/g."""
    return mass_attenuation([max(energy, _LEAST_ENERGY) for energy in energies])


def _present_lines(fractions, tables, beam):
    """Lines of the elements present, and the spectrum of each line; two int64 tensors of shape (m,)."""
    is_present = fractions[:, tables["z"] - 1] > 0
    is_excited = tables["shell_edge"][tables["sources"]].amin(1) < beam[:, None]
    row, line = torch.nonzero(is_present & is_excited, as_tuple=True)
    return line, row


def _detected(energies, column):
    """Share of the X-rays of each energy in eV that the detector counts, tensor of shape (n, n_energies)."""
    film = column["window"][:, None]
    one = torch.ones_like(film)
    open_area = torch.where(film > 0, POLYMER_OPEN_AREA, 1.0)
    energies = tuple(max(energy, _LEAST_ENERGY) for energy in energies)
    return efficiency(energies, film, open_area, 0 * one, column["dead_layer"][:, None], _CRYSTAL * one)


def _with_stray_lines(line, row, counts, mass, column, tables):
    """Lines of the specimen together with those of grid, support and detector; see `_specimen_lines`."""
    total = counts.new_zeros(len(mass)).index_add_(0, row, counts)
    parts = [(line, row, counts)]
    for name, z in _STRAY.items():
        rows = torch.nonzero(column[name] > 0)[:, 0]
        lines = torch.nonzero(tables["z"] == z)[:, 0]
        if not len(rows):
            continue
        stray, where = lines.repeat(len(rows)), rows.repeat_interleave(len(lines))
        own = _pure_lines(z, stray, where, column, tables)
        own_total = own.new_zeros(len(mass)).index_add_(0, where, own)
        parts.append((stray, where, own * (column[name] * total / own_total.clamp_min(1e-300))[where]))
    return [torch.cat(values) for values in zip(*parts, strict=True)]


def _pure_lines(z, line, row, column, tables):
    """Intensities of lines of a thin film of one element, tensor of shape (m,)."""
    pure = column["beam_energy"].new_zeros(len(column["beam_energy"]), N_ELEMENTS)
    pure[:, z - 1] = 1.0
    film = torch.full_like(column["beam_energy"], _FILM_DEPTH)
    setting = 1e3 * column["beam_energy"], column["takeoff_angle"], film
    emitted = line_yields(pure, line, row, *setting, tables)
    return emitted * _detected(_line_energies(tables), column)[row, line]


def _line_spectrum(line, row, counts, column, axis, step, tables):
    """Spectrum of the lines with their escape peaks and tails.

    Parameters
    ----------
    line, row, counts
        See `_specimen_lines`.
    column : dict of str to tensor of shape (n,)
    axis : tensor of shape (n_channels,)
        In eV.
    step : float
        Width of a channel in eV.
    tables : dict of str to tensor

    Returns
    -------
    tensor of shape (n, n_channels)
    """
    spectrum = axis.new_zeros(len(column["energy_shift"]) * len(axis))
    if not len(line):
        return spectrum.view(-1, len(axis))
    energy, row, counts = _with_escape_peaks(line, row, counts, tables)
    width = line_width(energy, column["resolution"][row])
    position = (energy - column["energy_shift"][row]) / (1 + column["dispersion_error"][row])
    n_channels = int((_REACH + _TAIL_REACH) * float(width.max()) / step) + 2
    first = torch.floor((position - _TAIL_REACH * width - axis[0]) / step).long()
    edges = axis[0] + step * (first[:, None] + torch.arange(n_channels + 1, device=axis.device) - 0.5)
    share, slope = (torch.from_numpy(part).to(axis) for part in line_tail(energy.cpu().numpy()))
    below = _share_below((edges - position[:, None]) / width[:, None], share * column["tail"][row], slope)
    rates = counts[:, None] * below.diff(dim=1)
    place = first[:, None] + torch.arange(n_channels, device=axis.device)
    inside = (place >= 0) & (place < len(axis))
    flat = (row[:, None] * len(axis) + place)[inside]
    return spectrum.index_add_(0, flat, rates[inside]).view(-1, len(axis))


def _with_escape_peaks(line, row, counts, tables):
    """Energies in eV, spectra and intensities of lines and of their escape peaks, each of shape (m,)."""
    energy = tables["energy"][line]
    escape = escape_share(energy, tables["attenuation"][13][line])
    has_escape = escape > 0
    energy = torch.cat([energy, energy[has_escape] - SILICON_KA])
    counts = torch.cat([counts * (1 - escape), (counts * escape)[has_escape]])
    return energy, torch.cat([row, row[has_escape]]), counts


def _share_below(x, share, slope):
    """Share of a line below a distance x from its maximum; x and slope are in standard deviations."""
    share, slope = share[:, None], slope[:, None]
    tail = torch.exp((0.5 / slope**2 + x / slope).clamp_max(50)) * torch.special.ndtr(-x - 1 / slope)
    return torch.special.ndtr(x) + share / (1 + share) * tail


def _blurred(rates, step):
    """Continuum after a blur by a typical resolution at low energies, tensor of shape (n, n_channels)."""
    reach = int(_BLUR_REACH / step) + 1
    energy = torch.arange(-reach, reach + 1, device=rates.device) * step
    kernel = torch.exp(-0.5 * (energy / _BLUR) ** 2)
    kernel = (kernel / kernel.sum()).to(rates)[None, None]
    padded = torch.nn.functional.pad(rates[:, None], (reach, reach), mode="replicate")
    return torch.nn.functional.conv1d(padded, kernel)[:, 0]


def _with_pile_up(rates, share, conditions):
    """Spectra in which a share of the counts is in sum peaks, tensor of shape (n, n_channels)."""
    if not (share > 0).any():
        return rates
    n = rates.shape[1]
    total = rates.sum(1, keepdim=True).clamp_min(1e-300)
    transform = torch.fft.rfft(rates / total, 2 * n)
    pairs = torch.fft.irfft(transform**2, 2 * n).clamp_min(0)
    # The sum of the energies of channels i and j is the energy of channel i + j + start.
    start = round(conditions.energy[0] / conditions.energy[2])
    moved = torch.roll(pairs, start, dims=1)[:, :n]
    return (1 - share)[:, None] * rates + share[:, None] * total * moved

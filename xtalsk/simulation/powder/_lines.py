"""Positions, intensities and widths of the lines of powder patterns."""

import numpy as np
import torch

from xtalsk.simulation._chunks import stacked
from xtalsk.simulation._line_profiles import gather_lines
from xtalsk.simulation.powder._constants import (
    EQUAL_WIDTHS,
    MOST_WIDTHS,
    N_WIDTH_SAMPLES,
    TAIL_ANGLES,
    WIDTH_ANGLES,
    WIDTH_RATIO,
)
from xtalsk.simulation.reflections._strain import STRAIN_COLUMNS, ZONE_COLUMNS, strained_q
from xtalsk.simulation.reflections._texture import PLANE_COLUMNS, march_factors
from xtalsk.utils._threads import is_plain

COTANGENT_ANGLES = (2, 90)
"""2θ in degrees; tails outside this range are as long as at its ends."""

WIDTH_COLUMNS = ("u", "v", "w", "crystallite_size", "microstrain")
"""Conditions that the widths of lines depend on."""


def lorentz_polarisation(theta, monochromator):
    r"""Compute the Lorentz-polarisation factor of a flat plate.

    It is :math:`(1 + \cos^2 2θ_m \cos^2 2θ) / ((1 + \cos^2 2θ_m) \sin^2 θ \cos θ)`, where θ_m is 0 without a
    monochromator (International Tables C, 6.2.5 and 6.2.6).

    Parameters
    ----------
    theta : tensor
        θ in radians.
    monochromator : tensor
        2θ_m in degrees.

    Returns
    -------
    tensor
    """
    analyser = torch.cos(torch.deg2rad(monochromator)) ** 2
    sine2 = torch.sin(theta) ** 2
    polarisation = (1 + analyser * (1 - 2 * sine2) ** 2) / (1 + analyser)
    return polarisation / (sine2 * torch.cos(theta))


def powder_lines(reflections, rows, values, column, conditions, generator):
    """Compute the lines of one chunk of patterns.

    Parameters
    ----------
    reflections : Reflections
    rows : ndarray of int, shape (n,)
        The crystal of each pattern.
    values : dict of str to ndarray of shape (n,)
        Values of the conditions of each pattern, see `draw_powder`.
    column : dict of str to tensor of shape (n,)
        The same values on the device.
    conditions : PowderConditions
        For the axis and the wavelengths.
    generator : torch.Generator

    Returns
    -------
    pattern : int64 tensor of shape (m,)
        Number of the pattern of each line.
    two_theta : tensor of shape (m,)
        In degrees, shifts included.
    weight : tensor of shape (m,)
        Integrated intensity, 1 for the strongest line of a phase.
    """
    pattern, q, weight = _first_phase(reflections, rows, values, column)
    is_first = torch.ones_like(q)
    impure = np.flatnonzero((values["impurity"] > 0) & (values["impurity_row"] != rows))
    if len(impure):
        second = _second_phase(reflections, values, impure)
        pattern, q, weight = (torch.cat(pair) for pair in zip((pattern, q, weight), second, strict=True))
        is_first = torch.cat([is_first, torch.zeros_like(second[2])])
    if values["b_shift"].any():
        weight = weight * torch.exp(-column["b_shift"][pattern] * q * q / 2)
    if values["line_scatter"].any():
        noise = torch.randn(weight.shape, generator=generator, device=weight.device, dtype=weight.dtype)
        weight = weight * torch.exp(column["line_scatter"][pattern] * noise)
    two_theta, weight, n_wavelengths = _at_wavelengths(q, weight, pattern, column, conditions)
    pattern, is_first = torch.cat([pattern] * n_wavelengths), torch.cat([is_first] * n_wavelengths)
    axis = conditions.axis()
    on_axis = (two_theta > axis[0]) & (two_theta < axis[-1])
    pattern, two_theta, weight, is_first = (v[on_axis] for v in (pattern, two_theta, weight, is_first))
    return pattern, two_theta, _relative(pattern, weight, is_first, column)


def _first_phase(reflections, rows, values, column):
    """Pattern, q and weight of the lines of the main phase, with strain, texture and zoning."""
    pattern, lines = gather_lines(reflections, rows)
    q = strained_q(reflections, rows, stacked(values, STRAIN_COLUMNS), pattern, lines)
    weight = reflections.intensity[lines] * reflections.multiplicity[lines]
    if (values["march_parameter"] != 1).any():
        planes = stacked(values, PLANE_COLUMNS)
        weight = weight * march_factors(reflections, rows, planes, column["march_parameter"], pattern, lines)
    if values["zoning"].any():
        strains = stacked(values, STRAIN_COLUMNS) + stacked(values, ZONE_COLUMNS)
        zone_q = strained_q(reflections, rows, strains, pattern, lines)
        share = column["zone_share"][pattern]
        weight = torch.cat([weight * (1 - share), weight * share])
        pattern, q = torch.cat([pattern, pattern]), torch.cat([q, zone_q])
    return pattern, q, weight


def _second_phase(reflections, values, impure):
    """Pattern, q and weight of the lines of the second phase of the patterns numbered ``impure``."""
    pattern, lines = gather_lines(reflections, values["impurity_row"][impure].astype(int))
    pattern = torch.from_numpy(impure).to(pattern.device)[pattern]
    return pattern, reflections.q[lines], reflections.intensity[lines] * reflections.multiplicity[lines]


def _at_wavelengths(q, weight, pattern, column, conditions):
    """Angles 2θ and weights of all lines for Kα1 and, where present, Kα2; and the number of wavelengths."""
    two_theta, intensity = _at_wavelength(conditions.wavelength, q, weight, pattern, column, conditions)
    if not column["ka2"].any():
        return two_theta, intensity, 1
    weight = weight * column["ka2"][pattern]
    second = _at_wavelength(conditions.ka2_wavelength, q, weight, pattern, column, conditions)
    return torch.cat([two_theta, second[0]]), torch.cat([intensity, second[1]]), 2


def _at_wavelength(wavelength, q, weight, pattern, column, conditions):
    """Angles 2θ in degrees and weights of lines; lines beyond 180 degrees get weight 0 at 180 degrees."""
    theta = torch.asin((q * (wavelength / 2)).clamp(max=1))
    weight = weight * lorentz_polarisation(theta, column["monochromator"][pattern])
    shift = column["displacement"][pattern] * torch.cos(theta) * (2 / conditions.radius)
    two_theta = torch.rad2deg(2 * theta - shift) + column["zero_shift"][pattern]
    return two_theta, torch.where(theta < np.pi / 2 - 1e-6, weight, torch.zeros_like(weight))


def _relative(pattern, weight, is_first, column):
    """Weights relative to the strongest line of the phase, times ``impurity`` for the second phase."""
    phase = 2 * pattern + (is_first == 0)
    strongest = torch.zeros(2 * len(column["impurity"]), dtype=weight.dtype, device=weight.device)
    strongest.scatter_reduce_(0, phase, weight, "amax")
    share = torch.where(is_first == 1, torch.ones_like(weight), column["impurity"][pattern])
    return weight / strongest[phase].clamp_min(1e-30) * share


def line_widths(two_theta, column, wavelength):
    r"""Compute widths and shapes of lines.

    A line is a pseudo-Voigt function. Its Gaussian width is that of the instrument (Caglioti); its Lorentzian
    width is the sum of those of crystallite size (Scherrer, :math:`0.9 λ / L \cosθ`) and of microstrain
    (:math:`4 e \tanθ`). Both are combined as by P. Thompson, D. E. Cox and J. B. Hastings, J. Appl. Cryst. 20
    (1987) 79.

    Parameters
    ----------
    two_theta : tensor of shape (k,)
        In degrees.
    column : dict of str to tensor of shape (n,)
        ``u``, ``v``, ``w``, ``crystallite_size`` and ``microstrain`` of each pattern.
    wavelength : float
        In Å.

    Returns
    -------
    fwhm : tensor of shape (n, k)
        In degrees.
    eta : tensor of shape (n, k)
        Lorentzian share.
    """
    theta = torch.deg2rad(two_theta / 2)
    tangent, cosine = torch.tan(theta), torch.cos(theta)
    u, v, w, size, microstrain = (column[name][:, None] for name in WIDTH_COLUMNS)
    gauss = (u * tangent**2 + v * tangent + w).clamp_min(1e-8).sqrt()
    lorentz = torch.rad2deg(0.9 * wavelength / size / cosine + 4 * microstrain * tangent)
    g2, l2 = gauss * gauss, lorentz * lorentz
    fwhm = g2 * g2 * (gauss + 2.69269 * lorentz) + g2 * l2 * (2.42843 * gauss + 4.47163 * lorentz)
    fwhm = (fwhm + l2 * l2 * (0.07842 * gauss + lorentz)) ** 0.2
    ratio = lorentz / fwhm
    return fwhm, ratio * (1.36603 - ratio * (0.47719 - 0.11116 * ratio))


def compiled_widths(two_theta, values, wavelength):
    """Compute widths and shapes of lines like `line_widths`, without torch, whose threads would compete.

    Parameters
    ----------
    two_theta : ndarray of shape (k,)
    values : dict of str to ndarray of shape (n,)
    wavelength : float

    Returns
    -------
    fwhm, eta : ndarray of shape (n, k)
    """
    from xtalsk.simulation.powder._line_kernels import write_widths  # numba is imported at the first use

    columns = tuple(np.asarray(values[name], dtype=float) for name in WIDTH_COLUMNS)
    fwhm = np.empty((len(columns[0]), len(two_theta)))
    eta = np.empty_like(fwhm)
    write_widths(np.asarray(two_theta, dtype=float), columns, float(wavelength), fwhm, eta)
    return fwhm, eta


def width_nodes(axis, column, conditions):
    """Choose angles between which widths are interpolated.

    There are up to twelve, so close that neighbouring widths differ by about a fifth.

    Parameters
    ----------
    axis : tensor of shape (n_points,)
        2θ in degrees.
    column : dict of str to tensor of shape (n,)
        Values of the conditions of each pattern.
    conditions : PowderConditions
        For the wavelength.

    Returns
    -------
    tensor of shape (k,)
        2θ in degrees, ascending, from the first to the last of the axis; one angle if all widths are equal.
    """
    width = column["w"]
    angles = torch.linspace(
        float(axis[0]), float(axis[-1]), N_WIDTH_SAMPLES, device=width.device, dtype=width.dtype
    )
    if is_plain(width):
        values = {name: column[name].numpy() for name in WIDTH_COLUMNS}
        fwhm, _ = compiled_widths(angles.clamp(*WIDTH_ANGLES).numpy(), values, conditions.wavelength)
        steps = torch.from_numpy(np.abs(np.diff(np.log(fwhm), axis=1)).max(0)).to(width)
    else:
        fwhm, _ = line_widths(angles.clamp(*WIDTH_ANGLES), column, conditions.wavelength)
        steps = torch.diff(torch.log(fwhm), dim=1).abs().amax(0)
    if column["asymmetry"].any():
        steps = steps + torch.diff(torch.log(torch.tan(torch.deg2rad(angles.clamp(*TAIL_ANGLES))))) / 3
    length = torch.cat([torch.zeros_like(steps[:1]), torch.cumsum(steps, 0)])
    if length[-1] < EQUAL_WIDTHS:
        return angles[:1]
    n_nodes = int(np.clip(np.ceil(float(length[-1]) / np.log(WIDTH_RATIO)) + 1, 2, MOST_WIDTHS))
    targets = torch.linspace(0, float(length[-1]), n_nodes, device=angles.device, dtype=angles.dtype)
    right = torch.searchsorted(length, targets).clamp(1, len(length) - 1)
    share = (targets - length[right - 1]) / (length[right] - length[right - 1]).clamp_min(1e-12)
    return torch.lerp(angles[right - 1], angles[right], share.clamp(0, 1))


def tail_lengths(two_theta, column):
    """Mean length in degrees of the tail of asymmetric lines, shape (n, k)."""
    angle = torch.deg2rad(two_theta.clamp(*COTANGENT_ANGLES))
    return column["asymmetry"][:, None] * (torch.cos(angle) / torch.sin(angle)).clamp_min(0)

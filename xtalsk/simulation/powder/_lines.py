"""Where the lines of a powder pattern stand, and how strong and wide they are."""

import numpy as np
import torch

from xtalsk.simulation._chunks import stacked
from xtalsk.simulation._profiles import gather_lines
from xtalsk.simulation.reflections._strain import STRAIN_COLUMNS, ZONE_COLUMNS, strained_q
from xtalsk.simulation.reflections._texture import PLANE_COLUMNS, march_factors

_MOST_WIDTHS = 12
_WIDTH_RATIO = 1.2


def lorentz_polarisation(theta, monochromator):
    r"""Lorentz and polarisation factors of a flat plate.

    :math:`(1 + \cos^2 2θ_m \cos^2 2θ) / ((1 + \cos^2 2θ_m) \sin^2 θ \cos θ)`, with θ_m = 0 without a
    monochromator (International Tables C, 6.2.5 and 6.2.6).

    Parameters
    ----------
    theta : tensor
        In radians.
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


def powder_lines(reflections, rows, drawn, column, conditions, generator):
    """Lines of one chunk of patterns.

    Parameters
    ----------
    reflections : Reflections
    rows : ndarray of int, shape (n,)
    drawn : dict of str to ndarray of shape (n,)
    column : dict of str to tensor of shape (n,)
        The same on the device.
    conditions : PowderConditions
    generator : torch.Generator

    Returns
    -------
    pattern : int64 tensor of shape (m,)
    two_theta : tensor of shape (m,)
        In degrees, shifts included.
    weight : tensor of shape (m,)
        Integrated intensity, 1 for the strongest line of a phase.
    """
    pattern, lines = gather_lines(reflections, rows)
    q = strained_q(reflections, rows, stacked(drawn, STRAIN_COLUMNS), pattern, lines)
    weight = reflections.intensity[lines] * reflections.multiplicity[lines]
    if (drawn["march_parameter"] != 1).any():
        planes = stacked(drawn, PLANE_COLUMNS)
        weight = weight * march_factors(reflections, rows, planes, column["march_parameter"], pattern, lines)
    if drawn["zoning"].any():
        pattern, q, weight = _zoned(reflections, rows, drawn, column, pattern, lines, q, weight)
    foreign = np.flatnonzero((drawn["impurity"] > 0) & (drawn["impurity_row"] != rows))
    main = torch.ones_like(q)
    if len(foreign):
        guest, guest_lines = gather_lines(reflections, drawn["impurity_row"][foreign].astype(int))
        guest = torch.from_numpy(foreign).to(guest.device)[guest]
        pattern, q = torch.cat([pattern, guest]), torch.cat([q, reflections.q[guest_lines]])
        strength = reflections.intensity[guest_lines] * reflections.multiplicity[guest_lines]
        weight, main = torch.cat([weight, strength]), torch.cat([main, torch.zeros_like(strength)])
    if drawn["b_shift"].any():
        weight = weight * torch.exp(-column["b_shift"][pattern] * q * q / 2)
    if drawn["line_scatter"].any():
        lot = torch.randn(weight.shape, generator=generator, device=weight.device, dtype=weight.dtype)
        weight = weight * torch.exp(column["line_scatter"][pattern] * lot)
    parts = [_at_wavelength(conditions.wavelength, q, weight, pattern, column, conditions)]
    if drawn["ka2"].any():
        parts.append(
            _at_wavelength(
                conditions.ka2_wavelength, q, weight * column["ka2"][pattern], pattern, column, conditions
            )
        )
    pattern, main = torch.cat([pattern] * len(parts)), torch.cat([main] * len(parts))
    two_theta, weight = (torch.cat(values) for values in zip(*parts, strict=True))
    axis = conditions.axis()
    seen = (two_theta > axis[0]) & (two_theta < axis[-1])
    pattern, two_theta, weight, main = (v[seen] for v in (pattern, two_theta, weight, main))
    return pattern, two_theta, _relative(pattern, weight, main, column)


def _zoned(reflections, rows, drawn, column, pattern, lines, q, weight):
    """Share each line between the two parts of zoned crystals, whose lattices differ."""
    strains = stacked(drawn, STRAIN_COLUMNS) + stacked(drawn, ZONE_COLUMNS)
    other = strained_q(reflections, rows, strains, pattern, lines)
    share = column["zone_share"][pattern]
    weight = torch.cat([weight * (1 - share), weight * share])
    return torch.cat([pattern, pattern]), torch.cat([q, other]), weight


def _at_wavelength(wavelength, q, weight, pattern, column, conditions):
    """Angles in degrees and strengths of lines; those beyond 180 degrees are weightless at 180."""
    theta = torch.asin((q * (wavelength / 2)).clamp(max=1))
    weight = weight * lorentz_polarisation(theta, column["monochromator"][pattern])
    shift = column["displacement"][pattern] * torch.cos(theta) * (2 / conditions.radius)
    two_theta = torch.rad2deg(2 * theta - shift) + column["zero_shift"][pattern]
    return two_theta, torch.where(theta < np.pi / 2 - 1e-6, weight, torch.zeros_like(weight))


def _relative(pattern, weight, main, column):
    """Strengths relative to the strongest line of the same phase, those of the second phase as drawn."""
    phase = 2 * pattern + (main == 0)
    strongest = torch.zeros(2 * len(column["impurity"]), dtype=weight.dtype, device=weight.device)
    strongest.scatter_reduce_(0, phase, weight, "amax")
    share = torch.where(main == 1, torch.ones_like(weight), column["impurity"][pattern])
    return weight / strongest[phase].clamp_min(1e-30) * share


def line_widths(two_theta, column, wavelength):
    r"""Widths and shapes of lines.

    The Gaussian width of the instrument (Caglioti) and the Lorentzian ones of size (Scherrer,
    :math:`0.9 λ / L \cosθ`) and microstrain (:math:`4 e \tanθ`) make a pseudo-Voigt function after Thompson,
    Cox and Hastings, J. Appl. Cryst. 20 (1987) 79.

    Parameters
    ----------
    two_theta : tensor of shape (k,)
        In degrees.
    column : dict of str to tensor of shape (n,)
    wavelength : float

    Returns
    -------
    fwhm : tensor of shape (n, k)
        In degrees.
    eta : tensor of shape (n, k)
        Lorentzian share.
    """
    theta = torch.deg2rad(two_theta / 2)
    tangent, cosine = torch.tan(theta), torch.cos(theta)
    drawn = {name: column[name][:, None] for name in ("u", "v", "w", "crystallite_size", "microstrain")}
    gauss = (drawn["u"] * tangent**2 + drawn["v"] * tangent + drawn["w"]).clamp_min(1e-8).sqrt()
    lorentz = torch.rad2deg(
        0.9 * wavelength / drawn["crystallite_size"] / cosine + 4 * drawn["microstrain"] * tangent
    )
    factors = (1, 2.69269, 2.42843, 4.47163, 0.07842, 1)
    fwhm = sum(f * gauss ** (5 - k) * lorentz**k for k, f in enumerate(factors)) ** 0.2
    ratio = lorentz / fwhm
    return fwhm, 1.36603 * ratio - 0.47719 * ratio**2 + 0.11116 * ratio**3


def width_nodes(axis, column, conditions):
    """Angles between which widths are interpolated: twelve, or as many as make neighbours differ by a fifth.

    Returns
    -------
    tensor of shape (k,)
        From the first to the last angle in degrees; one angle if all widths are alike.
    """
    like = column["w"]
    angles = torch.linspace(float(axis[0]), float(axis[-1]), 64, device=like.device, dtype=like.dtype)
    fwhm, _ = line_widths(angles.clamp(0.5, 179), column, conditions.wavelength)
    steps = torch.diff(torch.log(fwhm), dim=1).abs().amax(0)
    if column["asymmetry"].any():
        steps = steps + torch.diff(torch.log(torch.tan(torch.deg2rad(angles.clamp(2, 40))))) / 3
    length = torch.cat([torch.zeros_like(steps[:1]), torch.cumsum(steps, 0)])
    if length[-1] < 0.01:
        return angles[:1]
    n_nodes = int(np.clip(np.ceil(float(length[-1]) / np.log(_WIDTH_RATIO)) + 1, 2, _MOST_WIDTHS))
    place = torch.linspace(0, float(length[-1]), n_nodes, device=angles.device, dtype=angles.dtype)
    right = torch.searchsorted(length, place).clamp(1, len(length) - 1)
    share = (place - length[right - 1]) / (length[right] - length[right - 1]).clamp_min(1e-12)
    return torch.lerp(angles[right - 1], angles[right], share.clamp(0, 1))

"""Compiled twins of `line_yields`, `emitted_depth` and `continuum`: one line or energy after the other.

Those define the physics, with sources.
"""

import numpy as np

from xtalsk.utils._compiled import compiled_any_order as compiled


@compiled
def _stopped_area(beam_energy, edge, exponent, u, stopping, potential):
    """Return the integral of the cross-section over the path, in the units of `emitted_depth`."""
    v = beam_energy / potential
    logarithm, total = np.log(u), 0.0
    for k in range(3):
        if k == 0:
            power, factor = 0.78, 6.6e-6
        elif k == 1:
            power, factor = 0.1, 1.12e-5 * (1.35 - 0.45 * potential**2)
        else:
            power, factor = -(0.5 - 0.25 * potential), 2.2e-6 / potential
        t = 1 + power - exponent
        total += factor * (v / u) ** power * (t * u**t * logarithm - u**t + 1) / t**2
    return total * u / (v * stopping)


@compiled
def depth_distribution(beam_energy, edge, exponent, stopping, potential, z):
    """Return the exponentials whose sum is the depth distribution of one shell in a bulk specimen.

    Energies are in keV. The result is (surface, slope, b, decay, offset) of `xtalsk.physics._depth`.
    """
    u = max(beam_energy / edge, 1.0001)
    logarithm = np.log(u)
    coefficient = 1.75e-3 * z + 0.37 * (1 - np.exp(-0.015 * z**1.3))
    energy = 0.595 + coefficient / 3.7 + coefficient**4.55
    q = (2 * energy - 1) / (1 - energy)
    spread = (u - 1 - (1 - u ** -(1 + q)) / (1 + q)) / ((2 + q) * (1 + u * (logarithm - 1)))
    backscatter = 1 - coefficient * energy * (1 - spread)
    surface = 1 + 3.3 * (1 - u ** -(2 - 2.3 * coefficient)) * coefficient**1.2
    area = _stopped_area(beam_energy, edge, exponent, u, stopping, potential)
    area *= backscatter * edge**2 * u**exponent / logarithm
    x, y = 1 + 1.3 * np.log(z), 0.2 + z / 200
    ratio = 1 + x * np.log(1 + y * (1 - u**-0.42)) / np.log(1 + y)
    mean_depth = min(area / ratio, area / surface)

    b = np.sqrt(2) * (1 + np.sqrt(max(1 - mean_depth * surface / area, 0.0))) / mean_depth
    g = 0.22 * np.log(4 * z) * (1 - 2 * np.exp(-z * (u - 1) / 15))
    h = 1 - 10 * (1 - 1 / (1 + u / 10)) / z**2
    limit = 0.9 * b * mean_depth**2 * (b - 2 * surface / area)
    initial = min(g * h**4, limit) * area / mean_depth**2
    a = (initial + b * (2 * surface - b * area)) / (b * area * (2 - b * mean_depth) - surface)
    decay = (a - b) / b
    if abs(decay) < 1e-6:
        decay = 1e-6
    offset = (b**2 * area * (1 + decay) - initial - surface * b * (2 + decay)) / decay
    slope = (offset / b + surface - b * area) * (1 + decay) / decay
    return surface, slope, b, decay, offset


@compiled
def _attenuation(table, row, mass):
    """Return the mass attenuation coefficient of the specimen; ``mass`` (98,) holds mass fractions."""
    total = 0.0
    for z in range(len(mass)):
        total += table[row, z] * mass[z]
    return total


@compiled
def emitted_counts(lines, elements, mass, beam_energy, sine, thickness, matrix, out):
    """Write the detected photons of lines of some elements per electron and mass fraction of the element.

    Parameters
    ----------
    lines : namedtuple of ndarray
        Lines of atomic number z are numbers ``starts[z]`` to ``starts[z + 1]``. Each has the ``edge`` (keV)
        and the ``exponent`` of `emitted_depth`, its ``attenuation`` (n_lines, 98) in cm²/g, and
        ``counts_per_depth``: detected photons per electron, mass fraction, and emitted depth in g/cm².
    elements : ndarray of int
        Atomic numbers.
    mass : ndarray of shape (98,)
        Mass fractions of the specimen.
    beam_energy, sine, thickness : float
        Beam energy in eV, sine of the take-off angle, and mass thickness in g/cm².
    matrix : tuple of float
        See `xtalsk.physics._depth.matrix_terms`.
    out : ndarray of shape (n_lines,)
        Values of lines of other elements stay.
    """
    is_film = np.isfinite(thickness)
    beam = beam_energy / 1e3
    shell = (0.0, 0.0, 0.0, 0.0, 0.0)
    for z in elements:
        last_edge = -1.0
        for k in range(lines.starts[z], lines.starts[z + 1]):
            chi = _attenuation(lines.attenuation, k, mass) / sine
            if is_film:
                out[k] = lines.counts_per_depth[k] * -np.expm1(-chi * thickness) / chi
                continue
            edge = lines.edge[k]
            if beam <= edge:
                out[k] = 0.0
                continue
            if edge != last_edge:
                shell = depth_distribution(beam, edge, lines.exponent[k], matrix[0], matrix[1], matrix[2])
                last_edge = edge
            surface, slope, b, decay, offset = shell
            inner = surface + offset / (b + chi) - slope * b * decay / (b * (1 + decay) + chi)
            out[k] = lines.counts_per_depth[k] * max(inner / (b + chi), 0.0)


@compiled
def continuum(energies, attenuation, mass, beam_energy, sine, thickness, matrix, out):
    """Write the bremsstrahlung per eV and electron at some energies, up to a factor, into ``out``.

    ``energies`` and ``out`` have the shape (n,); ``attenuation`` (n, 98) is that of the elements. The other
    arguments are those of `emitted_counts`.
    """
    is_film = np.isfinite(thickness)
    fastest = (beam_energy / 1e3) ** 1.65
    for k in range(len(energies)):
        energy = energies[k]
        if energy >= beam_energy:
            out[k] = 0.0
            continue
        chi = _attenuation(attenuation, k, mass) / sine
        if is_film:
            out[k] = -np.expm1(-chi * thickness) / (chi * energy)
        else:
            slowed = fastest - (energy / 1e3) ** 1.65
            out[k] = (beam_energy - energy) / energy / (1 + 1.2e-6 * slowed * chi) ** 2

"""Compiled lines of powder patterns.

They compute what `_lines.powder_lines` and `_line_profiles.deposit_between` compute with torch.
"""

import math

import numpy as np

from xtalsk.simulation._counting_kernels import key_of, random_bits, standard_normal
from xtalsk.simulation.reflections._fast_kernels import exponential, fast

PURPOSE = 1  # of these random numbers, see `key_of`
_DEGREES = 180 / math.pi


@fast
def write_widths(two_theta, columns, wavelength, fwhm, eta):
    """Write widths in degrees and Lorentzian shares, shape (n, k), see `_lines.line_widths`."""
    u, v, w, size, microstrain = columns
    for k in range(len(two_theta)):
        theta = two_theta[k] / 2 / _DEGREES
        tangent, cosine = math.tan(theta), math.cos(theta)
        for i in range(len(u)):
            g = math.sqrt(max(u[i] * tangent * tangent + v[i] * tangent + w[i], 1e-8))
            l = _DEGREES * (0.9 * wavelength / size[i] / cosine + 4 * microstrain[i] * tangent)  # noqa: E741
            g2, l2 = g * g, l * l
            total = g2 * g2 * (g + 2.69269 * l) + g2 * l2 * (2.42843 * g + 4.47163 * l)
            fwhm[i, k] = (total + l2 * l2 * (0.07842 * g + l)) ** 0.2
            ratio = l / fwhm[i, k]
            eta[i, k] = ratio * (1.36603 - ratio * (0.47719 - 0.11116 * ratio))


@fast
def _texture_axes(value, metric, rotations, axes, share):
    """Write the distinct normals of the texture plane under the rotations, and their shares.

    Returns the number of normals. A normal and its opposite are one.
    """
    n = 0
    plane = np.array([value.texture_h, value.texture_k, value.texture_l])
    images = np.empty((len(rotations), 3))
    for rotation in rotations:
        for k in range(3):
            images[n, k] = plane[0] * rotation[0, k] + plane[1] * rotation[1, k] + plane[2] * rotation[2, k]
        known = -1
        for other in range(n):
            same, opposite = True, True
            for k in range(3):
                same &= images[other, k] == images[n, k]
                opposite &= images[other, k] == -images[n, k]
            if same or opposite:
                known = other
                break
        if known >= 0:
            share[known] += 1 / len(rotations)
        else:
            share[n] = 1 / len(rotations)
            n += 1
    g11, g22, g33, g23, g13, g12 = metric
    for i in range(n):
        h, k, l = images[i]  # noqa: E741
        x, y, z = h * g11 + k * g12 + l * g13, h * g12 + k * g22 + l * g23, h * g13 + k * g23 + l * g33
        length = math.sqrt(h * x + k * y + l * z)
        axes[i, 0], axes[i, 1], axes[i, 2] = x / length, y / length, z / length
    return n


@fast
def _march_factor(h, k, l, q, r, axes, share):  # noqa: E741
    """Return the mean of the March function over the normals."""
    total = 0.0
    for i in range(len(axes)):
        cosine = (axes[i, 0] * h + axes[i, 1] * k + axes[i, 2] * l) / q
        square = min(cosine * cosine, 1.0)
        x = r * r * square + (1 - square) / r
        total += share[i] / (x * math.sqrt(x))
    return total


@fast
def _moved(q, h, k, l, change):  # noqa: E741
    """Return q of hkl after a change of the reciprocal metric tensor."""
    square = (
        q * q
        + h * h * change[0] + k * k * change[1] + l * l * change[2]
        + k * l * change[3] + h * l * change[4] + h * k * change[5]
    )  # fmt: skip
    return math.sqrt(max(square, 0.0))


@fast
def _add_line(q, weight, is_second, key, value, instrument, lines, n):
    """Write 2θ in degrees, weight and phase of a line for each wavelength; return the number of lines.

    Parameters
    ----------
    q : float
        In 1/Å.
    weight : float
    is_second : int
        0 for the main phase and 1 for the second phase.
    key : uint64
        Key of the random numbers.
    value : record
        Values of the conditions of the pattern.
    instrument : tuple
        Both wavelengths in Å, radius in mm, first and last 2θ in degrees, step in degrees.
    lines : ndarray of shape (3, n_most)
    n : int
        Number of lines before.
    """
    if value.b_shift != 0:
        weight *= exponential(max(-value.b_shift * q * q / 2, -700.0))
    if value.line_scatter != 0:
        weight *= math.exp(value.line_scatter * standard_normal(random_bits(key, n)))
    analyser = math.cos(value.monochromator / _DEGREES) ** 2
    for number in range(2 if value.ka2 != 0 else 1):
        sine = min(q * instrument[number] / 2, 1.0)
        theta = math.asin(sine)
        cosine = math.sqrt(1 - sine * sine)
        shift = value.displacement * cosine * (2 / instrument[2])
        two_theta = _DEGREES * (2 * theta - shift) + value.zero_shift
        if theta >= math.pi / 2 - 1e-6 or not instrument[3] < two_theta < instrument[4]:
            continue
        polarisation = (1 + analyser * (1 - 2 * sine * sine) ** 2) / (1 + analyser)
        lines[0, n] = two_theta
        lines[1, n] = weight * polarisation / (sine * sine * cosine) * (value.ka2 if number else 1.0)
        lines[2, n] = is_second
        n += 1
    return n


@fast
def _list_lines(row, value, metrics, crystals, rotations, key, instrument, lines):
    """Write the lines of one pattern; return their number."""
    offsets, q, hkl, multiplicity, intensity = crystals
    n, n_axes = 0, 0
    axes, share = np.empty((len(rotations) + 1, 3)), np.empty(len(rotations) + 1)
    if value.march_parameter != 1:
        n_axes = _texture_axes(value, metrics[0], rotations, axes, share)
    for j in range(offsets[row], offsets[row + 1]):
        h, k, l = float(hkl[j, 0]), float(hkl[j, 1]), float(hkl[j, 2])  # noqa: E741
        weight = float(intensity[j]) * multiplicity[j]
        if n_axes:
            weight *= _march_factor(h, k, l, q[j], value.march_parameter, axes[:n_axes], share[:n_axes])
        main = _moved(q[j], h, k, l, metrics[1])
        if value.zoning == 0:
            n = _add_line(main, weight, 0, key, value, instrument, lines, n)
            continue
        n = _add_line(main, weight * (1 - value.zone_share), 0, key, value, instrument, lines, n)
        zone = _moved(q[j], h, k, l, metrics[2])
        n = _add_line(zone, weight * value.zone_share, 0, key, value, instrument, lines, n)
    second = int(value.impurity_row)
    if value.impurity > 0 and second != row:
        for j in range(offsets[second], offsets[second + 1]):
            weight = float(intensity[j]) * multiplicity[j]
            n = _add_line(float(q[j]), weight, 1, key, value, instrument, lines, n)
    return n


@fast
def _deposit(lines, impurity, nodes, instrument, deposited):
    """Share each line among the two nearest points and the two nearest widths; return the summed weight."""
    strongest = np.full(2, 1e-30)
    n_lines, n_widths = lines.shape[1], len(nodes)
    for i in range(n_lines):
        phase = int(lines[2, i])
        strongest[phase] = max(strongest[phase], lines[1, i])
    scale = 1 / strongest[0], impurity / strongest[1]
    n_points = round((instrument[4] - instrument[3]) / instrument[5]) + 1
    total = 0.0
    for i in range(n_lines):
        two_theta = lines[0, i]
        position = (two_theta - instrument[3]) / instrument[5]
        left = int(position)
        if left >= n_points - 1:
            continue
        weight, share = lines[1, i] * scale[int(lines[2, i])], position - left
        total += weight
        width, width_share = 0, 0.0
        if n_widths > 1:
            while width < n_widths - 2 and nodes[width + 1] < two_theta:
                width += 1
            span = max(nodes[width + 1] - nodes[width], 1e-12)
            width_share = min(max((two_theta - nodes[width]) / span, 0.0), 1.0)
            deposited[width + 1, left] += weight * width_share * (1 - share)
            deposited[width + 1, left + 1] += weight * width_share * share
        deposited[width, left] += weight * (1 - width_share) * (1 - share)
        deposited[width, left + 1] += weight * (1 - width_share) * share
    return total


@fast
def deposit_patterns(
    members, rows, values, seeds, metrics, crystals, groups, instrument, nodes, deposited, total
):
    """Put the lines of patterns on the axis, one axis for each width.

    Parameters
    ----------
    members : ndarray of int, shape (m,)
        Numbers of the patterns.
    rows : ndarray of int, shape (n,)
        The crystal of each pattern.
    values : record ndarray of shape (n,)
        Values of the conditions.
    seeds : ndarray of uint64, shape (n,)
    metrics : ndarray of shape (n, 3, 6)
        Reciprocal metric tensor of the crystal, and its changes by strain, without and with zoning.
    crystals : tuple of ndarray
        offsets, q, hkl, multiplicity and intensity of the reflections.
    groups : tuple of ndarray
        Laue group of each crystal, first rotation of each group, and proper rotations.
    instrument : tuple
        See `_add_line`.
    nodes : ndarray of shape (k,)
        Angles 2θ in degrees at which widths are given.
    deposited : ndarray of float32, shape (m, k, n_padded)
        Zeros, to which the lines are added.
    total : ndarray of shape (m,)
        The summed weight of each pattern is written here.
    """
    offsets = crystals[0]
    group_index, group_starts, rotations = groups
    for m in range(len(members)):
        i = members[m]
        row, value, group = rows[i], values[i], group_index[rows[i]]
        second = int(value.impurity_row)
        n_most = 4 * (offsets[row + 1] - offsets[row]) + 2 * (offsets[second + 1] - offsets[second])
        lines = np.empty((3, n_most + 2))
        own = rotations[group_starts[group] : group_starts[group + 1]]
        key = key_of(seeds[i], PURPOSE)
        n = _list_lines(row, value, metrics[i], crystals, own, key, instrument, lines)
        total[m] = _deposit(lines[:, :n], value.impurity, nodes, instrument, deposited[m])

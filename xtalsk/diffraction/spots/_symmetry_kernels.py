"""Compiled loops of the symmetry, the shells, the profile and the polar image of spots."""

import numpy as np

from xtalsk.utils._compiled import compiled


@compiled
def overlap(q, strength, error, matrix):
    """Compare spots with those turned or mirrored by a matrix.

    Parameters
    ----------
    q : ndarray of shape (n, 2)
        In 1/Å.
    strength : ndarray of shape (n,)
        Roots of the intensities.
    error : ndarray of shape (n,)
        Standard deviation of matching positions in 1/Å.
    matrix : ndarray of shape (2, 2)

    Returns
    -------
    positions, intensities : float
        Share of the spots that meet another one, and the share of their strength that is common.
    """
    met, common, total = 0.0, 0.0, 0.0
    for i in range(len(q)):
        x = matrix[0, 0] * q[i, 0] + matrix[0, 1] * q[i, 1]
        y = matrix[1, 0] * q[i, 0] + matrix[1, 1] * q[i, 1]
        near, both = 0.0, 0.0
        limit = 9 * error[i] * error[i]
        for j in range(len(q)):
            dx, dy = q[j, 0] - x, q[j, 1] - y
            d2 = dx * dx + dy * dy
            if d2 < limit:
                value = np.exp(-0.5 * d2 / (error[i] * error[i]))
                near = max(near, value)
                both = max(both, value * min(strength[i], strength[j]))
        met += near
        common += both
        total += strength[i]
    return met / len(q), common / total


@compiled
def turn_scores(q, strength, error):
    """`overlap` with the spots turned by 180, 120, 90 and 60 degrees, (4, 2)."""
    out, matrix = np.empty((4, 2)), np.empty((2, 2))
    folds = (2, 3, 4, 6)
    for k in range(4):
        angle = 2 * np.pi / folds[k]
        matrix[0, 0] = matrix[1, 1] = np.cos(angle)
        matrix[1, 0] = np.sin(angle)
        matrix[0, 1] = -matrix[1, 0]
        out[k] = overlap(q, strength, error, matrix)
    return out


@compiled
def mirror_scores(q, strength, error, axes):
    """`overlap` with the spots mirrored at axes (n, 2), (n, 2)."""
    out, matrix = np.empty((len(axes), 2)), np.empty((2, 2))
    for k in range(len(axes)):
        x, y = axes[k]
        length = x * x + y * y
        matrix[0, 0], matrix[1, 1] = (x * x - y * y) / length, (y * y - x * x) / length
        matrix[0, 1] = matrix[1, 0] = 2 * x * y / length
        out[k] = overlap(q, strength, error, matrix)
    return out


@compiled
def shells(q, intensity, width, pixel):
    """Join spots of nearly the same q; their mean q and summed intensity, smallest q first."""
    order = np.argsort(q)
    mean, total = np.empty(len(q)), np.empty(len(q))
    n = 0
    for s in order:
        if n and q[s] - mean[n - 1] < max(width * mean[n - 1], pixel):
            share = intensity[s] / (total[n - 1] + intensity[s])
            mean[n - 1] += share * (q[s] - mean[n - 1])
            total[n - 1] += intensity[s]
        else:
            mean[n], total[n] = q[s], intensity[s]
            n += 1
    return mean[:n], total[:n]


@compiled
def spot_profile(q, strength, first, step, width, out):
    """Add a Gaussian of the height ``strength`` at each q to a profile, in place."""
    reach = 4 * width
    for s in range(len(q)):
        low = max(int(np.ceil((q[s] - reach - first) / step)), 0)
        high = min(int((q[s] + reach - first) / step), len(out) - 1)
        for k in range(low, high + 1):
            z = (first + k * step - q[s]) / width
            out[k] += strength[s] * np.exp(-0.5 * z * z)


@compiled
def polar_sums(q, strength, first, step, n_frequencies, n_radii):
    """Magnitudes of the angular Fourier series of spots on rings, (n_radii, n_frequencies)."""
    real, imaginary = np.zeros((n_radii, n_frequencies)), np.zeros((n_radii, n_frequencies))
    for s in range(len(q)):
        radius = np.sqrt(q[s, 0] ** 2 + q[s, 1] ** 2)
        place = (radius - first) / step
        ring = int(np.floor(place))
        part = place - ring
        cosine, sine = q[s, 0] / radius, q[s, 1] / radius
        for side in range(2):
            k = ring + side
            if k < 0 or k >= n_radii:
                continue
            value = strength[s] * (part if side else 1 - part)
            x, y = value, 0.0
            for m in range(n_frequencies):
                real[k, m] += x
                imaginary[k, m] += y
                x, y = x * cosine - y * sine, x * sine + y * cosine
    return np.sqrt(real * real + imaginary * imaginary)

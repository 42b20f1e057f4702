"""Figures of the lattice and the symmetry of one list of spots; none depends on the in-plane rotation."""

from itertools import combinations

import numpy as np

from xtalsk.diffraction.spots._constants import (
    INDEXED_WIDTHS,
    LATTICE_SPOTS,
    MATCH_ERROR,
    N_SHELLS,
    N_STRONG,
    PATTERSON_STEP,
    PATTERSON_STEPS,
    POSITION_ERROR,
    SAME_LATTICE,
    SHELL_WIDTH,
    SYMMETRY_SPOTS,
)

_FOLDS = (2, 3, 4, 6)
_PATTERN = ("n_spots", "effective_spots", "log_mean_q", "log_extent", "one_sided")
_LATTICE = (
    *("log_a", "log_b", "log_diagonal_1", "log_diagonal_2", "angle", "ratio", "log_area"),
    *("rectangular", "rhombic", "square", "hexagonal"),
    *("score", "residual", "indexed_spots", "indexed_intensity", "chance", "shift"),
    *("second_score", "second_indexed", "second_log_area"),
)
_ROWS = ("row_height", "log_row", "row_height_2", "log_row_2")
_PARITY = ("odd_a", "odd_b", "odd_axis_a", "odd_axis_b", "odd_sum", "odd_parity_10", "odd_parity_01")
_SYMMETRY = (
    *(f"turn_{n}" for n in _FOLDS),
    *(f"turn_{n}_intensity" for n in _FOLDS),
    *("mirror", "mirror_intensity", "mirror_2", "mirror_2_intensity"),
    *("friedel_pairs", "friedel_asymmetry"),
)
_SHELLS = (
    "log_q_1",
    *(f"q2_ratio_{i}" for i in range(2, N_SHELLS + 1)),
    *(f"shell_strength_{i}" for i in range(1, N_SHELLS + 1)),
    *(f"log_strong_q_{i}" for i in range(1, N_STRONG + 1)),
)
_ANGLES = ("strong_angle_1", "strong_angle_2", "strong_angle_3")
_ZONE = ("laue_radius", "laue_residual")
NAMES = (*_PATTERN, *_LATTICE, *_ROWS, *_PARITY, *_SYMMETRY, *_SHELLS, *_ANGLES, *_ZONE)
"""Names of the figures in the order of `figures`."""


def figures(spots):
    """Compute the figures of the spots of one image.

    Parameters
    ----------
    spots : Spots

    Returns
    -------
    ndarray of shape (n_figures,)
        NaN where there are too few spots; all NaN without spots.
    """
    values = dict.fromkeys(NAMES, np.nan)
    if len(spots.q):
        values["n_spots"] = len(spots.q)
        strongest = np.argsort(-spots.intensity, kind="stable")
        q, intensity = spots.q[strongest], np.maximum(spots.intensity[strongest], 1e-30)
        intensity = intensity / intensity.sum()
        radius = np.hypot(*q.T)
        values |= _pattern_figures(q, radius, intensity) | _shell_figures(radius, intensity, spots.pixel_size)
        axes = np.empty((0, 2))
        if len(q) >= 3:
            lattice, axes = _lattice_figures(q, radius, intensity, spots.pixel_size)
            values |= lattice
        if len(q) >= 2:
            values |= _angle_figures(q, radius) | _zone_figures(q, radius, intensity)
            values |= _symmetry_figures(q, radius, intensity, axes, spots.pixel_size)
    return np.array([values[name] for name in NAMES])


def _pattern_figures(q, radius, intensity):
    strength = np.sqrt(intensity)
    order = np.argsort(radius)
    inside = np.cumsum(strength[order]) / strength.sum()
    return {
        "effective_spots": strength.sum() ** 2,
        "log_mean_q": np.log((strength * radius).sum() / strength.sum()),
        "log_extent": np.log(radius[order][np.searchsorted(inside, 0.9).clip(max=len(q) - 1)]),
        "one_sided": np.hypot(*(strength @ (q / radius[:, None]))) / strength.sum(),
    }


def _shell_figures(radius, intensity, pixel):
    """Shells of q: squared ratios to the first one, strengths, and the strongest shells."""
    from xtalsk.diffraction.spots import _symmetry_kernels as kernels

    q, total = kernels.shells(radius, intensity, SHELL_WIDTH, pixel)
    values = {"log_q_1": np.log(q[0])}
    for i in range(min(len(q), N_SHELLS)):
        values[f"shell_strength_{i + 1}"] = np.sqrt(total[i])
        if i:
            values[f"q2_ratio_{i + 1}"] = (q[i] / q[0]) ** 2
    for i, shell in enumerate(np.argsort(-total)[:N_STRONG]):
        values[f"log_strong_q_{i + 1}"] = np.log(q[shell])
    return values


def _angle_figures(q, radius):
    """Angles in degrees, at most 90, between the strongest spots that are not on one line."""
    values, directions = {}, []
    for vector in q / radius[:, None]:
        if all(abs(vector @ other) < 0.985 for other in directions):
            directions.append(vector)
        if len(directions) == 3:
            break
    for i, (a, b) in enumerate(combinations(directions, 2)):
        values[f"strong_angle_{i + 1}"] = np.degrees(np.arccos(min(abs(a @ b), 1.0)))
    return values


def _zone_figures(q, radius, intensity):
    """Radius of the Laue circle: strong spots g of the zero layer fulfil g² = 2 g·c for its centre c."""
    weight = np.sqrt(intensity)
    unit = q / radius[:, None]
    matrix = (weight[:, None] * unit).T @ unit
    matrix += 0.02 * np.trace(matrix) * np.eye(2)
    center = np.linalg.solve(matrix, unit.T @ (weight * radius / 2))
    deviation = unit @ center - radius / 2
    residual = np.sqrt((weight * deviation**2).sum() / (weight * radius**2 / 4).sum())
    return {"laue_radius": np.hypot(*center), "laue_residual": residual}


def _patterson(q, weight, unit):
    """Sum of the cosines of 2π q·r over the spots, on a half plane of r."""
    n = PATTERSON_STEPS
    grid = np.arange(-n, n + 1) * (2 * np.pi * PATTERSON_STEP * unit)
    x, y = np.float32(q[:, :1] * grid), np.float32(q[:, 1:] * grid[n:])
    left = np.concatenate([np.cos(y) * weight[:, None], -np.sin(y) * weight[:, None]]).astype(np.float32)
    return left.T @ np.concatenate([np.cos(x), np.sin(x)])


def _lattice_figures(q, radius, intensity, pixel):
    """Figures of the lattice, and possible mirror axes (n, 2)."""
    from xtalsk.diffraction.spots import _lattice_kernels as kernels

    q, radius, intensity = q[:LATTICE_SPOTS], radius[:LATTICE_SPOTS], intensity[:LATTICE_SPOTS]
    weight = np.sqrt(np.sqrt(intensity))
    weight = weight / weight.sum()
    error = np.hypot(POSITION_ERROR[0] * pixel, POSITION_ERROR[1] * radius)
    unit = 1 / radius.max()
    vectors, heights = kernels.highest_vectors(_patterson(q, weight, unit), unit)
    if not len(vectors):
        return {}, np.empty((0, 2))
    values = _row_figures(vectors, heights)
    bases, scores = kernels.rank_lattices(q, weight, error, vectors, SAME_LATTICE)
    if np.isnan(bases[0, 0, 0]):
        return values, np.empty((0, 2))
    basis, shift = kernels.fit_lattice(q, weight, error, bases[0])
    basis = kernels.reduce_basis(basis)
    indices, distance = kernels.index_spots(q - shift, error, basis)
    indexed = distance < INDEXED_WIDTHS * error
    area = abs(np.linalg.det(basis))
    values |= _basis_figures(basis) | {
        "score": scores[0],
        "residual": np.sqrt(np.mean(distance[indexed] ** 2)) if indexed.any() else np.nan,
        "indexed_spots": indexed.mean(),
        "indexed_intensity": intensity[indexed].sum() / intensity.sum(),
        "chance": min(np.pi * INDEXED_WIDTHS**2 * np.mean(error**2) / area, 1.0),
        "shift": np.hypot(*shift),
    }
    if not np.isnan(bases[1, 0, 0]):
        _, distance = kernels.index_spots(q, error, bases[1])
        values |= {
            "second_score": scores[1],
            "second_indexed": (distance < INDEXED_WIDTHS * error).mean(),
            "second_log_area": np.log(abs(np.linalg.det(bases[1])) / area),
        }
    values |= _parity_figures(indices[indexed], intensity[indexed])
    return values, np.stack([basis[0], basis[1], basis[0] + basis[1], basis[0] - basis[1]])


def _row_figures(vectors, heights):
    """Describe the two highest vectors r of the Patterson function: spacings of rows, 1 / r, in 1/Å."""
    length = np.hypot(*vectors.T)
    first = np.argmax(heights)
    values = {"row_height": heights[first], "log_row": -np.log(length[first])}
    cross = abs(vectors[:, 0] * vectors[first, 1] - vectors[:, 1] * vectors[first, 0])
    others = np.flatnonzero(cross > 0.25 * length * length[first])
    if len(others):
        second = others[np.argmax(heights[others])]
        values |= {"row_height_2": heights[second], "log_row_2": -np.log(length[second])}
    return values


def _basis_figures(basis):
    """Lengths, angle and special shapes of the two shortest vectors of the reciprocal lattice."""
    a, b = np.hypot(*basis.T)
    plus, minus = np.hypot(*(basis[0] + basis[1])), np.hypot(*(basis[0] - basis[1]))
    cosine = min(basis[0] @ basis[1] / (a * b), 1.0)
    rectangular, equal = abs(cosine), 1 - a / b
    return {
        "log_a": np.log(a),
        "log_b": np.log(b),
        "log_diagonal_1": np.log(minus),
        "log_diagonal_2": np.log(plus),
        "angle": np.degrees(np.arccos(cosine)),
        "ratio": a / b,
        "log_area": np.log(abs(np.linalg.det(basis))),
        "rectangular": rectangular,
        "rhombic": min(equal, abs(cosine - a / (2 * b))),
        "square": np.hypot(rectangular, equal),
        "hexagonal": np.hypot(abs(cosine - 0.5), equal),
    }


def _parity_figures(indices, intensity):
    """Logarithms of ratios of intensities: nodes with odd indices against those with even ones."""
    odd = indices % 2 == 1
    on_a, on_b = indices[:, 1] == 0, indices[:, 0] == 0

    def ratio(upper, lower):
        both = upper | lower
        if both.sum() < 2:
            return np.nan
        least = intensity[both].min() / 4
        mean = [intensity[part].mean() if part.any() else least for part in (upper, lower)]
        return np.log(mean[0] / mean[1])

    return {
        "odd_a": ratio(odd[:, 0], ~odd[:, 0]),
        "odd_b": ratio(odd[:, 1], ~odd[:, 1]),
        "odd_axis_a": ratio(on_a & odd[:, 0], on_a & ~odd[:, 0]),
        "odd_axis_b": ratio(on_b & odd[:, 1], on_b & ~odd[:, 1]),
        "odd_sum": ratio(odd[:, 0] ^ odd[:, 1], ~(odd[:, 0] ^ odd[:, 1])),
        "odd_parity_10": ratio(odd[:, 0] & ~odd[:, 1], ~odd[:, 0] & ~odd[:, 1]),
        "odd_parity_01": ratio(odd[:, 1] & ~odd[:, 0], ~odd[:, 0] & ~odd[:, 1]),
    }


def _symmetry_figures(q, radius, intensity, axes, pixel):
    """Share of spots and of strength that turns and mirrors of the plane bring to other spots."""
    from xtalsk.diffraction.spots import _symmetry_kernels as kernels

    q, radius = np.ascontiguousarray(q[:SYMMETRY_SPOTS]), radius[:SYMMETRY_SPOTS]
    strength = np.sqrt(intensity[:SYMMETRY_SPOTS])
    error = np.hypot(MATCH_ERROR[0] * pixel, MATCH_ERROR[1] * radius)
    turns = kernels.turn_scores(q, strength, error)
    values = {}
    for fold, (positions, common) in zip(_FOLDS, turns, strict=True):
        values |= {f"turn_{fold}": positions, f"turn_{fold}_intensity": common}
    axes = np.concatenate([axes, axes[:, ::-1] * [1, -1], (q / radius[:, None])[:4]])
    mirrors = kernels.mirror_scores(q, strength, error, axes)
    best = np.argmax(mirrors[:, 1])
    unit = axes / np.hypot(*axes.T)[:, None]
    away = np.flatnonzero(abs(unit @ unit[best]) < 0.97)
    values |= {"mirror": mirrors[best, 0], "mirror_intensity": mirrors[best, 1]}
    if len(away):
        second = away[np.argmax(mirrors[away, 1])]
        values |= {"mirror_2": mirrors[second, 0], "mirror_2_intensity": mirrors[second, 1]}
    pairs, common = turns[0]
    return values | {"friedel_pairs": pairs, "friedel_asymmetry": 1 - min(common / max(pairs, 1e-9), 1.0)}

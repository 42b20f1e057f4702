"""Compiled loops of `PrototypeMatch`: structure factors of groups of sites, comparison, refined cells."""

import numpy as np

from xtalsk.utils._compiled import compiled_any_order as compiled

_FACTOR_STEP = 0.004  # step of q of the tables of factors in 1/Å
_WEAK = 2e-4  # share of the strongest line below which a line is left out


@compiled
def partial_factors(first, last, line_starts, hkl, site_starts, coords, occupancies, groups, out_starts, out):
    """Set the structure factors of the groups of sites of crystals, for f = 1.

    ``out`` (n_values, 2) has for each line of a crystal one complex number for each of its groups.
    """
    for c in range(first, last):
        n_lines = line_starts[c + 1] - line_starts[c]
        if n_lines == 0:
            continue
        n_groups = (out_starts[c + 1] - out_starts[c]) // n_lines
        for i in range(n_lines):
            h, k, l = hkl[line_starts[c] + i]  # noqa: E741
            place = out_starts[c] + i * n_groups
            for s in range(site_starts[c], site_starts[c + 1]):
                phase = h * coords[s, 0] + k * coords[s, 1] + l * coords[s, 2]
                phase = 2 * np.pi * (phase - np.floor(phase))
                out[place + groups[s], 0] += occupancies[s] * np.cos(phase)
                out[place + groups[s], 1] += occupancies[s] * np.sin(phase)


@compiled
def line_intensities(q, multiplicity, parts, species, n_groups, real, imaginary, lorentz, out):
    """Set the intensities ``out`` (n_lines,) of one decorated crystal at ``q`` (n_lines,)."""
    largest = 0.0
    for i in range(len(q)):
        position = q[i] / _FACTOR_STEP
        b = min(int(position), real.shape[1] - 2)
        t = position - b
        a0, a1, b0, b1 = 0.0, 0.0, 0.0, 0.0
        for g in range(n_groups):
            f = real[species[g], b] * (1 - t) + real[species[g], b + 1] * t
            f2 = imaginary[species[g], b] * (1 - t) + imaginary[species[g], b + 1] * t
            x, y = parts[i * n_groups + g, 0], parts[i * n_groups + g, 1]
            a0 += f * x
            a1 += f * y
            b0 += f2 * x
            b1 += f2 * y
        weight = multiplicity[i] * (lorentz[b] * (1 - t) + lorentz[b + 1] * t)
        out[i] = weight * (a0 * a0 + a1 * a1 + b0 * b0 + b1 * b1)
        largest = max(largest, out[i])
    return largest


@compiled
def render(q, intensity, weakest, start, step, sigma, floor, out):
    """Set the profile ``out`` (n_points,) of lines on an axis of ln q, to the power 3/8, largest value 1."""
    out[:] = 0
    n = len(out)
    for i in range(len(q)):
        if intensity[i] <= weakest or q[i] <= 0:
            continue
        place = (np.log(q[i]) - start) / step
        width = sigma / (q[i] * step)
        reach = 3 * width + 1
        lo, hi = max(0, int(np.ceil(place - reach))), min(n - 1, int(np.floor(place + reach)))
        height = intensity[i]
        if lo > hi:
            continue
        # a Gaussian by recurrence
        x = (lo - place) / width
        value = height * np.exp(-0.5 * x * x)
        ratio = np.exp(-(x + 0.5 / width) / width)
        shrink = np.exp(-1 / (width * width))
        for j in range(lo, hi + 1):
            out[j] += value
            value *= ratio
            ratio *= shrink
    largest = 0.0
    for j in range(n):
        largest = max(largest, out[j])
    if largest <= 0:
        return
    low = np.sqrt(np.sqrt(floor)) * np.sqrt(np.sqrt(np.sqrt(floor)))
    for j in range(n):
        root = np.sqrt(np.sqrt(out[j] / largest + floor))
        out[j] = root * np.sqrt(root) - low


@compiled
def correlation(profile, measured, shift, margin):
    """Correlation of a measured profile of mean 0 and length 1 with one that is wider by ``margin``."""
    n = len(measured)
    product, total, square = 0.0, 0.0, 0.0
    first = margin - shift
    for j in range(n):
        value = profile[first + j]
        product += measured[j] * value
        total += value
        square += value * value
    square -= total * total / n
    return product / np.sqrt(square) if square > 1e-12 else 0.0


@compiled
def compare_candidates(
    first, last, measured, start, step, margin, sigma, floor, lines, candidates, tables, cost, out
):
    """Set similarity and best shift in ``out`` (n_candidates, 2), over shifts of up to ``margin`` steps.

    ``lines`` are q, multiplicity and parts of all prototypes and their first places, ``candidates`` the
    prototype, scale, number of groups and species of each candidate.
    """
    q, multiplicity, parts, line_starts, part_starts = lines
    rows, scales, n_groups, species = candidates
    real, imaginary, lorentz = tables
    profile = np.empty(len(measured) + 2 * margin)
    for c in range(first, last):
        k = rows[c]
        own = slice(line_starts[k], line_starts[k + 1])
        scaled = q[own] * scales[c]
        intensity = np.empty(len(scaled))
        largest = line_intensities(
            scaled,
            multiplicity[own],
            parts[part_starts[k] : part_starts[k + 1]],
            species[c],
            n_groups[c],
            real,
            imaginary,
            lorentz,
            intensity,
        )
        render(scaled, intensity, _WEAK * largest, start - margin * step, step, sigma, floor, profile)
        best, best_shift, value = -2.0, 0, 0.0
        for shift in range(-margin, margin + 1):
            value = correlation(profile, measured, shift, margin)
            gain = value - cost * (shift * step) ** 2
            if gain > best:
                best, best_shift = gain, shift
        out[c, 0] = best + cost * (best_shift * step) ** 2
        out[c, 1] = best_shift * step


@compiled
def _overlap(q, intensity, weakest, directions, strains, measured, start, step, sigma, floor, work, profile):
    """Similarity of strained lines."""
    for i in range(len(q)):
        change = 1.0
        for k in range(len(strains)):
            change -= 2 * strains[k] * directions[i, k]
        work[i] = q[i] * np.sqrt(max(change, 0.01))
    render(work, intensity, weakest, start, step, sigma, floor, profile)
    return correlation(profile, measured, 0, 0)


@compiled
def refine_cell(q, intensity, directions, measured, start, step, sigma, floor, costs, steps, strains):
    """Refine ``strains`` (n_strains,) of a crystal by a search along each, and return the similarity.

    ``costs`` (n_strains,) are the costs of the squares of the strains. ``strains`` holds the start.
    """
    weakest = 2 * _WEAK * np.max(intensity)
    work, profile = np.empty(len(q)), np.empty(len(measured))
    own = _overlap(
        q, intensity, weakest, directions, strains, measured, start, step, sigma, floor, work, profile
    )
    best = own
    for size in steps:
        for _ in range(2):
            moved = False
            for k in range(len(strains)):
                for sign in (-1.0, 1.0):
                    while True:
                        strains[k] += sign * size
                        value = _overlap(
                            q,
                            intensity,
                            weakest,
                            directions,
                            strains,
                            measured,
                            start,
                            step,
                            sigma,
                            floor,
                            work,
                            profile,
                        )
                        gain = value
                        for j in range(len(strains)):
                            gain -= costs[j] * strains[j] ** 2
                        if gain > best + 1e-5:
                            best, own, moved = gain, value, True
                        else:
                            strains[k] -= sign * size
                            break
            if not moved:
                break
    return own

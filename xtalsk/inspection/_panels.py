"""Panels of `IdentificationDisplay`."""

import numpy as np
from matplotlib import patheffects
from matplotlib.colors import ListedColormap

from xtalsk.inspection._layout import width_of
from xtalsk.inspection._names import print_candidate, print_label, print_share

# Colours that colour-blind readers can tell apart: three of Okabe and Ito (https://jfly.uni-koeln.de/color),
# and two dark ones for further rows. The rows are numbered as well.
CANDIDATE_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#AA3377", "#8B6508")
_UNUSED = "#56B4E9"
_UNUSED_ALPHA = 0.4
_BARS = "#4d4d4d", "#a6a6a6"  # most probable label, the others

_MAX_ARCS = 8  # rings of the first candidate in the image
_DISTANCE = 0.01  # smallest difference of q in 1/Å between two of these lines or rings
_HALO = 0.2  # q in 1/Å below which bright pixels do not decide the contrast of the image
_WEAKEST_LINE = 3e-3  # relative intensity of the weakest line that is drawn
_WEAKEST_RING = 0.02  # of the weakest line that passes through the profile or is a ring in the image
_MAX_GUIDES = 14  # lines of the first candidate that pass through the profile
_WIDE = 30  # mm from which the title of bars begins where the bars begin
_SMALLEST_SHARE = 0.005  # of the least probable label that is drawn

_AXIS_LABELS = {"sqrt": "√ intensity", "log": "log intensity", "linear": "intensity"}


def draw_image(ax, image, geometry, lines):
    """Draw an image with its centre, unused pixels, and the rings of the best candidate.

    The axes count pixels.
    """
    data = np.asarray(image.data, dtype=float)
    used = ~geometry.mask & np.isfinite(data) & _beyond_halo(image, geometry)
    used = used if used.any() else np.isfinite(data)
    compressed = np.sqrt(np.clip(data - data[used].min(), 0, None))
    low, high = np.percentile(compressed[used], [1, 99.7])
    ax.imshow(compressed, cmap="gray_r", vmin=low, vmax=max(high, low + 1e-9), interpolation="antialiased")
    if geometry.mask.any():
        shade = np.ma.masked_equal(geometry.mask, 0)
        ax.imshow(shade, cmap=ListedColormap([_UNUSED]), alpha=_UNUSED_ALPHA, interpolation="nearest")
    known = next((line for line in lines[:1] if line is not None), None)
    if known is not None:
        _draw_arcs(ax, *known, image, geometry)
    row, column = geometry.center
    ax.plot(column, row, "+", color="black", ms=7, mew=1, path_effects=_outline(1.8))
    ax.set(xlim=(-0.5, data.shape[1] - 0.5), ylim=(data.shape[0] - 0.5, -0.5), xticks=[], yticks=[])
    ax.set_anchor("N")
    _draw_scale_bar(ax, image.pixel_size, data.shape[1])
    ax.set_xlabel(_caption(geometry, known is not None))


def _caption(geometry, has_arcs):
    """Return the lines of text below an image."""
    row, column = geometry.center
    axes_ratio = 2 * np.hypot(*geometry.ellipticity)
    marks = ["right half: rings of 1"] * has_arcs + ["blue: not used"] * bool(geometry.mask.any())
    lines = [f"centre ({row:.1f}, {column:.1f}) px, rings {axes_ratio:.1%} elliptic", "; ".join(marks)]
    return "\n".join(line for line in lines if line)


def _beyond_halo(image, geometry):
    """Return the pixels that decide the contrast: those beyond the halo around the direct beam."""
    rows, columns = np.indices(image.data.shape)
    q = np.hypot(rows - geometry.center[0], columns - geometry.center[1]) * image.pixel_size
    return q > min(_HALO, q.max() / 4)


def _draw_arcs(ax, q, intensity, image, geometry):
    """Draw the right halves of the strongest rings that are within the image."""
    reach = max(np.hypot(y, x) for y, x in _corners(image.data.shape, geometry.center)) * image.pixel_size
    drawn = _strongest(q[q < reach], intensity[q < reach], _MAX_ARCS)
    phi = np.linspace(-np.pi / 2, np.pi / 2, 181)
    a, b = geometry.ellipticity
    shape = 1 + a * np.cos(2 * phi) + b * np.sin(2 * phi)
    row, column = geometry.center
    for radius in drawn / image.pixel_size:
        x, y = column + radius * shape * np.cos(phi), row + radius * shape * np.sin(phi)
        ax.plot(x, y, color=CANDIDATE_COLOURS[0], lw=0.7)


def _strongest(q, intensity, n):
    """Return q of the n strongest lines, without weak ones and those beside a stronger one."""
    order, chosen = np.argsort(-intensity, kind="stable"), []
    for line in q[order[intensity[order] >= _WEAKEST_RING]]:
        if all(abs(line - other) > _DISTANCE for other in chosen):
            chosen.append(line)
    return np.array(chosen[:n])


def _corners(shape, center):
    """Return the corners of an image as (row, column) from the centre."""
    return [(row - center[0], column - center[1]) for row in (0, shape[0]) for column in (0, shape[1])]


def _draw_scale_bar(ax, pixel_size, n_columns):
    """Draw a bar of a round length of 1/Å in the lower left corner."""
    span = n_columns * pixel_size / 4
    power = 10 ** np.floor(np.log10(span))
    length = power * max(step for step in (1, 2, 5) if step * power <= span)
    transform = ax.transAxes
    x = 0.04, 0.04 + length / (n_columns * pixel_size)
    ax.plot(x, [0.05, 0.05], color="black", lw=2, transform=transform, path_effects=_outline(4))
    ax.text(
        np.mean(x),
        0.065,
        f"{length:g} Å$^{{-1}}$",
        transform=transform,
        ha="center",
        va="bottom",
        path_effects=_outline(2),
    )


def _outline(width):
    return [patheffects.withStroke(linewidth=width, foreground="white")]


def draw_profile(ax, q, profile, scale):
    """Draw a profile against q; bins that were not used are shaded."""
    ax.plot(q, profile, color="black", lw=0.8)
    used = np.flatnonzero(np.isfinite(profile))
    step = q[1] - q[0]
    ax.set_xlim(q[0] - step / 2, q[used[-1] if len(used) else -1] + step / 2)
    missing = np.concatenate([[False], ~np.isfinite(profile), [False]]).astype(int)
    starts, ends = (np.flatnonzero(np.diff(missing) == sign) for sign in (1, -1))
    unused = [(q[first] - step / 2, q[last - 1] + step / 2) for first, last in zip(starts, ends, strict=True)]
    _format_profile(ax, _AXIS_LABELS[scale], "q = 1/d (1/Å)", unused)


def draw_scan(ax, scan, used):
    """Draw a powder scan against its own axis; what lies outside the ends ``used`` is shaded."""
    axis = scan.two_theta if scan.q is None else scan.q
    ax.plot(axis, np.sqrt(np.clip(np.asarray(scan.intensity, dtype=float), 0, None)), color="black", lw=0.4)
    ax.set_xlim(axis[0], axis[-1])
    unused = [(axis[0], used[0]), (used[1], axis[-1])]
    _format_profile(ax, "√ intensity", "q = 1/d (1/Å)" if scan.q is not None else "2θ (degrees)", unused)


def _format_profile(ax, intensity, position, unused):
    """Label the axes of a profile, and shade the ranges (low, high) that were not used."""
    start, end = ax.get_xlim()
    shaded = [(low, high) for low, high in unused if low < high and start < high and low < end]
    for low, high in shaded:
        ax.axvspan(low, high, color=_UNUSED, alpha=_UNUSED_ALPHA, lw=0)
    ax.set(yticks=[], ylabel=intensity, xlabel=position + "; blue: not used" * bool(shaded))
    ax.spines[["top", "right"]].set_visible(False)


def draw_lines(axes, candidates, lines, to_axis, is_space_group):
    """Draw the lines of each candidate below the profile, and those of the first one through it."""
    ax, profile = axes["lines"], axes["profile"]
    for place, (_, candidate) in enumerate(candidates.iterrows()):
        colour, floor = CANDIDATE_COLOURS[place], -1.0 - place
        text = print_candidate(candidate, place + 1, is_space_group)
        if lines[place] is None:
            text += " (no crystal, so no lines)"
        else:
            q, intensity = lines[place]
            kept = intensity >= _WEAKEST_LINE
            heights = 0.1 + 0.35 * np.sqrt(intensity[kept])
            ax.vlines(to_axis(q[kept]), floor, floor + heights, color=colour, lw=0.9)
            if place == 0:
                for position in to_axis(_strongest(q, intensity, _MAX_GUIDES)):
                    profile.axvline(position, color=colour, lw=0.5, alpha=0.6, zorder=0)
        ax.text(
            0.008, floor + 0.88, text, transform=ax.get_yaxis_transform(), color=colour, va="top", size=6.5
        )
    ax.set(ylim=(-len(candidates) - 0.08, 0), yticks=[], xlabel=profile.get_xlabel())
    profile.set_xlabel("")
    ax.spines[["top", "right"]].set_visible(False)


def best_labels(probabilities, n_labels):
    """Return the most probable labels of each level, without those that are very improbable."""
    return {
        level: shares[shares >= min(_SMALLEST_SHARE, shares.max())].head(n_labels)
        for level, shares in probabilities.items()
    }


def draw_levels(axes, best_by_level):
    """Draw the labels of `best_labels` as bars."""
    n_rows = max(map(len, best_by_level.values()))
    for level, best in best_by_level.items():
        ax = axes[level]
        places = -np.arange(len(best))
        ax.barh(places, best, height=0.62, color=[_BARS[0], *[_BARS[1]] * (len(best) - 1)][: len(best)])
        for place, share in zip(places, best, strict=True):
            ax.text(share + 0.03, place, print_share(share), va="center", ha="left", size=6.5)
        if not len(best):
            ax.text(0.5, 0.5, "no answer", transform=ax.transAxes, ha="center", va="center")
        ax.set_yticks(places, [print_label(label, level) for label in best.index])
        ax.set(xlim=(0, 1.3), ylim=(0.5 - max(n_rows, 2), 0.5), xticks=[])
        ax.set_title(level.replace("_", " "), loc="left" if width_of(ax) > _WIDE else "right")
        ax.tick_params(length=0)
        ax.spines[["top", "right", "bottom"]].set_visible(False)

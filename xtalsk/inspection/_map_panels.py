"""Panels of `StructureMapDisplay`."""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from xtalsk.inspection._names import print_candidate, print_label, print_share
from xtalsk.inspection._panels import _draw_scale_bar, _outline
from xtalsk.symmetry import LEVELS

# Okabe and Ito (https://jfly.uni-koeln.de/color): colour-blind readers can tell them apart.
LABEL_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
_OTHERS = "#8C6D4F"  # labels beyond these
_NOT_INDEXED, _NOT_MEASURED = "#5f5f5f", "#000000"
_PALEST = 0.3  # share of the colour at the lowest confidence; the rest is white
_LOWEST_CONFIDENCE = 0.3  # confidence, and below, of the palest colour
_HATCH = "////"
_CANDIDATES = 3  # lines of text below an example


def frequent_labels(structure_map, level):
    """Return the labels of indexed positions, most frequent first."""
    labels, _ = structure_map.at_level(level)
    names, counts = np.unique(labels[structure_map.status == 0], return_counts=True)
    return names[np.argsort(-counts, kind="stable")].tolist()


def to_colours(structure_map, level, labels):
    """Return the colours of the positions, and the rows of the legend.

    Parameters
    ----------
    structure_map : StructureMap
    level : str
    labels : list
        Labels with a colour of their own, in the order of the colours.

    Returns
    -------
    colours : ndarray of shape (n_rows, n_columns, 3)
    legend : list of (colour, str)
    """
    of_positions, confidence = structure_map.at_level(level)
    status = structure_map.status
    share = np.clip((np.nan_to_num(confidence) - _LOWEST_CONFIDENCE) / (1 - _LOWEST_CONFIDENCE), 0, 1)
    share = (_PALEST + (1 - _PALEST) * share)[..., None]
    is_ok, known = status == 0, np.zeros(status.shape, dtype=bool)
    rows = []
    for label, colour in zip(labels, LABEL_COLOURS, strict=False):
        rows.append((is_ok & (of_positions == label), colour, _print(label, level)))
        known |= rows[-1][0]
    n_others = len(set(frequent_labels(structure_map, level)) - set(labels))
    rows.append((is_ok & ~known, _OTHERS, f"{n_others} other label{'s' * (n_others > 1)}"))
    rows.append((status == 1, _NOT_INDEXED, "not indexed"))
    rows.append((status > 1, _NOT_MEASURED, "not measured"))
    colours, legend = np.empty((*status.shape, 3)), []
    for mask, colour, name in rows:
        palest = 1 - share[mask] if colour in (*LABEL_COLOURS, _OTHERS) else 0.0
        colours[mask] = (1 - palest) * np.array(to_rgb(colour)) + palest
        if mask.any():
            legend.append((colour, f"{name}  {np.count_nonzero(mask):,}"))
    return colours if colours.ndim == 3 else colours[None], legend


def _print(label, level):
    return print_label(label, level) if level in LEVELS else str(label)


def draw_map(ax, structure_map, colours, examples, is_alone=True):
    """Draw the colours, the positions of two phases, a scale bar and the positions of the examples."""
    rows, columns = colours.shape[:2]
    scale = [axis.scale for axis in structure_map.axes]
    aspect = abs(scale[0] / scale[1]) if len(scale) == 2 else "auto"
    ax.imshow(colours, interpolation="nearest", aspect=aspect)
    mixed = np.atleast_2d(structure_map.is_mixture & (structure_map.status == 0))
    if mixed.any() and min(mixed.shape) > 1:
        ax.contourf(mixed, levels=[0.5, 1.5], hatches=[_HATCH], colors="none")
    for number, example in enumerate(examples):
        row, column = (0, *example["position"])[-2:]
        ax.plot(column, row, "x", color="black", ms=4, mew=1, path_effects=_outline(2))
        ax.annotate(
            str(number + 1),
            (column, row),
            (3, 2),
            textcoords="offset points",
            path_effects=_outline(2),
        )
    ax.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5), xticks=[], yticks=[])
    ax.set_anchor("NW")
    if structure_map.axes[-1].units:
        _draw_scale(ax, structure_map.axes[-1], columns)
    elif is_alone:
        ax.set_xlabel(f"{' × '.join(map(str, structure_map.shape))} positions")


def _draw_scale(ax, axis, n_columns):
    """Draw a bar of a round length in the units of an axis."""
    span = n_columns * abs(axis.scale) / 4
    power = 10 ** np.floor(np.log10(span))
    length = power * max(step for step in (1, 2, 5) if step * power <= span)
    width = length / (n_columns * abs(axis.scale))
    ax.plot(
        (0.03, 0.03 + width), (0.05, 0.05), color="black", lw=2, transform=ax.transAxes,
        path_effects=_outline(4),
    )  # fmt: skip
    ax.text(
        0.03 + width / 2, 0.075, f"{length:g} {axis.units}", transform=ax.transAxes, ha="center", va="bottom",
        path_effects=_outline(2),
    )  # fmt: skip


def draw_legend(ax, structure_map, legend):
    """Draw the rows of the legend, from the top, and how lightness shows the confidence."""
    ax.set_axis_off()
    ax.set(xlim=(0, 1), ylim=(0, 1))
    mixed = np.count_nonzero(structure_map.is_mixture & (structure_map.status == 0))
    rows = [*legend, *([("none", f"two phases  {mixed:,}")] if mixed else [])]
    height = min(0.085, 0.72 / max(len(rows), 1))
    for number, (colour, text) in enumerate(rows):
        top = 1 - number * height
        hatch = {"hatch": _HATCH, "edgecolor": "black", "lw": 0.4} if colour == "none" else {"lw": 0}
        ax.add_patch(Rectangle((0, top - 0.75 * height), 0.09, 0.65 * height, facecolor=colour, **hatch))
        ax.text(0.13, top - 0.42 * height, text, va="center")
    if legend and legend[0][0] in LABEL_COLOURS:
        _draw_confidence(ax, 1 - len(rows) * height - 0.1, to_rgb(legend[0][0]))


def _draw_confidence(ax, top, colour):
    """Draw a bar of one colour from the lowest to the highest confidence."""
    share = np.linspace(_PALEST, 1, 64)[:, None]
    bar = (share * colour + 1 - share)[None]
    ax.imshow(bar, extent=(0, 0.6, top - 0.05, top), aspect="auto")
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.text(0, top + 0.015, "confidence", va="bottom")
    ax.text(0, top - 0.065, f"≤ {print_share(_LOWEST_CONFIDENCE)}", va="top", size=6)
    ax.text(0.6, top - 0.065, "100%", va="top", ha="right", size=6)


def draw_example(ax, structure_map, example, number):
    """Draw one pattern with its label and the best entries of the library."""
    image = np.asarray(example["image"], dtype=float)
    values = np.sqrt(np.clip(image - np.nanmin(image), 0, None))
    center = example["center"] or [(n - 1) / 2 for n in image.shape]
    rows, columns = np.indices(image.shape)
    beyond = np.hypot(rows - center[0], columns - center[1]) > min(image.shape) / 12
    used = values[beyond & np.isfinite(values)]
    high = np.percentile(used, 99.5) if used.size else 1.0
    ax.imshow(values, cmap="gray_r", vmin=0, vmax=max(high, 1e-9), interpolation="antialiased")
    ax.set(xticks=[], yticks=[])
    ax.set_anchor("N")
    _draw_scale_bar(ax, example["pixel_size"], image.shape[1])
    level = structure_map.level
    label = structure_map.labels[level][example["code"]]
    confidence = structure_map.confidence[tuple(example["position"])]
    ax.set_title(f"{number}  {_print(label, level)}, {print_share(confidence)}")
    lines = []
    if structure_map.arrays["candidates"].shape[-1]:
        table = structure_map.candidates_at(example["position"])
        lines = [
            print_candidate(candidate, rank + 1, level == "space_group")
            for rank, (_, candidate) in enumerate(table.head(_CANDIDATES).iterrows())
        ]
    ax.set_xlabel("\n".join(lines), loc="left", size=6)

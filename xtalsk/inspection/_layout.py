"""Places of the panels of `IdentificationDisplay`, at the width of a column and of a page."""

import matplotlib.pyplot as plt

MAX_CANDIDATES = 5
_MM = 1 / 25.4
_WIDTHS = {"page": 180, "column": 85}  # mm, those of two and one columns of most journals
_WIDE = 130  # mm from which the image stands beside the profile

FONT = {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "mathtext.fontset": "dejavusans",
}
"""Settings of matplotlib during the drawing: letters of 2.3 mm and more, thin frames."""

# Heights of the panels in mm.
_IMAGE = {"page": 66, "column": 60}
_PROFILE = 42
_CANDIDATE = 7.5
_BAR = 4.5
_TITLE = 5.5
_AXIS = 10  # labels below a panel
_GAP = 16  # between rows of panels in a figure without a layout engine
_LABELS = 17  # width of the labels beside the bars, and of the space between image and profile


def make_axes(ax, width, has_image, n_candidates, levels, n_labels):
    """Make the axes of the panels in a new figure, or in the place of ``ax``.

    Parameters
    ----------
    ax : Axes or None
    width : {"page", "column"}
        Width of a new figure.
    has_image : bool
    n_candidates : int
        Rows of lines.
    levels : list of str
    n_labels : int
        Bars of each level.

    Returns
    -------
    dict of {str: Axes}
        ``"image"``, ``"profile"``, ``"lines"`` and the levels.
    """
    if ax is not None:
        width = "page" if width_of(ax) >= _WIDE else "column"
    below, bars = _CANDIDATE * n_candidates, _BAR * max(n_labels, 2) + _TITLE
    image = (_IMAGE[width] + _AXIS) * has_image
    beside = has_image and width == "page"
    pattern = max(image, _PROFILE + below + _AXIS) if beside else _PROFILE + below + _AXIS
    heights = [pattern] if beside or not has_image else [image, pattern]
    heights.append(bars)
    figure, place = _place(ax, width, sum(heights))
    is_fixed = figure.get_layout_engine() is None  # then nothing else keeps labels apart
    gap = {"hspace": _GAP * len(heights) / sum(heights)} if is_fixed else {}
    *places, lower = place.subgridspec(len(heights), 1, height_ratios=heights, **gap)
    gap = {"wspace": _LABELS * 3 / (_WIDTHS[width] - 2 * _LABELS)} if is_fixed else {}
    if beside:
        places = places[0].subgridspec(1, 2, width_ratios=[1, 1.55], **gap)
    axes = {"image": figure.add_subplot(places[0])} if has_image else {}
    rows = [pattern - below - _AXIS, below][: 2 if below else 1]
    upper = places[-1].subgridspec(len(rows), 1, height_ratios=rows, hspace=0.02)
    axes["profile"] = figure.add_subplot(upper[0])
    if below:
        axes["lines"] = figure.add_subplot(upper[1], sharex=axes["profile"])
        axes["profile"].tick_params(labelbottom=False)
    for level, column in zip(levels, lower.subgridspec(1, len(levels), **gap), strict=True):
        axes[level] = figure.add_subplot(column)
    return axes


def _place(ax, width, height):
    """Return the figure, and the place in its grid: all of a new figure, or that of ``ax``."""
    if ax is None:
        figure = plt.figure(figsize=(_WIDTHS[width] * _MM, height * _MM), layout="constrained")
        return figure, figure.add_gridspec(1, 1)[0]
    ax.set_axis_off()
    return ax.figure, ax.get_subplotspec()


def width_of(ax):
    """Return the width of axes in mm."""
    return ax.get_window_extent().width / ax.figure.dpi / _MM

"""Figure of a map of structures."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from sklearn.utils import check_scalar

from xtalsk.inspection._layout import _MM, _WIDTHS, FONT
from xtalsk.inspection._map_panels import (
    LABEL_COLOURS,
    draw_example,
    draw_legend,
    draw_map,
    frequent_labels,
    to_colours,
)
from xtalsk.utils import check_option

_MAX_EXAMPLES = 6
_MAP = {"page": 78, "column": 70}  # largest height of the map in mm
_EXAMPLE = 50  # height of an example with its text in mm
_LEGEND = {"page": 46, "column": 26}  # width of the legend in mm


class StructureMapDisplay:
    """Figure of a map of structures.

    - The map: one colour for each label, which colour-blind readers can tell apart. The lighter a colour,
      the lower the confidence. Positions without a label are dark grey (not indexed) or black (not measured
      or broken). Positions of two phases are hatched.
    - The legend, with the number of positions of each label, and a scale bar.
    - For the most frequent labels, the surest pattern with the best entries of the library. A cross in the
      map, in the same order, is its position.

    Use `from_map` or `StructureMap.plot` to make it.

    Parameters
    ----------
    structure_map : StructureMap
        Of a scan of one or two axes.
    level : str
        Level of the labels that are drawn.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure of the drawing.
    axes_ : dict of {str: matplotlib Axes}
        ``"map"``, ``"legend"``, and ``"example_0"`` and so on.

    See Also
    --------
    xtalsk.mapping.map_structures : Makes the map.

    Examples
    --------
    >>> import numpy as np
    >>> from xtalsk.inspection import StructureMapDisplay
    >>> from xtalsk.mapping import StructureMap
    >>> from xtalsk.io import ScanAxis
    >>> code = np.repeat([[0, 1]], 4, axis=0).repeat(3, axis=1)
    >>> confidence = np.linspace(0.5, 1, 24).reshape(4, 6)
    >>> found = StructureMap.from_codes(
    ...     code, confidence, labels=["austenite", "ferrite"],
    ...     axes=[ScanAxis("y", 4, 2.0, units="nm"), ScanAxis("x", 6, 2.0, units="nm")])
    >>> display = StructureMapDisplay.from_map(found)
    >>> [text.get_text() for text in display.axes_["legend"].texts][:2]
    ['austenite  12', 'ferrite  12']
    """

    def __init__(self, structure_map, *, level):
        self.structure_map = structure_map
        self.level = level

    @classmethod
    def from_map(
        cls, structure_map, *, level=None, labels=None, n_labels=7, n_examples=3, width="page", ax=None
    ):
        """Draw a map.

        Parameters
        ----------
        structure_map : StructureMap
            Of a scan of one or two axes.
        level : str or None, default=None
            Level of symmetry, one of ``structure_map.labels``; None takes that of its labels.
        labels : sequence or None, default=None
            Labels that get a colour of their own, in the order of the colours, so that figures of several
            maps have the same colours; at most 7. None takes the most frequent ones.
        n_labels : int, default=7
            Number of labels with a colour of their own, 1 to 7, without ``labels``.
        n_examples : int, default=3
            Number of example patterns, 0 to 6.
        width : {"page", "column"}, default="page"
            Width of a new figure: 180 mm or 85 mm.
        ax : matplotlib Axes or None, default=None
            Where to draw the map alone, without legend and examples. None makes a new figure.

        Returns
        -------
        StructureMapDisplay

        Raises
        ------
        ValueError
            If the map has more than two axes, or if a parameter is out of range.
        """
        level = structure_map.level if level is None else level
        structure_map.at_level(level)  # raises if it is unknown
        return cls(structure_map, level=level).plot(
            labels=labels, n_labels=n_labels, n_examples=n_examples, width=width, ax=ax
        )

    def plot(self, ax=None, *, labels=None, n_labels=7, n_examples=3, width="page"):
        """Draw the figure; parameters as of `from_map`.

        Returns
        -------
        self
        """
        check_scalar(n_labels, "n_labels", int, min_val=1, max_val=len(LABEL_COLOURS))
        check_scalar(n_examples, "n_examples", int, min_val=0, max_val=_MAX_EXAMPLES)
        check_option("width", width, _WIDTHS)
        if ax is not None and not isinstance(ax, Axes):
            raise ValueError(f"ax must be Axes of matplotlib or None, got {type(ax).__name__}")
        if len(self.structure_map.shape) > 2:
            raise ValueError(
                f"a figure needs a scan of one or two axes, got the shape {self.structure_map.shape}"
            )
        examples = [] if ax is not None else self.structure_map.examples[:n_examples]
        labels = (
            frequent_labels(self.structure_map, self.level)[:n_labels] if labels is None else list(labels)
        )
        check_scalar(len(labels), "the number of labels", int, max_val=len(LABEL_COLOURS))
        colours, legend = to_colours(self.structure_map, self.level, labels)
        with mpl.rc_context(FONT):
            axes = {"map": ax} if ax is not None else self._make_axes(len(examples), width)
            draw_map(axes["map"], self.structure_map, colours, examples, is_alone=ax is None)
            if "legend" in axes:
                draw_legend(axes["legend"], self.structure_map, legend)
            for number, example in enumerate(examples):
                draw_example(axes[f"example_{number}"], self.structure_map, example, number + 1)
        self.axes_, self.figure_ = axes, axes["map"].figure
        return self

    def _make_axes(self, n_examples, width):
        """Return the axes of a new figure."""
        shape = self.structure_map.shape
        rows, columns = shape if len(shape) == 2 else (1, shape[0])
        legend, whole = _LEGEND[width], _WIDTHS[width]
        height = np.clip((whole - legend) * rows / columns, 14, _MAP[width])
        map_width = min(height * columns / rows, whole - legend)
        per_row = {"page": 3, "column": 2}[width]
        n_rows = -(-n_examples // per_row)
        figure = plt.figure(
            figsize=(whole * _MM, (height + 4 + n_rows * _EXAMPLE) * _MM), layout="constrained"
        )
        grid = figure.add_gridspec(1 + n_rows, 1, height_ratios=[height, *[_EXAMPLE] * n_rows])
        rest = max(whole - legend - map_width, 1e-3)
        upper = grid[0].subgridspec(1, 3, width_ratios=[map_width, legend, rest], wspace=0.02)
        axes = {"map": figure.add_subplot(upper[0]), "legend": figure.add_subplot(upper[1])}
        for row in range(n_rows):
            lower = grid[1 + row].subgridspec(1, per_row)
            for column in range(min(per_row, n_examples - row * per_row)):
                axes[f"example_{row * per_row + column}"] = figure.add_subplot(lower[column])
        return axes

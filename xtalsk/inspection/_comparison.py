"""Figure of a comparison of models."""

import matplotlib.pyplot as plt
import numpy as np

from xtalsk.metrics import SCORED_LEVELS

# Shades of one hue, from light (coarse level) to dark (fine level); their order remains visible in grey.
_COLOURS = dict(zip(SCORED_LEVELS, ("#9ecae1", "#4f9bcb", "#2171b5", "#08306b"), strict=True))
_OTHER_COLOUR = "#2171b5"
_METRIC_LABELS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "calibration_error": "expected calibration error",
}


def _label_of(metric):
    """Return the label of the axis for a metric."""
    if metric.startswith("top") and metric[3:].isdigit():
        return f"top-{metric[3:]} accuracy"
    return _METRIC_LABELS.get(metric, metric.replace("_", " "))


def _levels_in(table, metric):
    """Return the levels of the metric in the table: those of symmetry, coarse to fine, then others."""
    levels = [column.removesuffix(f"_{metric}") for column in table.columns if column.endswith(f"_{metric}")]
    if metric == "accuracy":
        levels = [level for level in levels if not level.endswith("_balanced")]
    of_symmetry = [level for level in SCORED_LEVELS if level in levels]
    return of_symmetry + [level for level in levels if level not in SCORED_LEVELS]


class ComparisonDisplay:
    """Figure of a comparison: one row for each model, one colour for each level of symmetry.

    A small vertical mark is the score of one fold, a dot is the mean of the folds, and a line connects the
    lowest and the highest score. Use `from_table` to draw it.

    Parameters
    ----------
    table : DataFrame
        From `xtalsk.model_selection.compare`.
    metric : str
        Score without its level: ``"accuracy"``, ``"top5"``, ``"balanced_accuracy"`` or
        ``"calibration_error"``.
    levels : list of str
        Levels to draw.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the drawing.
    figure_ : matplotlib Figure
        Figure of these axes.

    See Also
    --------
    xtalsk.model_selection.compare : Makes the table.
    """

    def __init__(self, table, *, metric, levels):
        self.table = table
        self.metric = metric
        self.levels = levels

    @classmethod
    def from_table(cls, table, *, metric="accuracy", levels=None, ax=None):
        """Draw a table of `xtalsk.model_selection.compare`.

        Parameters
        ----------
        table : DataFrame
            From `xtalsk.model_selection.compare`.
        metric : str, default="accuracy"
            Score without its level: ``"accuracy"``, ``"top5"``, ``"balanced_accuracy"`` or
            ``"calibration_error"``.
        levels : list of str or None, default=None
            Levels to draw; None draws all levels of the table.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        ComparisonDisplay

        Raises
        ------
        ValueError
            If the table is empty or does not have the score at these levels.

        Examples
        --------
        >>> import pandas as pd
        >>> from xtalsk.inspection import ComparisonDisplay
        >>> table = pd.DataFrame(
        ...     {"model": ["fusion", "fusion", "prior", "prior"], "fold": [0, 1, 0, 1],
        ...      "crystal_system_accuracy": [0.7, 0.72, 0.31, 0.3],
        ...      "space_group_accuracy": [0.45, 0.48, 0.05, 0.05]})
        >>> display = ComparisonDisplay.from_table(table)
        >>> [label.get_text() for label in display.ax_.get_yticklabels()]
        ['prior', 'fusion']
        """
        available = _levels_in(table, metric)
        unknown = [level for level in levels or () if level not in available]
        if not available or unknown or not len(table):
            raise ValueError(
                f"expected a table of compare with {metric!r} of {unknown or 'at least one level'}, "
                f"got {len(table)} rows with columns {list(table.columns)}"
            )
        return cls(table, metric=metric, levels=list(levels or available)).plot(ax=ax)

    def plot(self, ax=None):
        """Draw the figure. The model with the best score at the finest level is at the top.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        self
        """
        columns = [f"{level}_{self.metric}" for level in self.levels]
        best_last = self.metric != "calibration_error"
        means = self.table.groupby("model")[columns].mean()
        means = means.sort_values(columns[-1], ascending=best_last, kind="stable")
        if ax is None:
            _, ax = plt.subplots(figsize=(7.5, 1.1 + 0.5 * len(means)), layout="constrained")
        offsets = np.linspace(0.24, -0.24, len(columns)) if len(columns) > 1 else [0]
        for level, offset in zip(self.levels, offsets, strict=True):
            self._draw_level(ax, level, means[f"{level}_{self.metric}"], offset)
        self._format_axes(ax, list(means.index))
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _draw_level(self, ax, level, means, offset):
        """Draw folds and means of one level in all rows, at an offset from the centre of the row."""
        colour = _COLOURS.get(level, _OTHER_COLOUR)
        heights = np.arange(len(means)) + offset
        for height, model in zip(heights, means.index, strict=True):
            folds = self.table.loc[self.table["model"] == model, means.name]
            ax.plot([folds.min(), folds.max()], [height, height], "-", color=colour, lw=1)
            ax.plot(folds, np.full(len(folds), height), "|", color=colour, ms=6, mew=1)
        label = level.replace("_", " ")
        ax.plot(means, heights, "o", color=colour, ms=6.5, mec="white", mew=0.6, label=label, zorder=3)

    def _format_axes(self, ax, models):
        """Set the limits, labels, grid and legend of the axes."""
        n_folds = self.table["fold"].nunique()
        ax.set_yticks(range(len(models)), models)
        ax.set_ylim(-0.6, len(models) - 0.4)
        ax.set_xlim(left=0)
        if self.metric != "calibration_error":
            ax.set_xlim(0, 1)
        ax.set_xlabel(f"{_label_of(self.metric)} ({n_folds} folds and their mean)")
        ax.hlines(np.arange(1, len(models)) - 0.5, *ax.get_xlim(), color="0.85", lw=0.8)
        ax.grid(axis="x", color="0.93", lw=0.8)
        ax.set_axisbelow(True)
        ax.tick_params(length=0)
        ax.spines[["top", "right", "left"]].set_visible(False)
        if len(self.levels) > 1:
            ax.legend(
                loc="lower right",
                bbox_to_anchor=(1.03, 1),
                ncols=len(self.levels),
                frameon=False,
                handletextpad=0.1,
                columnspacing=1.0,
            )

"""Drawings of results."""

import matplotlib.pyplot as plt
import numpy as np

from xtalsk.metrics import SCORED_LEVELS

__all__ = ["ComparisonDisplay"]

# Dark to light along one hue, so that the order of the levels is seen and survives grey printing.
_COLOURS = dict(zip(SCORED_LEVELS, ("#9ecae1", "#4f9bcb", "#2171b5", "#08306b"), strict=True))
_OTHER_COLOUR = "#2171b5"
_METRIC_LABELS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "calibration_error": "expected calibration error",
}


def _label_of(metric):
    if metric.startswith("top") and metric[3:].isdigit():
        return f"top-{metric[3:]} accuracy"
    return _METRIC_LABELS.get(metric, metric.replace("_", " "))


def _levels_in(table, metric):
    """Levels of symmetry, coarse to fine, then others, for which the table has the metric."""
    ends = [column.removesuffix(f"_{metric}") for column in table.columns if column.endswith(f"_{metric}")]
    if metric == "accuracy":
        ends = [level for level in ends if not level.endswith("_balanced")]
    return [level for level in SCORED_LEVELS if level in ends] + [e for e in ends if e not in SCORED_LEVELS]


class ComparisonDisplay:
    """One row for each model of a comparison, one colour for each level of symmetry.

    Strokes are the folds, dots their means, and lines reach from the worst fold to the best. Make it with
    `from_table`.

    Parameters
    ----------
    table : DataFrame
        From `xtalsk.model_selection.compare`.
    metric : str
        The score to draw, without its level: ``"accuracy"``, ``"top5"``, ``"balanced_accuracy"`` or
        ``"calibration_error"``.
    levels : list of str
        Levels to draw.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

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
        """Draw the table of a comparison.

        Parameters
        ----------
        table : DataFrame
            From `xtalsk.model_selection.compare`.
        metric : str, default="accuracy"
            The score to draw, without its level: ``"accuracy"``, ``"top5"``, ``"balanced_accuracy"`` or
            ``"calibration_error"``.
        levels : list of str or None, default=None
            Levels to draw; None draws all that the table has.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        ComparisonDisplay

        Raises
        ------
        ValueError
            If the table is empty or has no such score.

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
        known = _levels_in(table, metric)
        unknown = [level for level in levels or () if level not in known]
        if not known or unknown or not len(table):
            raise ValueError(
                f"expected a table of compare with {metric!r} of {unknown or 'at least one level'}, "
                f"got {len(table)} rows with columns {list(table.columns)}"
            )
        return cls(table, metric=metric, levels=list(levels or known)).plot(ax=ax)

    def plot(self, ax=None):
        """Draw, with the model that is best at the finest level at the top.

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
        lanes = np.linspace(0.24, -0.24, len(columns)) if len(columns) > 1 else [0]
        for level, column, lane in zip(self.levels, columns, lanes, strict=True):
            colour = _COLOURS.get(level, _OTHER_COLOUR)
            rows = np.arange(len(means)) + lane
            for row, model in zip(rows, means.index, strict=True):
                folds = self.table.loc[self.table["model"] == model, column]
                ax.plot([folds.min(), folds.max()], [row, row], "-", color=colour, lw=1)
                ax.plot(folds, np.full(len(folds), row), "|", color=colour, ms=6, mew=1)
            label = level.replace("_", " ")
            ax.plot(
                means[column], rows, "o", color=colour, ms=6.5, mec="white", mew=0.6, label=label, zorder=3
            )
        self._finish(ax, list(means.index))
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _finish(self, ax, models):
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

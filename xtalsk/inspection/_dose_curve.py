"""Figure of the accuracy against dose or sampling."""

import re
from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from xtalsk.inspection._comparison import _label_of
from xtalsk.inspection._layout import FONT
from xtalsk.model_selection import acquisition_curve, dose_curve
from xtalsk.model_selection._dose_curve import varied_column

# Okabe and Ito's colours: distinct for colour-blind readers, and of different lightness in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vP*"
_PRIOR_COLOUR = "0.55"
_COLUMN = 3.4  # inches, the width of a column of most journals
_X_LABELS = {
    "electrons": "electrons in a pattern",
    "counts": "counts in a spectrum",
    "pixels": "fraction of the pixels recorded",
    "positions": "fraction of the positions recorded",
    "step": "step of the scan (° 2θ)",
    "two_theta_max": "end of the scan (° 2θ)",
}
_WIDEST_OF_TWO = 26  # letters of a name, for two columns of the legend
_LARGEST_DENOMINATOR = 128
_LOGARITHMIC = ("electrons", "counts", "pixels", "positions", "step")


class DoseCurveDisplay:
    """Figure of a curve: one line for each model, with the spread of the folds.

    A band is the mean of the folds plus and minus its standard error. The dashed line is the prior. Use
    `from_results` or `from_estimator` to draw it.

    Parameters
    ----------
    table : DataFrame
        From `xtalsk.model_selection.dose_curve` or `acquisition_curve`.
    metric : str
        A score of the table.
    x : str
        Column of the levels.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the drawing.
    figure_ : matplotlib Figure
        Figure of these axes.
    lines_ : dict of {str: Line2D}
        Line of each model.

    See Also
    --------
    xtalsk.model_selection.dose_curve : Makes the table.
    """

    def __init__(self, table, *, metric, x):
        self.table = table
        self.metric = metric
        self.x = x

    @classmethod
    def from_results(cls, table, *, metric="space_group_accuracy", x=None, models=None, ax=None):
        """Draw a table of `dose_curve` or `acquisition_curve`.

        Parameters
        ----------
        table : DataFrame
        metric : str, default="space_group_accuracy"
            A score of the table, such as ``"crystal_system_accuracy"`` or ``"space_group_top5"``.
        x : str or None, default=None
            Column on the horizontal axis; None takes the one that varies. If another column of the levels
            varies too, each of its values gets a line.
        models : list of str or None, default=None
            Models to draw, in this order; None draws all.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure, as wide as a column (3.4 in).

        Returns
        -------
        DoseCurveDisplay

        Raises
        ------
        ValueError
            If the table lacks the metric, the column or a model, or too many columns vary.

        Examples
        --------
        >>> import pandas as pd
        >>> from xtalsk.inspection import DoseCurveDisplay
        >>> table = pd.DataFrame(
        ...     {"model": ["fusion"] * 4 + ["prior"] * 4, "electrons": [1e2, 1e2, 1e4, 1e4] * 2,
        ...      "fold": [0, 1] * 4, "space_group_accuracy": [0.3, 0.4, 0.7, 0.8] + [0.1] * 4})
        >>> display = DoseCurveDisplay.from_results(table)
        >>> display.ax_.get_xlabel()
        'electrons in a pattern'
        """
        missing = [c for c in ("model", "fold", metric, *([x] if x else [])) if c not in table]
        if missing or not len(table):
            raise ValueError(
                f"expected a table of dose_curve or acquisition_curve, but it has {len(table)} rows and no "
                f"{missing or 'scores'}"
            )
        unknown = [name for name in models or () if name not in set(table["model"])]
        if unknown:
            raise ValueError(f"the table has no model {unknown[0]!r}, only {list(table['model'].unique())}")
        if models is not None:
            table = table[table["model"].isin(models)]
            table = table.sort_values("model", key=lambda names: names.map(models.index), kind="stable")
        return cls(table, metric=metric, x=x or varied_column(table)).plot(ax=ax)

    @classmethod
    def from_estimator(cls, estimators, crystals, *, metric="space_group_accuracy", ax=None, **options):
        """Score models with `dose_curve` or `acquisition_curve`, and draw the result.

        Parameters
        ----------
        estimators, crystals, **options
            Of `acquisition_curve` if one of its quantities (``pixels``, ``positions``, ``step``,
            ``two_theta_max``) is given, else of `dose_curve`.
        metric : str, default="space_group_accuracy"
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        DoseCurveDisplay
        """
        thins = {"pixels", "positions", "step", "two_theta_max"} & set(options)
        table = (acquisition_curve if thins else dose_curve)(estimators, crystals, **options)
        return cls.from_results(table, metric=metric, ax=ax)

    def plot(self, ax=None):
        """Draw the figure.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        self
        """
        with plt.rc_context(FONT):
            if ax is None:
                _, ax = plt.subplots(figsize=(_COLUMN, 2.6), layout="constrained")
            self.lines_ = {}
            for name, rows in self._series():
                self._draw_line(ax, name, rows)
            self._format(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _series(self):
        """Yield the name and the rows of each line; the prior is the last, and only one."""
        columns = list(self.table.columns)
        levels = columns[columns.index("model") + 1 : columns.index("fold")]
        others = [c for c in levels if c != self.x and len(self.table[c].unique()) > 1]
        if len(others) > 1:
            raise ValueError(f"besides {self.x!r} only one column may vary, but {others} do; choose rows")
        models = [name for name in self.table["model"].unique() if name != "prior"]
        for model in models:
            rows = self.table[self.table["model"] == model]
            folds = rows.groupby([self.x, "fold"])[self.metric]
            if not others or (folds.max() - folds.min()).max() < 1e-12:
                yield model, rows
                continue
            for value, part in rows.groupby(others[0], sort=False):
                text = f"{value:g}" if isinstance(value, float) else str(value)
                prefix = f"{model}, " if len(models) > 1 else ""
                yield f"{prefix}{text} {others[0] if isinstance(value, float) else ''}".rstrip(), part
        if (self.table["model"] == "prior").any():
            yield "prior", self.table[self.table["model"] == "prior"]

    def _draw_line(self, ax, name, rows):
        """Draw the mean of the folds, with its standard error, against the levels."""
        folds = rows.pivot_table(self.metric, self.x, "fold")
        mean, n_folds = folds.mean(axis=1), folds.shape[1]
        if name == "prior":
            (line,) = ax.plot(mean.index, mean, "--", color=_PRIOR_COLOUR, lw=1, label=name)
        else:
            place = len(self.lines_)
            colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
            (line,) = ax.plot(mean.index, mean, color=colour, marker=marker, ms=3.5, lw=1.2, label=name)
            if n_folds > 1:
                error = folds.std(axis=1, ddof=1) / np.sqrt(n_folds)
                ax.fill_between(mean.index, mean - error, mean + error, color=colour, alpha=0.18, lw=0)
        self.lines_[name] = line

    def _format(self, ax):
        """Set scales, labels, grid and legend of the axes."""
        if self.x in _LOGARITHMIC:
            ax.set_xscale("log")
        if self.x in ("pixels", "positions", "step"):
            ticks = np.sort(pd.unique(self.table[self.x]))
            ax.set_xticks(
                ticks, [f"{tick:g}" if self.x == "step" else _print_fraction(tick) for tick in ticks]
            )
            ax.set_xticks([], minor=True)
        level = self.metric
        for score in ("_balanced_accuracy", "_accuracy", "_calibration_error"):
            if level.endswith(score):
                level = f"{_label_of(score[1:])}, {level.removesuffix(score).replace('_', ' ')}"
                break
        ax.set(xlabel=_X_LABELS.get(self.x, self.x), ylabel=level.replace("_", " "))
        if not self.metric.endswith("error"):
            ax.set_ylim(0, 1)
        ax.grid(color="0.92", lw=0.6)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        names = _short_names(list(self.lines_))
        ncols = 2 if max(map(len, names)) <= _WIDEST_OF_TWO else 1
        handles = list(self.lines_.values())
        options = {"frameon": False, "borderaxespad": 0.2, "columnspacing": 1.2}
        ax.legend(handles, names, loc="lower left", bbox_to_anchor=(0, 1), ncols=ncols, **options)


def _short_names(names):
    """Return names for the legend: without the model in "model (chemistry only)" if there is one model."""
    split = [re.fullmatch(r"(.*) \(((?:chemistry|diffraction) only)\)(.*)", name) for name in names]
    if len({match[1] for match in split if match}) != 1:
        return names
    return [match[2] + match[3] if match else name for match, name in zip(split, names, strict=True)]


def _print_fraction(value):
    """Return a number as text, 1/n as a fraction."""
    fraction = Fraction(value).limit_denominator(_LARGEST_DENOMINATOR)
    is_exact = fraction.numerator == 1 and abs(float(fraction) / value - 1) < 1e-3
    return str(fraction) if is_exact else f"{value:.2g}"

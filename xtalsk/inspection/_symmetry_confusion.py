"""Figure of the confusion of space groups, on the tree of symmetry."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.utils.validation import check_consistent_length

from xtalsk.inspection._layout import FONT
from xtalsk.inspection._names import print_space_group
from xtalsk.symmetry import check_space_group, crystal_system, extinction_group, point_group

AGREEMENTS = ("space group", "extinction group", "point group", "crystal system", "other system", "no answer")
"""How far a prediction agrees with the truth: the first of these that is equal."""

_SYSTEMS = tuple(dict.fromkeys(crystal_system(np.arange(1, 231)).tolist()))
# Darker blue is a finer agreement (the order remains visible in grey); orange is an error.
_COLOURS = ("#08306b", "#2171b5", "#6baed6", "#c6dbef", "#E69F00", "0.8")
_MATRIX = plt.get_cmap("Blues")
_WIDTH = 3.4  # inches
_MAX_SYMBOLS = 26  # beyond, only the crystal systems are labelled
_NARROWEST = 0.035  # share of the groups of a crystal system that is labelled


class SymmetryConfusionDisplay:
    """Figure of the confusion of space groups: a matrix in the order of the tree, and how far answers agree.

    Rows of the matrix are true space groups, columns are predicted ones; shades are shares of a row. Thick
    lines separate crystal systems, thin ones point groups. Orange frames mark confusions within an extinction
    group: reflection conditions cannot tell its members apart. The bars below show, for each crystal system,
    whether the predicted space group is right, or at least its extinction group, point group or crystal
    system.

    Parameters
    ----------
    y_true, y_pred : ndarray of int, shape (n_samples,)
        Space-group numbers; a prediction of 0 is no answer.

    Attributes
    ----------
    matrix_ : DataFrame
        Share of each predicted space group (column) among the specimens of a true one (row).
    ax_ : matplotlib Axes
        Axes of the matrix.
    figure_ : matplotlib Figure
        Figure of these axes.
    """

    def __init__(self, y_true, y_pred):
        self.y_true = y_true
        self.y_pred = y_pred

    @classmethod
    def from_predictions(cls, y_true, y_pred, *, ax=None):
        """Draw predicted space groups.

        Parameters
        ----------
        y_true, y_pred : array-like of int, shape (n_samples,)
            Space-group numbers; a prediction of 0 is no answer.
        ax : matplotlib Axes or None, default=None
            Whose place the figure takes; None makes a new figure, as wide as a column (3.4 in).

        Returns
        -------
        SymmetryConfusionDisplay

        Raises
        ------
        ValueError
            If the lengths differ, there are no specimens, or a number is not a space group.

        Examples
        --------
        >>> from xtalsk.inspection import SymmetryConfusionDisplay
        >>> display = SymmetryConfusionDisplay.from_predictions([225, 225, 62, 14], [225, 216, 33, 0])
        >>> display.to_frame()["extinction group"].to_dict()
        {'monoclinic': 0.0, 'orthorhombic': 1.0, 'cubic': 0.5}
        """
        y_true, y_pred = check_space_group(y_true), np.asarray(y_pred)
        check_consistent_length(y_true, y_pred)
        if not len(y_true):
            raise ValueError("expected at least one specimen, got none")
        check_space_group(y_pred[y_pred != 0])
        return cls(y_true, y_pred.astype(int)).plot(ax=ax)

    @classmethod
    def from_estimator(cls, estimator, X, y, *, ax=None):
        """Draw the predictions of a fitted classifier of space groups.

        Parameters
        ----------
        estimator : fitted classifier
        X : DataFrame or array-like
            Its input.
        y : array-like of int, shape (n_samples,)
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        SymmetryConfusionDisplay
        """
        return cls.from_predictions(y, estimator.predict(X), ax=ax)

    def to_frame(self):
        """Return how far the predictions agree: for each crystal system shares of `AGREEMENTS`, and n."""
        kinds = pd.Categorical.from_codes(_agreement(self.y_true, self.y_pred), AGREEMENTS)
        systems = crystal_system(self.y_true)
        counts = pd.crosstab(systems, kinds, dropna=False)
        counts = counts.reindex([s for s in _SYSTEMS if s in set(systems)]).reindex(columns=list(AGREEMENTS))
        shares = counts.div(counts.sum(axis=1), axis=0)
        return shares.assign(n=counts.sum(axis=1)).rename_axis(index=None, columns=None)

    def plot(self, ax=None):
        """Draw the figure.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        self
        """
        groups = np.unique(np.concatenate([self.y_true, self.y_pred[self.y_pred > 0]]))
        counts = pd.crosstab(self.y_true, self.y_pred).reindex(index=groups, columns=groups, fill_value=0)
        totals = pd.Series(self.y_true).value_counts().reindex(groups)  # NaN: never the truth
        self.matrix_ = counts.div(totals, axis=0)
        agreement = self.to_frame()
        with plt.rc_context(FONT):
            matrix, bars = self._make_axes(ax, len(agreement))
            self._draw_matrix(matrix, groups)
            _draw_agreement(bars, agreement)
        self.ax_, self.figure_ = matrix, matrix.figure
        return self

    def _make_axes(self, ax, n_systems):
        """Return the axes of the matrix and of the bars."""
        heights = _WIDTH - 0.5, 0.75 + 0.17 * n_systems
        if ax is None:
            figure = plt.figure(figsize=(_WIDTH, sum(heights)), layout="constrained")
            place = figure.add_gridspec(2, 1, height_ratios=heights)
        else:
            ax.set_axis_off()
            figure = ax.figure
            place = ax.get_subplotspec().subgridspec(2, 1, height_ratios=heights)
        return figure.add_subplot(place[0]), figure.add_subplot(place[1])

    def _draw_matrix(self, ax, groups):
        """Draw the matrix with lines between the classes of the tree."""
        n = len(groups)
        shares = np.ma.masked_equal(np.nan_to_num(self.matrix_.to_numpy()), 0)
        ax.imshow(shares, cmap=_MATRIX, vmin=-0.15, vmax=1, interpolation="nearest")
        for labels, width in ((point_group(groups), 0.3), (crystal_system(groups), 1.0)):
            for edge in np.flatnonzero(labels[1:] != labels[:-1]) + 0.5:
                ax.axhline(edge, color="0.3", lw=width)
                ax.axvline(edge, color="0.3", lw=width)
        extinction = extinction_group(groups)
        is_shared = (extinction[:, None] == extinction) & ~np.eye(n, dtype=bool)
        rows, columns = np.nonzero(is_shared & ~np.ma.getmaskarray(shares))
        size = max(1.5, 110 / n)
        ax.plot(columns, rows, "s", ms=size, mfc="none", mec="#E69F00", mew=max(0.4, 0.06 * size))
        systems = crystal_system(groups)
        if n <= _MAX_SYMBOLS:
            symbols = [print_space_group(number) for number in groups]
            ax.set_xticks(range(n), symbols, rotation=90)
            ax.set_yticks(range(n), symbols)
        else:
            names = [s for s in dict.fromkeys(systems) if np.mean(systems == s) > _NARROWEST]
            middles = [np.flatnonzero(systems == s).mean() for s in names]
            ax.set_yticks(middles, names)
            ax.set_xticks(middles, names, rotation=45, ha="right", rotation_mode="anchor")
        ax.tick_params(length=0)
        ax.set(xlabel="predicted space group", ylabel="true space group")


def _agreement(y_true, y_pred):
    """Return the index in `AGREEMENTS` of each specimen."""
    kinds = np.full(len(y_true), AGREEMENTS.index("no answer"))
    answered = y_pred > 0
    truth, answer = y_true[answered], y_pred[answered]
    of_answered = np.full(len(truth), AGREEMENTS.index("other system"))
    for kind, level in reversed(list(enumerate((np.asarray, extinction_group, point_group, crystal_system)))):
        of_answered[level(truth) == level(answer)] = kind
    kinds[answered] = of_answered
    return kinds


def _draw_agreement(ax, agreement):
    """Draw one bar for each crystal system, divided by how far the predictions agree."""
    places = -np.arange(len(agreement))
    left = np.zeros(len(agreement))
    for kind, colour in zip(AGREEMENTS, _COLOURS, strict=True):
        shares = agreement[kind].to_numpy()
        if shares.any():
            ax.barh(places, shares, left=left, color=colour, height=0.75, label=kind, lw=0)
        left += shares
    ax.set_yticks(places, [f"{system} ({n})" for system, n in agreement["n"].items()])
    ax.set(xlim=(0, 1), xlabel="share of the specimens that agree in the ...")
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.legend(
        loc="lower left", bbox_to_anchor=(-0.35, 1), ncols=3, frameon=False, handlelength=0.9, columnspacing=1
    )

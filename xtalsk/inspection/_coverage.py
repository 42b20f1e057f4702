"""Figure of the size and the coverage of conformal sets."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import binomtest

from xtalsk.inspection._dose_curve import COLOURS
from xtalsk.inspection._layout import FONT
from xtalsk.symmetry import check_space_group, crystal_system, to_level

_WIDTH = 3.4  # inches
_ALL = "all"


class SetCoverageDisplay:
    """Figure of conformal sets by crystal system: how often they hold the right label, and their sizes.

    Dots at the left are coverages with their 95% intervals (Wilson); the dashed line is the nominal coverage.
    Boxes at the right are the sizes of the sets: median, quartiles, and 5th to 95th percentile.

    Parameters
    ----------
    table : DataFrame
        One row for each specimen: ``system``, ``is_covered`` and ``size``.
    confidence : float
        Nominal coverage.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the coverage.
    figure_ : matplotlib Figure
    """

    def __init__(self, table, *, confidence):
        self.table = table
        self.confidence = confidence

    @classmethod
    def from_estimator(cls, sets, X, y, *, ax=None):
        """Draw fitted conformal sets for specimens that calibrated nothing.

        Parameters
        ----------
        sets : ConformalSets
            Fitted.
        X : DataFrame or array-like
            Its input.
        y : array-like of int, shape (n_samples,)
            Space-group numbers.
        ax : matplotlib Axes or None, default=None
            Whose place the figure takes; None makes a new figure, as wide as a column (3.4 in).

        Returns
        -------
        SetCoverageDisplay

        Raises
        ------
        ValueError
            If a label is not a space-group number.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.frozen import FrozenEstimator
        >>> from sklearn.naive_bayes import GaussianNB
        >>> from xtalsk import ConformalSets, SetCoverageDisplay
        >>> rng = np.random.default_rng(0)
        >>> y = rng.choice([14, 62, 225], 900)
        >>> X = np.searchsorted([14, 62, 225], y)[:, None] + rng.normal(size=(900, 3))
        >>> model = GaussianNB().fit(X[:300], y[:300])
        >>> sets = ConformalSets(FrozenEstimator(model)).fit(X[300:600], y[300:600])
        >>> display = SetCoverageDisplay.from_estimator(sets, X[600:], y[600:])
        >>> [label.get_text() for label in display.ax_.get_yticklabels()]
        ['monoclinic (99)', 'orthorhombic (97)', 'cubic (104)', 'all (300)']
        """
        y = check_space_group(y)
        chosen = sets.predict_set(X)
        of_label = y if sets.level is None else to_level(y, sets.level)
        places = np.searchsorted(sets.labels_, of_label).clip(max=len(sets.labels_) - 1)
        is_covered = chosen[np.arange(len(y)), places] & (sets.labels_[places] == of_label)
        columns = {"system": crystal_system(y), "is_covered": is_covered, "size": chosen.sum(axis=1)}
        return cls(pd.DataFrame(columns), confidence=sets.confidence).plot(ax=ax)

    def plot(self, ax=None):
        """Draw the figure.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        self
        """
        order = dict.fromkeys(crystal_system(np.arange(1, 231)).tolist())
        parts = {s: self.table[self.table["system"] == s] for s in order if (self.table["system"] == s).any()}
        parts[_ALL] = self.table
        with plt.rc_context(FONT):
            if ax is None:
                size = (_WIDTH, 0.7 + 0.22 * len(parts))
                figure = plt.figure(figsize=size, layout="constrained")
                place = figure.add_gridspec(1, 2)
            else:
                ax.set_axis_off()
                figure, place = ax.figure, ax.get_subplotspec().subgridspec(1, 2)
            left = figure.add_subplot(place[0])
            right = figure.add_subplot(place[1], sharey=left)
            for height, part in zip(-np.arange(len(parts)), parts.values(), strict=True):
                share = part["is_covered"].mean()
                count = int(part["is_covered"].sum())
                low, high = binomtest(count, len(part)).proportion_ci(method="wilson")
                error = [[share - low], [high - share]]
                left.errorbar([share], [height], xerr=error, fmt="o", ms=4, lw=1, color=COLOURS[0])
            boxes = right.boxplot(
                [part["size"] for part in parts.values()],
                positions=-np.arange(len(parts)),
                orientation="horizontal",
                whis=(5, 95),
                showfliers=False,
                widths=0.55,
                patch_artist=True,
                medianprops={"color": "black", "lw": 1.2},
            )
            for box in boxes["boxes"]:
                box.set(facecolor=COLOURS[5], lw=0.6)
            left.axvline(self.confidence, ls="--", color="0.4", lw=0.8)
            names = [f"{name} ({len(part)})" for name, part in parts.items()]
            left.set_yticks(-np.arange(len(parts)), names)
            left.set(xlabel="sets with the right label", ylim=(-len(parts) + 0.4, 0.6))
            right.set(xlabel="labels in a set", xlim=(0, None))
            right.tick_params(labelleft=False)
            for axes in (left, right):
                axes.tick_params(axis="y", length=0)
                axes.grid(axis="x", color="0.92", lw=0.6)
                axes.set_axisbelow(True)
                axes.spines[["top", "right", "left"]].set_visible(False)
        self.ax_, self.figure_ = left, figure
        return self

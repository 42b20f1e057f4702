"""Figure of a plan of a measurement."""

import matplotlib.pyplot as plt
import numpy as np

from xtalsk.inspection._dose_curve import COLOURS
from xtalsk.inspection._layout import FONT

_WIDTH, _HEIGHT = 3.4, 2.6  # inches
_BESIDE = 1.08  # factor on the electrons of a confirmation, so that it stands beside the first trial


class AcquisitionPlanDisplay:
    """Figure of a plan: accuracy against electrons, one colour for each number of counts and patterns.

    Bars are the intervals. The dashed line is the target; a ring marks the setting of the plan. Open markers
    are confirmations on specimens that were simulated anew.

    Parameters
    ----------
    plan : AcquisitionPlan
        From `xtalsk.model_selection.plan_acquisition`.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    """

    def __init__(self, plan):
        self.plan = plan

    @classmethod
    def from_plan(cls, plan, *, ax=None):
        """Draw a plan.

        Parameters
        ----------
        plan : AcquisitionPlan
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure, as wide as a column.

        Returns
        -------
        AcquisitionPlanDisplay
        """
        return cls(plan).plot(ax=ax)

    def plot(self, ax=None):
        """Draw the figure.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        self
        """
        with plt.rc_context(FONT):
            if ax is None:
                _, ax = plt.subplots(figsize=(_WIDTH, _HEIGHT), layout="constrained")
            self._draw(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _draw(self, ax):
        table, plan = self.plan.table, self.plan
        for place, ((counts, zones), rows) in enumerate(table.groupby(["counts", "n_zones"], dropna=False)):
            colour = COLOURS[place % len(COLOURS)]
            words = ["no spectrum" if np.isnan(counts) else f"{counts:.3g} counts"]
            words += [f"{zones} patterns"] if table["n_zones"].max() > 1 else []
            for is_new, part in rows.sort_values("electrons").groupby("is_confirmation"):
                x, y, low, high = part[["electrons", "accuracy", "low", "high"]].to_numpy().T
                ax.errorbar(
                    x * (_BESIDE if is_new else 1),
                    y,
                    [y - low, high - y],
                    fmt="o" if is_new else "o-",
                    mfc="white" if is_new else colour,
                    color=colour,
                    ms=4,
                    lw=1,
                    label=None if is_new else ", ".join(words),
                )
        ax.axhline(plan.target, ls="--", color="0.4", lw=0.8)
        if plan.is_reached:
            ax.plot(plan.electrons * _BESIDE, plan.accuracy, "o", ms=10, mfc="none", mec="black", mew=1)
        ax.set(xscale="log", xlabel="electrons in a pattern", ylabel="right candidate", ylim=(None, 1.02))
        electrons = np.sort(table["electrons"].unique())
        ax.set_xticks(electrons, [f"{dose:g}" for dose in electrons])
        ax.set_xticks([], minor=True)
        ax.set_title(f"{' or '.join(plan.candidates)}; ring: the plan", loc="left")
        ax.grid(color="0.92", lw=0.6)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, loc="lower right")

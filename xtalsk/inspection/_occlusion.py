"""Which ranges of q decide an answer, and its figure."""

import warnings
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from xtalsk.columns import find_blocks, modality_of
from xtalsk.inspection._answer import _lines_of_crystal
from xtalsk.inspection._dose_curve import COLOURS
from xtalsk.inspection._layout import FONT
from xtalsk.inspection._names import print_space_group
from xtalsk.inspection._specimen import first_step
from xtalsk.utils import NotMeasuredWarning

_WIDTH, _HEIGHT = 3.4, 3.0  # inches
_LEAST = 1e-12  # probabilities below are not distinguished
_WEAKEST_LINE = 0.01  # of the strongest line of the crystal


def _profiles(estimator):
    """Return the profile blocks of a pipeline: name of block, q of its bins, and its column of specimens."""
    steps = estimator[:-1] if isinstance(estimator, Pipeline) and len(estimator) > 1 else []
    found = {}
    for step in steps:
        if isinstance(step, ColumnTransformer):
            for name, transformer, column in step.transformers_:
                q = getattr(first_step(transformer), "q_", None)
                if q is not None and isinstance(column, str):
                    found[name] = np.asarray(q), column
    if not found:
        raise ValueError(f"expected a fitted Pipeline with profiles against q, got {estimator!r}")
    return found


def q_occlusion(estimator, X, labels=None, *, n_windows=32):
    """Measure how much each range of q of the profiles matters for an answer.

    The lines in one window of q at a time are removed from all profiles: their bins are interpolated between
    the two edges. The loss is the fall of the logarithm of the probability of a label. Features that are not
    profiles, such as figures of merit of lattices, stay as they are.

    Parameters
    ----------
    estimator : fitted Pipeline
        Features in named blocks with profiles (`RadialProfile`, `PowderProfile`, ...), and a classifier.
    X : DataFrame of n_specimens rows
    labels : array-like of shape (n_specimens,) or None, default=None
        Labels whose probability is watched, such as the true ones; None takes the predicted ones.
    n_windows : int, default=32
        Number of windows of equal width between 0 and the largest q.

    Returns
    -------
    loss : ndarray of shape (n_specimens, n_windows)
        Fall of the natural logarithm of the probability; negative where a window speaks against the label.
        NaN for specimens without answer.
    edges : ndarray of shape (n_windows + 1,)
        Edges of the windows, q = 1/d in 1/Å.

    Raises
    ------
    ValueError
        If the pipeline has no profiles against q, or a label is not among its classes.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from xtalsk import PowderProfile, load_amcsd, make_baseline, make_features, make_specimens
    >>> from xtalsk.inspection import q_occlusion
    >>> X, y, _ = make_specimens(load_amcsd()[:8], "powder", random_state=0)
    >>> model = make_pipeline(
    ...     make_features(diffraction=("powder", PowderProfile(n_bins=64))),
    ...     make_baseline("extra_trees", n_estimators=20, random_state=0)).fit(X, y)
    >>> loss, edges = q_occlusion(model, X[:2], n_windows=8)
    >>> loss.shape, len(edges)
    ((2, 8), 9)
    """
    profiles = _profiles(estimator)
    features = estimator[:-1].transform(X)
    classifier = estimator[-1]
    blocks = {b.name: b.columns for b in find_blocks(list(features.columns), features.shape[1])}
    blocks = {name: blocks[name] for name, (q, _) in profiles.items() if len(blocks.get(name, ())) == len(q)}
    if not blocks:
        raise ValueError(f"no block of {list(profiles)} has one column for each q of its transformer")
    values, classes = features.to_numpy(dtype=float), np.asarray(classifier.classes_)
    edges = np.linspace(0, max(profiles[name][0].max() for name in blocks) * (1 + 1e-9), n_windows + 1)

    def log_proba(table):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotMeasuredWarning)
            proba = classifier.predict_proba(
                pd.DataFrame(table, columns=features.columns, index=features.index)
            )
        return np.log(np.maximum(proba, _LEAST))

    whole = log_proba(values)
    labels = classes[np.nan_to_num(whole, nan=-np.inf).argmax(axis=1)] if labels is None else labels
    unknown = np.setdiff1d(labels, classes)
    if len(unknown):
        raise ValueError(f"the pipeline does not know the labels {unknown.tolist()}")
    rows, places = np.arange(len(values)), np.searchsorted(classes, labels)
    loss = np.empty((len(values), n_windows))
    for k, (low, high) in enumerate(pairwise(edges)):
        hidden = values.copy()
        for name, columns in blocks.items():
            q = profiles[name][0]
            hidden[:, columns] = _without_lines(values[:, columns], (q >= low) & (q < high))
        loss[:, k] = (whole - log_proba(hidden))[rows, places]
    return loss, edges


def _without_lines(profiles, window):
    """Return profiles (n, n_bins) in which the bins of a window are interpolated between its neighbours."""
    inside = np.flatnonzero(window)
    out = profiles.copy()
    if not len(inside):
        return out
    before, after = max(inside[0] - 1, 0), min(inside[-1] + 1, profiles.shape[1] - 1)
    left, right = profiles[:, before], profiles[:, after]
    left, right = np.where(np.isnan(left), right, left), np.where(np.isnan(right), left, right)
    share = (inside - before) / max(after - before, 1)
    out[:, inside] = left[:, None] * (1 - share) + right[:, None] * share
    return np.where(np.isnan(profiles), np.nan, out)


class OcclusionDisplay:
    """Figure of the ranges of q that decide one answer: the profile above, the loss of each range below.

    Orange bars are ranges that speak for the label, grey ones speak against it. Black ticks are the
    reflections of a known crystal, long where they are strong.

    Parameters
    ----------
    q, profile : ndarray of shape (n_bins,)
    edges : ndarray of shape (n_windows + 1,)
    loss : ndarray of shape (n_windows,)
        See `q_occlusion`.
    label : int or str
        Label whose probability is watched.
    lines : (ndarray, ndarray) or None, default=None
        q and relative intensity of the reflections of the crystal.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the loss.
    figure_ : matplotlib Figure
    """

    def __init__(self, q, profile, *, edges, loss, label, lines=None):
        self.q, self.profile = q, profile
        self.edges, self.loss = edges, loss
        self.label = label
        self.lines = lines

    @classmethod
    def from_estimator(cls, estimator, X, label=None, *, crystal=None, n_windows=32, ax=None):
        """Draw which ranges of q decide the answer of a pipeline for one specimen.

        Parameters
        ----------
        estimator : fitted Pipeline
            As in `q_occlusion`; its first profile is drawn.
        X : DataFrame of one row
        label : int or str or None, default=None
            Label whose probability is watched; None takes the predicted one.
        crystal : CrystalSet of one crystal, or None, default=None
            The true crystal, whose reflections are drawn.
        n_windows : int, default=32
        ax : matplotlib Axes or None, default=None
            Whose place the figure takes; None makes a new figure, as wide as a column (3.4 in).

        Returns
        -------
        OcclusionDisplay

        Raises
        ------
        ValueError
            If X is not one row, or as in `q_occlusion`.

        Examples
        --------
        >>> from sklearn.pipeline import make_pipeline
        >>> from xtalsk import PowderProfile, load_amcsd, make_baseline, make_features, make_specimens
        >>> from xtalsk.inspection import OcclusionDisplay
        >>> crystals = load_amcsd()[:8]
        >>> X, y, _ = make_specimens(crystals, "powder", random_state=0)
        >>> model = make_pipeline(
        ...     make_features(diffraction=("powder", PowderProfile(n_bins=64))),
        ...     make_baseline("extra_trees", n_estimators=20, random_state=0)).fit(X, y)
        >>> display = OcclusionDisplay.from_estimator(model, X.iloc[[0]], crystal=crystals[:1], n_windows=8)
        >>> display.ax_.get_xlabel()
        'q = 1/d (1/Å)'
        """
        if len(X) != 1:
            raise ValueError(f"expected a DataFrame of one row, got {len(X)}; use X.iloc[[i]]")
        loss, edges = q_occlusion(estimator, X, None if label is None else [label], n_windows=n_windows)
        if label is None:
            label = estimator.predict(X)[0]
        name, (q, column) = next(iter(_profiles(estimator).items()))
        features = estimator[:-1].transform(X)
        profile = features[[c for c in features.columns if c.startswith(f"{name}__")]].to_numpy(float)[0]
        radiation = "xray" if modality_of(column) == "powder" else None
        lines = None if crystal is None else _lines_of_crystal(crystal, 1.0, q.max(), radiation)
        return cls(q, profile, edges=edges, loss=loss[0], label=label, lines=lines).plot(ax=ax)

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
                figure = plt.figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
                place = figure.add_gridspec(2, 1)
            else:
                ax.set_axis_off()
                figure, place = ax.figure, ax.get_subplotspec().subgridspec(2, 1)
            below = figure.add_subplot(place[1])
            above = figure.add_subplot(place[0], sharex=below)
            self._draw_profile(above)
            centres = (self.edges[1:] + self.edges[:-1]) / 2
            colours = np.where(self.loss > 0, COLOURS[1], "0.6")
            below.bar(centres, self.loss, np.diff(self.edges), color=colours, lw=0)
            below.axhline(0, color="0.4", lw=0.6)
            name = print_space_group(self.label) if isinstance(self.label, int | np.integer) else self.label
            below.set(xlabel="q = 1/d (1/Å)", ylabel="loss of ln p when hidden", xlim=self.edges[[0, -1]])
            above.set_title(f"What speaks for {name}", loc="left")
            for axes in (above, below):
                axes.spines[["top", "right"]].set_visible(False)
        self.ax_, self.figure_ = below, figure
        return self

    def _draw_profile(self, ax):
        """Draw the profile and, below it, the reflections of the crystal."""
        ax.plot(self.q, self.profile, color=COLOURS[0], lw=0.8)
        ax.set(yticks=[], ylabel="profile")
        ax.tick_params(labelbottom=False)
        if self.lines is not None:
            q, intensity = self.lines
            kept = intensity >= _WEAKEST_LINE
            low, high = np.nanmin(self.profile), np.nanmax(self.profile)
            floor = low - 0.3 * (high - low)
            lengths = 0.25 * (high - low) * np.sqrt(intensity[kept])
            ax.vlines(q[kept], floor, floor + lengths, color="black", lw=0.7)

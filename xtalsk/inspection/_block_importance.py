"""Importance of the blocks of features, and its figure."""

import re
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from tqdm import tqdm

from xtalsk.columns import split_name
from xtalsk.inspection._dose_curve import COLOURS
from xtalsk.inspection._layout import FONT
from xtalsk.metrics import level_scores
from xtalsk.utils import BrokenCellWarning, NotMeasuredWarning

_WIDTH = 3.4  # inches


def block_importance(
    estimator, X, y, *, metric="space_group_accuracy", n_repeats=5, random_state=None, verbose=0
):
    """Measure how much a fitted pipeline depends on each block of its features.

    Permutation gives each specimen the block of another specimen; the loss of the score is the importance.
    Ablation removes the block: its features are NaN, as if they had not been measured. Blocks with the same
    information replace each other in an ablation, while a permuted block contradicts the others.

    Parameters
    ----------
    estimator : fitted Pipeline
        Features in named blocks (`make_features`) and a classifier of space groups.
    X : DataFrame of n_specimens rows
    y : array-like of int, shape (n_specimens,)
        Space-group numbers.
    metric : str, default="space_group_accuracy"
        A score of `level_scores`.
    n_repeats : int, default=5
        Number of permutations.
    random_state : int, RandomState or None, default=None
    verbose : int, default=0
        Above 0 shows a progress bar of the blocks.

    Returns
    -------
    DataFrame
        One row for each block, way and repeat: ``block``, ``way`` (``"permutation"`` or ``"ablation"``),
        ``repeat``, ``importance`` and ``score`` (of the whole pipeline). Blocks ``<stem>_<number>`` are one
        block.

    Raises
    ------
    ValueError
        If the pipeline has no named blocks, or the metric is unknown.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.pipeline import make_pipeline
    >>> from xtalsk import ElementPresence, make_baseline, make_features
    >>> from xtalsk.inspection import block_importance
    >>> X = pd.DataFrame({"formula": ["NaCl", "KCl", "SiO2", "GeO2"] * 5})
    >>> y = [225, 225, 154, 154] * 5
    >>> model = make_pipeline(
    ...     make_features(presence=("formula", ElementPresence())),
    ...     make_baseline("extra_trees", n_estimators=10, random_state=0)).fit(X, y)
    >>> table = block_importance(model, X, y, n_repeats=2, random_state=0)
    >>> bool((table["importance"] > 0).all()), table["block"].unique().tolist()
    (True, ['presence'])
    """
    if not isinstance(estimator, Pipeline) or len(estimator) < 2:
        raise ValueError(f"expected a fitted Pipeline of features and a classifier, got {estimator!r}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BrokenCellWarning)
        features = estimator[:-1].transform(X)
    if not hasattr(features, "columns") or not any("__" in str(name) for name in features.columns):
        raise ValueError("the features have no named blocks, as those of make_features")
    blocks = {}
    for name in features.columns:
        blocks.setdefault(re.sub(r"_\d+$", "", split_name(name)[0]), []).append(name)
    classifier, y = estimator[-1], np.asarray(y)

    def score(table):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotMeasuredWarning)
            proba = classifier.predict_proba(table)
        scores = level_scores(y, proba, classifier.classes_, hierarchy="space_group")
        if metric not in scores:
            raise ValueError(f"metric must be one of {list(scores)}, got {metric!r}")
        return scores[metric]

    whole, rng = score(features), check_random_state(random_state)
    orders = [rng.permutation(len(features)) for _ in range(n_repeats)]
    rows = []
    for block, names in tqdm(blocks.items(), disable=not verbose, unit="block"):
        rows.append((block, "ablation", 0, whole - score(features.assign(**dict.fromkeys(names, np.nan)))))
        for repeat, order in enumerate(orders):
            permuted = features.copy()
            permuted[names] = features[names].to_numpy()[order]
            rows.append((block, "permutation", repeat, whole - score(permuted)))
    return pd.DataFrame(rows, columns=["block", "way", "repeat", "importance"]).assign(score=whole)


class BlockImportanceDisplay:
    """Figure of the importance of blocks: dots are means, small marks are single permutations.

    Parameters
    ----------
    table : DataFrame
        From `block_importance`.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    """

    def __init__(self, table):
        self.table = table

    @classmethod
    def from_results(cls, table, *, ax=None):
        """Draw a table of `block_importance`.

        Parameters
        ----------
        table : DataFrame
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure, as wide as a column (3.4 in).

        Returns
        -------
        BlockImportanceDisplay

        Raises
        ------
        ValueError
            If the table is not one of `block_importance`.

        Examples
        --------
        >>> import pandas as pd
        >>> from xtalsk.inspection import BlockImportanceDisplay
        >>> table = pd.DataFrame({"block": ["diffraction", "presence"], "way": "ablation", "repeat": 0,
        ...                       "importance": [0.3, 0.1], "score": 0.8})
        >>> display = BlockImportanceDisplay.from_results(table)
        >>> [label.get_text() for label in display.ax_.get_yticklabels()]
        ['presence', 'diffraction']
        """
        missing = {"block", "way", "repeat", "importance", "score"} - set(table.columns)
        if missing or not len(table):
            raise ValueError(f"expected a table of block_importance, got no {sorted(missing) or 'rows'}")
        return cls(table).plot(ax=ax)

    @classmethod
    def from_estimator(cls, estimator, X, y, *, ax=None, **options):
        """Compute `block_importance` with its ``options``, and draw it.

        Parameters
        ----------
        estimator, X, y, **options
            As in `block_importance`.
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        BlockImportanceDisplay
        """
        return cls.from_results(block_importance(estimator, X, y, **options), ax=ax)

    def plot(self, ax=None):
        """Draw the figure. The block with the largest importance is at the top.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        self
        """
        means = self.table.pivot_table("importance", "block", "way")
        blocks = means.max(axis=1).sort_values(kind="stable").index
        with plt.rc_context(FONT):
            if ax is None:
                size = (_WIDTH, 0.9 + 0.26 * len(blocks))
                _, ax = plt.subplots(figsize=size, layout="constrained")
            ax.axvline(0, color="0.6", lw=0.8)
            for place, way in enumerate(way for way in ("permutation", "ablation") if way in means):
                heights = np.arange(len(blocks)) + 0.15 - 0.3 * place
                for height, block in zip(heights, blocks, strict=True):
                    chosen = (self.table["block"] == block) & (self.table["way"] == way)
                    single = self.table.loc[chosen, "importance"]
                    ax.plot(single, np.full(len(single), height), "|", color=COLOURS[place], ms=4, mew=0.7)
                values = means.loc[blocks, way]
                ax.plot(values, heights, "os"[place], color=COLOURS[place], ms=4.5, mec="white", label=way)
            ax.set_yticks(range(len(blocks)), blocks)
            score = self.table["score"].iloc[0]
            ax.set(xlabel=f"loss of the score ({score:.2f} with all blocks)", ylim=(-0.6, len(blocks) - 0.4))
            ax.grid(axis="x", color="0.92", lw=0.6)
            ax.set_axisbelow(True)
            ax.tick_params(axis="y", length=0)
            ax.spines[["top", "right", "left"]].set_visible(False)
            ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderaxespad=0.2)
        self.ax_, self.figure_ = ax, ax.figure
        return self

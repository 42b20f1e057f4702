"""Map of the fused layer of a network."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.pipeline import Pipeline
from sklearn.utils import check_consistent_length

from xtalsk.inspection._dose_curve import COLOURS, MARKERS
from xtalsk.inspection._layout import FONT
from xtalsk.symmetry import check_space_group, to_level
from xtalsk.utils import check_option

_WIDTH = 3.4  # inches
_COMPONENTS = 30  # of the principal components that t-SNE starts from


class EmbeddingDisplay:
    """Map of specimens as the fused layer of a network sees them: near ones look alike to it.

    Specimens whose crystal systems lie in separate places look different to the network. Systems that lie
    on each other are confused.

    Parameters
    ----------
    table : DataFrame
        One row for each specimen: ``x``, ``y`` and ``label``.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    """

    def __init__(self, table):
        self.table = table

    @classmethod
    def from_estimator(
        cls, model, X, y, *, level="crystal_system", method="tsne", random_state=None, ax=None
    ):
        """Draw the map of specimens.

        Parameters
        ----------
        model : fitted FusionClassifier, or Pipeline that ends with one
            Blends hold their network in ``classifier_``, in a `sklearn.frozen.FrozenEstimator` if it was not
            fitted with them.
        X : DataFrame or array-like of n_samples rows
            Input of the model. Rows in which nothing was measured are left out.
        y : array-like of int, shape (n_samples,)
            Space-group numbers.
        level : str, default="crystal_system"
            Level of symmetry that gives the colours, one of `xtalsk.symmetry.LEVELS`.
        method : {"tsne", "pca"}, default="tsne"
            t-SNE [1]_ of the first 30 principal components, or the first two principal components.
        random_state : int, RandomState or None, default=None
            Of t-SNE.
        ax : matplotlib Axes or None, default=None
            None makes a new figure, as wide as a column (3.4 in).

        Returns
        -------
        EmbeddingDisplay

        Raises
        ------
        ValueError
            If the model is no network, a label is not a space-group number, or fewer than four specimens were
            measured.

        References
        ----------
        .. [1] L. van der Maaten and G. Hinton, J. Mach. Learn. Res. 9, 2579 (2008).

        Examples
        --------
        >>> import numpy as np
        >>> from xtalsk import EmbeddingDisplay, FusionClassifier
        >>> y = np.repeat([14, 62, 225], 20)
        >>> X = np.eye(3)[np.repeat([0, 1, 2], 20)] + np.random.default_rng(0).normal(size=(60, 3)) / 5
        >>> model = FusionClassifier("space_group", max_epochs=5, random_state=0).fit(X, y)
        >>> display = EmbeddingDisplay.from_estimator(model, X, y, method="pca")
        >>> [text.get_text() for text in display.ax_.get_legend().get_texts()]
        ['monoclinic', 'orthorhombic', 'cubic']
        """
        check_option("method", method, ("tsne", "pca"))
        check_consistent_length(X, y)
        y = check_space_group(y)
        features, network = (
            (model[:-1].transform(X), model[-1]) if isinstance(model, Pipeline) else (X, model)
        )
        if not hasattr(network, "embed"):
            raise ValueError(
                f"the model must be a FusionClassifier or a Pipeline that ends with one, got "
                f"{type(network).__name__}; a LibraryBlend holds its network in classifier_"
            )
        layer = network.embed(features)
        rows = np.isfinite(layer).all(axis=1)
        if rows.sum() < 4:
            raise ValueError(f"a map needs four or more measured specimens, got {rows.sum()}")
        places = _place(layer[rows].astype(float), method, random_state)
        labels = to_level(y[rows], level)
        return cls(pd.DataFrame({"x": places[:, 0], "y": places[:, 1], "label": labels})).plot(ax=ax)

    def plot(self, ax=None):
        """Draw the map.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        self
        """
        names = dict.fromkeys(to_level(np.arange(1, 231), "crystal_system").tolist())
        found = self.table["label"].unique().tolist()
        labels = [name for name in names if name in found] or sorted(found)
        labels += [name for name in found if name not in labels]
        with plt.rc_context(FONT):
            if ax is None:
                _, ax = plt.subplots(figsize=(_WIDTH, _WIDTH), layout="constrained")
            for i, label in enumerate(labels):
                part = self.table[self.table["label"] == label]
                style = {
                    "color": COLOURS[i % len(COLOURS)],
                    "marker": MARKERS[i // len(COLOURS) % len(MARKERS)],
                }
                ax.scatter(part["x"], part["y"], s=6, lw=0, alpha=0.7, label=str(label), **style)
            ax.set(xticks=[], yticks=[])
            ax.set_aspect("equal", adjustable="datalim")
            if len(labels) <= len(COLOURS):
                ax.legend(
                    loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=3, frameon=False, markerscale=2
                )
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _place(layer, method, random_state):
    """Return two coordinates of each row."""
    spread = layer.std(axis=0)
    layer = (layer - layer.mean(axis=0)) / np.where(spread > 0, spread, 1)
    if method == "pca":
        return PCA(2).fit_transform(layer)
    components = PCA(min(_COMPONENTS, *layer.shape)).fit_transform(layer)
    perplexity = min(30.0, (len(layer) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=random_state).fit_transform(components)

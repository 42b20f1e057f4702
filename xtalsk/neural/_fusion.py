"""The network as a scikit-learn classifier."""

import numbers

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data

from xtalsk._levels import LevelsMixin
from xtalsk.neural._batches import Rows
from xtalsk.neural._net import device_for_prediction
from xtalsk.neural._training import ACCEPTED, empty_rows, fit_anew, fit_more
from xtalsk.utils import check_empty_rows, most_probable, to_float32


class FusionClassifier(LevelsMixin, ClassifierMixin, BaseEstimator):
    """Neural network that fuses several blocks of features, any of which may be missing.

    Columns are named ``block__column``; columns with the same part before the ``__`` form a block. Columns
    without ``__``, or a matrix without names, form one block called ``"features"``. Each block has its own
    sub-network: convolutions along the axis of a profile (at least 32 columns, all named ``q_0000, ...``,
    ``d_0000, ...`` or ``e_0000, ...``), convolutions over an image (``pixel_000_000, ...``), attention over
    the elements of a composition (one column for each element from h to cf, as from `ElementFractions`) or
    over the lines of a `PeakList` (``peak_00_q2, ...``), and dense layers for any other table. The outputs of
    the sub-networks are normalised, joined, normalised again and classified.

    The columns of a table are standardised by the mean and standard deviation of the training data. Each
    profile and each image is standardised by itself and passed through asinh, because its absolute scale
    depends on dose and thickness.

    A block that is all NaN in a row was not measured. It contributes nothing, and an input of the classifier
    marks it as missing. A single NaN within a block is replaced by the mean. If a column has such gaps in
    training, an input of the network marks them.

    Parameters
    ----------
    hierarchy : {None, "space_group"}, default=None
        With ``"space_group"``, ``y`` holds space-group numbers (1-230) and the network trains on crystal
        system, point group and space group together. The probability of a crystal system is the sum over its
        space groups. The predicted crystal system is that of the predicted space group, so the levels never
        contradict each other.
    space_groups : array-like of int or None, default=None
        For tools of scikit-learn that replace labels by codes 0, 1, 2, ... (``cross_val_predict``,
        ``VotingClassifier``, ``StackingClassifier``, ``CalibratedClassifierCV``). Give
        ``space_groups=np.unique(y)`` with the original ``y``. Label k then means ``space_groups[k]``. Labels
        that cannot be such codes are read as space-group numbers. Needs ``hierarchy="space_group"``.
    hierarchy_weights : dict of {level: float} or None, default=None
        Weights of the levels in the loss; levels are named as in `xtalsk.symmetry.LEVELS`. None gives crystal
        system, point group and space group equal weights.
    branches : dict of {block: {"conv1d", "conv2d", "dense", "elements", "peaks", "drop"}} or None
        Sub-networks of single blocks, in place of those that the column names imply. ``"drop"`` leaves a
        block out.
    pool : {None, "numbered"}, default="numbered"
        ``"numbered"``: blocks that are named ``<stem>_<number>`` and have the same columns, such as
        ``lattice_1`` and ``lattice_2`` of two zones of one crystal, are one block with the name of the stem.
        Each measured one is embedded by the same sub-network, and the embeddings are pooled. So their order
        and their number are free: a network that was trained with eight zones predicts from one. None: they
        are separate blocks.
    hidden_size : int, default=256
        Units of the hidden layers.
    embedding_size : int, default=128
        Outputs of each sub-network.
    n_filters : int, default=32
        Channels of the first convolution.
    n_residual : int, default=0
        Number of residual blocks of two convolutions, after the last convolutions of a profile. Residual
        blocks distinguish more crystals, but need more data and time.
    dropout : float, default=0.2
        Probability that a hidden unit is dropped in training.
    modality_dropout : float, (float, float) or dict of {block or tuple of blocks: either}, default=0.2
        Probability that a block of a row is dropped in training; each row keeps at least one block. The
        network thus learns to classify specimens with a missing modality. With (start, end), the
        probability changes linearly during `fit`; `partial_fit` uses the end. Blocks that are absent from a
        dict are kept. The blocks of a tuple are dropped together. Use tuples if a modality has several
        blocks: ``{("profile", "lattice"): 0.2, ("fractions", "ranked"): 0.2}``. If all are dropped one by
        one, few rows lose all blocks of a modality, and the network hardly learns the other one alone.
    block_loss : float, default=1.0
        With several blocks, each block also has its own classifier. This is the weight of their losses; the
        joint classifier has weight 1. With 0 the network learns mainly from the easiest block, usually
        chemistry, and the other blocks learn little [3]_.
    profile_vote : bool, default=True
        True: in rows without elements and spectra, the probabilities are the normalised geometric mean of
        the joint classifier and the classifiers of the diffraction blocks (profiles along q or d, and
        images). This needs several blocks and ``block_loss`` above 0. It is more accurate for measured
        patterns. Where elements or a spectrum were measured as well, the joint classifier decides alone; the
        votes of diffraction would take weight from the chemistry.
    augment : None, float or dict, default=1.0
        Augmentation of profiles in training: a strength that multiplies the default amounts, or a dict of
        amounts, in which an absent amount is 0. The disturbance of each row is random, up to these amounts:

        - ``"noise"``, ``"background"``: standard deviation of noise and height of a smooth background, in
          standard deviations of the profile (defaults 0.05 and 0.3);
        - ``"stretch"``: relative change of the scale of the axis (default 0.05; along energies at most
          0.002). A stretched profile is that of a larger or smaller cell of the same symmetry. The network
          thus learns ratios of line positions rather than single cells. Use 0.005, a calibration error, if
          labels depend on the size of the cell;
        - ``"jitter"``: standard deviation of the logarithm of a slowly varying factor (default 0.3).

        The following amounts are 0 by default. ``"shot_noise"``, ``"impurity"`` and ``"broaden"`` need
        profiles that are square roots of intensities, the default of the transformers:

        - ``"shot_noise"``: relative counting noise of a bin of mean intensity; the variance grows with
          intensity;
        - ``"impurity"``: share of a second profile, stretched and added as a foreign phase; not used for
          spectra;
        - ``"broaden"``: standard deviation, in bins, of the Gaussian that broadens the lines;
        - ``"peak_dropout"``: probability that each of three windows as wide as a line is weakened to near
          zero;
        - ``"masks"``: share of the axis, at the ends or in between, that is masked as unmeasured;
        - ``"shift"``: error of the zero, in bins.
    mixup : float, default=0.0
        Parameter of a beta distribution. Above 0, the embeddings of each row are mixed in training with
        those of another row that has the same blocks, and the loss mixes both labels; the shares follow the
        distribution [4]_.
    max_epochs : int, default=30
        Passes over the training data.
    batch_size : int, default=128
        Rows in a training step.
    learning_rate : float, default=2e-3
        Highest learning rate of AdamW [1]_.
    weight_decay : float, default=0.05
        Decoupled weight decay of AdamW.
    schedule : {"one_cycle", "cosine", "constant"}, default="one_cycle"
        Course of the learning rate: a linear rise over the first quarter and a cosine-shaped fall to zero
        [2]_, the fall alone, or a constant.
    label_smoothing : float, default=0.1
        Share of the target spread evenly over the classes.
    class_weight : None, "balanced" or dict, default=None
        Weights of the classes, as in scikit-learn.
    sampling : None, "balanced" or float, default=None
        A power p from 0 to 1: the rows of an epoch are sampled with replacement, with a probability
        proportional to n ** -p, where n is the number of rows of their class. ``"balanced"`` stands for 1,
        which samples all classes equally often. None and 0 take each row once. In `partial_fit`, n counts
        the rows of the call.
    weight_averaging : None or float, default=None
        Decay, below 1, of a moving average of the weights over training steps. Validation and prediction use
        the averaged weights. 0.99 averages about 100 steps.
    early_stopping : bool, default=False
        Whether to hold out rows for validation, stop when their loss no longer falls, and restore the best
        weights.
    validation_fraction : float, default=0.1
        Share of the rows, or of the ``groups`` of `fit`, for validation; at most 0.5.
    n_iter_no_change : int, default=10
        Number of epochs without a lower validation loss after which training stops.
    all_missing : {"raise", "missing"}, default="raise"
        What prediction does with a row in which nothing was measured. ``"raise"``: it raises ValueError.
        ``"missing"``: it warns with `xtalsk.utils.NotMeasuredWarning`, and the row gets no answer. Its
        probabilities are NaN. Its label is None, or 0 if labels are integers. If 0 is itself a label, it is
        the number below the smallest label. It can be set after `fit`.
    n_test_time_scales : int, default=0
        Number of scales, evenly from 0.998 to 1.002, at which prediction reads each profile. The logarithms
        of the probabilities are averaged. 0 and 1 read it once. It can be set after `fit`.
    precision : {"float32", "bfloat16"}, default="float32"
        Precision of the convolutions of profiles in training. ``"bfloat16"`` is about twice as fast on
        processors that support it.
    device : str, default="auto"
        ``"cpu"``, ``"cuda"``, ``"cuda:<n>"``, or ``"auto"``: a CUDA GPU if there is one, else the CPU.
    random_state : int, RandomState or None, default=None
        Seed of all random numbers. Torch's global random state is not changed.
    verbose : int, default=0
        1 prints a line per epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels.
    blocks_ : dict of {str: str}
        Sub-network of each block, in order. Numbered blocks that are pooled have the name of their stem.
    level_classes_ : dict of {str: ndarray}
        With a hierarchy, the labels of each level among the classes.
    space_groups_ : ndarray of int, shape (n_classes,)
        With a hierarchy, the space-group number of each class.
    n_iter_ : int
        Epochs run.
    loss_curve_ : list of float
        Training loss of each epoch, including ``block_loss``.
    validation_loss_curve_ : list of float
        Validation loss of each epoch; empty without early stopping.
    validation_indices_ : ndarray of int
        Rows that were held out for validation; only with early stopping.
    net_ : object
        The network, in a private skorch net. Its pickle holds all tensors on the CPU, with the state of the
        optimiser.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Only if the training data had names.

    References
    ----------
    .. [1] I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR (2019).
    .. [2] L. N. Smith and N. Topin, "Super-convergence", arXiv:1708.07120 (2017).
    .. [3] W. Wang, D. Tran and M. Feiszli, "What makes training multi-modal classification networks hard?",
       CVPR (2020).
    .. [4] V. Verma et al., "Manifold mixup", ICML (2019).

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from xtalsk.neural import FusionClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([62, 225], 30)
    >>> profile = rng.normal(size=(60, 64)) + 5 * (np.arange(64) == np.where(y == 62, 20, 40)[:, None])
    >>> chemistry = rng.normal(size=(60, 3)) + (y == 62)[:, None]
    >>> chemistry[::4] = np.nan  # not measured
    >>> X = pd.DataFrame(
    ...     np.hstack([profile, chemistry]),
    ...     columns=[f"rings__q_{i:04}" for i in range(64)] + [f"eds__x{i}" for i in range(3)],
    ... )
    >>> model = FusionClassifier(hierarchy="space_group", max_epochs=10, random_state=0).fit(X, y)
    >>> model.blocks_
    {'rings': 'conv1d', 'eds': 'dense'}
    >>> model.score(X, y) > 0.9
    True
    >>> model.predict_level(X[:1], "crystal_system")
    array(['orthorhombic'], dtype='<U12')
    """

    pool = None  # of networks that were pickled without this parameter

    def __init__(
        self,
        hierarchy=None,
        *,
        space_groups=None,
        hierarchy_weights=None,
        branches=None,
        pool="numbered",
        hidden_size=256,
        embedding_size=128,
        n_filters=32,
        n_residual=0,
        dropout=0.2,
        modality_dropout=0.2,
        block_loss=1.0,
        profile_vote=True,
        augment=1.0,
        mixup=0.0,
        max_epochs=30,
        batch_size=128,
        learning_rate=2e-3,
        weight_decay=0.05,
        schedule="one_cycle",
        label_smoothing=0.1,
        class_weight=None,
        sampling=None,
        weight_averaging=None,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        all_missing="raise",
        n_test_time_scales=0,
        precision="float32",
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.hierarchy = hierarchy
        self.space_groups = space_groups
        self.hierarchy_weights = hierarchy_weights
        self.branches = branches
        self.pool = pool
        self.hidden_size = hidden_size
        self.embedding_size = embedding_size
        self.n_filters = n_filters
        self.n_residual = n_residual
        self.dropout = dropout
        self.modality_dropout = modality_dropout
        self.block_loss = block_loss
        self.profile_vote = profile_vote
        self.augment = augment
        self.mixup = mixup
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.sampling = sampling
        self.weight_averaging = weight_averaging
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.all_missing = all_missing
        self.n_test_time_scales = n_test_time_scales
        self.precision = precision
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y, sample_weight=None, groups=None):
        """Train a new network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features, NaN where missing; columns named ``block__column`` if there are several blocks.
        y : array-like of shape (n_samples,)
            Labels; space-group numbers with ``hierarchy="space_group"``.
        sample_weight : array-like of shape (n_samples,) or None
        groups : array-like of shape (n_samples,) or None
            Groups, such as compounds, that must not be split between training and validation. Used only with
            early stopping.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range, if X has infinite values or a row without any block, if a label is
            not a space group although the hierarchy needs it, or if weights or groups have a wrong length.
        """
        fit_anew(self, X, y, sample_weight, groups)
        return self

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Train for one more epoch at a constant learning rate.

        Without an earlier `fit`, the first call makes the network: its rows determine the blocks, the
        standardisation and the columns with gaps. Later, only ``learning_rate`` may change.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        classes : array-like of shape (n_classes,) or None
            All labels of this and later calls; required in the first call.
        sample_weight : array-like of shape (n_samples,) or None

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As in `fit`; also if ``classes`` is missing in the first call or changes later, if a label is not
            among the classes, or if ``class_weight`` is ``"balanced"``, which needs all the data at once.
        """
        fit_more(self, X, y, classes, sample_weight)
        return self

    def predict_proba(self, X):
        """Return the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``. Rows in which nothing was measured are NaN with
            ``all_missing="missing"``.

        Raises
        ------
        ValueError
            If X has infinite values or other columns than in training, or if nothing was measured in a row
            and ``all_missing="raise"``; the message names the rows.
        """
        check_scalar(self.n_test_time_scales, "n_test_time_scales", numbers.Integral, min_val=0)
        X, empty = self._check_rows(X)
        proba = np.full((len(X), len(self.classes_)), np.nan)
        if not empty.all():
            self.net_.move_to(device_for_prediction(self.device))
            scores = self.net_.score(Rows(X[~empty]), self.n_test_time_scales)
            proba[~empty] = softmax(scores.astype(np.float64), axis=1)
        return proba

    def embed(self, X):
        """Return the fused layer: what the joint classifier of all blocks sees of each specimen.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of float32, shape (n_samples, hidden_size)
            NaN for rows in which nothing was measured.

        Raises
        ------
        ValueError
            As in `predict_proba`.
        """
        X, empty = self._check_rows(X)
        out = np.full((len(X), self.hidden_size), np.nan, dtype=np.float32)
        if not empty.all():
            self.net_.move_to(device_for_prediction(self.device))
            out[~empty] = self.net_.embed(Rows(X[~empty]))
        return out

    def _check_rows(self, X):
        """Return features as float32, and which rows are empty."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, **ACCEPTED)
        X = to_float32(X, getattr(self, "feature_names_in_", None))
        empty = empty_rows(self, X)
        if empty.any():
            check_empty_rows(empty, self.blocks_, self.all_missing)
        return X, empty

    def predict(self, X):
        """Return the most probable class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            Rows in which nothing was measured have a missing label, see ``all_missing``.
        """
        return most_probable(self.predict_proba(X), self.classes_)

    def _space_groups_of_classes(self):
        """Return the space-group number of each class; raise if there is no hierarchy."""
        if self.hierarchy is None or not self.level_classes_:
            raise ValueError("levels need hierarchy='space_group'; this classifier was trained without it")
        return self.space_groups_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

"""The network as a scikit-learn classifier."""

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from xtalsk.neural._batches import Batches, Rows, split_validation
from xtalsk.neural._blocks import block_presence, find_blocks, measure_block
from xtalsk.neural._checks import check_params, check_weights, name_rows, to_float32
from xtalsk.neural._loss import level_index, sum_to_level
from xtalsk.neural._net import KeepBest, LearningRate, device_for_prediction, make_net
from xtalsk.symmetry import LEVELS, check_space_group
from xtalsk.utils import check_device, check_option

_ACCEPTED = {"dtype": [np.float32, np.float64], "ensure_all_finite": False}


class FusionClassifier(ClassifierMixin, BaseEstimator):
    """Neural network that fuses several blocks of features, any of which may be missing.

    Columns named ``block__column`` form a block for each part before the ``__``; columns without it, or a
    matrix without names, form one block called ``"features"``. Each block has its own sub-network:
    convolutions along the axis for a profile (32 columns or more, all named ``q_0000, q_0001, ...`` or
    ``d_0000, ...``), convolutions over the image for pixels (``pixel_000_000, ...``), and dense layers for
    everything else. Their outputs are normalised, joined, normalised again and classified.

    Dense columns are standardised by the mean and standard deviation of the training data. A profile or an
    image is standardised by itself, row by row, and passed through asinh: its absolute scale, which depends
    on dose and thickness, is not used.

    A block that is all NaN in a row was not measured there: it contributes nothing and the classifier is
    told so. Single NaN within a block count as the mean; in columns that have such gaps in training, the
    network is told where they are.

    Parameters
    ----------
    hierarchy : {None, "space_group"}, default=None
        With ``"space_group"``, ``y`` holds space-group numbers (1-230) and the network trains on crystal
        system, point group and space group at once. All levels are sums of one set of space-group
        probabilities, so that they never contradict each other.
    hierarchy_weights : dict of {level: float} or None, default=None
        Weights of the levels (names as in `xtalsk.symmetry.LEVELS`) in the loss; None weighs crystal system,
        point group and space group equally.
    branches : dict of {block: {"conv1d", "conv2d", "dense", "drop"}} or None, default=None
        Overrides the sub-network of a block, or leaves the block out.
    hidden_size : int, default=256
        Units of the hidden layers.
    embedding_size : int, default=128
        Outputs of each sub-network.
    n_filters : int, default=32
        Channels of the first convolution.
    dropout : float, default=0.2
        Probability with which a hidden unit is dropped in training.
    modality_dropout : float, default=0.2
        Probability with which each block of a row is dropped in training, never all of a row. It teaches the
        network to answer when a modality is missing.
    block_loss : float, default=1.0
        Weight of the loss that each of several blocks gets for the answer it gives alone, next to the loss of
        the joint answer. Without it the easiest block, mostly chemistry, keeps the others from learning [3]_.
    profile_vote : bool, default=True
        Whether the answer is the normalised geometric mean of the joint classifier's and those of the
        profiles and images alone, which ``block_loss`` trains. On compounds unlike those of the training it
        is better than either.
    augment : None, float or dict, default=1.0
        Disturbance of profiles in training: a strength that multiplies the default amounts, or a dict of
        amounts. ``"noise"`` and ``"background"`` are in standard deviations of the profile (defaults 0.05 and
        0.3), ``"stretch"`` is the largest relative change of the axis (0.05), ``"jitter"`` the standard
        deviation of the logarithm of a slowly varying factor (0.3). Stretching makes cells of other sizes
        with the same symmetry, so that the network learns ratios of line positions rather than known cells;
        use 0.005, as a calibration errs, where the labels depend on the size of the cell. Along an axis of
        energies it is at most 0.002.
    max_epochs : int, default=30
        Passes over the training data.
    batch_size : int, default=128
        Rows in a training step.
    learning_rate : float, default=2e-3
        Highest learning rate of AdamW [1]_.
    weight_decay : float, default=0.05
        Decoupled weight decay of AdamW.
    schedule : {"one_cycle", "cosine", "constant"}, default="one_cycle"
        Course of the learning rate: a linear rise over the first quarter and a cosine fall to zero [2]_, the
        cosine alone, or none.
    label_smoothing : float, default=0.1
        Share of the target spread evenly over the classes.
    class_weight : None, "balanced" or dict, default=None
        Weights of the classes, as everywhere in scikit-learn.
    early_stopping : bool, default=False
        Whether to keep back rows for validation, stop when their loss no longer falls, and restore the best
        weights.
    validation_fraction : float, default=0.1
        Share of the rows, or of the ``groups`` given to `fit`, kept back; at most 0.5.
    n_iter_no_change : int, default=10
        Epochs without a lower validation loss after which training stops.
    device : str, default="auto"
        ``"auto"`` takes a CUDA GPU where there is one; else ``"cpu"``, ``"cuda"`` or ``"cuda:<n>"``.
    random_state : int, RandomState or None, default=None
        Drives the weights, the order of the rows, dropout, augmentation and the validation part. Torch's
        global random numbers are left as they were.
    verbose : int, default=0
        1 prints a line each epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels.
    blocks_ : dict of {str: str}
        Sub-network of each block, in order.
    level_classes_ : dict of {str: ndarray}
        With a hierarchy, the labels of each level among the classes.
    n_iter_ : int
        Epochs run.
    loss_curve_ : list of float
        Training loss of each epoch, with the share of ``block_loss``.
    validation_loss_curve_ : list of float
        Validation loss of each epoch; empty without early stopping.
    validation_indices_ : ndarray of int
        Rows that were kept back; only with early stopping.
    net_ : object
        The network, in a private skorch net. It is kept on the CPU when pickled.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Only if the training data had names.

    References
    ----------
    .. [1] I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR (2019).
    .. [2] L. N. Smith and N. Topin, "Super-convergence", arXiv:1708.07120 (2017).
    .. [3] W. Wang, D. Tran and M. Feiszli, "What makes training multi-modal classification networks hard?",
       CVPR (2020).

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

    def __init__(
        self,
        hierarchy=None,
        *,
        hierarchy_weights=None,
        branches=None,
        hidden_size=256,
        embedding_size=128,
        n_filters=32,
        dropout=0.2,
        modality_dropout=0.2,
        block_loss=1.0,
        profile_vote=True,
        augment=1.0,
        max_epochs=30,
        batch_size=128,
        learning_rate=2e-3,
        weight_decay=0.05,
        schedule="one_cycle",
        label_smoothing=0.1,
        class_weight=None,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.hierarchy = hierarchy
        self.hierarchy_weights = hierarchy_weights
        self.branches = branches
        self.hidden_size = hidden_size
        self.embedding_size = embedding_size
        self.n_filters = n_filters
        self.dropout = dropout
        self.modality_dropout = modality_dropout
        self.block_loss = block_loss
        self.profile_vote = profile_vote
        self.augment = augment
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y, sample_weight=None, groups=None):
        """Train the network anew.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Numbers, NaN where missing; columns named ``block__column`` for several blocks.
        y : array-like of shape (n_samples,)
            Labels; space-group numbers with ``hierarchy="space_group"``.
        sample_weight : array-like of shape (n_samples,) or None
        groups : array-like of shape (n_samples,) or None
            With early stopping, what must not stand on both sides of the validation split, such as the
            compound. Not used otherwise.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range, if X holds infinities or a row without any block, if a label is
            no space group though the hierarchy asks for one, or if weights or groups do not fit.
        """
        check_params(self)
        X, y = self._check_X_y(X, y, reset=True)
        random_state = check_random_state(self.random_state)
        self._set_classes(np.unique(y))
        weight = check_weights(sample_weight, self.class_weight, y, self.classes_)
        target = np.searchsorted(self.classes_, y)
        if not weight.sum() > 0:
            raise ValueError("all weights are zero: sample_weight and class_weight leave nothing to learn")
        weight *= len(weight) / weight.sum()
        if groups is not None:
            check_consistent_length(X, groups)
        index, valid = None, None
        if self.early_stopping:
            index, kept_back = split_validation(target, groups, self.validation_fraction, random_state)
            self.validation_indices_ = kept_back
            valid = Rows(X, target, weight.astype(np.float32), kept_back)
        train = Rows(X, target, weight.astype(np.float32), index)
        self._start(X[train.index], random_state)
        n_steps = self.max_epochs * len(Batches(train, self.batch_size))
        callbacks = [LearningRate(self.schedule, self.learning_rate, n_steps)]
        if self.early_stopping:
            callbacks.append(KeepBest(self.n_iter_no_change))
        self._train(train, valid, self.max_epochs, callbacks)
        return self

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Train one epoch more at a constant learning rate.

        The first call, unless `fit` came before, makes the network: blocks, standardisation and the columns
        with gaps are learnt from its rows. Later calls may change ``learning_rate`` only.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        classes : array-like of shape (n_classes,) or None
            All labels that will ever come; needed in the first call.
        sample_weight : array-like of shape (n_samples,) or None

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As in `fit`; also if ``classes`` is missing in the first call or changes later, if a label is not
            among them, or if ``class_weight="balanced"``, which needs all the data at once.
        """
        first = not hasattr(self, "net_")
        check_params(self)
        if self.class_weight == "balanced":
            raise ValueError("class_weight='balanced' is not possible in partial_fit; give a dict of weights")
        if first and classes is None:
            raise ValueError("classes must be given in the first call of partial_fit")
        X, y = self._check_X_y(X, y, reset=first)
        if first:
            self._set_classes(np.unique(classes))
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"classes {np.unique(classes)} are not those of the first call, {self.classes_}")
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(f"y contains labels that are not among classes: {unknown.tolist()}")
        target = np.searchsorted(self.classes_, y)
        weight = check_weights(sample_weight, self.class_weight, y, self.classes_)
        if first:
            self._start(X, check_random_state(self.random_state))
        train = Rows(X, target, weight.astype(np.float32))
        self._train(train, None, 1, [LearningRate("constant", self.learning_rate, 1)])
        return self

    def predict_proba(self, X):
        """Probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.

        Raises
        ------
        ValueError
            If X holds infinities, a row without any block, or other columns than in training.
        """
        check_is_fitted(self)
        X = self._check_X(validate_data(self, X, reset=False, **_ACCEPTED))
        self.net_.move_to(device_for_prediction(self.device))
        scores = self.net_.forward(Rows(X)).numpy()
        return softmax(scores.astype(np.float64), axis=1)

    def predict(self, X):
        """Most probable class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        proba = self.predict_proba(X)
        return self.classes_[proba.argmax(axis=1)]

    def predict_level_proba(self, X, level):
        """Probability of each class of a level of symmetry: the sum of those of its space groups.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        level : str
            One of `xtalsk.symmetry.LEVELS`.

        Returns
        -------
        ndarray of shape (n_samples, n_labels)
            In the order of ``level_classes_[level]``.

        Raises
        ------
        ValueError
            If the level is unknown or the classifier was trained without a hierarchy.
        """
        check_is_fitted(self)
        if not self.level_classes_:
            raise ValueError("levels need hierarchy='space_group', this classifier was trained without")
        check_option("level", level, LEVELS)
        labels, index = level_index(self.classes_, level)
        return sum_to_level(self.predict_proba(X), index, len(labels))

    def predict_level(self, X, level):
        """Most probable class of a level of symmetry.

        It may differ from the level of the most probable space group, where several less probable ones
        share another class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        level : str
            One of `xtalsk.symmetry.LEVELS`.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        proba = self.predict_level_proba(X, level)
        return self.level_classes_[level][proba.argmax(axis=1)]

    def _check_X_y(self, X, y, reset):
        X, y = validate_data(self, X, y, reset=reset, **_ACCEPTED)
        check_classification_targets(y)
        if self.hierarchy is not None:
            y = check_space_group(y)
        if reset:
            names = getattr(self, "feature_names_in_", None)
            self._blocks = find_blocks(names, self.n_features_in_, self.branches)
            self.blocks_ = {block.name: block.kind for block in self._blocks}
        return self._check_X(X), y

    def _check_X(self, X):
        X = to_float32(X, getattr(self, "feature_names_in_", None))
        empty = np.flatnonzero(~block_presence(X, self._blocks).any(axis=1))
        if len(empty):
            raise ValueError(f"X: {name_rows(empty)}: every block is missing ({', '.join(self.blocks_)})")
        return X

    def _set_classes(self, classes):
        self.classes_ = classes if self.hierarchy is None else check_space_group(classes)
        levels = () if self.hierarchy is None else LEVELS
        self.level_classes_ = {level: level_index(self.classes_, level)[0] for level in levels}

    def _start(self, X, random_state):
        self.net_ = make_net(self, [measure_block(block, X) for block in self._blocks])
        self.net_.start(int(random_state.randint(2**31 - 1)), self.block_loss)
        self.n_iter_, self.loss_curve_, self.validation_loss_curve_ = 0, [], []

    def _train(self, train, valid, epochs, callbacks):
        history = self.net_.move_to(check_device(self.device)).train(train, valid, epochs, callbacks)
        self.n_iter_ += len(history)
        self.loss_curve_ += history[:, "train_loss"]
        if valid is not None:
            self.validation_loss_curve_ += history[:, "valid_loss"]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

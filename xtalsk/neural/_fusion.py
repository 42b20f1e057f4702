"""The network as a scikit-learn classifier."""

import numbers

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data

from xtalsk.neural._batches import Rows
from xtalsk.neural._levels import LevelsMixin
from xtalsk.neural._net import device_for_prediction
from xtalsk.neural._training import (
    ACCEPTED,
    check_X,
    fit_anew,
    fit_more,
    learn_batches,
    learn_chunk,
    start_stream,
)


class FusionClassifier(LevelsMixin, ClassifierMixin, BaseEstimator):
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
    n_residual : int, default=0
        Residual blocks of two convolutions, one after each of the last so many stages of a profile's
        convolutions. It takes more data and time, and tells more crystals apart.
    dropout : float, default=0.2
        Probability with which a hidden unit is dropped in training.
    modality_dropout : float, (float, float) or dict of {block: either}, default=0.2
        Probability with which each block of a row is dropped in training, never all of a row. It teaches the
        network to answer when a modality is missing. (start, end) changes it evenly in the course of `fit`;
        `partial_fit` takes the end. Blocks that a dict does not name are kept.
    block_loss : float, default=1.0
        Weight of the loss that each of several blocks gets for the answer it gives alone, next to the loss of
        the joint answer. Without it the easiest block, mostly chemistry, keeps the others from learning [3]_.
    profile_vote : bool, default=True
        Whether the answer is the normalised geometric mean of the joint classifier's and those of the
        profiles and images alone, which ``block_loss`` trains. On compounds unlike those of the training it
        is better than either.
    augment : None, float or dict, default=1.0
        Disturbance of profiles in training: a strength that multiplies the default amounts, or a dict of
        amounts, 0 for those not named. Each row draws its own, up to

        - ``"noise"``, ``"background"``: standard deviation of noise and height of a smooth background, in
          standard deviations of the profile (defaults 0.05 and 0.3);
        - ``"stretch"``: relative change of the axis (0.05, along energies at most 0.002). It makes cells of
          other sizes with the same symmetry, so that the network learns ratios of line positions rather than
          known cells; use 0.005, as a calibration errs, where labels depend on the size of the cell;
        - ``"jitter"``: standard deviation of the logarithm of a slowly varying factor (0.3).

        These are 0 unless named; the first three are for square roots of intensities, as transformers give:

        - ``"shot_noise"``: relative counting noise of a bin of mean intensity; the variance grows with
          intensity;
        - ``"impurity"``: share of another profile, stretched, as a foreign phase (not along energies);
        - ``"broaden"``: standard deviation in bins of a blur of the lines;
        - ``"peak_dropout"``: probability that each of three line-wide stretches is weakened to near zero;
        - ``"masks"``: share of the axis, at the ends or in between, that counts as not measured;
        - ``"shift"``: error of the zero in bins.
    mixup : float, default=0.0
        Above 0, each row is mixed in training, between sub-networks and classifier, with another that has the
        same blocks, and learns both labels; the shares follow a beta distribution with this parameter [4]_.
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
    sampling : None, "balanced" or float, default=None
        With a power from 0 to 1, the rows of an epoch, as many as ever, are drawn with chances of one over
        this power of how many rows their class has; ``"balanced"`` is 1, all classes alike. None or 0 takes
        each row once. In `partial_fit`, classes are counted in the rows of the call.
    weight_averaging : None or float, default=None
        Decay, below 1, of a moving average of the weights over training steps; validation and prediction use
        the average. 0.99 averages some 100 steps.
    early_stopping : bool, default=False
        Whether to keep back rows for validation, stop when their loss no longer falls, and restore the best
        weights.
    validation_fraction : float, default=0.1
        Share of the rows, or of the ``groups`` given to `fit`, kept back; at most 0.5.
    n_iter_no_change : int, default=10
        Epochs without a lower validation loss after which training stops.
    n_test_time_scales : int, default=0
        Above 1, each profile is read at so many scales, evenly from 0.998 to 1.002, to predict, and the
        logarithms of the probabilities are averaged. It needs no new training.
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic of the convolutions of profiles in training. ``"bfloat16"`` is about twice as fast on
        processors that have it.
    device : str, default="auto"
        ``"auto"`` takes a CUDA GPU where there is one; else ``"cpu"``, ``"cuda"`` or ``"cuda:<n>"``.
    random_state : int, RandomState or None, default=None
        Drives all that is random. Torch's global random numbers are left as they were.
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
        The network, in a private skorch net. It is pickled with all that training needs to go on, on the CPU.
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

    def __init__(
        self,
        hierarchy=None,
        *,
        hierarchy_weights=None,
        branches=None,
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
        n_test_time_scales=0,
        precision="float32",
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
        self.n_test_time_scales = n_test_time_scales
        self.precision = precision
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
        fit_anew(self, X, y, sample_weight, groups)
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
        fit_more(self, X, y, classes, sample_weight)
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
        check_scalar(self.n_test_time_scales, "n_test_time_scales", numbers.Integral, min_val=0)
        X = check_X(self, validate_data(self, X, reset=False, **ACCEPTED))
        self.net_.move_to(device_for_prediction(self.device))
        scores = self.net_.score(Rows(X), self.n_test_time_scales)
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

    def _start_stream(self, X, y, classes):
        """Make the network from a sample of a stream, without training it."""
        start_stream(self, X, y, classes)
        return self

    def _learn_batches(self, batches, n_steps=None, learning_rates=None):
        """Train on batches of tensors; see `learn_batches`."""
        return learn_batches(self, batches, n_steps, learning_rates)

    def _learn(self, X, y, learning_rate, progress=1.0):
        """Train on the rows of a tensor; see `learn_chunk`."""
        return learn_chunk(self, X, y, learning_rate, progress)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

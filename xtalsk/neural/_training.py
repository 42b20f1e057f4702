"""Training of a `FusionClassifier`: checks of the data, the start of the network, epochs and chunks."""

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, validate_data

from xtalsk.columns import block_presence
from xtalsk.neural._augment import check_augment
from xtalsk.neural._batches import Batches, Rows, split_validation
from xtalsk.neural._blocks import branch_of, choose_branches, measure_block
from xtalsk.neural._callbacks import KeepBest, LearningRate
from xtalsk.neural._checks import check_params, check_sampling, check_weights
from xtalsk.neural._labels import check_space_groups, set_classes, to_space_groups
from xtalsk.neural._net import make_net
from xtalsk.utils import check_classes, check_device, check_empty_rows, to_float32

ACCEPTED = {"dtype": [np.float32, np.float64], "ensure_all_finite": False}
"""Arguments of `validate_data`. NaN marks missing values. `to_float32` refuses infinity."""


def check_X(model, X):
    """Cast a validated matrix to float32 and check that each row has a block."""
    X = to_float32(X, getattr(model, "feature_names_in_", None))
    check_empty_rows(empty_rows(model, X), model.blocks_, "raise")
    return X


def empty_rows(model, X):
    """Return for each row whether all blocks of the network are missing."""
    return ~block_presence(X, model._blocks).any(axis=1)


def check_X_y(model, X, y, reset):
    """Check features and labels; with ``reset``, find the blocks of the features."""
    X, y = validate_data(model, X, y, reset=reset, **ACCEPTED)
    check_classes(y)
    if model.hierarchy is not None:
        to_space_groups(y, check_space_groups(model.hierarchy, model.space_groups))  # raises
        y = y.astype(np.int64)
    if reset:
        names = getattr(model, "feature_names_in_", None)
        model._blocks = choose_branches(names, model.n_features_in_, model.branches, model.pool)
        model.blocks_ = {block.name: branch_of(block) for block in model._blocks}
    return check_X(model, X), y


def to_target(model, y):
    """Return the position of each label among the classes; an unknown label is an error."""
    unknown = np.setdiff1d(y, model.classes_)
    if len(unknown):
        raise ValueError(f"y contains labels that are not among classes: {unknown.tolist()}")
    return np.searchsorted(model.classes_, y)


def _start_network(model, X, random_state):
    """Make the network of a model from the statistics of its training rows."""
    masks = check_augment(model.augment)["masks"] > 0
    model.net_ = make_net(model, [measure_block(block, X, masks) for block in model._blocks])
    seed = int(random_state.randint(2**31 - 1))
    model.net_.start(seed, model.block_loss, model.weight_averaging)
    model.n_iter_, model.loss_curve_, model.validation_loss_curve_ = 0, [], []


def fit_anew(model, X, y, sample_weight, groups):
    """Fit a model; see `FusionClassifier.fit`."""
    check_params(model)
    X, y = check_X_y(model, X, y, reset=True)
    random_state = check_random_state(model.random_state)
    set_classes(model, np.unique(y))
    weight = _mean_one(check_weights(sample_weight, model.class_weight, y, model.classes_))
    target = np.searchsorted(model.classes_, y)
    if groups is not None:
        check_consistent_length(X, groups)
    index, valid = None, None
    if model.early_stopping:
        index, held_out = split_validation(target, groups, model.validation_fraction, random_state)
        model.validation_indices_ = held_out
        valid = Rows(X, target, weight, held_out)
    train = Rows(X, target, weight, index, check_sampling(model.sampling))
    _start_network(model, X[train.index], random_state)
    n_steps = model.max_epochs * len(Batches(train, model.batch_size))
    callbacks = [LearningRate(model.schedule, model.learning_rate, n_steps)]
    if model.early_stopping:
        callbacks.append(KeepBest(model.n_iter_no_change))
    _train_epochs(model, train, valid, model.max_epochs, callbacks)


def _mean_one(weight):
    """Return weights scaled to a mean of 1, as float32."""
    if not weight.sum() > 0:
        raise ValueError("all weights are zero: sample_weight and class_weight exclude every row")
    return (weight * (len(weight) / weight.sum())).astype(np.float32)


def fit_more(model, X, y, classes, sample_weight):
    """Train a model for one more epoch; see `FusionClassifier.partial_fit`."""
    is_first = not hasattr(model, "net_")
    _check_params_of_part(model)
    if is_first and classes is None:
        raise ValueError("classes must be given in the first call of partial_fit")
    X, y = check_X_y(model, X, y, reset=is_first)
    if is_first:
        set_classes(model, np.unique(classes))
    elif classes is not None and not np.array_equal(np.unique(classes), model.classes_):
        raise ValueError(f"classes {np.unique(classes)} are not those of the first call, {model.classes_}")
    target = to_target(model, y)
    weight = check_weights(sample_weight, model.class_weight, y, model.classes_)
    if is_first:
        _start_network(model, X, check_random_state(model.random_state))
    train = Rows(X, target, weight.astype(np.float32), sampling=check_sampling(model.sampling))
    _train_epochs(model, train, None, 1, [LearningRate("constant", model.learning_rate)])


def _check_params_of_part(model):
    """Check the parameters of a model that sees only a part of the data at a time."""
    check_params(model)
    if model.class_weight == "balanced":
        raise ValueError("class_weight='balanced' is not possible in partial_fit; give a dict of weights")


def _train_epochs(model, train, valid, epochs, callbacks):
    """Train for some epochs and append their losses to the curves of the model."""
    history = model.net_.move_to(check_device(model.device)).train(train, valid, epochs, callbacks)
    model.n_iter_ += len(history)
    model.loss_curve_ += history[:, "train_loss"]
    if valid is not None:
        model.validation_loss_curve_ += history[:, "valid_loss"]


def start_stream(model, X, y, classes):
    """Make the network of a classifier from a sample of a stream, without training it.

    Parameters
    ----------
    model : FusionClassifier
        Changed in place.
    X : array-like of shape (n_samples, n_features)
        Features of the sample. The network standardises tables by their mean and standard deviation.
    y : array-like of shape (n_samples,)
        Labels of the sample.
    classes : array-like of shape (n_classes,)
        All labels of the stream.

    Returns
    -------
    FusionClassifier
        The same model, ready for `learn_chunk`.

    Raises
    ------
    ValueError
        If a parameter is out of range, ``class_weight`` is ``"balanced"``, or X or y are invalid as in
        `FusionClassifier.partial_fit`.
    """
    _check_params_of_part(model)
    X, y = check_X_y(model, X, y, reset=True)
    set_classes(model, np.unique(classes))
    to_target(model, y)
    _start_network(model, X, check_random_state(model.random_state))
    return model


def learn_chunk(model, X, y, learning_rate, progress=1.0):
    """Train a classifier on each row of a tensor once, in random order, in batches of ``batch_size``.

    The rows are not checked. The same chunks in the same order give the same network, also if the model is
    pickled in between.

    Parameters
    ----------
    model : FusionClassifier
        With a network from `start_stream` or from a fit; changed in place.
    X : tensor of float32, shape (n, n_features)
        Features, NaN where missing, preferably on the device of the network. Each row must have a block.
    y : array-like of shape (n,)
        Labels.
    learning_rate : float
    progress : float
        Share of the training that is done, for a ``modality_dropout`` of (start, end).

    Returns
    -------
    float
        Mean training loss of the batches.

    Raises
    ------
    ValueError
        If there are no rows, or if a label is not among the classes.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from xtalsk.neural import FusionClassifier, learn_chunk, start_stream
    >>> X, y = torch.randn(64, 8), np.arange(64) % 2
    >>> model = start_stream(FusionClassifier(batch_size=16, random_state=0), X.numpy(), y, classes=[0, 1])
    >>> losses = [learn_chunk(model, X, y, learning_rate=1e-3) for _ in range(3)]
    >>> model.n_iter_, model.predict(X.numpy()).shape
    (3, (64,))
    """
    if not len(X):
        raise ValueError("X has no rows")
    target = to_target(model, np.asarray(y))
    weight = check_weights(None, model.class_weight, model.classes_, model.classes_)[target]
    target, weight = (torch.from_numpy(a).to(X.device) for a in (target, weight.astype(np.float32)))
    entropy = np.random.SeedSequence([model.net_.seed, 1, model.net_.n_steps_])
    generator = torch.Generator().manual_seed(int(entropy.generate_state(1)[0]))
    parts = torch.randperm(len(X), generator=generator).to(X.device).split(model.batch_size)
    batches = ((X[rows], target[rows], weight[rows]) for rows in parts)
    losses = model.net_.move_to(check_device(model.device)).learn(batches, learning_rate, progress)
    model.n_iter_ += 1
    model.loss_curve_.append(float(losses.double().mean()))
    return model.loss_curve_[-1]

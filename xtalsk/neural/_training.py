"""From what the user gives a `FusionClassifier` to rows, a network, and the training of it."""

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, validate_data

from xtalsk.neural._augment import check_augment
from xtalsk.neural._batches import Batches, Rows, split_validation
from xtalsk.neural._blocks import block_presence, find_blocks, measure_block
from xtalsk.neural._checks import check_params, check_sampling, check_weights, name_rows, to_float32
from xtalsk.neural._loss import level_index
from xtalsk.neural._net import KeepBest, LearningRate, make_net
from xtalsk.symmetry import LEVELS, check_space_group
from xtalsk.utils import check_device

ACCEPTED = {"dtype": [np.float32, np.float64], "ensure_all_finite": False}
"""What `validate_data` lets through: NaN is what was not measured, infinity is refused later by name."""


def check_X(model, X):
    """Cast a validated matrix to float32 and check that each row has a block."""
    X = to_float32(X, getattr(model, "feature_names_in_", None))
    empty = np.flatnonzero(~block_presence(X, model._blocks).any(axis=1))
    if len(empty):
        raise ValueError(f"X: {name_rows(empty)}: every block is missing ({', '.join(model.blocks_)})")
    return X


def check_X_y(model, X, y, reset):
    """Check features and labels; with ``reset``, find the blocks anew."""
    X, y = validate_data(model, X, y, reset=reset, **ACCEPTED)
    check_classification_targets(y)
    if model.hierarchy is not None:
        y = check_space_group(y)
    if reset:
        names = getattr(model, "feature_names_in_", None)
        model._blocks = find_blocks(names, model.n_features_in_, model.branches)
        model.blocks_ = {block.name: block.kind for block in model._blocks}
    return check_X(model, X), y


def set_classes(model, classes):
    """Take the labels, and work out those of each level."""
    model.classes_ = classes if model.hierarchy is None else check_space_group(classes)
    levels = () if model.hierarchy is None else LEVELS
    model.level_classes_ = {level: level_index(model.classes_, level)[0] for level in levels}


def to_target(model, y):
    """Position of each label among the classes; an unknown label is an error."""
    unknown = np.setdiff1d(y, model.classes_)
    if len(unknown):
        raise ValueError(f"y contains labels that are not among classes: {unknown.tolist()}")
    return np.searchsorted(model.classes_, y)


def start(model, X, random_state):
    """Make the network, with what training rows tell about the blocks."""
    masks = check_augment(model.augment)["masks"] > 0
    model.net_ = make_net(model, [measure_block(block, X, masks) for block in model._blocks])
    seed = int(random_state.randint(2**31 - 1))
    model.net_.start(seed, model.block_loss, model.weight_averaging)
    model.n_iter_, model.loss_curve_, model.validation_loss_curve_ = 0, [], []


def fit_anew(model, X, y, sample_weight, groups):
    """Do what `FusionClassifier.fit` says."""
    check_params(model)
    X, y = check_X_y(model, X, y, reset=True)
    random_state = check_random_state(model.random_state)
    set_classes(model, np.unique(y))
    weight = check_weights(sample_weight, model.class_weight, y, model.classes_)
    target = np.searchsorted(model.classes_, y)
    if not weight.sum() > 0:
        raise ValueError("all weights are zero: sample_weight and class_weight leave nothing to learn")
    weight = (weight * (len(weight) / weight.sum())).astype(np.float32)
    if groups is not None:
        check_consistent_length(X, groups)
    index, valid = None, None
    if model.early_stopping:
        index, kept_back = split_validation(target, groups, model.validation_fraction, random_state)
        model.validation_indices_ = kept_back
        valid = Rows(X, target, weight, kept_back)
    train = Rows(X, target, weight, index, check_sampling(model.sampling))
    start(model, X[train.index], random_state)
    n_steps = model.max_epochs * len(Batches(train, model.batch_size))
    callbacks = [LearningRate(model.schedule, model.learning_rate, n_steps)]
    if model.early_stopping:
        callbacks.append(KeepBest(model.n_iter_no_change))
    _train(model, train, valid, model.max_epochs, callbacks)


def fit_more(model, X, y, classes, sample_weight):
    """Do what `FusionClassifier.partial_fit` says."""
    first = not hasattr(model, "net_")
    _check_params_of_part(model)
    if first and classes is None:
        raise ValueError("classes must be given in the first call of partial_fit")
    X, y = check_X_y(model, X, y, reset=first)
    if first:
        set_classes(model, np.unique(classes))
    elif classes is not None and not np.array_equal(np.unique(classes), model.classes_):
        raise ValueError(f"classes {np.unique(classes)} are not those of the first call, {model.classes_}")
    target = to_target(model, y)
    weight = check_weights(sample_weight, model.class_weight, y, model.classes_)
    if first:
        start(model, X, check_random_state(model.random_state))
    train = Rows(X, target, weight.astype(np.float32), sampling=check_sampling(model.sampling))
    _train(model, train, None, 1, [LearningRate("constant", model.learning_rate)])


def _check_params_of_part(model):
    """Check parameters where only a part of the data is at hand."""
    check_params(model)
    if model.class_weight == "balanced":
        raise ValueError("class_weight='balanced' is not possible in partial_fit; give a dict of weights")


def start_stream(model, X, y, classes):
    """Make the network from a sample of a stream, without training it."""
    _check_params_of_part(model)
    X, y = check_X_y(model, X, y, reset=True)
    set_classes(model, np.unique(classes))
    to_target(model, y)
    start(model, X, check_random_state(model.random_state))


def _train(model, train, valid, epochs, callbacks):
    history = model.net_.move_to(check_device(model.device)).train(train, valid, epochs, callbacks)
    model.n_iter_ += len(history)
    model.loss_curve_ += history[:, "train_loss"]
    if valid is not None:
        model.validation_loss_curve_ += history[:, "valid_loss"]


def learn_batches(model, batches, n_steps=None, learning_rates=None):
    """Make a step with each of some batches that are tensors already.

    Nothing is checked or copied; rows without any block are not refused.

    Parameters
    ----------
    model : FusionClassifier
        With a network.
    batches : iterable of (X, target, weight)
        Tensors on the device: float32 of shape (n, n_features), NaN where missing; int64 positions among
        ``classes_``, of shape (n,); and float32 weights of shape (n,).
    n_steps : int or None
        Steps of the whole training, over which ``schedule`` and a ``modality_dropout`` of (start, end) run;
        those made in earlier calls count. None is a training without an end: the learning rate is constant
        and ``modality_dropout`` as at the end.
    learning_rates : callable, sequence of float, or None
        In place of ``learning_rate`` and ``schedule``: a function of the number of steps done before, or a
        rate for each batch of this call.

    Returns
    -------
    float
        Mean loss.

    Raises
    ------
    ValueError
        If there is no batch, or fewer learning rates than batches.
    """
    planned = LearningRate(model.schedule, model.learning_rate, n_steps)
    rate_of = learning_rates
    if learning_rates is not None and not callable(learning_rates):
        rates = iter(learning_rates)

        def rate_of(step):
            rate = next(rates, None)
            if rate is None:
                raise ValueError("learning_rates must hold a rate for each batch, and came to an end")
            return rate

    def at(step):
        rate, progress = planned.at(step)
        return (rate if rate_of is None else rate_of(step)), progress

    return _learn(model, batches, at)


def learn_chunk(model, X, y, learning_rate, progress=1.0):
    """Make steps with the rows of a tensor, each once and in random order, in batches of ``batch_size``.

    Parameters
    ----------
    model : FusionClassifier
        With a network.
    X : tensor of float32, shape (n, n_features)
        As in `learn_batches`.
    y : array-like of shape (n,)
        Labels.
    learning_rate : float
    progress : float
        Share of the training that is done, for a ``modality_dropout`` of (start, end).

    Returns
    -------
    float
        Mean loss.
    """
    target = to_target(model, np.asarray(y))
    weight = check_weights(None, model.class_weight, model.classes_, model.classes_)[target]
    target, weight = (torch.from_numpy(a).to(X.device) for a in (target, weight.astype(np.float32)))
    entropy = np.random.SeedSequence([model.net_.seed, 1, model.net_.n_steps_])
    generator = torch.Generator().manual_seed(int(entropy.generate_state(1)[0]))
    parts = torch.randperm(len(X), generator=generator).to(X.device).split(model.batch_size)
    batches = ((X[rows], target[rows], weight[rows]) for rows in parts)
    return _learn(model, batches, lambda step: (learning_rate, progress))


def _learn(model, batches, at):
    losses = model.net_.move_to(check_device(model.device)).learn(batches, at)
    if not len(losses):
        raise ValueError("there was no batch to learn from")
    model.n_iter_ += 1
    model.loss_curve_.append(float(losses.double().mean()))
    return model.loss_curve_[-1]

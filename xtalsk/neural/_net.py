"""The skorch net inside the estimator: devices, seeds, the learning-rate schedule and early stopping."""

import copy
import math
import threading
import warnings
from contextlib import contextmanager, suppress

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.history import History
from skorch.utils import to_tensor

from xtalsk.neural._augment import check_augment
from xtalsk.neural._averaging import WeightAverage
from xtalsk.neural._batches import Batches
from xtalsk.neural._loss import LevelsLoss, check_hierarchy_weights, level_index
from xtalsk.neural._mixing import dropout_range
from xtalsk.neural._module import FusionModule
from xtalsk.utils import check_device

SCHEDULES = ("one_cycle", "cosine", "constant")

_PREDICT_ROWS = 1024
_WARM_UP = 0.25  # share of the steps of "one_cycle" in which the learning rate rises
_START = 0.04  # of the learning rate, at the first step of "one_cycle"
_SCALE = 0.002  # largest change of scale at which a profile is read again to predict
_SEED_LOCK = threading.RLock()


def device_for_prediction(device):
    """Like `check_device`, but fall back to the CPU, with a warning, where a GPU is gone since training."""
    try:
        return check_device(device)
    except ValueError as error:
        warnings.warn(f"{error}; predicting on the CPU", UserWarning, stacklevel=4)
        return torch.device("cpu")


@contextmanager
def own_random_numbers(device):
    """Give back torch's global random numbers as they were; one thread at a time uses them."""
    cuda = [device.index] if device.type == "cuda" else []
    with _SEED_LOCK, torch.random.fork_rng(devices=cuda):
        yield


def seed_torch(device, *entropy):
    """Seed the generator of the CPU, and of ``device`` if it is another, from some integers."""
    seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def schedule_factor(schedule, progress):
    """Learning rate, relative to its highest, when a share ``progress`` (0 to 1) of training is done."""
    if schedule == "constant":
        return 1.0
    if schedule == "one_cycle":
        if progress < _WARM_UP:
            return _START + (1 - _START) * progress / _WARM_UP
        progress = (progress - _WARM_UP) / (1 - _WARM_UP)
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


class _TrainingDone(Exception):
    """Raised by a callback to end training before the last epoch."""


class LearningRate(Callback):
    """Set the learning rate, and how far training is, before each batch.

    Parameters
    ----------
    schedule : str
    learning_rate : float
    n_steps : int or None
        Steps of the whole training; None is one without an end, at a constant rate.
    """

    def __init__(self, schedule, learning_rate, n_steps=None):
        self.schedule, self.learning_rate, self.n_steps = schedule, learning_rate, n_steps

    def on_train_begin(self, net, **kwargs):
        """Start counting."""
        self.step_ = 0

    def on_batch_begin(self, net, training=False, **kwargs):
        """Set the learning rate of the coming step."""
        if training:
            net.set_step(*self.at(self.step_))
            self.step_ += 1

    def at(self, step):
        """Learning rate of a step, counted from 0, and the share of training that is done before it."""
        if self.n_steps is None:
            return self.learning_rate, 1.0
        progress = min(step / self.n_steps, 1.0)
        return self.learning_rate * schedule_factor(self.schedule, progress), progress


class KeepBest(Callback):
    """End training when the validation loss has not fallen for some epochs, and restore the best weights."""

    def __init__(self, n_iter_no_change):
        self.n_iter_no_change = n_iter_no_change

    def on_train_begin(self, net, **kwargs):
        """Forget earlier training."""
        self.best_loss_, self.best_epoch_, self.best_state_ = math.inf, 0, None

    def on_epoch_end(self, net, **kwargs):
        """Keep the weights if they are the best so far; end training if none were for long."""
        epoch, loss = len(net.history), net.history[-1, "valid_loss"]
        if loss < self.best_loss_ or self.best_state_ is None:
            self.best_loss_, self.best_epoch_ = loss, epoch
            self.best_state_ = copy.deepcopy([module.state_dict() for module in net.all_weights()])
        elif epoch - self.best_epoch_ >= self.n_iter_no_change:
            raise _TrainingDone

    def on_train_end(self, net, **kwargs):
        """Restore the best weights."""
        for module, state in zip(net.all_weights(), self.best_state_, strict=True):
            module.load_state_dict(state)
        self.best_state_ = None


class FusionNet(NeuralNet):
    """The private net: `Rows` in, class scores out.

    It trains through `train` and scores through skorch's ``forward``. Each epoch is seeded from ``seed`` and
    its number, so that training in one go and epoch by epoch see the same random numbers.
    """

    def start(self, seed, block_loss, weight_averaging=None):
        """Make the network, with weights drawn from ``seed``."""
        self.seed, self.block_loss, self.n_epochs_, self.n_steps_ = seed, block_loss, 0, 0
        device = torch.device(self.device)
        with own_random_numbers(device):
            seed_torch(device, seed)
            self.initialize()
        self.average_ = None
        if weight_averaging is not None:
            self.average_ = WeightAverage(self.module_, weight_averaging)
        return self

    def all_weights(self):
        """List the network that is trained and, last, the one that predicts, if it is another."""
        return [self.module_] + ([] if self.average_ is None else [self.average_.module])

    def infer(self, x, **kwargs):
        """Scores of a batch; those of the averaged weights unless the network is being trained."""
        module = self.module_ if self.module_.training else self.all_weights()[-1]
        return module(to_tensor(x, device=self.device), **kwargs)

    def score(self, rows, n_scales=0):
        """Scores of rows on the CPU, the mean over profiles read at some scales within 0.2%.

        Parameters
        ----------
        rows : Rows
        n_scales : int
            The scales are spread evenly about 1; 0 or 1 reads them as they are.

        Returns
        -------
        ndarray of float32, shape (n, n_classes)
            Logarithms of probabilities but for a constant of the row.
        """
        if n_scales < 2:
            return self.forward(rows).numpy()
        self._set_training(False)
        out = []
        with torch.no_grad():
            for X, _ in self.get_iterator(rows):
                copies = [self.infer(X, scale=1 + _SCALE * t) for t in np.linspace(-1, 1, n_scales)]
                out.append(torch.stack(copies).mean(0).cpu())
        return torch.cat(out).numpy()

    def get_dataset(self, X, y=None):
        """Pass `Rows` through."""
        return X

    def get_split_datasets(self, X, y=None, **fit_params):
        """Split a pair of training and validation `Rows` (or None)."""
        return X

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Weighted loss of a batch; in training plus ``block_loss`` times that of each block alone."""
        target, weight = to_tensor(y_true, device=self.device)
        if not training:
            return self.criterion_(y_pred, target, weight)
        scores, alone, present, *mix = y_pred
        loss = self._mixed_loss(scores, target, weight, *mix)
        for i, block_scores in enumerate(alone):
            loss = loss + self.block_loss * self._mixed_loss(
                block_scores, target, weight * present[:, i], *mix
            )
        return loss

    def _mixed_loss(self, scores, target, weight, share=None, partner=None):
        """Loss for the target of each row and, by what it has of another row, for the other's."""
        if share is None:
            return self.criterion_(scores, target, weight)
        own = self.criterion_(scores, target, weight * share)
        return own + self.criterion_(scores, target[partner], weight[partner] * (1 - share))

    def train_step(self, batch, **kwargs):
        """Make one step and let the averaged weights follow."""
        step = super().train_step(batch, **kwargs)
        self.n_steps_ += 1
        if self.average_ is not None:
            self.average_.update(self.module_)
        return step

    def set_step(self, learning_rate, progress):
        """Set the learning rate of the coming steps and the share of training that is done."""
        self.module_.progress = progress
        for group in self.optimizer_.param_groups:
            group["lr"] = learning_rate

    def learn(self, batches, at):
        """Make a step with each of some batches of tensors, without waiting for the device in between.

        Each step is seeded from ``seed`` and the number of steps before it, so that the numbers do not depend
        on how a stream is cut into calls.

        Parameters
        ----------
        batches : iterable of (X, target, weight)
            Tensors of shapes (n, n_features), (n,) and (n,), best on the device of the network.
        at : callable
            From the number of steps done to the learning rate and the share of training that is done.

        Returns
        -------
        tensor of shape (n_batches,)
            Loss of each step.
        """
        device, losses = torch.device(self.device), []
        for X, target, weight in batches:
            self.set_step(*at(self.n_steps_))
            with own_random_numbers(device):
                seed_torch(device, self.seed, 0, self.n_steps_ + 1)
                losses.append(self.train_step((X, (target, weight)))["loss"].detach())
        return torch.stack(losses).cpu() if losses else torch.empty(0)

    def on_epoch_begin(self, net, **kwargs):
        """Seed the epoch."""
        super().on_epoch_begin(net, **kwargs)
        self.n_epochs_ += 1
        seed_torch(torch.device(self.device), self.seed, self.n_epochs_)

    def train(self, train, valid, epochs, callbacks):
        """Train some epochs and return the history of them.

        Parameters
        ----------
        train, valid : Rows
            ``valid`` may be None.
        epochs : int
        callbacks : list of Callback
            For this training only.

        Returns
        -------
        skorch.history.History
        """
        lasting = self.callbacks_
        self.callbacks_ = (
            lasting[:-1] + [(type(c).__name__, c.initialize()) for c in callbacks] + lasting[-1:]
        )
        self.history = History()
        try:
            with own_random_numbers(torch.device(self.device)):
                self.notify("on_train_begin")
                with suppress(_TrainingDone):
                    self.fit_loop((train, valid), epochs=epochs)
                self.notify("on_train_end")
        finally:
            self.callbacks_, history, self.history = lasting, self.history, History()
        return history

    def move_to(self, device):
        """Move the network and the state of its optimiser."""
        if torch.device(self.device) == device:
            return self
        self.device = str(device)
        self.module_.to(device)
        self.criterion_.to(device)
        if self.average_ is not None:
            self.average_.module.to(device)
        for state in self.optimizer_.state.values():
            for name, value in state.items():
                if isinstance(value, torch.Tensor) and value.ndim:
                    state[name] = value.to(device)
        return self

    def compact(self):
        """Keep what predictions need: the averaged weights where there are any, no state of the optimiser.

        Training that goes on from there is training from these weights anew.
        """
        if self.average_ is not None:
            self.module_.load_state_dict(self.average_.module.state_dict())
            self.average_ = None
        self.optimizer_.state.clear()
        return self

    def __getstate__(self):
        """Keep everything on the CPU, so that any machine can load it; the estimator moves it back."""
        if torch.device(self.device).type == "cpu":
            return self.__dict__.copy()
        names = ("module_", "criterion_", "optimizer_", "average_")
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.__dict__.update(copy.deepcopy({name: self.__dict__[name] for name in names}))
        return twin.move_to(torch.device("cpu")).__dict__

    def __setstate__(self, state):
        self.__dict__.update(state)


def make_net(model, blocks):
    """Make the net of a `FusionClassifier` that knows its ``classes_``, for measured blocks.

    Returns
    -------
    FusionNet
        Without weights before `FusionNet.start`.
    """
    levels = check_hierarchy_weights(model.hierarchy, model.hierarchy_weights)
    return FusionNet(
        FusionModule,
        module__blocks=blocks,
        module__n_classes=len(model.classes_),
        module__hidden_size=model.hidden_size,
        module__embedding_size=model.embedding_size,
        module__n_filters=model.n_filters,
        module__n_residual=model.n_residual,
        module__precision=getattr(torch, model.precision),
        module__dropout=model.dropout,
        module__modality_dropout=dropout_range(
            model.modality_dropout, [block.name for block in blocks], model.branches or ()
        ),
        module__mixup=float(model.mixup),
        module__augment=check_augment(model.augment),
        module__profile_vote=model.profile_vote and model.block_loss > 0,
        criterion=LevelsLoss,
        criterion__levels=[(w, level_index(model.classes_, level)[1]) for level, w in levels.items()],
        criterion__label_smoothing=model.label_smoothing,
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=model.weight_decay,
        lr=model.learning_rate,
        batch_size=model.batch_size,
        iterator_train=Batches,
        iterator_train__shuffle=True,
        iterator_valid=Batches,
        iterator_valid__batch_size=_PREDICT_ROWS,
        train_split=None,
        device=str(check_device(model.device)),
        verbose=int(model.verbose),
    )

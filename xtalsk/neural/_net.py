"""The skorch net inside the estimator: devices, random seeds, steps and epochs."""

import copy
import warnings
from contextlib import suppress

import numpy as np
import torch
from skorch import NeuralNet
from skorch.history import History
from skorch.utils import to_tensor
from torch import distributed

from xtalsk.neural._augment import check_augment
from xtalsk.neural._averaging import average_weights
from xtalsk.neural._batches import Batches
from xtalsk.neural._callbacks import TrainingDone
from xtalsk.neural._constants import FEW_ROWS, PREDICT_ROWS, SCALE_RANGE
from xtalsk.neural._distributed import average_over_processes, n_processes, own_share
from xtalsk.neural._layers import fold
from xtalsk.neural._loss import LevelsLoss, check_hierarchy_weights, level_index
from xtalsk.neural._mixing import dropout_events
from xtalsk.neural._module import FusionModule
from xtalsk.neural._random import OwnInitialWeights, own_random_numbers, seed_generators
from xtalsk.utils import check_device


def device_for_prediction(device):
    """Return the device for prediction: the CPU, with a warning, if the chosen device does not exist here."""
    try:
        return check_device(device)
    except ValueError as error:
        warnings.warn(f"{error}; predicting on the CPU", UserWarning, stacklevel=4)
        return torch.device("cpu")


class FusionNet(NeuralNet):
    """The private net: `Rows` in, class scores out.

    `train` runs epochs and `learn` runs steps. Each epoch is seeded from ``seed`` and its number. Thus
    training in one call and training epoch by epoch use the same random numbers.
    """

    def start(self, seed, block_loss, weight_averaging=None):
        """Initialise the network with random weights from ``seed``."""
        self.seed, self.block_loss, self.n_epochs_, self.n_steps_ = seed, block_loss, 0, 0
        with own_random_numbers(self.device), OwnInitialWeights():
            seed_generators(seed)
            self.initialize()
        self.average_ = None
        if weight_averaging is not None:
            # skorch accepts a module as an attribute only where it would also train it
            vars(self)["average_"] = average_weights(self.module_, weight_averaging)
        return self

    def all_weights(self):
        """Return the trained module and, if weights are averaged, the averaged module, which predicts."""
        return [self.module_] + ([] if self.average_ is None else [self.average_.module])

    def infer(self, x, **kwargs):
        """Return scores of a batch: of the trained module in training, else of the one that predicts."""
        module = self.module_ if self.module_.training else self.all_weights()[-1]
        return module(to_tensor(x, device=self.device), **kwargs)

    def score(self, rows, n_scales=0):
        """Return scores of rows, averaged over scales at which the profiles are read.

        Parameters
        ----------
        rows : Rows
        n_scales : int
            Number of scales, evenly from 0.998 to 1.002; 0 and 1 stand for the scale 1 alone.

        Returns
        -------
        ndarray of float32, shape (n, n_classes)
            Logarithms of probabilities, up to a constant in each row.
        """
        device = torch.device(self.device)
        scales = 1 + SCALE_RANGE * np.linspace(-1, 1, n_scales) if n_scales > 1 else [1.0]
        self._set_training(False)
        module, out = self.all_weights()[-1], []
        with torch.no_grad():
            if device.type == "cpu" and len(rows) > FEW_ROWS:
                module = fold(module)
            for X, _ in Batches(rows, PREDICT_ROWS[device.type]):
                copies = [module(X.to(device), scale=float(scale)) for scale in scales]
                out.append(torch.stack(copies).mean(0).cpu())
        return torch.cat(out).numpy()

    def embed(self, rows):
        """Return the fused layer of rows, float32 ndarray of shape (n, hidden_size)."""
        self._set_training(False)
        module, device = self.all_weights()[-1], torch.device(self.device)
        with torch.no_grad():
            parts = [module.embed(X.to(device)).cpu() for X, _ in Batches(rows, PREDICT_ROWS[device.type])]
        return torch.cat(parts).numpy()

    def get_dataset(self, X, y=None):
        """Return `Rows` unchanged."""
        return X

    def get_split_datasets(self, X, y=None, **fit_params):
        """Return the pair of training and validation `Rows` (or None) unchanged."""
        return X

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Return the weighted loss of a batch; in training plus ``block_loss`` times that of each block."""
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
        """Return the loss for the targets of rows and, if rows are mixed, of their partners, by share."""
        if share is None:
            return self.criterion_(scores, target, weight)
        own = self.criterion_(scores, target, weight * share)
        return own + self.criterion_(scores, target[partner], weight[partner] * (1 - share))

    def train_step_single(self, batch, **kwargs):
        """Compute the gradients of a batch; of several processes, each computes those of its own rows."""
        if n_processes() == 1:
            return super().train_step_single(batch, **kwargs)
        X, (target, weight) = batch
        rows = own_share(len(X))
        seed_generators(self.seed, self.n_epochs_, self.n_steps_, distributed.get_rank())
        step = super().train_step_single((X[rows], (target[rows], weight[rows])), **kwargs)
        average_over_processes(self.module_, len(X[rows]))
        return step

    def train_step(self, batch, **kwargs):
        """Make one step and update the averaged weights."""
        step = super().train_step(batch, **kwargs)
        self.n_steps_ += 1
        if self.average_ is not None:
            self.average_.update_parameters(self.module_)
        return step

    def set_step(self, learning_rate, progress):
        """Set the learning rate of the next steps and the share of the training that is done."""
        self.module_.progress = progress
        for group in self.optimizer_.param_groups:
            group["lr"] = learning_rate

    def learn(self, batches, learning_rate, progress):
        """Make a step with each batch of tensors.

        Each step is seeded from ``seed`` and the number of earlier steps. Thus random numbers do not depend
        on interruptions of the training.

        Parameters
        ----------
        batches : iterable of (X, target, weight)
            Tensors of shapes (n, n_features), (n,) and (n,), preferably on the device of the network.
        learning_rate : float
        progress : float
            Share of the training that is done.

        Returns
        -------
        tensor of shape (n_batches,)
            Loss of each step.
        """
        losses = []
        self.set_step(learning_rate, progress)
        with own_random_numbers(self.device):
            for X, target, weight in batches:
                seed_generators(self.seed, 0, self.n_steps_ + 1)
                losses.append(self.train_step((X, (target, weight)))["loss"].detach())
        return torch.stack(losses).cpu()

    def on_epoch_begin(self, net, **kwargs):
        """Seed the epoch."""
        super().on_epoch_begin(net, **kwargs)
        self.n_epochs_ += 1
        seed_generators(self.seed, self.n_epochs_)

    def train(self, train, valid, epochs, callbacks):
        """Train for some epochs and return their history.

        Parameters
        ----------
        train, valid : Rows
            ``valid`` may be None.
        epochs : int
        callbacks : list of skorch.callbacks.Callback
            Used in this training only.

        Returns
        -------
        skorch.history.History
        """
        permanent = self.callbacks_
        temporary = [(type(c).__name__, c.initialize()) for c in callbacks]
        self.callbacks_ = permanent[:-1] + temporary + permanent[-1:]
        self.history = History()
        try:
            with own_random_numbers(self.device):
                self.notify("on_train_begin")
                with suppress(TrainingDone):
                    self.fit_loop((train, valid), epochs=epochs)
                self.notify("on_train_end")
        finally:
            self.callbacks_, history, self.history = permanent, self.history, History()
        return history

    def move_to(self, device):
        """Move the network and the state of its optimiser to a device."""
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
        """Keep only what predictions need: the averaged weights, if any, and no state of the optimiser.

        Further training starts from these weights.
        """
        if self.average_ is not None:
            self.module_.load_state_dict(self.average_.module.state_dict())
            self.average_ = None
        self.optimizer_.state.clear()
        return self

    def __getstate__(self):
        """Return the state with all tensors on the CPU, so that any machine can load it."""
        if torch.device(self.device).type == "cpu":
            return self.__dict__.copy()
        names = ("module_", "criterion_", "optimizer_", "average_")
        duplicate = object.__new__(type(self))
        duplicate.__dict__.update(self.__dict__)
        duplicate.__dict__.update(copy.deepcopy({name: self.__dict__[name] for name in names}))
        return duplicate.move_to(torch.device("cpu")).__dict__

    def __setstate__(self, state):
        self.__dict__.update(state)


def make_net(model, blocks):
    """Make the net of a `FusionClassifier` from its parameters, its ``classes_`` and its measured blocks.

    Returns
    -------
    FusionNet
        `FusionNet.start` makes its weights.
    """
    levels = check_hierarchy_weights(model.hierarchy, model.hierarchy_weights)
    names = [block.name for block in blocks]
    probability, dropped_together = dropout_events(model.modality_dropout, names, model.branches or ())
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
        module__modality_dropout=probability,
        module__dropped_together=dropped_together,
        module__mixup=float(model.mixup),
        module__augment=check_augment(model.augment),
        module__profile_vote=model.profile_vote and model.block_loss > 0,
        criterion=LevelsLoss,
        criterion__levels=[(w, level_index(model.space_groups_, level)[1]) for level, w in levels.items()],
        criterion__label_smoothing=model.label_smoothing,
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=model.weight_decay,
        lr=model.learning_rate,
        batch_size=model.batch_size,
        iterator_train=Batches,
        iterator_train__shuffle=True,
        iterator_valid=Batches,
        iterator_valid__batch_size=PREDICT_ROWS[check_device(model.device).type],
        train_split=None,
        device=str(check_device(model.device)),
        verbose=int(model.verbose),
    )

"""Learning-rate schedules and early stopping."""

import copy
import math

from skorch.callbacks import Callback

from xtalsk.neural._constants import START_RATE, WARM_UP

SCHEDULES = ("one_cycle", "cosine", "constant")
"""Courses of the learning rate; see `schedule_factor`."""


def schedule_factor(schedule, progress):
    """Return the learning rate at a point of the training, relative to its highest value.

    Parameters
    ----------
    schedule : {"one_cycle", "cosine", "constant"}
        As in `FusionClassifier`.
    progress : float
        Share of the training that is done, from 0 to 1.

    Returns
    -------
    float

    Examples
    --------
    >>> from xtalsk.neural import schedule_factor
    >>> [round(schedule_factor("one_cycle", progress), 2) for progress in (0, 0.25, 0.625, 1)]
    [0.04, 1.0, 0.5, 0.0]
    """
    if schedule == "constant":
        return 1.0
    if schedule == "one_cycle":
        if progress < WARM_UP:
            return START_RATE + (1 - START_RATE) * progress / WARM_UP
        progress = (progress - WARM_UP) / (1 - WARM_UP)
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


class TrainingDone(Exception):
    """Raised by a callback to end training before the last epoch."""


class LearningRate(Callback):
    """Set the learning rate and the progress of the training before each batch.

    Parameters
    ----------
    schedule : str
    learning_rate : float
        Highest learning rate.
    n_steps : int or None
        Steps of the whole training. None stands for a training without an end: the learning rate is constant
        and the progress is 1.
    """

    def __init__(self, schedule, learning_rate, n_steps=None):
        self.schedule, self.learning_rate, self.n_steps = schedule, learning_rate, n_steps

    def on_train_begin(self, net, **kwargs):
        """Start to count steps."""
        self.step_ = 0

    def on_batch_begin(self, net, training=False, **kwargs):
        """Set the learning rate of the next step."""
        if training:
            net.set_step(*self.at(self.step_))
            self.step_ += 1

    def at(self, step):
        """Return the learning rate of a step, counted from 0, and the share of the training before it."""
        if self.n_steps is None:
            return self.learning_rate, 1.0
        progress = min(step / self.n_steps, 1.0)
        return self.learning_rate * schedule_factor(self.schedule, progress), progress


class KeepBest(Callback):
    """End training when the validation loss has not fallen for some epochs, and restore the best weights.

    Parameters
    ----------
    n_iter_no_change : int
        Number of these epochs.
    """

    def __init__(self, n_iter_no_change):
        self.n_iter_no_change = n_iter_no_change

    def on_train_begin(self, net, **kwargs):
        """Forget earlier training."""
        self.best_loss_, self.best_epoch_, self.best_state_ = math.inf, 0, None

    def on_epoch_end(self, net, **kwargs):
        """Store the weights if they are the best so far; end training if the last best epoch is too old."""
        epoch, loss = len(net.history), net.history[-1, "valid_loss"]
        if loss < self.best_loss_ or self.best_state_ is None:
            self.best_loss_, self.best_epoch_ = loss, epoch
            self.best_state_ = copy.deepcopy([module.state_dict() for module in net.all_weights()])
        elif epoch - self.best_epoch_ >= self.n_iter_no_change:
            raise TrainingDone

    def on_train_end(self, net, **kwargs):
        """Restore the best weights."""
        for module, state in zip(net.all_weights(), self.best_state_, strict=True):
            module.load_state_dict(state)
        self.best_state_ = None

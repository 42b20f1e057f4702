"""Moving average of the weights of a network while it trains."""

import copy

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """Exponential moving average of the weights and statistics of a module, updated each step.

    After step t (from 1) the average keeps min(decay, (t - 1) / (t + 8)) of itself and takes the rest from
    the module: the random weights of the beginning never count, those of the first steps are soon forgotten.

    Parameters
    ----------
    module : torch.nn.Module
    decay : float
        From 0, which follows the module, to below 1, which averages some 1 / (1 - decay) steps.

    Attributes
    ----------
    module : torch.nn.Module
        Twin of the module with averaged weights and buffers, for prediction; what counts is copied.
    n_steps : int
        Updates so far.
    """

    def __init__(self, module, decay):
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay, self.n_steps = decay, 0

    @torch.no_grad()
    def update(self, module):
        """Take in the weights of ``module`` after a training step."""
        keep = min(self.decay, self.n_steps / (self.n_steps + 9))
        self.n_steps += 1
        pairs = list(zip(self.module.state_dict().values(), module.state_dict().values(), strict=True))
        numbers = [pair for pair in pairs if pair[0].is_floating_point()]
        get_ema_multi_avg_fn(keep)(*map(list, zip(*numbers, strict=True)), None)
        for mine, its in pairs:
            if not mine.is_floating_point():
                mine.copy_(its)

"""Moving average of the weights of a network while it trains."""

from functools import partial

import torch
from torch.optim.swa_utils import AveragedModel

from xtalsk.neural._constants import AVERAGE_DELAY


@torch.no_grad()
def _update_average(decay, averages, values, n_averaged):
    """Update the averages of tensors of one type in place; integers are copied."""
    if not averages[0].is_floating_point():
        torch._foreach_copy_(averages, values)
        return
    n_averaged = int(n_averaged)
    keep = min(decay, n_averaged / (n_averaged + AVERAGE_DELAY))
    torch._foreach_lerp_(averages, values, 1 - keep)


def average_weights(module, decay):
    """Make an exponential moving average of the weights and buffers of a module.

    The first update copies the module. After that, the average keeps min(decay, n / (n + 9)) of itself,
    where n counts the updates so far, and takes the rest from the module. Thus the random initial weights
    have no share, and the weights of the first steps lose theirs soon.

    Parameters
    ----------
    module : torch.nn.Module
    decay : float
        From 0, which follows the module, to below 1, which averages about 1 / (1 - decay) steps.

    Returns
    -------
    torch.optim.swa_utils.AveragedModel
        Its attribute ``module`` is a copy of the module with averaged weights, for prediction. Its method
        ``update_parameters`` makes an update.
    """
    average = AveragedModel(module, multi_avg_fn=partial(_update_average, decay), use_buffers=True)
    average.module.eval().requires_grad_(False)
    return average

"""Training in several processes of torch.distributed: each computes the gradient of its share of a batch."""

import torch
from torch import distributed


def n_processes():
    """Return the number of processes that train together; 1 without torch.distributed."""
    is_joint = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if is_joint else 1


def own_share(n_rows):
    """Return which rows of a batch this process computes, a slice; all of a batch that is too small."""
    n = n_processes()
    return slice(distributed.get_rank(), None, n) if n_rows >= n else slice(None)


def average_over_processes(module, n_rows):
    """Average the gradients of all processes, weighted by their numbers of rows, and the running statistics.

    Parameters
    ----------
    module : Module
        Its gradients and floating-point buffers change in place.
    n_rows : int
        Rows of the share of this process.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        if parameter.grad is None:  # its block is missing in all rows of the share
            parameter.grad = torch.zeros_like(parameter)
    tensors = [p.grad for p in parameters] + [b for b in module.buffers() if b.is_floating_point()]
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors] + [tensors[0].new_ones(1)]) * n_rows
    distributed.all_reduce(flat)
    sizes = [tensor.numel() for tensor in tensors]
    for tensor, mean in zip(tensors, (flat[:-1] / flat[-1]).split(sizes), strict=True):
        tensor.copy_(mean.view_as(tensor))

"""Layers of profiles in the layout of memory that the processor is fast in.

A profile has shape (n, channels, n_bins). On a CPU, the convolutions are faster if the channels of a bin lie
next to each other in memory. PyTorch has this layout for images only, so the layers treat a profile as an
image of one row. Weights, results and their shapes are those of PyTorch's own layers.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

_NORMS = {nn.Conv1d: nn.BatchNorm1d, nn.Conv2d: nn.BatchNorm2d}


def _is_fast_here(x):
    """Return whether channels are to lie next to each other: on CPUs with oneDNN."""
    return x.device.type == "cpu" and torch.backends.mkldnn.is_available()


class Conv1d(nn.Conv1d):
    """Convolution of profiles; on a CPU, the channels of each bin of the result lie next to each other."""

    def forward(self, x):
        """Map (n, in_channels, n_bins) to (n, out_channels, n_positions)."""
        if not _is_fast_here(x):
            return super().forward(x)
        weight = self.weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        x = F.conv2d(x.unsqueeze(2), weight, self.bias, (1, *self.stride), (0, *self.padding))
        return x.squeeze(2)


class BatchNorm1d(nn.BatchNorm1d):
    """Batch normalisation of profiles that keeps the layout of `Conv1d`."""

    def forward(self, x):
        """Map (n, channels, n_bins) to the same shape."""
        if not _is_fast_here(x):
            return super().forward(x)
        if self.training:
            self.num_batches_tracked.add_(1)
        x = F.batch_norm(
            x.unsqueeze(2),
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
        )
        return x.squeeze(2)


class FoldedConvolution(nn.Module):
    """A convolution that includes the batch normalisation and the ReLU that follow it, for prediction.

    In prediction, a batch normalisation is a constant factor and offset of each channel. Both become part of
    the weights.

    Parameters
    ----------
    conv : Conv1d or Conv2d of torch
        Without groups and dilation.
    norm : BatchNorm1d or BatchNorm2d of torch
    relu : bool
        Whether a ReLU follows.
    """

    def __init__(self, conv, norm, relu):
        super().__init__()
        self.is_profile, self.relu = isinstance(conv, nn.Conv1d), relu
        weight, bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        self.stride, self.padding = conv.stride, conv.padding
        if self.is_profile:
            weight = weight.unsqueeze(2)
            self.stride, self.padding = (1, *conv.stride), (0, *conv.padding)
        self.weight = nn.Parameter(weight.detach().contiguous(memory_format=torch.channels_last), False)
        self.bias = nn.Parameter(bias.detach(), False)

    def forward(self, x):
        """Map profiles (n, channels, n_bins) or images (n, channels, n_rows, n_columns) like the layers."""
        x = F.conv2d(
            x.unsqueeze(2) if self.is_profile else x, self.weight, self.bias, self.stride, self.padding
        )
        if self.relu:
            x = x.relu_()
        return x.squeeze(2) if self.is_profile else x


def fold(module):
    """Return a module that predicts as ``module`` does, and faster on a CPU.

    Each convolution includes the batch normalisation and the ReLU that follow it in a sequence. All other
    layers are shared with ``module``, which does not change. The result holds the weights of this moment: it
    does not follow a later training.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode.

    Returns
    -------
    torch.nn.Module
        For use without gradients.
    """
    if not module._modules:
        return module
    folded = copy.copy(module)
    folded._modules = _fold_sequence(module) if isinstance(module, nn.Sequential) else _fold_children(module)
    return folded


def _fold_children(module):
    """Return the folded children of a module by name."""
    return {name: fold(child) for name, child in module.named_children()}


def _fold_sequence(sequence):
    """Return the layers of a sequence by name, with each convolution and what it includes as one layer."""
    layers, folded, i = list(sequence.named_children()), {}, 0
    while i < len(layers):
        name, layer = layers[i]
        following = [nxt for _, nxt in layers[i + 1 : i + 3]] + [None, None]
        norm = next((n for c, n in _NORMS.items() if isinstance(layer, c)), None)
        if norm is not None and isinstance(following[0], norm):
            relu = isinstance(following[1], nn.ReLU)
            folded[name] = FoldedConvolution(layer, following[0], relu)
            i += 2 + relu
        else:
            folded[name] = fold(layer)
            i += 1
    return folded

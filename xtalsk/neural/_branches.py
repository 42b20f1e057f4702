"""Sub-networks: one block of features in, one embedding out.

Each reads the rows of a batch that have the block; single missing values are NaN.
"""

import math

import torch
from torch import nn

from xtalsk.neural._augment import ProfileAugment, limit_stretch
from xtalsk.neural._constants import (
    FINAL_BINS,
    FINAL_PIXELS,
    FIRST_KERNEL,
    IMAGE_KERNEL,
    KERNEL,
    MAX_DEVIATION,
    WIDEST,
    WIDEST_IMAGE,
    WIDEST_RESIDUAL,
)
from xtalsk.neural._layers import BatchNorm1d, Conv1d
from xtalsk.neural._random import Dropout


def scale_rows(x):
    """Scale each row to a largest magnitude of 1, with 0 for NaN, so that later steps do not overflow."""
    x = torch.nan_to_num(x, nan=0.0)
    return x / x.abs().amax(1, keepdim=True).clamp(min=1e-30)


def standardise_rows(x, measured):
    """Standardise rows from `scale_rows` over their measured values, with 0 for unmeasured values."""
    counts = measured.sum(1, keepdim=True).clamp(min=1)
    mean = x.sum(1, keepdim=True) / counts
    x = torch.where(measured, x - mean, 0.0)
    return x / ((x.square().sum(1, keepdim=True) / counts).sqrt() + 1e-5)


class DenseBranch(nn.Module):
    """Standardise the columns of a table and apply two dense layers.

    For each column that had gaps in training, a further input says where a value is present. A column without
    any training value is ignored.
    """

    def __init__(self, block, hidden_size, embedding_size, dropout):
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(block.mean))
        # the average of infinite scales would be NaN, see `average_weights`
        self.register_buffer("scale", torch.as_tensor(block.scale).clamp(max=torch.finfo(torch.float32).max))
        self.register_buffer("gaps", torch.as_tensor(block.gaps))
        self.layers = nn.Sequential(
            Dropout(dropout),
            nn.Linear(len(block.mean) + len(block.gaps), hidden_size),
            nn.LayerNorm(hidden_size),
            nn.GELU(),
            Dropout(dropout),
            nn.Linear(hidden_size, embedding_size),
        )

    def forward(self, x):
        """Map (n, n_columns) to (n, embedding_size)."""
        measured = ~torch.isnan(x)
        z = ((x - self.mean) / self.scale).clamp(-MAX_DEVIATION, MAX_DEVIATION)
        z = torch.where(measured, z, 0.0)
        return self.layers(torch.cat([z, measured[:, self.gaps].to(z.dtype)], dim=1))


def _stage(conv, norm, n_in, n_out, kernel_size):
    """Return the layers that halve the length of a profile or of both sides of an image."""
    return [
        conv(n_in, n_out, kernel_size, stride=2, padding=kernel_size // 2, bias=False),
        norm(n_out),
        nn.ReLU(),
    ]


def _halvings(size, final):
    """Return how often ``size`` is halved (rounded up) until it is at most ``final``, and the final size."""
    n = 0
    while size > final:
        size, n = math.ceil(size / 2), n + 1
    return n, size


class Residual(nn.Module):
    """Add the result of two convolutions to their input."""

    def __init__(self, channels, kernel_size):
        super().__init__()
        convs = [
            Conv1d(channels, channels, kernel_size, padding=kernel_size // 2, bias=False) for _ in range(2)
        ]
        self.layers = nn.Sequential(
            convs[0], BatchNorm1d(channels), nn.ReLU(), convs[1], BatchNorm1d(channels)
        )

    def forward(self, x):
        """Map (n, channels, n_bins) to the same shape."""
        return torch.relu(x + self.layers(x))


class Conv1dBranch(nn.Module):
    """Reduce a profile to about 16 positions by strided convolutions, and apply a dense layer.

    The positions are not pooled, because lattices differ in the positions of their lines. Each row is
    standardised by itself, because its scale depends on the dose. Asinh lifts the weak lines.
    """

    def __init__(
        self, block, n_filters, embedding_size, dropout, augment, n_residual=0, precision=torch.float32
    ):
        super().__init__()
        self.precision = precision
        self.augment = ProfileAugment(**limit_stretch(augment, block.axis), first=block.first)
        self.has_gaps = len(block.gaps) > 0
        n_stages, n_bins = _halvings(block.shape[0], FINAL_BINS)
        widest = (WIDEST_RESIDUAL if n_residual else WIDEST) * n_filters
        channels, layers = 1 + self.has_gaps, []
        for stage in range(n_stages):
            n_out = min(widest, n_filters * 2 ** (stage // 2))
            kernel_size = FIRST_KERNEL if stage == 0 else KERNEL
            layers += _stage(Conv1d, BatchNorm1d, channels, n_out, kernel_size)
            channels = n_out
            if stage >= n_stages - n_residual:
                layers.append(Residual(channels, KERNEL))
        self.layers = nn.Sequential(
            *layers, nn.Flatten(), Dropout(dropout), nn.Linear(channels * n_bins, embedding_size)
        )

    def forward(self, x):
        """Map (n, n_bins) to (n, embedding_size)."""
        measured = ~torch.isnan(x)
        x, measured = self.augment(scale_rows(x), measured)
        x = torch.asinh(standardise_rows(x, measured)).unsqueeze(1)
        if self.has_gaps:
            x = torch.cat([x, measured.to(x.dtype).unsqueeze(1)], dim=1)
        is_reduced = self.training and self.precision != torch.float32
        with torch.autocast(x.device.type, self.precision, enabled=is_reduced):
            embedding = self.layers(x)
        return embedding.float()


class Conv2dBranch(nn.Module):
    """Reduce an image to about 4 x 4 positions by strided convolutions, and apply a dense layer."""

    def __init__(self, block, n_filters, embedding_size, dropout):
        super().__init__()
        self.shape = block.shape
        self.has_gaps = len(block.gaps) > 0
        n_stages, _ = _halvings(max(block.shape), FINAL_PIXELS)
        n_positions = math.prod(math.ceil(size / 2**n_stages) for size in block.shape)
        channels, layers = 1 + self.has_gaps, []
        for stage in range(n_stages):
            n_out = min(WIDEST_IMAGE * n_filters, n_filters * 2**stage)
            layers += _stage(nn.Conv2d, nn.BatchNorm2d, channels, n_out, IMAGE_KERNEL)
            channels = n_out
        self.layers = nn.Sequential(
            *layers, nn.Flatten(), Dropout(dropout), nn.Linear(channels * n_positions, embedding_size)
        )

    def forward(self, x):
        """Map (n, n_rows * n_columns) to (n, embedding_size)."""
        measured = ~torch.isnan(x)
        x = torch.asinh(standardise_rows(scale_rows(x), measured))
        planes = [x, measured.to(x.dtype)] if self.has_gaps else [x]
        return self.layers(torch.stack([p.unflatten(1, self.shape) for p in planes], dim=1))

"""Sub-networks: one block of features in, one embedding out.

Each takes the rows of a batch that have the block, with NaN where single values are missing.
"""

import math

import torch
from torch import nn

from xtalsk.neural._augment import ProfileAugment, limit_stretch

_MAX_DEVIATION = 10.0  # standard deviations at which a dense feature saturates
_FINAL_BINS = 16
_FINAL_PIXELS = 4


def scale_rows(x):
    """Scale each row to a largest magnitude of 1, with 0 for NaN, so that nothing overflows later."""
    x = torch.nan_to_num(x, nan=0.0)
    return x / x.abs().amax(1, keepdim=True).clamp(min=1e-30)


def standardise_rows(x, measured):
    """Give each row zero mean and unit standard deviation over its measured values, and 0 elsewhere.

    Rows are as `scale_rows` leaves them.
    """
    counts = measured.sum(1, keepdim=True).clamp(min=1)
    mean = x.sum(1, keepdim=True) / counts
    x = torch.where(measured, x - mean, 0.0)
    return x / ((x.square().sum(1, keepdim=True) / counts).sqrt() + 1e-5)


class DenseBranch(nn.Module):
    """Standardised columns through two dense layers; columns with gaps also tell where they have them."""

    def __init__(self, block, hidden_size, embedding_size, dropout):
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(block.mean))
        self.register_buffer("scale", torch.as_tensor(block.scale))
        self.register_buffer("gaps", torch.as_tensor(block.gaps))
        self.layers = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(len(block.columns) + len(block.gaps), hidden_size),
            nn.LayerNorm(hidden_size),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_size, embedding_size),
        )

    def forward(self, x):
        """Map (n, n_columns) to (n, embedding_size)."""
        measured = ~torch.isnan(x)
        z = ((x - self.mean) / self.scale).clamp(-_MAX_DEVIATION, _MAX_DEVIATION)
        z = torch.where(measured, z, 0.0)
        return self.layers(torch.cat([z, measured[:, self.gaps].to(z.dtype)], dim=1))


def _stage(conv, norm, n_in, n_out, kernel_size):
    return [
        conv(n_in, n_out, kernel_size, stride=2, padding=kernel_size // 2, bias=False),
        norm(n_out),
        nn.ReLU(),
    ]


def _halvings(size, final):
    """How often ``size`` is halved (rounding up) until it is at most ``final``, and what is left."""
    n = 0
    while size > final:
        size, n = math.ceil(size / 2), n + 1
    return n, size


class Residual(nn.Module):
    """Two convolutions whose result is added to what they were given."""

    def __init__(self, channels, kernel_size):
        super().__init__()
        convs = [
            nn.Conv1d(channels, channels, kernel_size, padding=kernel_size // 2, bias=False) for _ in "ab"
        ]
        self.layers = nn.Sequential(
            convs[0], nn.BatchNorm1d(channels), nn.ReLU(), convs[1], nn.BatchNorm1d(channels)
        )

    def forward(self, x):
        """Map (n, channels, n_bins) to the same shape."""
        return torch.relu(x + self.layers(x))


class Conv1dBranch(nn.Module):
    """A profile through strided convolutions to some 16 places, which a dense layer then reads.

    The places are kept apart, not pooled: where a line stands is what tells one lattice from another.
    Each row is standardised by itself (counts depend on the dose), and asinh lifts the weak lines.
    """

    def __init__(
        self, block, n_filters, embedding_size, dropout, augment, n_residual=0, precision=torch.float32
    ):
        super().__init__()
        self.precision = precision
        self.augment = ProfileAugment(**limit_stretch(augment, block.axis), first=block.first)
        self.has_gaps = len(block.gaps) > 0
        n_stages, n_bins = _halvings(block.shape[0], _FINAL_BINS)
        channels, layers = 1 + self.has_gaps, []
        for stage in range(n_stages):
            n_out = min((4 if n_residual else 2) * n_filters, n_filters * 2 ** (stage // 2))
            layers += _stage(nn.Conv1d, nn.BatchNorm1d, channels, n_out, 7 if stage == 0 else 5)
            channels = n_out
            if stage >= n_stages - n_residual:
                layers.append(Residual(channels, 5))
        self.layers = nn.Sequential(
            *layers, nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels * n_bins, embedding_size)
        )

    def forward(self, x):
        """Map (n, n_bins) to (n, embedding_size)."""
        measured = ~torch.isnan(x)
        x, measured = self.augment(scale_rows(x), measured)
        x = torch.asinh(standardise_rows(x, measured)).unsqueeze(1)
        if self.has_gaps:
            x = torch.cat([x, measured.to(x.dtype).unsqueeze(1)], dim=1)
        half = self.training and self.precision != torch.float32
        with torch.autocast(x.device.type, self.precision, enabled=half):
            embedding = self.layers(x)
        return embedding.float()


class Conv2dBranch(nn.Module):
    """An image through strided convolutions to some 4 x 4 places, which a dense layer then reads."""

    def __init__(self, block, n_filters, embedding_size, dropout):
        super().__init__()
        self.shape = block.shape
        self.has_gaps = len(block.gaps) > 0
        n_stages, _ = _halvings(max(block.shape), _FINAL_PIXELS)
        places = math.prod(math.ceil(size / 2**n_stages) for size in block.shape)
        channels, layers = 1 + self.has_gaps, []
        for stage in range(n_stages):
            n_out = min(4 * n_filters, n_filters * 2**stage)
            layers += _stage(nn.Conv2d, nn.BatchNorm2d, channels, n_out, 3)
            channels = n_out
        self.layers = nn.Sequential(
            *layers, nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels * places, embedding_size)
        )

    def forward(self, x):
        """Map (n, n_rows * n_columns) to (n, embedding_size)."""
        measured = ~torch.isnan(x)
        x = torch.asinh(standardise_rows(scale_rows(x), measured))
        planes = [x, measured.to(x.dtype)] if self.has_gaps else [x]
        return self.layers(torch.stack([p.unflatten(1, self.shape) for p in planes], dim=1))

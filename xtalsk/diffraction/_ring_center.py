"""The centre of spotty rings: pure functions on batches of images in torch, for any device.

Few grains break the inversion symmetry of a ring pattern. The mean of each ring still explains the halo and
what there is of rings, best around the right centre. The search compares centres on a grid; the centre of
inversion symmetry stays unless another one leaves clearly less unexplained.
"""

import torch
from torch.nn import functional as F

from xtalsk.diffraction._constants import RING_CENTER_GAIN
from xtalsk.diffraction._smoothing import smooth_valid


def search_grid(shape, max_offset):
    """Return the centres of the grid, pixels of an image of ``shape`` two pixels apart, Tensor (n, 2)."""
    axes = []
    for n in shape:
        reach = max_offset * n
        axes.append(torch.arange(-int(reach / 2), int(reach / 2) + 1) * 2 + (n - 1) / 2)
    return torch.cartesian_prod(*axes).float()


NEAR = torch.cartesian_prod(*[torch.arange(-1.0, 2.0)] * 2)
"""Steps around the best centre of the grid, in pixels."""


def ring_center(images, valid, center, max_offset, smoothing):
    """Return the better of a centre and the best one on a grid, for each image.

    Parameters
    ----------
    images : Tensor of shape (n, h, w)
        Square roots of intensities.
    valid : Tensor of shape (n, h, w)
        1 for valid pixels, else 0.
    center : Tensor of shape (n, 2)
        Centres of inversion symmetry in pixels.
    max_offset : float
        Largest distance of the centre from the middle of the image, as a share of its sides.
    smoothing : float
        Smoothing of the image in pixels.

    Returns
    -------
    Tensor of shape (n, 2)
    """
    level = smooth_valid(images, valid, smoothing)
    mean = (level * valid).sum((1, 2)) / valid.sum((1, 2)).clamp_min(1)
    level = (level - mean[:, None, None]) * valid
    half, half_valid = (F.avg_pool2d(a[:, None], 2, ceil_mode=True)[:, 0] for a in (level, valid))
    grid = search_grid(images.shape[1:], max_offset).to(images)
    sums = torch.stack([ring_sums(half, half_valid, ((c + 0.5) / 2 - 0.5).expand_as(center)) for c in grid])
    best = grid[sums.argmax(0)]
    near = NEAR.to(images)
    sums = torch.stack([ring_sums(level, valid, best + step) for step in near])
    explained, step = sums.max(0)
    rest = (level**2).sum((1, 2)) - explained
    gain = explained - ring_sums(level, valid, center)
    return torch.where((gain > RING_CENTER_GAIN * rest)[:, None], best + near[step], center)


def ring_sums(images, valid, center):
    """Sum of squares that the means of rings around centres (n, 2) explain of images (n, h, w), (n,)."""
    h, w = images.shape[1:]
    y = torch.arange(h, dtype=images.dtype, device=images.device) - center[:, :1]
    x = torch.arange(w, dtype=images.dtype, device=images.device) - center[:, 1:]
    radius = (y[:, :, None] ** 2 + x[:, None, :] ** 2).sqrt().flatten(1)
    n_radii = int(radius.max()) + 2
    low = radius.long()
    upper = (radius - low) * valid.flatten(1)
    total, number = images.new_zeros(2, len(images), n_radii)
    for share, index in ((valid.flatten(1) - upper, low), (upper, low + 1)):
        total.scatter_add_(1, index, share * images.flatten(1))
        number.scatter_add_(1, index, share)
    return torch.where(number > 1, total**2 / number.clamp_min(1), 0).sum(1)

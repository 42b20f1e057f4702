"""Gaussian spots on images."""

import math

import torch

from xtalsk.simulation.images._constants import STAMP_WIDTHS


def stamp(images, image, row, column, weight, fwhm):
    """Add Gaussian spots to images, in place.

    Parameters
    ----------
    images : tensor of shape (n, height, width)
        Must be contiguous.
    image : int64 tensor of shape (m,)
        Number of the image of each spot.
    row, column : tensor of shape (m,)
        Position of each spot in pixels from the centre of the first pixel. Parts outside the image are lost.
    weight : tensor of shape (m,)
        Sum of each spot over all pixels.
    fwhm : tensor of shape (m,)
        Full width at half maximum of each spot in pixels.

    Returns
    -------
    tensor
        ``images``.
    """
    _, height, width = images.shape
    near = (row > -0.5) & (row < height - 0.5) & (column > -0.5) & (column < width - 0.5) & (weight > 0)
    image, row, column, weight, fwhm = (v[near] for v in (image, row, column, weight, fwhm))
    if not len(row):
        return images
    reach = int(STAMP_WIDTHS * float(fwhm.max())) + 1
    steps = torch.arange(-reach, reach + 1, device=images.device)
    inside = steps.abs() <= (STAMP_WIDTHS * fwhm).int()[:, None] + 1  # the same pixels in any company
    sharpness = (4 * math.log(2) / fwhm.clamp_min(0.3) ** 2)[:, None]

    def share(position, size):
        """Pixels along one side of the image, and the share of each spot on them."""
        pixel = position.round().long()[:, None] + steps
        shape = torch.exp(-sharpness * (pixel - position[:, None]) ** 2) * inside
        shape = shape / shape.sum(1, keepdim=True) * ((pixel >= 0) & (pixel < size))
        return pixel.clamp(0, size - 1), shape

    rows, along = share(row, height)
    columns, across = share(column, width)
    index = (image[:, None] * height + rows)[:, :, None] * width + columns[:, None, :]
    patches = (along * weight[:, None])[:, :, None] * across[:, None, :]
    images.view(-1).index_add_(0, index.view(-1), patches.to(images.dtype).view(-1))
    return images

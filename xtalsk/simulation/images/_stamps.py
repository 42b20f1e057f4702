"""Round spots on images."""

import math

import torch


def stamp_some(images, part, spots):
    """Add those of the spots that lie on some of the images, in place.

    Parameters
    ----------
    images : tensor of shape (n, height, width)
    part : int64 tensor of shape (n,)
        Which images of the chunk these are.
    spots : tuple of tensors
        The arguments of `stamp` for the whole chunk.
    """
    place = torch.full((int(spots[0].max()) + 1 if len(spots[0]) else 1,), -1, device=part.device)
    known = part < len(place)
    place[part[known]] = torch.arange(len(part), device=part.device)[known]
    image = place[spots[0]]
    here = image >= 0
    stamp(images, image[here], *(values[here] for values in spots[1:]))


def stamp(images, image, row, column, weight, fwhm):
    """Add Gaussian spots to images, in place.

    Parameters
    ----------
    images : tensor of shape (n, height, width)
        Contiguous.
    image : int64 tensor of shape (m,)
        The image of each spot.
    row, column : tensor of shape (m,)
        Its place in pixels from the middle of the first pixel; what falls outside is lost.
    weight : tensor of shape (m,)
        Its sum over pixels.
    fwhm : tensor of shape (m,)
        Full width at half maximum in pixels.

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
    reach = int(1.3 * float(fwhm.max())) + 1
    steps = torch.arange(-reach, reach + 1, device=images.device)
    sharpness = (4 * math.log(2) / fwhm.clamp_min(0.3) ** 2)[:, None]

    def share(position, size):
        """Where a spot lies along one side of the image, and how much of it on each pixel."""
        place = position.round().long()[:, None] + steps
        shape = torch.exp(-sharpness * (place - position[:, None]) ** 2)
        shape = shape / shape.sum(1, keepdim=True) * ((place >= 0) & (place < size))
        return place.clamp(0, size - 1), shape

    rows, along = share(row, height)
    columns, across = share(column, width)
    place = (image[:, None] * height + rows)[:, :, None] * width + columns[:, None, :]
    patches = (along * weight[:, None])[:, :, None] * across[:, None, :]
    images.view(-1).index_add_(0, place.view(-1), patches.to(images.dtype).view(-1))
    return images

"""Round spots on images."""

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
    n, height, width = images.shape
    near = (row > -0.5) & (row < height - 0.5) & (column > -0.5) & (column < width - 0.5) & (weight > 0)
    image, row, column, weight, fwhm = (v[near] for v in (image, row, column, weight, fwhm))
    if not len(row):
        return images
    reach = int(1.3 * float(fwhm.max())) + 1
    steps = torch.arange(-reach, reach + 1, device=images.device)
    top, left = row.round().long(), column.round().long()
    sharpness = (4 * torch.log(torch.tensor(2.0)) / fwhm.clamp_min(0.3) ** 2)[:, None]
    along = torch.exp(-sharpness * (steps - (row - top)[:, None]) ** 2)
    across = torch.exp(-sharpness * (steps - (column - left)[:, None]) ** 2)
    along = along * (weight / (along.sum(1) * across.sum(1)))[:, None]
    padded = torch.zeros(n, height + 2 * reach, width + 2 * reach, dtype=images.dtype, device=images.device)
    place = (image * padded.shape[1] + top)[:, None] + (steps + reach)
    place = (place * padded.shape[2] + left[:, None])[:, :, None] + (steps + reach)
    patches = along[:, :, None] * across[:, None, :]
    padded.view(-1).index_add_(0, place.view(-1), patches.to(images.dtype).view(-1))
    images += padded[:, reach : reach + height, reach : reach + width]
    return images

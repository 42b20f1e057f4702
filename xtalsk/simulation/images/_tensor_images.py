"""Ring and spot images rendered and recorded by operations on tensors, for GPUs and double precision.

`_compiled_images` has the same functions for single precision on a CPU. It is chosen by `engine`.
"""

import torch

from xtalsk.simulation.images._beam import add_direct_beam, hide_behind_stop
from xtalsk.simulation.images._detector import record
from xtalsk.simulation.images._radial import offsets, on_pixels
from xtalsk.simulation.images._stamps import stamp
from xtalsk.simulation.reflections._texture import legendre
from xtalsk.utils._threads import is_plain


def engine(tensor):
    """Return the module that renders images for the dtype and device of ``tensor``."""
    if not is_plain(tensor):
        from xtalsk.simulation.images import _tensor_images

        return _tensor_images
    from xtalsk.simulation.images import _compiled_images  # numba is imported at the first use

    return _compiled_images


def empty_images(n, size, tensor):
    """Make a tensor for images that compiled loops render, or none for tensors of another kind."""
    return tensor.new_empty((n if is_plain(tensor) else 0), size, size)


def render_images(
    radial, spots, column, pixel, size, *, smooth_electrons, spots_in_total, seeds=None, images=None
):
    """Render images, and record them if there are seeds.

    Parameters
    ----------
    radial : tuple
        Radial profiles, tensor of shape (n, n_points). Then, if there is texture, the radial profiles of the
        harmonics of order 2, 4, ..., tensor of shape (n_textured, n_harmonics, n_points), and the numbers of
        these images, int64 tensor; otherwise None and None.
    spots : tuple of tensors or None
        Image in ascending order, row, column, weight and full width in pixels of each spot.
    column : dict of str to tensor of shape (n,)
        Values of the conditions of each image.
    pixel : float
        Width of a pixel in 1/Å.
    size : int
        Rows and columns of an image.
    smooth_electrons : tensor of shape (n,)
        Electrons of the image without the direct beam, and without spots if these are counted apart.
    spots_in_total : bool
        Whether ``smooth_electrons`` include the spots; their weights are then on the scale of the profiles.
    seeds : ndarray of uint64, shape (n,) or None
        Seeds of the counts; None returns expected electrons.
    images : tensor of shape (n, size, size) or None
        Where compiled loops write the images; not used here.

    Returns
    -------
    tensor of shape (n, size, size)
    """
    rates = _smooth(*radial, column, size)
    if spots is not None and spots_in_total:
        stamp(rates, *spots)
    rates *= (smooth_electrons / rates.sum((1, 2)).clamp_min(1e-30))[:, None, None]
    if spots is not None and not spots_in_total:
        stamp(rates, *spots)
    add_direct_beam(rates, column, pixel)
    hide_behind_stop(rates, column)
    if seeds is None:
        return rates
    return record(rates, column, torch.Generator(rates.device).manual_seed(int(seeds[0]) ^ 1))


def _smooth(profiles, harmonics, textured, column, size):
    """Values of radial profiles and their harmonics at the pixels, shape (n, size, size)."""
    rates = on_pixels([profiles], column, size)[0]
    if harmonics is None:
        return rates
    column = {name: values[textured] for name, values in column.items()}
    y, x = offsets(column, size)
    along = torch.cos(column["texture_azimuth"])[:, None, None] * x[:, None, :]
    along = along + torch.sin(column["texture_azimuth"])[:, None, None] * y[:, :, None]
    tilt = torch.sin(torch.deg2rad(column["texture_tilt"]))[:, None, None]
    length = torch.sqrt(x[:, None, :] ** 2 + y[:, :, None] ** 2).clamp_min(1e-6)
    polynomials = legendre(tilt * along / length).movedim(-2, 0)[1:]
    terms = on_pixels(list(harmonics.unbind(1)), column, size)
    rates[textured] += sum(term * p for term, p in zip(terms, polynomials, strict=True))
    return rates.clamp_min_(0)


def draw_grains(lines, mean_strength, expected, poles, column, seeds):
    """Draw the single grains of rings.

    Parameters
    ----------
    lines : RingLines
    mean_strength, expected : tensor of shape (m,)
        See `split_rings`.
    poles : tensor of shape (m, 5) or None
        See `pole_orders`; None without texture.
    column : dict of str to tensor of shape (n,)
        Values of the conditions of each image.
    seeds : ndarray of uint64, shape (n,)

    Returns
    -------
    image : int64 tensor of shape (n_grains,)
    row, column, strength : tensor of shape (n_grains,)
        Position in pixels and weight of the spot of each grain.
    """
    q = lines.q
    generator = torch.Generator(q.device).manual_seed(int(seeds[0]))
    number = torch.zeros_like(expected)
    spotty = expected > 0
    number[spotty] = torch.poisson(expected[spotty], generator=generator)
    line = torch.repeat_interleave(torch.arange(len(q), device=q.device), number.long())
    azimuth, uniform = torch.rand(2, len(line), generator=generator, device=q.device, dtype=q.dtype)
    azimuth = 2 * torch.pi * azimuth
    image, radius = lines.pattern[line], lines.radius[line]
    # grains differ in size and excitation: exponential variates of mean one
    strength = -torch.log1p(-uniform) * mean_strength[line]
    if column["grain_spread"].any():
        sigma = column["grain_spread"][image]
        normal = torch.randn(len(line), generator=generator, device=q.device, dtype=q.dtype)
        strength = strength * torch.exp(sigma * normal - sigma * sigma / 2)
    if poles is not None:
        strength = strength * _pole_density(poles[line], azimuth, image, column)
    x, y = _on_ellipse(radius, azimuth, image, column)
    return image, y, x, strength


def _pole_density(poles, azimuth, image, column):
    """Pole density of a textured sample at the azimuth of each grain, shape (n_grains,)."""
    tilt = torch.sin(torch.deg2rad(column["texture_tilt"]))[image]
    cosine = tilt * torch.cos(azimuth - column["texture_azimuth"][image])
    return (poles * legendre(cosine[:, None])[..., 0]).sum(1).clamp_min(0)


def _on_ellipse(radius, azimuth, image, column):
    """Columns and rows in pixels of points on elliptically distorted rings, each of shape (n_grains,)."""
    turn = column["ellipse_azimuth"][image]
    stretch = torch.sqrt(1 + column["ellipticity"])[image]
    along, across = radius * torch.cos(azimuth - turn) * stretch, radius * torch.sin(azimuth - turn) / stretch
    x = along * torch.cos(turn) - across * torch.sin(turn) + column["center_column"][image]
    y = along * torch.sin(turn) + across * torch.cos(turn) + column["center_row"][image]
    return x, y

"""Ring and spot images rendered and recorded by compiled loops, for single precision on a CPU."""

import numpy as np
import torch

from xtalsk.simulation._counting import quantile_table
from xtalsk.simulation.images import _image_kernels as kernels
from xtalsk.simulation.images._beam import spread
from xtalsk.simulation.images._beam_stop import SHAPE_COLUMNS, is_soft
from xtalsk.simulation.images._constants import (
    ARM_HALF_WIDTH,
    HOT_PIXEL_ELECTRONS,
    HOT_PIXEL_NOISE,
    STAMP_WIDTHS,
)
from xtalsk.simulation.images._radial import ellipse
from xtalsk.utils._threads import in_threads

_COPIED = (
    *("center_row", "center_column", "stop_row", "stop_column"),
    *("gain", "read_noise", "offset", "saturation", "dead_pixels", "hot_pixels"),
    *(*SHAPE_COLUMNS, "stop_transmission"),
)
_COMPUTED = (
    *("xx", "xy", "yy", "stretch", "turn_cosine", "turn_sine", "smooth_electrons"),
    *("tilt", "texture_cosine", "texture_sine", "beam_electrons", "beam_fwhm"),
    *("has_stop", "stop_radius2", "arm_half_width", "stop_cosine", "stop_sine"),
    *("is_soft", "penumbra", "grain_spread"),
)
SETTINGS = np.dtype([(name, np.float32) for name in (*_COPIED, *_COMPUTED)])
"""Numbers of an image that the compiled functions use."""


def _image_settings(column, pixel, smooth_electrons, size=1):
    """Compute the numbers of each image that the compiled functions use.

    Parameters
    ----------
    column : dict of str to tensor of shape (n,)
        Values of the conditions of each image.
    pixel : float
        Width of a pixel in 1/Å.
    smooth_electrons : tensor of shape (n,)
        Electrons of the image without direct beam, and without spots if these are counted apart.
    size : int
        Rows and columns of an image.

    Returns
    -------
    ndarray of `SETTINGS`, shape (n,)
    """
    nothing = torch.zeros_like(smooth_electrons)
    texture = column.get("texture_azimuth", nothing)
    computed = (
        *ellipse(column),
        torch.sqrt(1 + column["ellipticity"]),
        torch.cos(column["ellipse_azimuth"]),
        torch.sin(column["ellipse_azimuth"]),
        smooth_electrons,
        torch.sin(torch.deg2rad(column.get("texture_tilt", nothing))),
        torch.cos(texture),
        torch.sin(texture),
        column["direct_beam"] * column["electrons"],
        spread(column["beam_width"], column, pixel),
        column["beam_stop"],
        column["stop_radius"] ** 2,
        ARM_HALF_WIDTH * column["stop_radius"],
        torch.cos(column["stop_azimuth"]),
        torch.sin(column["stop_azimuth"]),
        is_soft(column),
        column["penumbra"] * size,
        column.get("grain_spread", nothing),
    )
    numbers = torch.stack([*(column[name] for name in _COPIED), *computed], dim=1)
    return numbers.contiguous().numpy().view(SETTINGS)[:, 0]


def render_images(
    radial, spots, column, pixel, size, *, smooth_electrons, spots_in_total, seeds=None, images=None
):
    """Render images, and record them if there are seeds; see `_tensor_images.render_images`."""
    profiles, harmonics, textured = radial
    settings = _image_settings(column, pixel, smooth_electrons, size)
    n = len(profiles)
    harmonic_row = np.full(n, -1)
    if harmonics is None:
        harmonics = torch.zeros(1, 1, 0)
    else:
        harmonics = harmonics.transpose(1, 2)
        harmonic_row[textured.numpy()] = np.arange(len(textured))
    if spots is None:
        spots = [torch.zeros(0, dtype=torch.int64), *(torch.zeros(0) for _ in range(4))]
    offsets = _offsets(spots[0], n)
    camera = (
        np.float32(STAMP_WIDTHS),
        np.float32(HOT_PIXEL_ELECTRONS),
        np.float32(HOT_PIXEL_NOISE),
        quantile_table(),
    )
    seeds = np.zeros(0, np.uint64) if seeds is None else seeds
    images = torch.empty(n, size, size) if images is None else images
    arrays = (
        images.numpy(),
        profiles.contiguous().numpy(),
        harmonics.contiguous().numpy(),
        harmonic_row,
        tuple(column.contiguous().numpy() for column in spots[1:]),
        offsets,
        settings,
        spots_in_total,
        camera,
        seeds,
    )
    in_threads(lambda first, last: kernels.render_images(*arrays, first, last), n)
    return images


def draw_grains(lines, mean_strength, expected, poles, column, seeds):
    """Draw the single grains of rings; see `_tensor_images.draw_grains`."""
    settings = _image_settings(column, 1.0, column["electrons"])
    n, table = len(settings), quantile_table()
    offsets = _offsets(lines.pattern, n)
    expected = expected.numpy()
    numbers = np.zeros(len(expected), np.int64)
    in_threads(lambda *part: kernels.draw_grain_numbers(expected, offsets, seeds, table, numbers, *part), n)
    starts = np.cumsum(numbers) - numbers
    grains = tuple(np.empty(int(numbers.sum()), np.float32) for _ in range(3))
    of_lines = lines.radius.contiguous().numpy(), mean_strength.contiguous().numpy()
    poles = np.zeros((0, 1), np.float32) if poles is None else poles.contiguous().numpy()
    arrays = of_lines, poles, offsets, numbers, starts, settings, seeds, grains
    in_threads(lambda *part: kernels.draw_image_grains(*arrays, *part), n)
    image = np.repeat(lines.pattern.numpy(), numbers)
    return tuple(torch.from_numpy(values) for values in (image, *grains))


def _offsets(image, n):
    """Return the first element of each of ``n`` images in ascending numbers of images, ndarray (n + 1,)."""
    return np.searchsorted(image.numpy(), np.arange(n + 1))

"""What a camera makes of electrons."""

from dataclasses import dataclass

import numpy as np
import torch

from xtalsk.simulation._conditions import Conditions, Sometimes
from xtalsk.simulation._counting import poisson


@dataclass(frozen=True, repr=False)
class Detector(Conditions):
    """How a camera records electrons.

    A field is a number, a pair (low, high) that is drawn uniformly for each image, `Sometimes` or a
    scipy.stats distribution.

    Parameters
    ----------
    blur : distribution
        Full width of the point spread in pixels.
    gain : distribution
        Counts that one electron makes.
    read_noise : distribution
        Standard deviation of the noise of a pixel in counts.
    offset : distribution
        Counts of a pixel that received nothing, 0 or more; without it half the read noise is cut at 0.
    saturation : distribution
        Counts that no pixel exceeds; ``inf`` for no limit.
    dead_pixels : distribution
        Share of the pixels that always read 0.
    hot_pixels : distribution
        Share of the pixels that read high without electrons.

    Raises
    ------
    ValueError
        If a field is out of range.

    Examples
    --------
    >>> from xtalsk.simulation import Detector
    >>> Detector.ideal()
    Detector(
        blur=0.0,
        gain=1.0,
        read_noise=0.0,
        offset=0.0,
        saturation=inf,
        dead_pixels=0.0,
        hot_pixels=0.0,
    )
    """

    blur: object = (0.8, 1.6)
    gain: object = 1.0
    read_noise: object = 0.0
    offset: object = 0.0
    saturation: object = np.inf
    dead_pixels: object = 0.0
    hot_pixels: object = 0.0

    _limits = {
        "blur": (0, np.inf),
        "gain": (1e-6, np.inf),
        "read_noise": (0, np.inf),
        "offset": (0, np.inf),
        "saturation": (1, np.inf),
        "dead_pixels": (0, 1),
        "hot_pixels": (0, 1),
    }

    @classmethod
    def ideal(cls):
        """Make a counting detector without blur."""
        return cls(blur=0.0)

    @classmethod
    def typical(cls):
        """Make a counting detector with the blur of the optics."""
        return cls()

    @classmethod
    def harsh(cls):
        """Make anything from a counting detector to a noisy, saturating camera with dead and hot pixels."""
        return cls(
            blur=(0.5, 3.0),
            gain=Sometimes(0.5, (0.5, 20.0), otherwise=1.0),
            read_noise=Sometimes(0.5, (0.5, 4.0)),
            offset=Sometimes(0.3, (2.0, 50.0)),
            saturation=Sometimes(0.2, (500.0, 5000.0), otherwise=np.inf),
            dead_pixels=Sometimes(0.4, (0.0, 2e-3)),
            hot_pixels=Sometimes(0.3, (0.0, 5e-4)),
        )


def record(rates, column, generator):
    """Record expected electrons.

    Parameters
    ----------
    rates : tensor of shape (n, ...)
        Expected electrons of each pixel.
    column : dict of str to tensor of shape (n,)
        The drawn fields of `Detector`, without ``blur``, which belongs into the rates.
    generator : torch.Generator

    Returns
    -------
    tensor of whole numbers, shape (n, ...)
    """
    counts = poisson(rates, generator)
    names = ("gain", "read_noise", "offset", "saturation", "dead_pixels", "hot_pixels")
    column = {name: column[name].view(-1, *[1] * (rates.ndim - 1)) for name in names}
    plain = {"gain": 1, "read_noise": 0, "offset": 0, "dead_pixels": 0, "hot_pixels": 0}
    if all((column[name] == value).all() for name, value in plain.items()):
        return (
            torch.minimum(counts, column["saturation"].floor())
            if column["saturation"].isfinite().any()
            else counts
        )
    noise = torch.randn(counts.shape, generator=generator, device=counts.device, dtype=counts.dtype)
    counts = counts * column["gain"] + column["read_noise"] * noise + column["offset"]
    lot = torch.rand(counts.shape, generator=generator, device=counts.device, dtype=counts.dtype)
    bright = column["offset"] + 50 * column["gain"] + 20 * column["read_noise"]
    counts = torch.where(lot > 1 - column["hot_pixels"], counts + bright * (1 + noise.abs()), counts)
    counts = torch.where(lot < column["dead_pixels"], torch.zeros_like(counts), counts)
    return torch.minimum(counts.round_().clamp_min_(0), column["saturation"].floor())

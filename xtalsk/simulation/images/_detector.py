"""Recording of expected electrons by a camera."""

from dataclasses import dataclass

import numpy as np
import torch

from xtalsk.simulation._conditions import Conditions, Sometimes
from xtalsk.simulation._counting import poisson
from xtalsk.simulation.images._constants import HOT_PIXEL_ELECTRONS, HOT_PIXEL_NOISE

_FAULTLESS = {"gain": 1, "read_noise": 0, "offset": 0, "dead_pixels": 0, "hot_pixels": 0}


@dataclass(frozen=True, repr=False)
class Detector(Conditions):
    """Properties of a camera that records electrons.

    A field is a number, a pair (low, high) for a uniform distribution, `Sometimes` or a scipy.stats
    distribution; each image gets its own number.

    Parameters
    ----------
    blur : distribution
        Full width at half maximum of the point spread function in pixels.
    gain : distribution
        Counts for one electron.
    read_noise : distribution
        Standard deviation of the noise of a pixel in counts.
    offset : distribution
        Counts of a pixel without electrons, at least 0. Counts are cut at 0, so that without an offset the
        negative half of the read noise is lost.
    saturation : distribution
        Largest number of counts of a pixel; ``inf`` for no limit.
    dead_pixels : distribution
        Share of the pixels that always read 0, from 0 to 1.
    hot_pixels : distribution
        Share of the pixels that read high values without electrons, from 0 to 1.

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
        """Make an electron-counting detector without blur."""
        return cls(blur=0.0)

    @classmethod
    def typical(cls):
        """Make an electron-counting detector with the blur of the optics."""
        return cls()

    @classmethod
    def harsh(cls):
        """Make cameras from electron counters to noisy ones with saturation, dead and hot pixels."""
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
    """Draw the counts of a camera.

    Parameters
    ----------
    rates : tensor of shape (n, ...)
        Expected electrons of each pixel.
    column : dict of str to tensor of shape (n,)
        Values of the fields of `Detector`. ``blur`` is not used; the rates must include it.
    generator : torch.Generator

    Returns
    -------
    tensor of whole numbers, shape (n, ...)
    """
    counts = poisson(rates, generator)
    column = {name: column[name].view(-1, *[1] * (rates.ndim - 1)) for name in (*_FAULTLESS, "saturation")}
    saturation = column["saturation"]
    if all((column[name] == value).all() for name, value in _FAULTLESS.items()):
        return torch.minimum(counts, saturation.floor()) if saturation.isfinite().any() else counts
    noise = torch.randn(counts.shape, generator=generator, device=counts.device, dtype=counts.dtype)
    counts = counts * column["gain"] + column["read_noise"] * noise + column["offset"]
    uniform = torch.rand(counts.shape, generator=generator, device=counts.device, dtype=counts.dtype)
    bright = column["offset"] + HOT_PIXEL_ELECTRONS * column["gain"] + HOT_PIXEL_NOISE * column["read_noise"]
    counts = torch.where(uniform > 1 - column["hot_pixels"], counts + bright * (1 + noise.abs()), counts)
    counts = torch.where(uniform < column["dead_pixels"], torch.zeros_like(counts), counts)
    return torch.minimum(counts.round_().clamp_min_(0), saturation.floor())

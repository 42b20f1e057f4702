"""Recording of expected electrons by a camera."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import loguniform

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
    sharing : distribution
        Share of the counts of a pixel that its neighbours before and after it get, along rows and along
        columns; 0 to 0.3. It makes the noise of neighbours similar, as light in a scintillator or a resampled
        picture does.
    blooming : distribution
        Share of the counts above ``saturation`` that flow to the neighbours along a row or column of the
        image, half of them to each side, until they reach pixels that are not full; 0 to 1.
    smear : distribution
        Mean count of a row or column that is added to each of its pixels, relative: readout without a
        shutter.

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
        sharing=0.0,
        blooming=0.0,
        smear=0.0,
    )
    """

    blur: object = (0.8, 1.6)
    gain: object = 1.0
    read_noise: object = 0.0
    offset: object = 0.0
    saturation: object = np.inf
    dead_pixels: object = 0.0
    hot_pixels: object = 0.0
    sharing: object = 0.0
    blooming: object = 0.0
    smear: object = 0.0

    _limits = {
        "blur": (0, np.inf),
        "gain": (1e-6, np.inf),
        "read_noise": (0, np.inf),
        "offset": (0, np.inf),
        "saturation": (1, np.inf),
        "dead_pixels": (0, 1),
        "hot_pixels": (0, 1),
        "sharing": (0, 0.3),
        "blooming": (0, 1),
        "smear": (0, 10),
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

    @classmethod
    def measured(cls):
        """Make cameras as in `harsh`, with shared counts, blooming and smear."""
        return cls(
            blur=(0.5, 3.0),
            gain=Sometimes(0.5, (0.5, 20.0), otherwise=1.0),
            read_noise=Sometimes(0.5, (0.5, 4.0)),
            offset=Sometimes(0.3, (2.0, 50.0)),
            saturation=Sometimes(0.3, loguniform(3e3, 1e6), otherwise=np.inf),
            dead_pixels=Sometimes(0.3, (0.0, 1e-3)),
            hot_pixels=Sometimes(0.2, (0.0, 3e-4)),
            sharing=Sometimes(0.7, (0.05, 0.3)),
            blooming=Sometimes(0.5, (0.1, 1.0)),
            smear=Sometimes(0.1, (0.0, 0.2)),
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


def without_blooming(column):
    """Values of the conditions for `record`, without the saturation of cameras that `read_out` fills."""
    blooms = column["blooming"] > 0
    if not blooms.any():
        return column
    unlimited = torch.full_like(column["saturation"], torch.inf)
    return column | {"saturation": torch.where(blooms, unlimited, column["saturation"])}


def read_out(images, column):
    """Share the counts of pixels, let those of full ones flow along rows or columns, smear images, in place.

    Parameters
    ----------
    images : tensor of shape (n, height, width)
        Counts from `record` with the conditions of `without_blooming`.
    column : dict of str to tensor of shape (n,)
        Values of the fields of `Detector`, and ``readout_turned``: whether charge flows along rows.

    Returns
    -------
    tensor
        ``images``.
    """
    shares = torch.nonzero(column["sharing"])[:, 0]
    if len(shares):
        images[shares] = _share(images[shares], column["sharing"][shares, None, None]).round_()
    for turned in (False, True):
        acts = ((column["blooming"] > 0) & column["saturation"].isfinite()) | (column["smear"] > 0)
        which = torch.nonzero(acts & ((column["readout_turned"] > 0) == turned))[:, 0]
        if not len(which):
            continue
        counts = images[which].transpose(1, 2) if turned else images[which]
        blooming, smear, saturation = (
            column[name][which, None, None] for name in ("blooming", "smear", "saturation")
        )
        counts = counts + smear * counts.mean(1, keepdim=True)
        counts = torch.where(blooming > 0, _overflow(counts, blooming, saturation.floor()), counts)
        counts = torch.minimum(counts.round_(), saturation.floor())
        images[which] = counts.transpose(1, 2) if turned else counts
    return images


def _share(counts, share):
    """Mix each pixel with its neighbours; pixels beyond the edges are like those at the edges."""
    for axis in (1, 2):
        n = counts.shape[axis]
        before = torch.cat([counts.narrow(axis, 0, 1), counts.narrow(axis, 0, n - 1)], axis)
        after = torch.cat([counts.narrow(axis, 1, n - 1), counts.narrow(axis, n - 1, 1)], axis)
        counts = torch.lerp(counts, (before + after).mul_(0.5), share)
    return counts


def _overflow(counts, blooming, saturation):
    """Add the counts that flow out of full pixels along columns; the result may be above the saturation."""
    if not saturation.isfinite().any():
        return counts
    limit = torch.where(saturation.isfinite(), saturation, counts.amax((1, 2), keepdim=True))
    surplus = counts - limit  # negative where a pixel has room
    surplus = torch.where(surplus > 0, surplus * blooming / 2, surplus).double()
    inflow = torch.zeros_like(counts)
    for down in (True, False):
        ordered = surplus if down else surplus.flip(1)
        # what leaves a pixel is max(0, what came + surplus): a sum above its lowest value so far
        total = ordered.cumsum(1)
        leaves = total - total.clamp_max(0).cummin(1).values
        came = torch.nn.functional.pad(leaves[:, :-1], (0, 0, 1, 0)).to(counts.dtype)
        inflow += came if down else came.flip(1)
    return counts + inflow

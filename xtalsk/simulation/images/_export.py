"""Export of images: grey levels of a picture file, and marks that a program burns into it.

The compiled twins of the arithmetic are in ``_finish_kernels.py``: change both.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import loguniform

from xtalsk.simulation._conditions import Conditions, Sometimes
from xtalsk.simulation.images._constants import CONTRAST_STEP


@dataclass(frozen=True, repr=False)
class Export(Conditions):
    """How a program saves an image: as recorded counts or as a picture with few grey levels.

    A field is a number, a pair (low, high) for a uniform distribution, `Sometimes` or a scipy.stats
    distribution; each image gets its own number.

    Parameters
    ----------
    levels : distribution
        Grey levels of the picture, 256 for 8 bit; ``inf`` keeps the counts.
    clipped_dark, clipped_bright : distribution
        Share of the pixels that are black and white, 0 to 0.5. The program takes the limits of the contrast
        from every fourth pixel of every fourth row. They are used with finite ``levels``.
    gamma : distribution
        Exponent of the grey levels. It is used with finite ``levels``. Below 1 it makes weak rings brighter.
    inverted : distribution
        Probability of a negative, where electrons are dark, 0 to 1. It is used with finite ``levels``.
    marks : distribution
        Probability of a scale bar with a label, 0 to 1.
    stripes : distribution
        Expected number of rows or columns that are too dark or too bright: seams of detector tiles,
        cross-hairs, scratches of scanned film.

    Raises
    ------
    ValueError
        If a field is out of range.

    Examples
    --------
    >>> from xtalsk.simulation import Export, RingConditions
    >>> conditions = RingConditions(export=Export(levels=256, gamma=0.5, clipped_bright=0.01))
    >>> conditions.draw(1, random_state=0)["gamma"].item()
    0.5
    """

    levels: object = np.inf
    clipped_dark: object = 0.0
    clipped_bright: object = 0.0
    gamma: object = 1.0
    inverted: object = 0.0
    marks: object = 0.0
    stripes: object = 0.0

    _limits = {
        "levels": (2, np.inf),
        "clipped_dark": (0, 0.5),
        "clipped_bright": (0, 0.5),
        "gamma": (0.05, 20),
        "inverted": (0, 1),
        "marks": (0, 1),
        "stripes": (0, 100),
    }

    @classmethod
    def ideal(cls):
        """Make conditions that keep the recorded counts."""
        return cls()

    typical = harsh = ideal

    @classmethod
    def measured(cls):
        """Make conditions of files that laboratories share: most are 8-bit pictures."""
        return cls(
            levels=Sometimes(0.8, 256.0, otherwise=np.inf),
            clipped_dark=loguniform(1e-3, 0.1),
            clipped_bright=loguniform(5e-4, 0.05),
            gamma=Sometimes(0.6, loguniform(0.35, 1.4), otherwise=1.0),
            marks=Sometimes(0.15, 1.0),
            stripes=Sometimes(0.15, (0.0, 4.0)),
        )


def draw_export(values, rng):
    """Draw which images are negatives and marked, and the seed of their marks; change ``values`` in place."""
    for name in ("inverted", "marks"):
        if (values[name] > 0).any():
            values[name] = (rng.uniform(size=len(values)) < values[name]).astype(float)
    values["mark_seed"] = 0.0
    if (values["marks"] > 0).any() or (values["stripes"] > 0).any():
        values["mark_seed"] = rng.randint(2**24, size=len(values)).astype(float)  # exact in single precision


def export_levels(images, column):
    """Convert counts to the grey levels of the export, in place.

    Parameters
    ----------
    images : tensor of shape (n, height, width)
        Counts.
    column : dict of str to tensor of shape (n,)
        Values of the fields of `Export`.

    Returns
    -------
    tensor
        ``images``.
    """
    finite = column["levels"].isfinite()
    if finite.any():
        which = torch.nonzero(finite)[:, 0]
        own = {name: column[name][which] for name in ("levels", *_CONTRAST)}
        images[which] = _grey_levels(images[which], own)
    return images


_CONTRAST = ("clipped_dark", "clipped_bright", "gamma", "inverted")


def _grey_levels(images, column):
    """Return the grey levels of images, tensor of whole numbers of the shape of ``images``."""
    dark, bright, gamma, inverted = (column[name][:, None, None] for name in _CONTRAST)
    sample = images[:, ::CONTRAST_STEP, ::CONTRAST_STEP].flatten(1).sort(1).values
    last = sample.shape[1] - 1
    low = sample.gather(1, (dark[:, 0] * last).long())[:, :, None]
    high = sample.gather(1, last - (bright[:, 0] * last).long())[:, :, None]
    grey = images.sub(low).div_((high - low).clamp_min(1)).clamp_(0, 1)
    if (gamma != 1).any():
        grey = torch.where(gamma != 1, grey.pow(gamma), grey)
    grey = torch.where(inverted > 0, 1 - grey, grey)
    return grey.mul_(column["levels"][:, None, None] - 1).round_()

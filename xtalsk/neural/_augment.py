"""Augmentation of profiles while the network trains, for a whole batch at once, on its device."""

import numbers

import torch
from torch import nn

from xtalsk.neural._constants import AUGMENT_AMOUNTS, ENERGY_STRETCH, MAX_AMOUNTS
from xtalsk.neural._disturbances import (
    add_counting_noise,
    add_foreign_phase,
    broaden,
    disturb,
    drop_peaks,
    mask_bins,
    recalibrate,
)
from xtalsk.neural._random import rand


def check_augment(augment):
    """Return the parameter ``augment`` as a dict of amounts.

    Parameters
    ----------
    augment : None, non-negative float, or dict
        None or 0 for no augmentation, a strength that multiplies the default amounts, or a dict of amounts,
        in which an absent amount is 0.

    Returns
    -------
    dict of {str: float}

    Raises
    ------
    ValueError
        If an amount is negative, not finite, too large or unknown.
    """
    amounts = _amounts(0.0 if augment is None else augment)
    for name, amount in amounts.items():
        if not (isinstance(amount, numbers.Real) and 0 <= amount < float("inf")):
            raise ValueError(f"augment: {name} must be a non-negative number, got {amount!r}")
    if amounts["stretch"] >= 1:
        raise ValueError(f"augment: stretch must be below 1, got {amounts['stretch']!r}")
    for name, highest in MAX_AMOUNTS.items():
        if amounts[name] > highest:
            raise ValueError(f"augment: {name} must be at most {highest:g}, got {amounts[name]!r}")
    return {name: float(amount) for name, amount in amounts.items()}


def _amounts(augment):
    """Return the amounts that a strength or a dict stands for, without checking their values."""
    if isinstance(augment, dict):
        unknown = sorted(set(augment) - set(AUGMENT_AMOUNTS))
        if unknown:
            raise ValueError(f"augment has unknown amounts {unknown}; amounts are {list(AUGMENT_AMOUNTS)}")
        return {name: augment.get(name, 0.0) for name in AUGMENT_AMOUNTS}
    if isinstance(augment, numbers.Real):
        return {name: augment * amount for name, amount in AUGMENT_AMOUNTS.items()}
    raise ValueError(f"augment must be None, a number or a dict, got {augment!r}")


def limit_stretch(amounts, axis):
    """Limit the amounts to what can happen to an axis.

    If the cell grows, all lines of a diffraction pattern move by one factor. The lines of a spectrum have
    fixed energies; only an error of the calibration moves them. A spectrum gets no foreign phase, because
    that would change its composition.

    Parameters
    ----------
    amounts : dict of {str: float}
    axis : str
        Letter of the axis; ``"e"`` for energies.

    Returns
    -------
    dict of {str: float}
    """
    if axis != "e":
        return amounts
    return {**amounts, "stretch": min(amounts["stretch"], ENERGY_STRETCH), "impurity": 0.0}


class ProfileAugment(nn.Module):
    """Disturb a batch of profiles in training; return it unchanged in prediction.

    The order is that of a measurement: the specimen (foreign phase, missing lines), the instrument (wider
    lines, calibration), background and noise, and last the range of the detector.

    Parameters
    ----------
    noise : float
        Largest standard deviation of added Gaussian noise, in standard deviations of the profile.
    background : float
        Largest height of an added smooth background, in standard deviations of the profile.
    stretch : float
        Largest relative change of the scale of the axis. A calibration error is well below 0.01; 0.05 stands
        for larger or smaller cells of the same symmetry.
    jitter : float
        Standard deviation of the logarithm of a slowly varying factor, such as texture or absorption cause.
    shot_noise : float
        Largest relative counting noise of a bin of mean intensity; see `add_counting_noise`.
    peak_dropout : float
        Probability that each of three windows as wide as a line is weakened to near zero.
    impurity : float
        Largest share of a foreign phase in the intensity.
    masks : float
        Largest share of the axis that is masked as unmeasured.
    shift : float
        Largest error of the zero, in bins.
    broaden : float
        Largest standard deviation, in bins, of the Gaussian that broadens the lines.
    first : int
        Number of bins between the zero of the axis and the profile.
    """

    def __init__(
        self,
        noise=0.0,
        background=0.0,
        stretch=0.0,
        jitter=0.0,
        shot_noise=0.0,
        peak_dropout=0.0,
        impurity=0.0,
        masks=0.0,
        shift=0.0,
        broaden=0.0,
        first=0,
    ):
        super().__init__()
        self.first = first
        self.noise, self.background, self.stretch, self.jitter = noise, background, stretch, jitter
        self.shot_noise, self.peak_dropout, self.impurity = shot_noise, peak_dropout, impurity
        self.masks, self.shift, self.broaden = masks, shift, broaden

    def forward(self, x, measured):
        """Return the disturbed values and which bins are measured, both of shape (n, n_bins)."""
        if not self.training or not any(getattr(self, name) for name in AUGMENT_AMOUNTS):
            return x, measured
        if self.impurity:
            x = add_foreign_phase(x, measured, self.impurity, self.first)
        if self.peak_dropout:
            x = drop_peaks(x, measured, self.peak_dropout)
        if self.broaden:
            x = broaden(x, measured, self.broaden * rand(len(x), 1, like=x))
        if self.stretch or self.shift:
            x, measured = recalibrate(x, measured, self.stretch, self.shift, self.first)
        x = disturb(x, measured, self.jitter, self.background, self.noise)
        if self.shot_noise:
            x = add_counting_noise(x, measured, self.shot_noise)
        if self.masks:
            measured = mask_bins(measured, self.masks)
        return torch.where(measured, x, 0.0), measured

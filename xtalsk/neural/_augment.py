"""Disturbances of profiles while the network trains, for a whole batch at once, on its device."""

import numbers

import torch
from torch import nn
from torch.nn import functional as F

AMOUNTS = {"noise": 0.05, "background": 0.3, "stretch": 0.05, "jitter": 0.3}
"""Amounts at strength 1; see `ProfileAugment`."""

_ENERGY_STRETCH = 0.002  # a badly calibrated spectrometer: 13 eV at Fe Kα

_JITTER_BINS = 12  # bins per knot of the random field that scales neighbouring lines alike


def check_augment(augment):
    """Turn the parameter ``augment`` into a dict of amounts.

    Parameters
    ----------
    augment : None, non-negative float, or dict
        None or 0 for no disturbance, a strength that multiplies `AMOUNTS`, or the amounts themselves
        (those not named are 0).

    Returns
    -------
    dict of {str: float}

    Raises
    ------
    ValueError
        If an amount is negative, not finite or unknown.
    """
    if augment is None:
        augment = 0.0
    if isinstance(augment, dict):
        unknown = sorted(set(augment) - set(AMOUNTS))
        if unknown:
            raise ValueError(f"augment has no {unknown}; amounts are {list(AMOUNTS)}")
        amounts = {name: augment.get(name, 0.0) for name in AMOUNTS}
    elif isinstance(augment, numbers.Real):
        amounts = {name: augment * amount for name, amount in AMOUNTS.items()}
    else:
        raise ValueError(f"augment must be None, a number or a dict, got {augment!r}")
    for name, amount in amounts.items():
        if not (isinstance(amount, numbers.Real) and 0 <= amount < float("inf")):
            raise ValueError(f"augment: {name} must be a non-negative number, got {amount!r}")
    if amounts["stretch"] >= 1:
        raise ValueError(f"augment: stretch must be below 1, got {amounts['stretch']!r}")
    return {name: float(amount) for name, amount in amounts.items()}


def limit_stretch(amounts, axis):
    """Limit the amount of stretch to what can happen to an axis.

    Every line of a diffraction pattern moves by one factor when the cell grows. The lines of a spectrum stay
    where the elements put them, but for an error of calibration.

    Parameters
    ----------
    amounts : dict of {str: float}
    axis : str
        Letter of the axis; "e" is of energies.

    Returns
    -------
    dict of {str: float}
    """
    if axis != "e":
        return amounts
    return {**amounts, "stretch": min(amounts["stretch"], _ENERGY_STRETCH)}


def stretch(x, measured, factors, first=0):
    """Read each profile at ``factors`` times the position: another calibration, or another size of cell.

    Positions count from the zero of the axis, so that the ratios of line positions, which tell the lattice,
    stay as they are.

    Parameters
    ----------
    x, measured : tensors of shape (n, n_bins)
        Values (0 where not measured), and whether a bin was measured.
    factors : tensor of shape (n, 1)
    first : int
        Widths of a bin between zero and the beginning of the first bin.

    Returns
    -------
    x, measured : tensors of shape (n, n_bins)
        Linearly interpolated; a bin whose sources lie outside the profile, or were mostly not measured,
        counts as not measured.
    """
    n_bins = x.shape[1]
    middle = first + 0.5
    position = (torch.arange(n_bins, device=x.device, dtype=x.dtype) + middle) * factors - middle
    left = position.floor().long().clamp(0, n_bins - 2)
    fraction = (position - left).clamp(0, 1)
    values, weights = x.gather(1, left), measured.to(x.dtype).gather(1, left)
    right = left + 1
    values = torch.lerp(values, x.gather(1, right), fraction)
    weights = torch.lerp(weights, measured.to(x.dtype).gather(1, right), fraction)
    inside = measured & (weights > 0.5) & (position >= -0.5) & (position <= n_bins - 0.5)
    return torch.where(inside, values / weights.clamp(min=0.5), 0.0), inside


def _random_field(n, n_bins, knots, like):
    """Gaussian noise of unit variance at ``knots`` places, drawn out to ``n_bins``."""
    field = torch.randn(n, 1, knots, device=like.device, dtype=like.dtype)
    return F.interpolate(field, size=n_bins, mode="linear", align_corners=True).squeeze(1)


class ProfileAugment(nn.Module):
    """Disturb a batch of profiles in training, and leave it alone otherwise.

    Parameters
    ----------
    noise : float
        Standard deviation of added Gaussian noise, in standard deviations of the profile.
    background : float
        Largest height of an added smooth background, in standard deviations of the profile.
    stretch : float
        Largest relative change of the scale of the axis. A wrong calibration changes it by well below 0.01;
        5% is a larger or smaller cell with the same symmetry.
    jitter : float
        Standard deviation of the logarithm of a slowly varying factor, as texture and absorption make.
    first : int
        Widths of a bin between the zero of the axis and its first bin.
    """

    def __init__(self, noise, background, stretch, jitter, first=0):
        super().__init__()
        self.first = first
        self.noise, self.background, self.stretch, self.jitter = noise, background, stretch, jitter

    def forward(self, x, measured):
        """Return disturbed values and which bins are measured, both of shape (n, n_bins)."""
        if not self.training or not any((self.noise, self.background, self.stretch, self.jitter)):
            return x, measured
        n, n_bins = x.shape
        if self.stretch:
            factors = 1 + self.stretch * (2 * torch.rand(n, 1, device=x.device) - 1)
            x, measured = stretch(x, measured, factors, self.first)
        counts = measured.sum(1, keepdim=True).clamp(min=1)
        mean = x.sum(1, keepdim=True) / counts
        spread = (torch.where(measured, x - mean, 0.0).square().sum(1, keepdim=True) / counts).sqrt()
        if self.jitter:
            x = x * torch.exp(self.jitter * _random_field(n, n_bins, max(2, n_bins // _JITTER_BINS), x))
        if self.background:
            height = self.background * spread * torch.rand(n, 1, device=x.device)
            decay = 8 * torch.rand(n, 1, device=x.device)
            x = x + height * torch.exp(-decay * torch.linspace(0, 1, n_bins, device=x.device))
        if self.noise:
            x = x + self.noise * spread * torch.rand(n, 1, device=x.device) * torch.randn_like(x)
        return torch.where(measured, x, 0.0), measured

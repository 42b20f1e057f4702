"""Disturbances of profiles while the network trains, for a whole batch at once, on its device."""

import math
import numbers

import torch
from torch import nn
from torch.nn import functional as F

AMOUNTS = {
    "noise": 0.05,
    "background": 0.3,
    "stretch": 0.05,
    "jitter": 0.3,
    "shot_noise": 0.0,
    "peak_dropout": 0.0,
    "impurity": 0.0,
    "masks": 0.0,
    "shift": 0.0,
    "broaden": 0.0,
}
"""Amounts at strength 1; see `ProfileAugment`."""

_SHARES = {"peak_dropout": 1.0, "impurity": 0.9, "masks": 0.9}  # the largest amount that makes sense

_ENERGY_STRETCH = 0.002  # a badly calibrated spectrometer: 13 eV at Fe Kα

_JITTER_BINS = 12  # bins per knot of the random field that scales neighbouring lines alike

_DOSE_RANGE = 100.0  # between the strongest and the weakest counting noise

_WINDOWS = 3  # stretches of a row that peak_dropout may take

_FOREIGN_STRETCH = 0.1  # of a foreign phase, so that it is none that the network has met


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
    for name, highest in _SHARES.items():
        if amounts[name] > highest:
            raise ValueError(f"augment: {name} must be at most {highest:g}, got {amounts[name]!r}")
    return {name: float(amount) for name, amount in amounts.items()}


def limit_stretch(amounts, axis):
    """Limit the amount of stretch to what can happen to an axis.

    Every line of a diffraction pattern moves by one factor when the cell grows. The lines of a spectrum stay
    where the elements put them, but for an error of calibration; and a foreign phase, which would change what
    elements it tells of, is not added.

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
    return {**amounts, "stretch": min(amounts["stretch"], _ENERGY_STRETCH), "impurity": 0.0}


def stretch(x, measured, factors, first=0, shift=0.0):
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
    shift : float or tensor of shape (n, 1)
        Bins by which it is read further on: an error of the zero.

    Returns
    -------
    x, measured : tensors of shape (n, n_bins)
        Linearly interpolated; a bin whose sources lie outside the profile, or were mostly not measured,
        counts as not measured.
    """
    n_bins = x.shape[1]
    middle = first + 0.5
    position = (torch.arange(n_bins, device=x.device, dtype=x.dtype) + middle) * factors - middle + shift
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


def _mean_intensity(intensity, measured):
    """Mean of each row over its measured bins, as (n, 1), never zero."""
    total = torch.where(measured, intensity, 0.0).sum(1, keepdim=True)
    return (total / measured.sum(1, keepdim=True).clamp(min=1)).clamp(min=1e-12)


def count(x, measured, amount):
    """Disturb the square roots of intensities as counting does.

    The variance of an intensity I is r² M (I + b), where M is the mean intensity of the row, r the relative
    noise of a bin of mean intensity (M counts make it 1/sqrt(M)), log-uniform from a hundredth of ``amount``
    to ``amount``, and b, up to M, the background that was counted along with it and taken off.

    Parameters
    ----------
    x, measured : tensors of shape (n, n_bins)
        Values below 0 count as 0.
    amount : float

    Returns
    -------
    tensor of shape (n, n_bins)
    """
    intensity = x.clamp(min=0).square()
    mean = _mean_intensity(intensity, measured)
    relative = amount * _DOSE_RANGE ** -torch.rand(len(x), 1, device=x.device)
    background = mean * torch.rand(len(x), 1, device=x.device)
    noise = relative * (mean * (intensity + background)).sqrt() * torch.randn_like(x)
    return (intensity + noise).clamp(min=0).sqrt()


def drop_peaks(x, measured, probability):
    """Weaken a few narrow stretches to near zero, each with some probability, where there is intensity.

    Lines are missing where few grains scatter, or where texture turns them away.

    Parameters
    ----------
    x, measured : tensors of shape (n, n_bins)
    probability : float

    Returns
    -------
    tensor of shape (n, n_bins)
    """
    n, n_bins = x.shape
    bins = torch.arange(n_bins, device=x.device)
    centers = torch.multinomial(torch.where(measured, x.clamp(min=0), 0.0) + 1e-6, _WINDOWS)
    for center in centers.T:
        width = 1 + max(1.0, n_bins / 64 - 1) * torch.rand(n, 1, device=x.device)
        depth = 1 - 0.2 * torch.rand(n, 1, device=x.device)
        depth = torch.where(torch.rand(n, 1, device=x.device) < probability, depth, 0.0)
        x = x * (1 - depth * torch.exp(-((bins - center[:, None]) / width).square().square()))
    return x


def add_foreign(x, measured, amount, first=0):
    """Add to each profile another of the batch, stretched: a second phase that nobody knows of.

    Parameters
    ----------
    x, measured : tensors of shape (n, n_bins)
        Square roots of intensities; values below 0 count as 0.
    amount : float
        Largest share of the foreign phase in the intensity.
    first : int
        As of `stretch`.

    Returns
    -------
    tensor of shape (n, n_bins)
        Of the same mean intensity as before.
    """
    n = len(x)
    other = torch.randperm(n, device=x.device)
    factors = 1 + _FOREIGN_STRETCH * (2 * torch.rand(n, 1, device=x.device) - 1)
    foreign, _ = stretch(x[other].clamp(min=0).square(), measured[other], factors, first)
    intensity = x.clamp(min=0).square()
    mean = _mean_intensity(intensity, measured)
    share = amount * torch.rand(n, 1, device=x.device)
    foreign = foreign * mean / _mean_intensity(foreign, measured)
    return torch.where(measured, torch.lerp(intensity, foreign, share).sqrt(), 0.0)


def broaden(x, measured, sigma):
    """Blur the intensities of each row with a Gaussian, leaving out what was not measured.

    Parameters
    ----------
    x, measured : tensors of shape (n, n_bins)
        Square roots of intensities; values below 0 count as 0.
    sigma : tensor of shape (n, 1)
        Standard deviation, in bins.

    Returns
    -------
    tensor of shape (n, n_bins)
    """
    n_bins = x.shape[1]
    length = 2 * n_bins  # so that what leaves at one end does not come in at the other
    frequency = torch.fft.rfftfreq(length, device=x.device)
    damping = torch.exp(-2 * (math.pi * sigma * frequency) ** 2)

    def blur(values):
        return torch.fft.irfft(torch.fft.rfft(values, n=length) * damping, n=length)[:, :n_bins]

    weight = measured.to(x.dtype)
    blurred = blur(x.clamp(min=0).square() * weight) / blur(weight).clamp(min=1e-3)
    return torch.where(measured, blurred.clamp(min=0).sqrt(), 0.0)


def hide(measured, amount):
    """Hide both ends and a stretch in between of each row: a narrower range, a beam stop, a gap.

    Parameters
    ----------
    measured : bool tensor of shape (n, n_bins)
    amount : float
        Largest share of the axis that is hidden in all.

    Returns
    -------
    bool tensor of shape (n, n_bins)
        What is still measured; a row of which nothing would be left stays as it is.
    """
    n, n_bins = measured.shape
    parts = torch.rand(n, 3, device=measured.device) ** 3  # often, one of them makes up the most
    parts = parts / parts.sum(1, keepdim=True).clamp(min=1e-12)
    low, high, gap = (amount * torch.rand(n, 1, device=measured.device) * parts).split(1, dim=1)
    start = low + (1 - low - high - gap) * torch.rand(n, 1, device=measured.device)
    place = (torch.arange(n_bins, device=measured.device) + 0.5) / n_bins
    hidden = (place < low) | (place > 1 - high) | ((place > start) & (place < start + gap))
    left = measured & ~hidden
    return torch.where(left.any(1, keepdim=True), left, measured)


class ProfileAugment(nn.Module):
    """Disturb a batch of profiles in training, and leave it alone otherwise.

    The specimen comes first (a foreign phase, missing lines), then the instrument (wider lines, a wrong
    calibration), background and noise, and last what the detector does not see.

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
    shot_noise : float
        Largest relative counting noise of a bin of mean intensity; see `count`.
    peak_dropout : float
        Probability that each of three stretches as wide as a line is weakened to near zero.
    impurity : float
        Largest share of a foreign phase in the intensity.
    masks : float
        Largest share of the axis that counts as not measured.
    shift : float
        Largest error of the zero, in bins.
    broaden : float
        Largest standard deviation, in bins, of a blur of the lines.
    first : int
        Widths of a bin between the zero of the axis and its first bin.
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
        self.shot_noise, self.peak_dropout, self.impurity, self.masks = (
            shot_noise,
            peak_dropout,
            impurity,
            masks,
        )
        self.shift, self.broaden = shift, broaden

    def forward(self, x, measured):
        """Return disturbed values and which bins are measured, both of shape (n, n_bins)."""
        if not self.training or not any(getattr(self, name) for name in AMOUNTS):
            return x, measured
        if self.impurity:
            x = add_foreign(x, measured, self.impurity, self.first)
        if self.peak_dropout:
            x = drop_peaks(x, measured, self.peak_dropout)
        if self.broaden:
            x = broaden(x, measured, self.broaden * torch.rand(len(x), 1, device=x.device))
        x, measured = self._recalibrate(x, measured)
        x = self._disturb(x, measured)
        if self.shot_noise:
            x = count(x, measured, self.shot_noise)
        if self.masks:
            measured = hide(measured, self.masks)
        return torch.where(measured, x, 0.0), measured

    def _recalibrate(self, x, measured):
        """Another scale of the axis, or another zero."""
        if not self.stretch and not self.shift:
            return x, measured
        factors, shift = 1.0, 0.0
        if self.stretch:
            factors = 1 + self.stretch * (2 * torch.rand(len(x), 1, device=x.device) - 1)
        if self.shift:
            shift = self.shift * (2 * torch.rand(len(x), 1, device=x.device) - 1)
        return stretch(x, measured, factors, self.first, shift)

    def _disturb(self, x, measured):
        """Slowly varying factor, smooth background, and noise of one width."""
        n, n_bins = x.shape
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
        return x

"""Disturbances of profiles, each a function on a whole batch of tensors on their device.

Profiles have shape (n, n_bins); unmeasured bins hold 0. Where a function speaks of intensities, profiles are
their square roots, as `PowderProfile` and `RadialProfile` return them, and values below 0 count as 0.
"""

import math

import torch
from torch.nn import functional as F

from xtalsk.neural._constants import (
    BACKGROUND_DECAY,
    DOSE_RANGE,
    FOREIGN_STRETCH,
    JITTER_BINS,
    MASK_POWER,
    WEAK_REST,
    WEAK_WIDTH,
    WEAK_WINDOWS,
)
from xtalsk.neural._random import own_generator, rand, randn, randperm


def _uniform(x):
    """Return a uniform random number from 0 to 1 for each row of ``x``, as (n, 1)."""
    return rand(len(x), 1, like=x)


def _symmetric(x):
    """Return a uniform random number from -1 to 1 for each row of ``x``, as (n, 1)."""
    return 2 * _uniform(x) - 1


def _random_field(x, n_knots):
    """Return Gaussian noise of unit variance at ``n_knots`` positions, interpolated to the shape of ``x``."""
    knots = randn(len(x), 1, n_knots, like=x)
    return F.interpolate(knots, size=x.shape[1], mode="linear", align_corners=True).squeeze(1)


def _mean_intensity(intensity, measured):
    """Return the mean of each row over its measured bins, as (n, 1) and above zero."""
    total = torch.where(measured, intensity, 0.0).sum(1, keepdim=True)
    return (total / measured.sum(1, keepdim=True).clamp(min=1)).clamp(min=1e-12)


def stretch(x, measured, factors, first=0, shift=0.0):
    """Resample profiles at ``factors`` times the position: another calibration, or a cell of another size.

    Positions count from the zero of the axis. Thus the ratios of line positions, which depend on the lattice,
    do not change.

    Parameters
    ----------
    x, measured : tensors of shape (n, n_bins)
        Values, 0 where unmeasured, and whether each bin is measured.
    factors : float or tensor of shape (n, 1)
    first : int
        Number of bins between the zero of the axis and the profile.
    shift : float or tensor of shape (n, 1)
        Error of the zero, in bins, that is added to the positions.

    Returns
    -------
    x, measured : tensors of shape (n, n_bins)
        Linear interpolation. A bin is unmeasured where its source lies outside the profile or is mostly
        unmeasured.
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


def recalibrate(x, measured, largest_stretch, largest_shift, first):
    """Change the scale and the zero of the axis of each profile at random.

    Parameters
    ----------
    x, measured : tensors of shape (n, n_bins)
    largest_stretch : float
        Relative change of the scale; 0 leaves the scale.
    largest_shift : float
        Error of the zero, in bins; 0 leaves the zero.
    first : int
        As in `stretch`.

    Returns
    -------
    x, measured : tensors of shape (n, n_bins)
    """
    factors = 1 + largest_stretch * _symmetric(x) if largest_stretch else 1.0
    shift = largest_shift * _symmetric(x) if largest_shift else 0.0
    return stretch(x, measured, factors, first, shift)


def add_counting_noise(x, measured, amount):
    """Add counting noise to the intensities.

    The variance of an intensity I is r² M (I + b). M is the mean intensity of the row. The relative noise r
    of a bin of mean intensity is 1/sqrt(M) for M counts; it is log-uniform from ``amount`` / 100 to
    ``amount``. The background b, which was counted and subtracted, is uniform from 0 to M.

    Parameters
    ----------
    x, measured : tensors of shape (n, n_bins)
    amount : float

    Returns
    -------
    tensor of shape (n, n_bins)
    """
    intensity = x.clamp(min=0).square()
    mean = _mean_intensity(intensity, measured)
    relative = amount * DOSE_RANGE ** -_uniform(x)
    background = mean * _uniform(x)
    noise = relative * (mean * (intensity + background)).sqrt() * randn(*x.shape, like=x)
    return (intensity + noise).clamp(min=0).sqrt()


def drop_peaks(x, measured, probability):
    """Weaken narrow windows of each profile to near zero, preferably where it is intense.

    Lines are missing where few grains scatter, or where texture turns the lattice planes away.

    Parameters
    ----------
    x, measured : tensors of shape (n, n_bins)
    probability : float
        Probability of each of three windows to be weakened.

    Returns
    -------
    tensor of shape (n, n_bins)
    """
    n_bins = x.shape[1]
    bins = torch.arange(n_bins, device=x.device)
    chances = torch.where(measured, x.clamp(min=0), 0.0) + 1e-6
    centers = torch.multinomial(chances, WEAK_WINDOWS, generator=own_generator(x.device))
    for center in centers.T:
        width = 1 + max(1.0, n_bins * WEAK_WIDTH - 1) * _uniform(x)
        depth = 1 - WEAK_REST * _uniform(x)
        depth = torch.where(_uniform(x) < probability, depth, 0.0)
        x = x * (1 - depth * torch.exp(-((bins - center[:, None]) / width).square().square()))
    return x


def add_foreign_phase(x, measured, amount, first=0):
    """Add to each profile another profile of the batch, stretched, as an unknown second phase.

    Parameters
    ----------
    x, measured : tensors of shape (n, n_bins)
    amount : float
        Largest share of the foreign phase in the intensity.
    first : int
        As in `stretch`.

    Returns
    -------
    tensor of shape (n, n_bins)
        The mean intensity of each row is unchanged.
    """
    other = randperm(len(x), like=x)
    factors = 1 + FOREIGN_STRETCH * _symmetric(x)
    foreign, _ = stretch(x[other].clamp(min=0).square(), measured[other], factors, first)
    intensity = x.clamp(min=0).square()
    mean = _mean_intensity(intensity, measured)
    share = amount * _uniform(x)
    foreign = foreign * mean / _mean_intensity(foreign, measured)
    return torch.where(measured, torch.lerp(intensity, foreign, share).sqrt(), 0.0)


def broaden(x, measured, sigma):
    """Convolve the measured intensities of each row with a Gaussian.

    Parameters
    ----------
    x, measured : tensors of shape (n, n_bins)
    sigma : tensor of shape (n, 1)
        Standard deviation, in bins.

    Returns
    -------
    tensor of shape (n, n_bins)
    """
    n_bins = x.shape[1]
    length = 2 * n_bins  # the padding keeps the two ends of the periodic convolution apart
    frequency = torch.fft.rfftfreq(length, device=x.device)
    damping = torch.exp(-2 * (math.pi * sigma * frequency) ** 2)

    def blur(values):
        return torch.fft.irfft(torch.fft.rfft(values, n=length) * damping, n=length)[:, :n_bins]

    weight = measured.to(x.dtype)
    blurred = blur(x.clamp(min=0).square() * weight) / blur(weight).clamp(min=1e-3)
    return torch.where(measured, blurred.clamp(min=0).sqrt(), 0.0)


def _spread(x, measured):
    """Return the standard deviation of each row over its measured bins, as (n, 1)."""
    counts = measured.sum(1, keepdim=True).clamp(min=1)
    mean = x.sum(1, keepdim=True) / counts
    return (torch.where(measured, x - mean, 0.0).square().sum(1, keepdim=True) / counts).sqrt()


def disturb(x, measured, jitter, background, noise):
    """Multiply profiles by a slowly varying factor and add a smooth background and noise.

    Parameters
    ----------
    x, measured : tensors of shape (n, n_bins)
    jitter : float
        Standard deviation of the logarithm of the factor.
    background, noise : float
        Largest height of the background and largest standard deviation of the noise, in standard deviations
        of the profile.

    Returns
    -------
    tensor of shape (n, n_bins)
    """
    n_bins = x.shape[1]
    spread = _spread(x, measured)
    if jitter:
        x = x * torch.exp(jitter * _random_field(x, max(2, n_bins // JITTER_BINS)))
    if background:
        height = background * spread * _uniform(x)
        decay = BACKGROUND_DECAY * _uniform(x)
        x = x + height * torch.exp(-decay * torch.linspace(0, 1, n_bins, device=x.device))
    if noise:
        x = x + noise * spread * _uniform(x) * randn(*x.shape, like=x)
    return x


def mask_bins(measured, amount):
    """Mask both ends and a gap of each row: a narrower range, a beam stop, a gap between detectors.

    Parameters
    ----------
    measured : bool tensor of shape (n, n_bins)
    amount : float
        Largest share of the axis that the three masks hide together.

    Returns
    -------
    bool tensor of shape (n, n_bins)
        Bins that stay measured. A row that would lose all its bins is unchanged.
    """
    n, n_bins = measured.shape
    parts = rand(n, 3, like=measured) ** MASK_POWER
    parts = parts / parts.sum(1, keepdim=True).clamp(min=1e-12)
    low, high, gap = (amount * _uniform(measured) * parts).split(1, dim=1)
    start = low + (1 - low - high - gap) * _uniform(measured)
    position = (torch.arange(n_bins, device=measured.device) + 0.5) / n_bins
    masked = (position < low) | (position > 1 - high) | ((position > start) & (position < start + gap))
    visible = measured & ~masked
    return torch.where(visible.any(1, keepdim=True), visible, measured)

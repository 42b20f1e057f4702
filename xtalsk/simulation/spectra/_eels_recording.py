"""Recording of core losses: plural scattering, energy resolution, background, low losses and detector."""

import torch

from xtalsk.physics._constants import FWHM_PER_SIGMA
from xtalsk.simulation._counting import poisson

_FWHM = round(FWHM_PER_SIGMA, 4)  # rounded: simulated counts depend on the last digit
_JUMP_WIDTH = 40.0  # eV on both sides of an onset over which the height of an edge is averaged
_PLASMON_CUT = 8  # plasmon energies above which single low losses are zero
_JOIN, _JOIN_WIDTH = 60.0, 4.0  # eV: where low losses turn into the background, and how smoothly
_DARK_LEVEL = 3  # dark level that is left in the counts, over the read-out noise


def transfer(n_points, step, column):
    """Fourier transform of the response to a single core loss, with low losses and energy resolution.

    Single low losses are a Lorentzian at the plasmon energy, zero below zero loss. The number of low losses
    of one electron has a Poisson distribution, so that the transform is exp(t/λ (P - 1)), times a Gaussian
    for the resolution.

    Parameters
    ----------
    n_points : int
        Number of channels, with padding.
    step : float
        Width of a channel in eV.
    column : dict of str to tensor of shape (n,)
        Conditions of each spectrum; see `EELSConditions` for the units.

    Returns
    -------
    complex tensor of shape (n, n_points // 2 + 1)

    References
    ----------
    R. F. Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed. (2011), eq. 4.10.
    """
    thickness = column["relative_thickness"]
    options = {"device": thickness.device, "dtype": thickness.dtype}
    loss = step * torch.arange(n_points, **options)
    half = column["plasmon_width"][:, None] / 2
    plasmon = (loss > 0) / ((loss - column["plasmon_energy"][:, None]) ** 2 + half**2)
    plasmon = plasmon * (loss < _PLASMON_CUT * column["plasmon_energy"][:, None])
    plasmon = torch.fft.rfft(plasmon / plasmon.sum(1, keepdim=True))
    frequency = torch.fft.rfftfreq(n_points, d=step, **options)
    sigma = column["resolution"][:, None] / _FWHM
    peak = torch.exp(-2 * (torch.pi * sigma * frequency) ** 2)
    return torch.exp(thickness[:, None] * (plasmon - 1)) * peak


def background(axis, core, step, column):
    """Background E^-r below the edges.

    The jump ratio of the most prominent edge defines its height.

    Parameters
    ----------
    axis : tensor of shape (n, n_channels)
        Energy loss in eV.
    core : tensor of shape (n, n_channels)
        Core losses.
    step : float
        Width of a channel in eV.
    column : dict of str to tensor of shape (n,)
        Conditions of each spectrum; see `EELSConditions` for the units.

    Returns
    -------
    tensor of shape (n, n_channels)
        In the unit of ``core``. Without edges it is 1 in the middle of the window.
    """
    energy = axis.clamp_min(10.0)
    log_energy = (energy / energy[:, energy.shape[1] // 2, None]).log()
    shape = torch.exp(
        -log_energy * (column["exponent"][:, None] + column["curvature"][:, None] * log_energy / 2)
    )
    width = max(1, min(int(_JUMP_WIDTH / step), core.shape[1] // 3))
    mean = torch.nn.functional.avg_pool1d(core[:, None], width, stride=1)[:, 0]
    jump = (mean[:, width:] - mean[:, :-width]).clamp_min(0)
    ratio = (jump / shape[:, width : width + jump.shape[1]]).amax(1, keepdim=True)
    return shape * torch.where(ratio > 0, ratio / column["jump_ratio"][:, None], 1)


def join_low_losses(rates, axis, step, column):
    """Replace the background below 60 eV by the zero-loss peak and the plasmons.

    Parameters
    ----------
    rates : tensor of shape (n, n_channels)
        Background.
    axis : tensor of shape (n, n_channels)
        Energy loss in eV.
    step : float
        Width of a channel in eV.
    column : dict of str to tensor of shape (n,)
        Conditions of each spectrum; see `EELSConditions` for the units.

    Returns
    -------
    tensor of shape (n, n_channels)
        In the unit of ``rates``. Low losses and background are equal at 60 eV.
    """
    n_points = 2 * axis.shape[1] + 512
    losses = torch.fft.irfft(transfer(n_points, step, column), n=n_points)
    losses = losses.gather(1, (axis / step).round().long() % n_points).clamp_min(0)
    at = (axis - _JOIN).abs().argmin(1, keepdim=True)
    tail = rates * torch.sigmoid((axis - _JOIN) / _JOIN_WIDTH)
    below = losses * torch.sigmoid((_JOIN - axis) / _JOIN_WIDTH)
    return tail + below * rates.gather(1, at) / losses.gather(1, at).clamp_min(1e-6)


def record(rates, column, generator):
    """Draw the counts that the camera records.

    Parameters
    ----------
    rates : tensor of shape (n, n_channels)
        Expected electrons in each channel.
    column : dict of str to tensor of shape (n,)
        Conditions of each spectrum; see `EELSConditions` for the units.
    generator : torch.Generator

    Returns
    -------
    tensor of shape (n, n_channels)
        Whole numbers, not negative.
    """
    normal = {"generator": generator, "device": rates.device, "dtype": rates.dtype}
    pattern = 1 + column["fixed_pattern"][:, None] * torch.randn(rates.shape, **normal)
    electrons = poisson(rates * pattern.clamp_min(0), generator)
    if column["spread"].any():
        frequency = torch.fft.rfftfreq(2 * rates.shape[1], device=rates.device, dtype=rates.dtype)
        blur = torch.exp(-2 * (torch.pi * column["spread"][:, None] * frequency) ** 2)
        mirrored = torch.cat([electrons, electrons.flip(1)], 1)
        electrons = torch.fft.irfft(torch.fft.rfft(mirrored) * blur, n=mirrored.shape[1])[:, : rates.shape[1]]
    counts = electrons * column["gain"][:, None]
    counts = counts + column["read_noise"][:, None] * (_DARK_LEVEL + torch.randn(rates.shape, **normal))
    return counts.round().clamp_min(0)

"""From single core losses to counts: thickness, resolution, background and detector."""

import torch

from xtalsk.simulation._counting import poisson

_JUMP_WIDTH = 40.0  # eV on either side of an onset, over which the height of an edge is averaged


def transfer(n_points, step, column):
    """Fourier transform of what a single core loss becomes: other losses beside it, and the zero-loss peak.

    Low losses are Lorentzian around the plasmon energy, cut off below zero; n of them go together with the
    probability of Poisson's law, so that the transform is exp(t/λ (P - 1)), Egerton, Electron Energy-Loss
    Spectroscopy in the Electron Microscope, 3rd ed. (2011), eq. 4.10.

    Parameters
    ----------
    n_points : int
        Channels, padded.
    step : float
        In eV.
    column : dict of str to tensor of shape (n,)

    Returns
    -------
    complex tensor of shape (n, n_points // 2 + 1)
    """
    like = column["relative_thickness"]
    loss = step * torch.arange(n_points, device=like.device, dtype=like.dtype)
    half = column["plasmon_width"][:, None] / 2
    plasmon = (loss > 0) / ((loss - column["plasmon_energy"][:, None]) ** 2 + half**2)
    plasmon = plasmon * (loss < 8 * column["plasmon_energy"][:, None])
    plasmon = torch.fft.rfft(plasmon / plasmon.sum(1, keepdim=True))
    frequency = torch.fft.rfftfreq(n_points, d=step, device=like.device, dtype=like.dtype)
    sigma = column["resolution"][:, None] / 2.3548
    peak = torch.exp(-2 * (torch.pi * sigma * frequency) ** 2)
    return torch.exp(column["relative_thickness"][:, None] * (plasmon - 1)) * peak


def background(axis, core, step, column):
    """Background E^-r under the edges, as high as the jump ratio of the most prominent edge asks for.

    Parameters
    ----------
    axis : tensor of shape (n, n_channels)
        In eV.
    core : tensor of shape (n, n_channels)
        Core losses.
    step : float
        In eV.
    column : dict of str to tensor of shape (n,)

    Returns
    -------
    tensor of shape (n, n_channels)
        Without edges it is 1 in the middle.
    """
    energy = axis.clamp_min(10.0)
    turn = (energy / energy[:, energy.shape[1] // 2, None]).log()
    shape = torch.exp(-turn * (column["exponent"][:, None] + column["curvature"][:, None] * turn / 2))
    width = max(1, min(int(_JUMP_WIDTH / step), core.shape[1] // 3))
    mean = torch.nn.functional.avg_pool1d(core[:, None], width, stride=1)[:, 0]
    jump = (mean[:, width:] - mean[:, :-width]).clamp_min(0)
    ratio = (jump / shape[:, width : width + jump.shape[1]]).amax(1, keepdim=True)
    return shape * torch.where(ratio > 0, ratio / column["jump_ratio"][:, None], 1)


def low_losses(axis, step, tail, column):
    """Zero-loss peak and plasmons of spectra that begin below them, joined to the background at 60 eV.

    Parameters
    ----------
    axis : tensor of shape (n, n_channels)
        In eV.
    step : float
    tail : tensor of shape (n, n_channels)
        Background, whose level sets the scale.
    column : dict of str to tensor of shape (n,)

    Returns
    -------
    tensor of shape (n, n_channels)
    """
    n_points = 2 * axis.shape[1] + 512
    spectra = torch.fft.irfft(transfer(n_points, step, column), n=n_points)
    place = (axis / step).round().long() % n_points
    losses = spectra.gather(1, place).clamp_min(0)
    losses = losses * torch.sigmoid((60 - axis) / 4)
    at = (axis - 60).abs().argmin(1, keepdim=True)
    first = (spectra.gather(1, place).clamp_min(0)).gather(1, at).clamp_min(1e-6)
    return losses * tail.gather(1, at) / first


def record(rates, column, generator):
    """Draw the counts that a camera reads out.

    Parameters
    ----------
    rates : tensor of shape (n, n_channels)
        Expected electrons.
    column : dict of str to tensor of shape (n,)
    generator : torch.Generator

    Returns
    -------
    tensor of shape (n, n_channels)
        Not negative, whole.
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
    counts = counts + column["read_noise"][:, None] * (3 + torch.randn(rates.shape, **normal))
    return counts.round().clamp_min(0)

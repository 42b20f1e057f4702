"""Shapes of edges on an energy axis: interpolated cross-sections and white lines."""

import numpy as np
import torch

from xtalsk.physics._eels_edges import ABOVE, SHELL_SHARES, edge_table

WHITE_LINE_OFFSET = 1.5
"""Energy of a white line above the onset of its edge, in eV."""

WHITE_LINE_HALF_WIDTH = 1.0
"""Half width at half maximum of a white line, in eV."""

_HEIGHT_AT = 30.0  # eV above the onset: where `white_line_area` takes the height of a family


def lorentzian(x, half_width):
    """Lorentzian of area one.

    Parameters
    ----------
    x : ndarray or tensor
        Distance from the maximum in eV.
    half_width : float or ndarray
        Half width at half maximum in eV.

    Returns
    -------
    ndarray or tensor, in 1/eV
    """
    return half_width / np.pi / (x**2 + half_width**2)


def interpolate_curves(curves, above):
    """Interpolate curves that are tabulated at the energies `ABOVE` an onset.

    Parameters
    ----------
    curves : tensor of shape (m, n_above)
    above : tensor of shape (m, n_channels)
        Energy above the onset in eV.

    Returns
    -------
    tensor of shape (m, n_channels)
        Zero below the onset.
    """
    ratio = float(np.log(ABOVE[2] / ABOVE[1]))
    place = torch.where(above < 1, above, 1 + above.clamp_min(1).log() / ratio)
    place = place.clamp(0, len(ABOVE) - 1.001)
    left = place.long()
    low, high = curves.gather(1, left), curves.gather(1, left + 1)
    return torch.where(above >= 0, low + (high - low) * (place - left), 0)


def family_heights(curves, edges):
    """Cross-section of the family of each edge, 30 eV above the onset of the edge.

    The cross-section of one shell is divided by the share of the shell in its family.

    Parameters
    ----------
    curves : tensor of shape (m, n_above)
        Cross-sections of the edges in barn per eV.
    edges : int64 tensor of shape (m,)
        Rows of `edge_table`.

    Returns
    -------
    tensor of shape (m,), in barn per eV
    """
    shares = torch.tensor([SHELL_SHARES.get(shell, 1.0) for shell in edge_table().shell])
    return curves[:, int(np.searchsorted(ABOVE, _HEIGHT_AT))] / shares.to(curves)[edges]

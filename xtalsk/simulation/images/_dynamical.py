"""Dynamical scattering of polycrystals in the two-beam approximation."""

from functools import cache

import torch
from scipy.special import itj0y0

from xtalsk.simulation.images._constants import BLACKMAN_POINTS, LARGEST_EXTINCTION


def blackman_ratio(extinction):
    r"""Compute the ratio of dynamical to kinematic intensity of a ring.

    :math:`R(A) = \frac{1}{A} \int_0^A J_0(2x) dx` [1]_. It falls from 1 for thin grains to 1 / (2 A), so that
    intensities go from proportional to \|F\|² to proportional to \|F\|.

    Parameters
    ----------
    extinction : tensor
        A = π t / ξ of each reflection, with the thickness t of the grains and the extinction distance ξ;
        0 to 20.

    Returns
    -------
    tensor

    References
    ----------
    .. [1] M. Blackman, Proc. R. Soc. Lond. A 173 (1939) 68.
    """
    table = _ratios().to(extinction)
    place = extinction * ((len(table) - 1) / LARGEST_EXTINCTION)
    index = place.long().clamp(0, len(table) - 2)
    return torch.lerp(table[index], table[index + 1], place - index)


@cache
def _ratios():
    """Return the ratio at equidistant points from 0 to the largest extinction, tensor of float64."""
    extinction = torch.linspace(0, LARGEST_EXTINCTION, BLACKMAN_POINTS, dtype=torch.float64)
    ratio = torch.ones_like(extinction)
    ratio[1:] = torch.from_numpy(itj0y0(2 * extinction[1:].numpy())[0]) / (2 * extinction[1:])
    return ratio

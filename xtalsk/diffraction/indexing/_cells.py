"""Cells in reciprocal space: their reduction, their volume, and the evidence of a share against chance.

A cell is given by the parameters of its family, in 1/Å², as listed in `_tables`.
"""

import torch

from xtalsk.diffraction.indexing._zones import reduce_triclinic


def reduce_cells(cells, family):
    """Bring cells to the order of axes of the tables: by length, and the oblique axes reduced, (..., p)."""
    if family.name == "orthorhombic":
        return cells.sort(dim=-1).values
    if family.name == "triclinic":
        return reduce_triclinic(cells)
    if family.name != "monoclinic":
        return cells
    a, b, c, d = cells.unbind(-1)
    for _ in range(2):
        a, c, d = torch.minimum(a, c), torch.maximum(a, c), d.abs()
        is_long = d > a
        c, d = torch.where(is_long, a + c - d, c), torch.where(is_long, d - 2 * a, d)
    return torch.stack([torch.minimum(a, c), b, torch.maximum(a, c), d.abs()], -1)


def _triclinic_determinant(a, b, c, d, e, f):
    """Return the determinant of the reciprocal metric."""
    return a * b * c + (d * e * f - a * d * d - b * e * e - c * f * f) * 0.25


def cell_volume(cells, family):
    """Volume of the cells in Å³, (...); NaN for parameters that are no cell."""
    a = cells.unbind(-1)
    determinant = {
        "cubic": lambda a: a**3,
        "tetragonal": lambda a, c: a * a * c,
        "hexagonal": lambda a, c: 0.75 * a * a * c,
        "orthorhombic": lambda a, b, c: a * b * c,
        "monoclinic": lambda a, b, c, d: b * (a * c - d * d / 4),
        "triclinic": _triclinic_determinant,
    }[family.name](*a)
    is_cell = (cells[..., :3] > 0).all(-1) & (determinant > 0)
    if family.name == "monoclinic":
        is_cell &= a[3] <= a[0] * (1 + 1e-3)
    return torch.where(is_cell, determinant, torch.nan).rsqrt()


def evidence(share, chance, n):
    """Log-likelihood ratio of a share of successes in n trials against chance.

    It is n times the Kullback-Leibler divergence of the two Bernoulli distributions, with a negative sign if
    the share is below chance.
    """
    p, k = chance.clamp(1e-4, 1 - 1e-4), share.clamp(1e-4, 1 - 1e-4)
    ratio = n * (k * (k / p).log() + (1 - k) * ((1 - k) / (1 - p)).log())
    return torch.where(k > p, ratio, -ratio)

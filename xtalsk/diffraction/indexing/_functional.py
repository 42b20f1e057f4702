"""Figures of merit of lattices from profiles: pure functions on batched tensors, for any device.

For each type of lattice the low lines of a profile are put on low indices in many ways, the cells that
follow are judged by all lines, the best are refined and judged again:

- evidence: how much more lines are explained, and how many more calculated lines are observed, than
  chance would have it (logarithm of likelihoods), less a price for the parameters of the cell;
- log_m20: logarithm of the figure of merit of P. M. de Wolff, J. Appl. Cryst. 1, 108 (1968), of the lines
  found (20 or fewer); a foreign line costs as much as one that fits poorly;
- explained, explained_intensity: share of the lines that the cell explains, counted and weighted by the
  mean of equal and of relative prominences;
- observed: share of the calculated lines that are observed;
- log_volume: logarithm of the volume of the conventional cell in Å³.

Cubic, tetragonal and hexagonal lattices are searched densely. Of orthorhombic cells some 90% are among the
candidates, of monoclinic ones about half (ideal patterns of minerals); of rhombohedral lattices the hexagonal
cell is searched for.
Triclinic lattices are not.
"""

import torch

from xtalsk.diffraction.indexing._peaks import find_lines
from xtalsk.diffraction.indexing._refine import FIGURES, fit
from xtalsk.diffraction.indexing._search import make_lines, search
from xtalsk.diffraction.indexing._tables import families

N_LINES = 20
_N_RATIOS = 10
_SYSTEMS = ("cubic", "tetragonal", "hexagonal_p", "hexagonal_r", "orthorhombic", "monoclinic")


def _types():
    return [f"{family.name}_{name}" for family in families() for name in family.types]


def figure_names():
    """Names of the columns of `lattice_figures`."""
    names = [f"{name}_{figure}" for name in _types() for figure in FIGURES]
    names += [f"{system}_margin" for system in _SYSTEMS]
    for family in families():
        for name, masks in family.classes.items():
            settings = [""] if len(masks) == 1 else [f"_{k}" for k in range(1, len(masks) + 1)]
            names += [f"{family.name}_{name}{k}" for k in settings]
    names += ["lines", "lines_in_all", "q_first", "q_last"]
    return names + [f"q_ratio_{k}" for k in range(2, _N_RATIOS + 1)]


def _margins(evidences):
    """Evidence of each system less the highest of the others, (n, n_systems)."""
    types = _types()
    best = [
        evidences[:, [i for i, name in enumerate(types) if name.startswith(system)]].amax(1)
        for system in _SYSTEMS
    ]
    best = torch.stack(best, 1)
    others = torch.stack(
        [best[:, [j for j in range(len(_SYSTEMS)) if j != i]].amax(1) for i in range(len(_SYSTEMS))], 1
    )
    return best - others


def _absences(fitted, family):
    """Share of the lines of each class that are observed, by the best primitive cell, (n, n_classes).

    It is drawn towards the share among all lines by the weight of one line.
    """
    order, predicted, observed = fitted.order[:, 0], fitted.predicted[:, 0], fitted.observed[:, 0]
    usual = (observed.sum(1, keepdim=True) + 1) / (predicted.sum(1, keepdim=True) + 2)
    shares = []
    for masks in family.classes.values():
        of_class = masks[:, order].transpose(0, 1)  # (n, n_settings, n_rows)
        hits = (of_class & observed[:, None]).sum(2)
        shares.append((hits + usual) / ((of_class & predicted[:, None]).sum(2) + 1))
    return torch.cat([usual[:, :0], *(share.sort(1).values for share in shares)], 1)


def _general(lines, total):
    """Numbers of lines, first and last one, and positions of the others relative to the first."""
    first = lines.q[:, :1]
    ratios = lines.q[:, 1:_N_RATIOS] / first.clamp_min(1e-6)
    return torch.cat([lines.count[:, None], total[:, None], first, lines.last, ratios], 1)


def lattice_figures(profiles, q0, step, *, tolerance=None):
    """Figures of merit of the lattices that fit profiles best.

    Parameters
    ----------
    profiles : Tensor of shape (n, n_bins)
        Intensity of even noise against q = 1/d, background removed, as `PowderProfile` and `RadialProfile`
        give it; NaN where nothing was measured.
    q0, step : float
        Middle of the first bin and width of the bins in 1/Å.
    tolerance : float or None
        How far an observed line may lie from a calculated one, in 1/Å; by default one bin.

    Returns
    -------
    Tensor of shape (n, n_figures)
        Columns as `figure_names` says; figures of types without any cell, or of patterns of too few lines,
        are 0. NaN for profiles that are NaN throughout.
    """
    tolerance = step if tolerance is None else tolerance
    q, prominence, total = find_lines(profiles, q0, step, N_LINES)
    seen = ~profiles.isnan()
    low = q0 + step * seen.to(torch.int8).argmax(1, keepdim=True).to(profiles.dtype)
    lines = make_lines(q, prominence, low, tolerance)
    figures, absences = [], []
    for family in families(profiles.device, profiles.dtype):
        fitted = fit(search(lines, family), family, lines, tolerance, step)
        figures.append(fitted.figures)
        absences.append(_absences(fitted, family))
    figures = torch.cat(figures, 1)
    columns = [figures.flatten(1), _margins(figures[:, :, 0]), *absences, _general(lines, total)]
    return torch.where(seen.any(1, keepdim=True), torch.cat(columns, 1), torch.nan)

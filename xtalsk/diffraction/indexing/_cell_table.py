"""Conventional unit cells from the parameters of refined lattices, and their table."""

import gemmi
import numpy as np
import pandas as pd

from xtalsk.diffraction.indexing._lattices import lattice_variants

COLUMNS = (
    *("row", "rank", "lattice", "a", "b", "c", "alpha", "beta", "gamma"),
    *("volume", "m20", "n_explained", "zero_shift"),
)
NIGGLI_TOLERANCE = 1e-6  # products of axes that differ by this share of the mean square count as equal
SAME_CELL = 0.003  # cells of one lattice type whose axes and angles agree to this share are one cell


def unit_cell(family, variant, parameters):
    """Conventional cell of a lattice.

    Parameters
    ----------
    family : str
    variant : int
        Number of the variant, as in `_lattices.lattice_variants`.
    parameters : ndarray of shape (p,)
        In 1/Å², as in `_lattices`.

    Returns
    -------
    ndarray of shape (6,)
        a, b, c in Å and α, β, γ in degrees. Rhombohedral lattices have hexagonal axes. Orthorhombic cells
        have a <= b <= c; if one face is centred, it is C, and a <= b. Monoclinic cells have the unique axis b
        and an obtuse angle; P has a <= c, and the centred ones are C. Triclinic cells are Niggli cells.
    """
    if family == "triclinic":
        return _niggli_cell(parameters)
    if family == "monoclinic":
        return _monoclinic_cell(variant, parameters)
    axes = 1 / np.sqrt(parameters)
    if family == "cubic":
        return np.array([axes[0]] * 3 + [90.0] * 3)
    if family == "tetragonal":
        return np.array([axes[0], axes[0], axes[1], 90.0, 90.0, 90.0])
    if family == "hexagonal":
        a = axes[0] / np.sin(np.radians(60))
        return np.array([a, a, axes[1], 90.0, 90.0, 120.0])
    faces = [v for v, name in enumerate(lattice_variants(family)) if name == "c"]
    if variant in faces:  # faces C, B, A: the axis that none of their vectors contains becomes c
        special = 2 - faces.index(variant)
        return np.array([*np.sort(np.delete(axes, special)), axes[special], 90.0, 90.0, 90.0])
    return np.array([*np.sort(axes), 90.0, 90.0, 90.0])


def _niggli_cell(parameters):
    """Niggli cell from a*², b*², c*², 2 b* c* cos α*, 2 a* c* cos β*, 2 a* b* cos γ*; NaN for no cell."""
    a, b, c, d, e, f = parameters
    metric = np.array([[a, f / 2, e / 2], [f / 2, b, d / 2], [e / 2, d / 2, c]])
    if np.linalg.eigvalsh(metric)[0] <= 0:
        return np.full(6, np.nan)
    metric = np.linalg.inv(metric)
    lengths = np.sqrt(np.diag(metric))
    cosines = [metric[i, j] / (lengths[i] * lengths[j]) for i, j in ((1, 2), (0, 2), (0, 1))]
    reduced = gemmi.GruberVector(gemmi.UnitCell(*lengths, *np.degrees(np.arccos(cosines))), "P")
    reduced.niggli_reduce(epsilon=NIGGLI_TOLERANCE * lengths.mean() ** 2)
    return np.array(reduced.cell_parameters())


def _monoclinic_cell(variant, parameters):
    """Conventional monoclinic cell from a*², b*², c*², 2 a* c* cos β*."""
    a2, b2, c2, mixed = parameters
    metric = np.linalg.inv([[a2, mixed / 2], [mixed / 2, c2]])  # of the axes a and c, whose product is <= 0
    swap = np.array([[0, 1], [1, 0]])  # P: a <= c, because a* <= c*
    change = {0: swap, 1: np.eye(2), 2: swap}.get(variant)
    if change is None:  # body-centred: a + c and one of the two old axes span the C-centred cell
        changes = [np.array([[1, 1], axis]) for axis in ((0, 1), (1, 0))]
        change = min(changes, key=lambda m: abs(_cosine(m @ metric @ m.T)))
    metric = change @ metric @ change.T
    beta = 180 - np.degrees(np.arccos(abs(_cosine(metric))))
    return np.array([metric[0, 0] ** 0.5, b2**-0.5, metric[1, 1] ** 0.5, 90.0, beta, 90.0])


def _cosine(metric):
    """Cosine of the angle between two axes from their metric (2, 2)."""
    return metric[0, 1] / np.sqrt(metric[0, 0] * metric[1, 1])


def cells_of_fits(fits, n):
    """Collect the distinct cells of one pattern with the highest evidence.

    Parameters
    ----------
    fits : list of (str, str, ndarray, float)
        Family, lattice type (such as ``cubic_p``), its fits (n_fits, FIT_SIZE), as in `_family_kernels`, and
        the trial shift of the zero in 1/Å.
    n : int
        Largest number of cells.

    Returns
    -------
    list of tuple
        Lattice type, a, b, c, α, β, γ, volume, M20, number of lines explained, shift of the
        zero in 1/Å; highest evidence first.
    """
    from xtalsk.diffraction.indexing._family_kernels import FIGURES, N_EXPLAINED, SHIFT, VARIANT

    found = [
        (fit[FIGURES], family, name, fit, shift) for family, name, of_type, shift in fits for fit in of_type
    ]
    found = [item for item in found if np.isfinite(item[0])]
    cells = []
    for _, family, name, fit, shift in sorted(found, key=lambda item: -item[0]):
        cell = unit_cell(family, int(fit[VARIANT]), fit[: _N_PARAMETERS[family]])
        if np.isnan(cell).any():
            continue
        if not any(name == other[0] and np.allclose(cell, other[1:7], rtol=SAME_CELL) for other in cells):
            volume, m20 = np.exp(fit[FIGURES + 5]), np.exp(fit[FIGURES + 1])
            cells.append((name, *cell, volume, m20, int(fit[N_EXPLAINED]), shift + fit[SHIFT]))
        if len(cells) == n:
            break
    return cells


_N_PARAMETERS = {
    "cubic": 1,
    "tetragonal": 2,
    "hexagonal": 2,
    "orthorhombic": 3,
    "monoclinic": 4,
    "triclinic": 6,
}


def cell_table(cells_of_rows):
    """Make the table of cells from {row: cells of `cells_of_fits`}."""
    rows = [
        (row, rank, *cell) for row, cells in cells_of_rows.items() for rank, cell in enumerate(cells, start=1)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"row": int, "rank": int, "n_explained": int})

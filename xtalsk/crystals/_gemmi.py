"""Cells and symmetry operations of gemmi as arrays."""

import gemmi
import numpy as np


def lattice_vectors(cell):
    """Lattice vectors of a gemmi UnitCell as rows (3, 3), in Å: a along x, b in the xy plane."""
    return np.array(cell.orth.mat.tolist()).T


def cell_parameters(lattices):
    """Cell parameters (n, 6) of lattices (n, 3, 3): lengths in Å and angles in degrees."""
    lengths = np.linalg.norm(lattices, axis=2)
    unit = lattices / lengths[:, :, None]
    cosines = np.stack([(unit[:, i] * unit[:, j]).sum(axis=1) for i, j in ((1, 2), (0, 2), (0, 1))], axis=1)
    return np.hstack([lengths, np.degrees(np.arccos(cosines))])


def parse_operations(triplets):
    """Rotations (m, 3, 3) and translations (m, 3) of symmetry operations such as ``"-x,y,1/2-z"``."""
    operations = [gemmi.Op(t) for t in triplets]
    rotations = np.array([op.rot for op in operations]) // gemmi.Op.DEN
    translations = np.array([op.tran for op in operations]) / gemmi.Op.DEN
    return rotations, translations

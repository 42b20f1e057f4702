"""Cells and symmetry operations of gemmi as arrays."""

import gemmi
import numpy as np


def lattice_vectors(cell):
    """Lattice vectors of a gemmi UnitCell as rows (3, 3), in Å: a along x, b in the xy plane."""
    return np.array(cell.orth.mat.tolist()).T


def parse_operations(triplets):
    """Rotations (m, 3, 3) and translations (m, 3) of symmetry operations such as ``"-x,y,1/2-z"``."""
    operations = [gemmi.Op(t) for t in triplets]
    rotations = np.array([op.rot for op in operations]) // gemmi.Op.DEN
    translations = np.array([op.tran for op in operations]) / gemmi.Op.DEN
    return rotations, translations

"""Lines of prototypes, computed when they are first needed."""

import threading
from collections import OrderedDict
from functools import cache

import numpy as np
import torch

from xtalsk.library._prototype_constants import MAX_LINES
from xtalsk.physics._form_factors import anomalous_factors, form_factors
from xtalsk.simulation.reflections._compute import DEFAULT_U_ISO
from xtalsk.simulation.reflections._families import find_families
from xtalsk.utils._threads import in_threads

FACTOR_STEP = 0.004  # 1/Å, that of the kernels
_N_STEPS = 400
_WAVELENGTH = 1.5406  # Å; its Lorentz-polarisation factor is used for all powders


@cache
def factor_tables(radiation):
    """Return f + f' and f'' of all elements with displacements, (99, n_steps) each, and the factor of a line.

    The last one (n_steps,) is the Lorentz-polarisation factor of powders, or 1 / q of rings.
    """
    q = FACTOR_STEP * np.arange(_N_STEPS)
    factors = np.zeros((99, _N_STEPS))
    factors[1:] = form_factors(torch.arange(1, 99), torch.from_numpy(q), radiation).numpy().T
    imaginary = np.zeros_like(factors)
    if radiation == "xray":
        real, damped = anomalous_factors(_WAVELENGTH).numpy().T
        factors, imaginary = factors + real[:, None], imaginary + damped[:, None]
        sine = np.clip(q * _WAVELENGTH / 2, 1e-3, 0.98)
        weight = (1 + (1 - 2 * sine**2) ** 2) / (sine**2 * np.sqrt(1 - sine**2))
    else:
        weight = 1 / np.maximum(q, FACTOR_STEP)
    damping = np.exp(-2 * np.pi**2 * DEFAULT_U_ISO * q**2)
    return factors * damping, imaginary * damping, weight


class PrototypeLines:
    """Lines of prototypes: positions, and the structure factor of each group of sites.

    The structure factor of a decorated prototype is the sum of these, each times the form factor of the
    element on it. They are kept until there are more than 2 million lines.

    Parameters
    ----------
    crystals : CrystalSet
    table : PrototypeTable
    q_max : float
        End of the lines in 1/Å.
    """

    def __init__(self, crystals, table, q_max):
        self._crystals, self._table, self._q_max = crystals, table, q_max
        self._known, self._n_lines = OrderedDict(), 0
        self._lock = threading.Lock()

    def of(self, rows):
        """Return the lines of prototypes: hkl, q, multiplicity and structure factors, a list of tuples."""
        with self._lock:
            return self._of([int(row) for row in rows])

    def _of(self, rows):
        missing = [row for row in dict.fromkeys(rows) if row not in self._known]
        if missing:
            self._compute(np.array(missing))
        lines = [self._known[row] for row in rows]
        for row in rows:
            self._known.move_to_end(row)
        while self._n_lines > MAX_LINES and len(self._known) > 1:
            self._n_lines -= len(self._known.popitem(last=False)[1][1])
        return lines

    def _compute(self, rows):
        from xtalsk.library._prototype_kernels import partial_factors  # imports numba

        crystals = self._crystals[rows]
        counts, hkl, q, multiplicity = find_families(
            crystals, 1 / self._q_max, np.ones(len(rows), dtype=bool)
        )
        line_starts = np.concatenate([[0], np.cumsum(counts)])
        n_groups = self._table.n_groups[rows]
        out_starts = np.concatenate([[0], np.cumsum(counts * n_groups)])
        out = np.zeros((out_starts[-1], 2))
        starts, coords, occupancies, groups = self._table.sites
        sites = [np.arange(starts[row], starts[row + 1]) for row in rows]
        own = np.concatenate(sites)
        site_starts = np.concatenate([[0], np.cumsum([len(part) for part in sites])])
        arguments = (line_starts, hkl.astype(np.float64), site_starts, coords[own], occupancies[own])
        arguments += (groups[own].astype(np.int64), out_starts, out)
        in_threads(lambda first, last: partial_factors(first, last, *arguments), len(rows))
        for k, row in enumerate(rows):
            lines = slice(line_starts[k], line_starts[k + 1])
            parts = out[out_starts[k] : out_starts[k + 1]].reshape(counts[k], n_groups[k], 2)
            seen = (np.abs(parts).max(axis=(1, 2)) > 1e-3) if counts[k] else np.zeros(0, dtype=bool)
            values = hkl[lines][seen], q[lines][seen], multiplicity[lines][seen].astype(float)
            self._known[int(row)] = *values, parts[seen].reshape(-1, 2)
            self._n_lines += int(seen.sum())


def invariant_strains(lattice, rotations):
    """Return the strains that keep the symmetry of a lattice, (n_strains, 3, 3), the isotropic one first.

    Each has the length 1, so that a strain of the amount e changes lengths by about e. They are symmetric
    matrices in Cartesian axes.
    """
    lattice = np.asarray(lattice, dtype=float)
    to_cartesian = np.einsum("ji,mjk,kl->mil", lattice, rotations, np.linalg.inv(lattice).T)
    basis = np.zeros((6, 3, 3))
    for k, (i, j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        basis[k, i, j] = basis[k, j, i] = 1 if i == j else np.sqrt(0.5)
    turned = np.einsum("mij,kjl,mnl->mkin", to_cartesian, basis, to_cartesian)
    mean = np.einsum("kin,lin->kl", turned.mean(axis=0), basis)
    isotropic = np.array([1, 1, 1, 0, 0, 0]) / np.sqrt(3)
    values, vectors = np.linalg.eigh((mean + mean.T) / 2 - np.outer(isotropic, isotropic))
    others = np.einsum("lk,lij->kij", vectors[:, values > 0.5], basis)
    return np.concatenate([np.eye(3)[None], others])

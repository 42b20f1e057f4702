"""Cells of simulated spectra."""

import numpy as np
from scipy.constants import Avogadro

from xtalsk.io import Spectrum
from xtalsk.physics._depth import atomic_weights
from xtalsk.simulation import simulate_eds, simulate_eels

_CUBIC_ANGSTROMS = 1e24  # in a cm³
_PARALLEL = 1e-3  # mrad that stand for a parallel beam


def densities(crystals):
    """Densities of crystals from cells, sites and occupancies.

    Parameters
    ----------
    crystals : CrystalSet

    Returns
    -------
    ndarray of shape (n,)
        In g/cm³. Atoms that a structure leaves out, often hydrogen, do not count.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from xtalsk.crystals import CrystalSet
    >>> from xtalsk.datasets._spectra import densities
    >>> salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    >>> densities(CrystalSet.from_pymatgen([salt])).round(2).tolist()
    [2.16]
    """
    weights = atomic_weights().numpy()[crystals.atomic_numbers - 1] * crystals.occupancies
    cells = np.bincount(crystals.crystal_of_site, weights, len(crystals))
    return cells / Avogadro / crystals.volumes * _CUBIC_ANGSTROMS


def eds_cells(crystals, rows, conditions, seed, verbose):
    """Spectra of X-rays, each with the voltage and the take-off angle it was recorded at, in a list."""
    counts, drawn = simulate_eds(
        crystals,
        rows,
        conditions,
        density=densities(crystals),
        random_state=seed,
        return_conditions=True,
        verbose=verbose,
    )
    known = drawn[["beam_energy", "takeoff_angle"]].to_dict("records")
    axis = conditions.axis()
    return [Spectrum(c, energy=axis, **k) for c, k in zip(counts, known, strict=True)]


def eels_cells(crystals, rows, conditions, seed, verbose):
    """Spectra of energy losses, each with voltage and angles it was recorded at, in a list."""
    counts, drawn = simulate_eels(
        crystals, rows, conditions, random_state=seed, return_conditions=True, verbose=verbose
    )
    drawn["convergence_angle"] = drawn["convergence_angle"].clip(lower=_PARALLEL)
    known = drawn[["beam_energy", "convergence_angle", "collection_angle"]].to_dict("records")
    axis = conditions.axis()
    return [Spectrum(c, energy=axis, **k) for c, k in zip(counts, known, strict=True)]

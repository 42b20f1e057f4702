"""Simulated spectra as cells of a table of specimens."""

import numpy as np
from scipy.constants import Avogadro

from xtalsk.io import Spectrum
from xtalsk.physics._depth import atomic_weights
from xtalsk.simulation import simulate_eds, simulate_eels

_ANGSTROM3_PER_CM3 = 1e24
_LEAST_CONVERGENCE = (
    1e-3  # mrad: replaces the 0 of a parallel beam, because `Spectrum` needs a positive angle
)


def densities(crystals):
    """Densities of crystals from their unit cells, atomic sites and occupancies.

    Parameters
    ----------
    crystals : CrystalSet

    Returns
    -------
    ndarray of shape (n,)
        In g/cm³. Atoms that are missing in a structure, often hydrogen, are not included.

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
    masses = np.bincount(crystals.crystal_of_site, weights, len(crystals))
    return masses / Avogadro / crystals.volumes * _ANGSTROM3_PER_CM3


def eds_cells(crystals, rows, conditions, seed, verbose):
    """Simulate X-ray spectra of crystals.

    Parameters
    ----------
    crystals : CrystalSet
    rows : array-like of int
        The crystal of each spectrum.
    conditions : EDSConditions
    seed : int, RandomState or None
    verbose : int
        Above 0 shows a progress bar.

    Returns
    -------
    list of Spectrum
        Each with its beam energy and take-off angle.
    """
    counts, values = simulate_eds(
        crystals,
        rows,
        conditions,
        density=densities(crystals),
        random_state=seed,
        return_conditions=True,
        verbose=verbose,
    )
    metadata = values[["beam_energy", "takeoff_angle"]].to_dict("records")
    axis = conditions.axis()
    return [Spectrum(row, energy=axis, **fields) for row, fields in zip(counts, metadata, strict=True)]


def eels_cells(crystals, rows, conditions, seed, verbose):
    """Simulate energy-loss spectra of crystals.

    Parameters
    ----------
    crystals : CrystalSet
    rows : array-like of int
        The crystal of each spectrum.
    conditions : EELSConditions
    seed : int, RandomState or None
    verbose : int
        Above 0 shows a progress bar.

    Returns
    -------
    list of Spectrum
        Each with its beam energy, convergence angle and collection angle.
    """
    counts, values = simulate_eels(
        crystals, rows, conditions, random_state=seed, return_conditions=True, verbose=verbose
    )
    values["convergence_angle"] = values["convergence_angle"].clip(lower=_LEAST_CONVERGENCE)
    metadata = values[["beam_energy", "convergence_angle", "collection_angle"]].to_dict("records")
    axis = conditions.axis()
    return [Spectrum(row, energy=axis, **fields) for row, fields in zip(counts, metadata, strict=True)]

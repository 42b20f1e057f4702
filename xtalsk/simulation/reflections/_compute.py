"""Reflections of many crystals: positions, multiplicities and intensities."""

import warnings
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch

from xtalsk.crystals import BrokenEntryWarning
from xtalsk.crystals._faults import find_faults
from xtalsk.physics._form_factors import RADIATIONS, anomalous_factors, form_factors
from xtalsk.simulation.reflections._cache import cached
from xtalsk.simulation.reflections._constants import ROUNDING_LIMIT, WEAKEST_FAMILY
from xtalsk.simulation.reflections._families import find_families
from xtalsk.simulation.reflections._structure_factors import squared_structure_factors
from xtalsk.utils import check_device, check_option

# modules of compiled loops are imported at their first use; the cache must know them too
_MODULES = (__name__, f"{__package__}._family_kernels", f"{__package__}._structure_factor_kernels")

DEFAULT_U_ISO = 0.0063
"""Mean-square displacement in Å² of sites without one: B = 8π²U = 0.5 Å², a usual value at 300 K."""


@dataclass(frozen=True, eq=False, repr=False)
class Reflections:
    """Reflections of a set of crystals, merged by symmetry, in columns.

    The reflections of crystal ``i`` are the rows ``offsets[i]:offsets[i + 1]``. Reflections of equal q that
    are not related by symmetry (333 and 511 of a cubic crystal) have separate rows.

    Parameters
    ----------
    offsets : ndarray of int, shape (n + 1,)
        First row of each crystal, and the number of all rows.
    q : tensor of shape (m,)
        1/d in 1/Å, ascending within each crystal.
    hkl : int16 tensor of shape (m, 3)
        One representative of each family.
    multiplicity : int16 tensor of shape (m,)
        Number of reflections in the family, Friedel mates included.
    intensity : tensor of shape (m,)
        |F|² of one reflection (mean of Friedel mates), in electrons² for X-rays and in Å² for electrons.
    lattices : ndarray of shape (n, 3, 3)
        Lattice vectors as rows, in Å.
    rotation_sets, rotation_index
        Point groups, as in `xtalsk.crystals.CrystalSet`.
    ids : ndarray of str, shape (n,)
        Names of the crystals.
    radiation : {"electron", "xray"}
    d_min : float
        Smallest spacing in Å.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from xtalsk.crystals import CrystalSet
    >>> from xtalsk.simulation import compute_reflections
    >>> iron = Structure.from_spacegroup("Im-3m", Lattice.cubic(2.87), ["Fe"], [[0, 0, 0]])
    >>> r = compute_reflections(CrystalSet.from_pymatgen([iron]), "xray", d_min=1.0)
    >>> r
    Reflections(1 crystals, 4 families, xray, d_min=1)
    >>> (1 / r.q).double().round(decimals=3).tolist()
    [2.029, 1.435, 1.172, 1.015]
    """

    offsets: np.ndarray
    q: torch.Tensor
    hkl: torch.Tensor
    multiplicity: torch.Tensor
    intensity: torch.Tensor
    lattices: np.ndarray
    rotation_sets: list
    rotation_index: np.ndarray
    ids: np.ndarray
    radiation: str
    d_min: float

    def __len__(self):
        return len(self.offsets) - 1

    def __repr__(self):
        size = f"{len(self)} crystals, {len(self.q)} families"
        return f"Reflections({size}, {self.radiation}, d_min={self.d_min:g})"


def compute_reflections(
    crystals,
    radiation="electron",
    d_min=0.8,
    *,
    wavelength=None,
    default_u_iso=DEFAULT_U_ISO,
    on_error="warn",
    memory=None,
    dtype=torch.float32,
    device="cpu",
    verbose=0,
):
    """Compute the kinematic reflections of a set of crystals.

    Structure factors include occupancies and isotropic displacements. For X-rays with a given ``wavelength``
    they also include anomalous scattering. Families weaker than 1e-8 of the strongest family, or than 1e-11
    of the intensity of all atoms in phase, are left out; this removes systematic absences.

    Parameters
    ----------
    crystals : CrystalSet
        At least one crystal.
    radiation : {"electron", "xray"}
    d_min : float
        Smallest spacing in Å, above 0.
    wavelength : float or None
        Wavelength in Å for anomalous scattering of X-rays (Cromer-Liberman). None leaves it out; electrons
        have none.
    default_u_iso : float
        Mean-square displacement in Å² of sites without one, at least 0.
    on_error : {"warn", "raise"}
        What to do with faulty crystals, for example with overlapping atoms. "warn" names them in one
        `BrokenEntryWarning` and gives them no reflections; "raise" raises an error.
    memory : joblib.Memory, path or None
        Where to store the result on disk. A second call with equal crystals and arguments loads it, unless
        the code of the computation or a library has changed since. A damaged entry is computed again, with a
        warning. The entries hold no pickles. Those of earlier versions remain until the folder is cleared.
    dtype : torch.float32 or torch.float64
        Number type of the arithmetic and of the result. Single precision is right to 1e-5 of the strongest
        line.
    device : str or torch.device
        Where to compute and store the result; "auto" takes a GPU if there is one.
    verbose : int
        Above 0 shows a progress bar.

    Returns
    -------
    Reflections

    Raises
    ------
    ValueError
        If an argument is out of range, or a crystal is faulty and ``on_error="raise"``.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from xtalsk.crystals import CrystalSet
    >>> from xtalsk.simulation import compute_reflections
    >>> gold = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.078), ["Au"], [[0, 0, 0]])
    >>> r = compute_reflections(CrystalSet.from_pymatgen([gold]), "electron", d_min=1.2)
    >>> r.hkl.tolist(), r.multiplicity.tolist()
    ([[1, 1, 1], [2, 0, 0], [2, 2, 0], [3, 1, 1]], [8, 6, 12, 24])
    """
    _check_arguments(radiation, d_min, wavelength, default_u_iso, on_error, dtype)
    if not len(crystals):
        raise ValueError("reflections need at least one crystal, got an empty set")
    usable, device = _usable(crystals, on_error), check_device(device)
    arguments = {
        "usable": usable,
        "radiation": radiation,
        "d_min": float(d_min),
        "wavelength": wavelength if radiation == "xray" else None,
        "default_u_iso": float(default_u_iso),
        "dtype": dtype,
    }
    compute = partial(_columns, crystals, **arguments, device=device, verbose=verbose)
    columns = compute() if memory is None else cached(compute, memory, crystals, arguments, _MODULES)
    offsets, *columns = columns
    return Reflections(
        offsets,
        *(column.to(device) for column in columns),
        crystals.lattices,
        crystals.rotation_sets,
        crystals.rotation_index,
        crystals.ids,
        radiation,
        float(d_min),
    )


def _check_arguments(radiation, d_min, wavelength, default_u_iso, on_error, dtype):
    """Raise ValueError if an argument is out of range."""
    check_option("radiation", radiation, RADIATIONS)
    check_option("on_error", on_error, ("warn", "raise"))
    check_option("dtype", dtype, (torch.float32, torch.float64))
    if not (np.isfinite(d_min) and d_min > 0):
        raise ValueError(f"d_min must be a positive number of Å, got {d_min!r}")
    if wavelength is not None and not (np.isfinite(wavelength) and wavelength > 0):
        raise ValueError(f"wavelength must be a positive number of Å, got {wavelength!r}")
    if not (np.isfinite(default_u_iso) and default_u_iso >= 0):
        raise ValueError(f"default_u_iso must be at least 0 Å², got {default_u_iso!r}")


def _usable(crystals, on_error):
    """Whether each crystal has no fault, ndarray of bool; warns of the others or raises."""
    faults = find_faults(crystals)
    if faults:
        report = BrokenEntryWarning.of_crystals(crystals, faults)
        if on_error == "raise":
            raise ValueError(str(report))
        warnings.warn(report, stacklevel=3)
    usable = np.ones(len(crystals), dtype=bool)
    usable[list(faults)] = False
    return usable


def _columns(crystals, usable, radiation, d_min, wavelength, default_u_iso, dtype, device, verbose):
    """Offsets, q, hkl, multiplicity and intensity of all crystals."""
    counts, hkl, q, multiplicity = find_families(crystals, d_min, usable)
    intensity = squared_structure_factors(
        crystals,
        np.where(np.isnan(crystals.u_iso), default_u_iso, crystals.u_iso),
        counts,
        hkl,
        q,
        radiation=radiation,
        anomalous=anomalous_factors(wavelength) if wavelength else None,
        dtype=dtype,
        device=device,
        verbose=verbose,
    )
    intensity, starts = intensity.cpu().numpy(), np.concatenate([[0], np.cumsum(counts)])
    limit = np.repeat(_rounding_errors(crystals, radiation), counts).astype(intensity.dtype)
    strong = (intensity > limit) & _are_strong(intensity * multiplicity, counts, starts)
    offsets = np.concatenate([[0], np.cumsum(strong)])[starts]
    q, *columns = (torch.from_numpy(column[strong]) for column in (q, hkl, multiplicity, intensity))
    return offsets, q.to(dtype), *columns


def _rounding_errors(crystals, radiation):
    """Largest |F|² that may be a rounding error, for each crystal; relative to all atoms in phase."""
    amplitudes = crystals.occupancies * _forward_factors(radiation)[crystals.atomic_numbers - 1]
    return ROUNDING_LIMIT * np.add.reduceat(amplitudes, crystals.offsets[:-1]) ** 2


@cache
def _forward_factors(radiation):
    """Form factors of the elements 1 to 98 in the forward direction, ndarray of shape (98,)."""
    return form_factors(torch.arange(1, 99), torch.zeros(1, dtype=torch.float64), radiation)[0].numpy()


def _are_strong(strength, counts, starts):
    """Whether each reflection is strong enough relative to the strongest of its crystal."""
    filled = np.flatnonzero(counts)
    strongest = np.maximum.reduceat(strength, starts[filled]) if len(filled) else strength
    return strength > WEAKEST_FAMILY * np.repeat(strongest, counts[filled])

"""Reflections of many crystals: where, how many, how strong."""

from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from xtalsk.simulation._form_factors import RADIATIONS, anomalous_factors, form_factors
from xtalsk.utils import check_device, check_option

DEFAULT_U_ISO = 0.0063
"""Mean-square displacement in Å² of sites that carry none: B = 8π²U = 0.5 Å², usual at 300 K."""

_PAIRS_PER_CHUNK = 1_000_000
_WEAKEST = 1e-8


@dataclass(frozen=True, eq=False, repr=False)
class Reflections:
    """Reflections of a set of crystals, merged by symmetry, in columns.

    The reflections of crystal ``i`` are the rows ``offsets[i]:offsets[i + 1]``. Lines of equal q that
    symmetry does not relate (333 and 511 of a cubic crystal) are rows of their own.

    Parameters
    ----------
    offsets : ndarray of int, shape (n + 1,)
    q : float64 tensor of shape (m,)
        1/d in 1/Å, ascending within each crystal.
    hkl : int16 tensor of shape (m, 3)
        One representative of each family.
    multiplicity : int16 tensor of shape (m,)
        Number of reflections in the family, Friedel mates included.
    intensity : float64 tensor of shape (m,)
        |F|² of one reflection (mean of Friedel mates), in electrons² or Å².
    radiation : {"electron", "xray"}
    d_min : float
        Smallest spacing in Å that was asked for.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from xtalsk.crystals import CrystalSet
    >>> from xtalsk.simulation import reflections
    >>> iron = Structure.from_spacegroup("Im-3m", Lattice.cubic(2.87), ["Fe"], [[0, 0, 0]])
    >>> r = reflections(CrystalSet.from_pymatgen([iron]), "xray", d_min=1.0)
    >>> r
    Reflections(1 crystals, 4 families, xray, d_min=1)
    >>> (1 / r.q).numpy().round(3).tolist()
    [2.029, 1.435, 1.172, 1.015]
    """

    offsets: np.ndarray
    q: torch.Tensor
    hkl: torch.Tensor
    multiplicity: torch.Tensor
    intensity: torch.Tensor
    radiation: str
    d_min: float

    def __len__(self):
        return len(self.offsets) - 1

    def __repr__(self):
        size = f"{len(self)} crystals, {len(self.q)} families"
        return f"Reflections({size}, {self.radiation}, d_min={self.d_min:g})"


def families(lattice, rotations, d_min):
    """One reflection of each family up to 1 / d_min, and the size of the family.

    Parameters
    ----------
    lattice : ndarray of shape (3, 3)
        Rows are lattice vectors in Å.
    rotations : ndarray of int, shape (m, 3, 3)
        Point group in the basis of the lattice.
    d_min : float
        In Å.

    Returns
    -------
    hkl : ndarray of int16, shape (n, 3), by ascending q
    q : ndarray of shape (n,)
    multiplicity : ndarray of int16, shape (n,)
    """
    limits = np.floor(np.linalg.norm(lattice, axis=1) / d_min + 1e-9).astype(int)
    grids = np.meshgrid(*[np.arange(-limit, limit + 1) for limit in limits], indexing="ij")
    hkl = np.stack([g.ravel() for g in grids], axis=1)
    hkl = hkl[len(hkl) // 2 + 1 :]  # Friedel mates mirror the list about (0, 0, 0)
    reciprocal = np.linalg.inv(lattice).T
    q2 = ((hkl @ reciprocal) ** 2).sum(axis=1)
    inside = q2 <= d_min**-2 * (1 + 1e-12)
    hkl, q2 = hkl[inside], q2[inside]
    weights = np.array([1 << 24, 1 << 12, 1])
    laue = np.unique(np.concatenate([rotations, -rotations]).astype(np.int64), axis=0)
    code, fixing = hkl @ weights, np.zeros(len(hkl), dtype=int)
    for rotation in laue:  # keep the family member with the largest code; the list shrinks fast
        image = hkl @ (rotation @ weights)
        largest = image <= code
        hkl, q2, code, fixing = hkl[largest], q2[largest], code[largest], fixing[largest]
        fixing += image[largest] == code
    order = np.argsort(q2, kind="stable")
    multiplicity = len(laue) // fixing[order]
    return hkl[order].astype(np.int16), np.sqrt(q2[order]), multiplicity.astype(np.int16)


def reflections(
    crystals,
    radiation="electron",
    d_min=0.8,
    *,
    wavelength=None,
    default_u_iso=DEFAULT_U_ISO,
    device="cpu",
    verbose=0,
):
    """Compute the kinematic reflections of a set of crystals.

    Structure factors include occupancies and isotropic displacements, and for X-rays of a given wavelength
    the anomalous terms. Families that are weaker than 1e-8 of the strongest, the systematically absent ones
    among them, are left out.

    Parameters
    ----------
    crystals : CrystalSet
    radiation : {"electron", "xray"}
    d_min : float
        Smallest spacing in Å, above 0.
    wavelength : float or None
        In Å. Adds anomalous scattering of X-rays (Cromer-Liberman); electrons have none.
    default_u_iso : float
        Mean-square displacement in Å² of sites that carry none.
    device : str or torch.device
        Where to compute and leave the result; "auto" takes a GPU if there is one.
    verbose : int
        Above 0 shows a progress bar.

    Returns
    -------
    Reflections

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from xtalsk.crystals import CrystalSet
    >>> from xtalsk.simulation import reflections
    >>> gold = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.078), ["Au"], [[0, 0, 0]])
    >>> r = reflections(CrystalSet.from_pymatgen([gold]), "electron", d_min=1.2)
    >>> r.hkl.tolist(), r.multiplicity.tolist()
    ([[1, 1, 1], [2, 0, 0], [2, 2, 0], [3, 1, 1]], [8, 6, 12, 24])
    """
    check_option("radiation", radiation, RADIATIONS)
    if not (np.isfinite(d_min) and d_min > 0):
        raise ValueError(f"d_min must be a positive number of Å, got {d_min!r}")
    if wavelength is not None and not (np.isfinite(wavelength) and wavelength > 0):
        raise ValueError(f"wavelength must be a positive number of Å, got {wavelength!r}")
    device = check_device(device)
    counts, hkl, q, multiplicity = _all_families(crystals, d_min, verbose)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    anomalous = anomalous_factors(wavelength) if wavelength and radiation == "xray" else None
    intensity = torch.zeros(len(q), dtype=torch.float64)
    u_iso = np.where(np.isnan(crystals.u_iso), default_u_iso, crystals.u_iso)
    chunks = _chunks(counts, np.diff(crystals.offsets))
    for chunk in tqdm(chunks, desc="structure factors", disable=not verbose):
        batch = _pad(crystals, u_iso, chunk, offsets, hkl, q)
        batch = {key: value.to(device) for key, value in batch.items()}
        values = intensities(**batch, radiation=radiation, anomalous=anomalous)
        for k, i in enumerate(chunk):
            intensity[offsets[i] : offsets[i + 1]] = values[k, : counts[i]].cpu()
    strength = intensity * multiplicity
    crystal = torch.repeat_interleave(torch.arange(len(crystals)), torch.from_numpy(counts))
    strongest = torch.zeros(len(crystals), dtype=torch.float64).scatter_reduce(0, crystal, strength, "amax")
    strong = strength > _WEAKEST * strongest[crystal]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(crystal[strong], minlength=len(crystals)))])
    columns = (column[strong].to(device) for column in (q, hkl, multiplicity, intensity))
    return Reflections(offsets, *columns, radiation, float(d_min))


def _all_families(crystals, d_min, verbose):
    """Families of every crystal end to end: counts (n,), hkl, q and multiplicity as tensors."""
    progress = tqdm(crystals.lattices, desc="reflection families", disable=not verbose)
    found = [
        families(lattice, crystals.rotation_sets[k], d_min)
        for lattice, k in zip(progress, crystals.rotation_index, strict=True)
    ]
    counts = np.array([len(q) for _, q, _ in found], dtype=np.int64)
    empty = np.empty((0, 3), np.int16), np.empty(0), np.empty(0, np.int16)
    columns = (np.concatenate(column) for column in zip(empty, *found, strict=True))
    return counts, *(torch.from_numpy(column) for column in columns)


def _chunks(n_reflections, n_atoms):
    """Group crystals of like size so that padding to the largest wastes little."""
    order = np.lexsort([n_reflections, np.ceil(2 * np.log2(np.maximum(n_atoms, 1)))])
    chunks, size = [], (0, 0)
    for i in order.tolist():
        size = max(size[0], n_reflections[i]), max(size[1], n_atoms[i])
        if not chunks or (len(chunks[-1]) + 1) * size[0] * size[1] > _PAIRS_PER_CHUNK:
            chunks.append([])
            size = n_reflections[i], n_atoms[i]
        chunks[-1].append(i)
    return chunks


def _pad(crystals, u_iso, chunk, offsets, hkl, q):
    """Tensors of the crystals of one chunk, padded; atoms of one element and displacement are one kind."""
    atoms = [slice(crystals.offsets[i], crystals.offsets[i + 1]) for i in chunk]
    labels = np.stack([crystals.atomic_numbers, u_iso])
    kinds = [np.unique(labels[:, a], axis=1, return_inverse=True) for a in atoms]
    n_atoms = max(a.stop - a.start for a in atoms)
    n_kinds = max(k.shape[1] for k, _ in kinds)
    n_reflections = max(offsets[i + 1] - offsets[i] for i in chunk)
    size = len(chunk)
    batch = {
        "hkl": torch.zeros(size, n_reflections, 3, dtype=torch.float64),
        "q": torch.zeros(size, n_reflections, dtype=torch.float64),
        "coords": torch.zeros(size, n_atoms, 3, dtype=torch.float64),
        "occupancies": torch.zeros(size, n_atoms, n_kinds, dtype=torch.float64),
        "atomic_numbers": torch.zeros(size, n_kinds, dtype=torch.int64),
        "u_iso": torch.zeros(size, n_kinds, dtype=torch.float64),
    }
    for k, (i, a, (kind, kind_of_atom)) in enumerate(zip(chunk, atoms, kinds, strict=True)):
        rows = slice(offsets[i], offsets[i + 1])
        batch["hkl"][k, : rows.stop - rows.start] = hkl[rows].double()
        batch["q"][k, : rows.stop - rows.start] = q[rows]
        batch["coords"][k, : a.stop - a.start] = torch.from_numpy(crystals.frac_coords[a])
        occupancies = torch.from_numpy(crystals.occupancies[a])
        batch["occupancies"][k, torch.arange(a.stop - a.start), torch.from_numpy(kind_of_atom)] = occupancies
        batch["atomic_numbers"][k, : kind.shape[1]] = torch.from_numpy(kind[0].astype(np.int64))
        batch["u_iso"][k, : kind.shape[1]] = torch.from_numpy(kind[1])
    return batch


def intensities(hkl, q, coords, occupancies, atomic_numbers, u_iso, radiation, anomalous=None):
    """|F|² of padded crystals, the mean of Friedel mates, batched in torch.

    Parameters
    ----------
    hkl : tensor of shape (n, n_reflections, 3)
    q : tensor of shape (n, n_reflections)
    coords : tensor of shape (n, n_atoms, 3)
    occupancies : tensor of shape (n, n_atoms, n_kinds)
        Occupancy of each atom in the column of its kind, 0 elsewhere.
    atomic_numbers, u_iso : tensor of shape (n, n_kinds)
        Element and mean-square displacement (Å²) of each kind.
    radiation : {"electron", "xray"}
    anomalous : tensor of shape (99, 2) or None
        f' and f'' by atomic number.

    Returns
    -------
    tensor of shape (n, n_reflections)
    """
    phase = 2 * torch.pi * (hkl @ coords.transpose(1, 2))
    cosine, sine = torch.cos(phase) @ occupancies, torch.sin(phase) @ occupancies
    factors = form_factors(atomic_numbers, q, radiation)
    damping = torch.exp(-2 * torch.pi**2 * u_iso[:, None] * (q * q)[..., None])

    def squared(f):
        f = f * damping
        return (f * cosine).sum(-1) ** 2 + (f * sine).sum(-1) ** 2

    if anomalous is None:
        return squared(factors)
    real, imaginary = anomalous.to(q)[atomic_numbers].unbind(-1)
    # the cross terms of f' and f'' have opposite signs in the two Friedel mates
    return squared(factors + real[:, None]) + squared(imaginary[:, None].expand_as(factors))

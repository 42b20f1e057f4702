"""Kinematic structure factors of many crystals at once."""

import numpy as np
import torch
from tqdm import tqdm

from xtalsk.crystals._ragged import ragged_arange
from xtalsk.physics._form_factors import _coefficients as form_factor_coefficients
from xtalsk.physics._form_factors import form_factors
from xtalsk.simulation.reflections._constants import CRYSTALS_PER_CHUNK, PAIRS_PER_CHUNK
from xtalsk.utils._threads import in_threads


def squared_structure_factors(
    crystals, u_iso, counts, hkl, q, *, radiation, anomalous, dtype, device, verbose
):
    """Compute |F|² of reflections, the mean of Friedel mates.

    On a CPU a compiled loop computes in double precision. On a GPU the crystals are computed in batches in
    the precision of the result.

    Parameters
    ----------
    crystals : CrystalSet
    u_iso : ndarray of shape (n_sites,)
        Mean-square displacements in Å².
    counts : ndarray of int, shape (n,)
        Number of reflections of each crystal.
    hkl : ndarray of int16, shape (m, 3)
    q : ndarray of shape (m,)
        In 1/Å.
    radiation : {"electron", "xray"}
    anomalous : tensor of shape (99, 2) or None
        f' and f'' by atomic number; None without anomalous scattering.
    dtype : torch.dtype
    device : torch.device
    verbose : int

    Returns
    -------
    tensor of ``dtype``, shape (m,), on ``device``
    """
    starts = np.concatenate([[0], np.cumsum(counts)])
    if torch.device(device).type == "cpu":
        values = _compiled_intensities(crystals, u_iso, starts, hkl, q, radiation, anomalous, verbose)
        return torch.from_numpy(values).to(dtype)
    return padded_intensities(crystals, u_iso, starts, hkl, q, radiation, anomalous, dtype, device, verbose)


def _compiled_intensities(crystals, u_iso, starts, hkl, q, radiation, anomalous, verbose):
    """Compute |F|² on a CPU, ndarray of shape (m,); see `squared_structure_factors`."""
    # numba is imported at the first use
    from xtalsk.simulation.reflections._structure_factor_kernels import add_intensities

    kind, (crystal, z, u) = site_kinds(crystals, u_iso)
    kind_starts = np.searchsorted(crystal, np.arange(len(crystals) + 1))
    kind = kind + kind_starts[crystals.crystal_of_site]
    order = np.argsort(kind, kind="stable")
    site_starts = np.concatenate([[0], np.cumsum(np.bincount(kind, minlength=len(z)))])
    factors = [table.numpy() for table in form_factor_coefficients(radiation)]
    anomalous = torch.zeros(99, 2, dtype=torch.float64) if anomalous is None else anomalous.double()
    intensity = np.zeros(len(q))
    sites = crystals.frac_coords[order].astype(float), crystals.occupancies[order].astype(float)
    tables = *map(np.ascontiguousarray, factors), anomalous.numpy()
    arguments = starts, hkl, q, kind_starts, (z, u), site_starts, sites, tables, intensity
    n = len(crystals)
    for first in tqdm(range(0, n, CRYSTALS_PER_CHUNK), desc="structure factors", disable=not verbose):
        in_threads(
            lambda start, stop, first=first: add_intensities(first + start, first + stop, *arguments),
            min(CRYSTALS_PER_CHUNK, n - first),
        )
    return intensity


def padded_intensities(crystals, u_iso, starts, hkl, q, radiation, anomalous, dtype, device, verbose=0):
    """Compute |F|² with torch, tensor of shape (m,) on ``device``; see `squared_structure_factors`.

    Crystals of similar size are padded to the same size and computed together, a few hundred thousand pairs
    of an atom and a reflection at a time.
    """
    counts = np.diff(starts)
    kind_of_atom, kinds = site_kinds(crystals, u_iso)
    out = torch.zeros(len(q), dtype=dtype, device=device)
    chunks = _chunks(counts, np.diff(crystals.offsets))
    for chunk in tqdm(chunks, desc="structure factors", disable=not verbose):
        rows = ragged_arange(starts[chunk], counts[chunk])
        pad = _Padding(counts[chunk])
        batch = {"hkl": pad(hkl[rows].astype(float)), "q": pad(q[rows])}
        batch |= _pad_atoms(crystals, chunk, kind_of_atom, kinds)
        batch = {
            name: torch.from_numpy(a).to(device, dtype if a.dtype.kind == "f" else None)
            for name, a in batch.items()
        }
        values = intensities(**batch, radiation=radiation, anomalous=anomalous)
        out[torch.from_numpy(rows).to(device)] = values[pad.index_on(device)]
    return out


class _Padding:
    """Copies ragged rows into a rectangular array, with zeros behind them."""

    def __init__(self, lengths):
        self.shape = len(lengths), int(lengths.max(initial=0))
        self.index = np.repeat(np.arange(len(lengths)), lengths), ragged_arange(0 * lengths, lengths)

    def __call__(self, values):
        out = np.zeros(self.shape + values.shape[1:], dtype=values.dtype)
        out[self.index] = values
        return out

    def index_on(self, device):
        return tuple(torch.from_numpy(index).to(device) for index in self.index)


def site_kinds(crystals, u_iso):
    """Sort sites into kinds; a kind has one crystal, one element and one displacement.

    Parameters
    ----------
    crystals : CrystalSet
    u_iso : ndarray of shape (n_sites,)
        Mean-square displacements in Å².

    Returns
    -------
    kind : ndarray of int, shape (n_sites,)
        Number of the kind of each site within its crystal.
    kinds : tuple of ndarray of shape (n_kinds,)
        Crystal, atomic number and displacement of each kind, in the order of the crystals.
    """
    labels = np.stack([u_iso, crystals.atomic_numbers, crystals.crystal_of_site])
    order = np.lexsort(labels)
    labels = labels[:, order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (labels[:, 1:] != labels[:, :-1]).any(axis=0)
    u, z, crystal = labels[:, new]
    crystal = crystal.astype(int)
    first = np.searchsorted(crystal, np.arange(len(crystals)))
    kind = np.empty(len(order), dtype=int)
    kind[order] = np.cumsum(new) - 1
    return kind - first[crystals.crystal_of_site], (crystal, z.astype(np.int64), u)


def _pad_atoms(crystals, chunk, kind_of_atom, kinds):
    """Sites and kinds of the crystals of one chunk as padded arrays, dict of str to ndarray."""
    lengths = np.diff(crystals.offsets)[chunk]
    sites = ragged_arange(crystals.offsets[chunk], lengths)
    pad = _Padding(lengths)
    crystal, z, u = kinds
    first, last = np.searchsorted(crystal, chunk), np.searchsorted(crystal, chunk, side="right")
    pad_kinds = _Padding(last - first)
    rows = ragged_arange(first, last - first)
    occupancies = np.zeros((*pad.shape, pad_kinds.shape[1]))
    occupancies[(*pad.index, kind_of_atom[sites])] = crystals.occupancies[sites]
    return {
        "coords": pad(crystals.frac_coords[sites]),
        "occupancies": occupancies,
        "atomic_numbers": pad_kinds(z[rows]),
        "u_iso": pad_kinds(u[rows]),
    }


def _chunks(n_reflections, n_atoms):
    """Rows of the crystals in each chunk; they have similar sizes, so that there is little padding."""
    order = np.lexsort([n_reflections, np.ceil(2 * np.log2(np.maximum(n_atoms, 1)))])
    chunks, size = [], (0, 0)
    for i in order.tolist():
        size = max(size[0], n_reflections[i]), max(size[1], n_atoms[i])
        if not chunks or (len(chunks[-1]) + 1) * size[0] * size[1] > PAIRS_PER_CHUNK:
            chunks.append([])
            size = n_reflections[i], n_atoms[i]
        chunks[-1].append(i)
    return [np.array(chunk) for chunk in chunks]


def intensities(hkl, q, coords, occupancies, atomic_numbers, u_iso, radiation, anomalous=None):
    """Compute |F|² of padded crystals, the mean of Friedel mates.

    Parameters
    ----------
    hkl : tensor of shape (n, n_reflections, 3)
    q : tensor of shape (n, n_reflections)
        In 1/Å.
    coords : tensor of shape (n, n_atoms, 3)
    occupancies : tensor of shape (n, n_atoms, n_kinds)
        Occupancy of each atom in the column of its kind, 0 in the other columns.
    atomic_numbers, u_iso : tensor of shape (n, n_kinds)
        Element and mean-square displacement (Å²) of each kind.
    radiation : {"electron", "xray"}
    anomalous : tensor of shape (99, 2) or None
        f' and f'' by atomic number; None without anomalous scattering.

    Returns
    -------
    tensor of shape (n, n_reflections)
    """
    step = max(1, 4 * PAIRS_PER_CHUNK // (coords.shape[0] * coords.shape[1]))
    if q.shape[1] > step:  # limits the memory for one large crystal
        parts = zip(hkl.split(step, 1), q.split(step, 1), strict=True)
        sites = coords, occupancies, atomic_numbers, u_iso
        return torch.cat([intensities(h, part, *sites, radiation, anomalous) for h, part in parts], dim=1)
    # the reflections are the last axis: with it first these products are five times slower
    phase = (2 * torch.pi * coords) @ hkl.transpose(1, 2)
    occupancies = occupancies.transpose(1, 2)
    cosine, sine = occupancies @ torch.cos(phase), occupancies @ torch.sin_(phase)
    factors = form_factors(atomic_numbers, q, radiation).transpose(1, 2)
    damping = torch.exp((-2 * torch.pi**2 * u_iso)[..., None] * (q * q)[:, None])

    def squared(f):
        f = f * damping
        return (f * cosine).sum(1) ** 2 + (f * sine).sum(1) ** 2

    if anomalous is None:
        return squared(factors)
    real, imaginary = anomalous.to(q)[atomic_numbers].unbind(-1)
    # the cross terms of f' and f'' have opposite signs in the two Friedel mates
    return squared(factors + real[..., None]) + squared(imaginary[..., None].expand_as(factors))

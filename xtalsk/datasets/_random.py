"""Random crystals of given space groups, alike in chemistry and cell to those of a reference set."""

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real

import gemmi
import numpy as np
from sklearn.utils import check_random_state, check_scalar
from tqdm import tqdm

from xtalsk.crystals._cif import lattice_vectors
from xtalsk.crystals._crystal_set import CrystalSet
from xtalsk.crystals._orbits import wrap
from xtalsk.crystals._pymatgen import formula_of
from xtalsk.crystals._ragged import ragged_arange, unique_rotations
from xtalsk.crystals._wyckoff import WyckoffTable, draw_positions, has_space_group, space_group_operations
from xtalsk.datasets._amcsd import load_amcsd
from xtalsk.symmetry import bravais_lattice, check_space_group, crystal_system

_LATTICE_POINTS = {"P": 1, "S": 2, "I": 2, "F": 4, "R": 3}
_RADII = np.array([0.0] + [gemmi.Element(z).covalent_r for z in range(1, 99)])
_N_PLACES = 16  # of an atom, the best of which is taken
_N_FAILURES = 8  # of all atoms of a crystal, before it is begun anew
_GROWTH = 1.01  # of the lattice vectors after each failure
_N_ATTEMPTS = 200  # at one crystal
_CHUNK = 256  # crystals whose atoms are placed at once
_SYMPREC = 0.02  # Å


@dataclass(frozen=True)
class _Statistics:
    """What is imitated of a reference set, its crystals in the order of their number of elements."""

    amounts: np.ndarray  # (n, 99), atoms of each element in the cell
    n_elements: np.ndarray  # (n,)
    atom_volumes: np.ndarray  # (n,)
    sizes: dict  # atoms in the primitive cell, by crystal system
    shapes: dict  # cell parameters (k, 6) in the standard axes, by Bravais lattice
    u_iso: dict  # by atomic number


def _describe(reference):
    """`_Statistics` of a CrystalSet."""
    amounts = np.zeros((len(reference), 99))
    np.add.at(amounts, (reference.crystal_of_site, reference.atomic_numbers), reference.occupancies)
    n_atoms = amounts.sum(axis=1)
    volumes = reference.volumes / n_atoms
    order = np.argsort((amounts > 0).sum(axis=1), kind="stable")
    lengths = np.linalg.norm(reference.lattices, axis=2)
    unit = reference.lattices / lengths[:, :, None]
    cosines = np.stack([(unit[:, i] * unit[:, j]).sum(axis=1) for i, j in ((1, 2), (0, 2), (0, 1))], axis=1)
    cells = np.hstack([lengths, np.degrees(np.arccos(cosines))])
    bravais, systems = bravais_lattice(reference.space_groups), crystal_system(reference.space_groups)
    standard = np.zeros(len(reference), dtype=bool)
    for kind in np.unique(bravais):
        here = bravais == kind
        standard[here] = np.isclose(cells[here], _standard(kind, cells[here]), rtol=1e-4).all(axis=1)
    rhombohedral_axes = (bravais == "hR") & ~standard
    n_points = np.where(rhombohedral_axes, 1, [_LATTICE_POINTS[b[1]] for b in bravais])
    sizes = np.maximum(np.round(n_atoms / n_points), 1).astype(int)
    known = np.isfinite(reference.u_iso)
    known_z, known_u = reference.atomic_numbers[known], reference.u_iso[known]
    return _Statistics(
        amounts=amounts[order],
        n_elements=(amounts > 0).sum(axis=1)[order],
        atom_volumes=np.clip(volumes, *np.percentile(volumes, [1, 99]))[order],
        sizes={s: sizes[systems == s] for s in np.unique(systems)} | {"any": sizes},
        shapes={b: cells[standard & (bravais == b)] for b in np.unique(bravais)},
        u_iso={int(z): known_u[known_z == z] for z in np.unique(known_z)},
    )


@cache
def _describe_amcsd():
    return _describe(load_amcsd())


def _standard(bravais, cells):
    """Impose what a Bravais lattice asks of cell parameters (k, 6) in its standard axes."""
    cells = np.array(cells)
    family = bravais[0]
    if family == "c":
        cells[:, :3] = np.exp(np.log(cells[:, :3]).mean(axis=1, keepdims=True))
    elif family in "th":
        cells[:, :2] = np.exp(np.log(cells[:, :2]).mean(axis=1, keepdims=True))
    if family == "m":
        cells[:, [3, 5]] = 90.0
    elif family != "a":
        cells[:, 3:] = 90.0
    if family == "h":
        cells[:, 5] = 120.0
    return cells


def _draw_cells(numbers, statistics, rng):
    """Lattices of unit volume, of the shape of a reference crystal with the same Bravais lattice."""
    lattices = np.empty((len(numbers), 3, 3))
    bravais = bravais_lattice(numbers)
    for kind in np.unique(bravais):
        rows = np.flatnonzero(bravais == kind)
        known = statistics.shapes.get(kind, ())
        if len(known):
            cells = known[rng.randint(len(known), size=len(rows))]
            cells[:, :3] *= np.exp(0.05 * rng.standard_normal((len(rows), 3)))
            cells[:, 3:] += 2.0 * rng.standard_normal((len(rows), 3))
        else:
            ratios = np.exp(0.35 * rng.standard_normal((len(rows), 3)))
            cells = np.hstack([ratios, rng.uniform(75.0, 105.0, (len(rows), 3))])
        for row, cell in zip(rows, _standard(kind, cells), strict=True):
            lattice = lattice_vectors(gemmi.UnitCell(*cell))
            volume = np.linalg.det(lattice)
            lattices[row] = lattice / np.cbrt(volume) if volume > 0 else np.eye(3)
    return lattices


def _choose_elements(multiplicities, statistics, rng):
    """One element for each orbit, in amounts like those of a reference crystal, and its volume per atom."""
    counts, n_orbits = statistics.n_elements, len(multiplicities)
    low, high = np.searchsorted(counts, [min(n_orbits, 2), n_orbits + 1])
    if low == high:  # nothing as simple in the reference, or nothing but elements
        low, high = 0, np.searchsorted(counts, max(n_orbits, counts[0]) + 1)
    row = rng.randint(low, high)
    present = np.flatnonzero(statistics.amounts[row])
    amounts = statistics.amounts[row, present]
    amounts *= sum(multiplicities) / amounts.sum()
    missing = dict(zip(present.tolist(), amounts.tolist(), strict=True))
    absent, elements = set(missing), [0] * len(multiplicities)
    by_size = np.argsort(rng.random_sample(len(elements)) - np.array(multiplicities))
    for n_done, i in enumerate(by_size.tolist()):
        # the largest orbit left goes to the element that lacks most, but none may be left out
        must = absent if len(elements) - n_done <= len(absent) and absent else missing
        elements[i] = max(must, key=missing.get)
        missing[elements[i]] -= multiplicities[i]
        absent.discard(elements[i])
    return elements, statistics.atom_volumes[row]


@dataclass
class _Batch:
    """Crystals whose atoms are being placed; orbits are in the order in which they are."""

    lattices: np.ndarray
    orbit_offsets: np.ndarray
    orbits: np.ndarray  # rows of the table
    elements: np.ndarray
    atom_offsets: np.ndarray


def _draw_batch(numbers, attempt, table, statistics, max_sites, rng):
    """Draw cells and contents of crystals; the attempts ask for more atoms by turns."""
    lattices = _draw_cells(numbers, statistics, rng)
    systems, more = crystal_system(numbers), attempt % 6
    orbits, elements, n_atoms = [], [], []
    for i, number in enumerate(numbers.tolist()):
        sizes = statistics.sizes.get(systems[i], statistics.sizes["any"])
        size = min(int(sizes[rng.randint(len(sizes))] * (1 + 0.25 * more)) + more, max_sites)
        chosen = np.array(draw_positions(number, size, max_sites, rng)) + table.first[number]
        multiplicities = table.multiplicities[chosen]
        kinds, volume = _choose_elements(multiplicities.tolist(), statistics, rng)
        kinds = np.array(kinds)
        n_atoms.append(multiplicities.sum())
        lattices[i] *= np.cbrt(volume * n_atoms[-1] * np.exp(0.05 * rng.standard_normal()))
        order = np.lexsort((-_RADII[kinds], table.freedoms[chosen] > 0))
        orbits.append(chosen[order])
        elements.append(kinds[order])
    orbit_offsets, atom_offsets = np.cumsum([0] + [len(o) for o in orbits]), np.cumsum([0, *n_atoms])
    return _Batch(lattices, orbit_offsets, np.concatenate(orbits), np.concatenate(elements), atom_offsets)


def _image_vectors(reach):
    """Lattice translations within ``reach`` (n, 3) cells, and where those of each row begin and how many."""
    boxes, index = np.unique(reach, axis=0, return_inverse=True)
    index = index.ravel()  # numpy 2.0 gives it another shape
    grids = [np.indices(2 * box + 1).reshape(3, -1).T - box for box in boxes]
    lengths = np.array([len(g) for g in grids])
    return np.concatenate(grids), (np.cumsum(lengths) - lengths)[index], lengths[index]


def _nearest(owner, separations, contact, itself, lattices, reach):
    """Smallest distance of each place (n, n_places) of n atoms, as a multiple of the distance of contact.

    ``separations`` (m, n_places, 3), fractional, are those from the atoms that ``owner`` (m,) names in rising
    order, ``contact`` (m,) is in Å, and cells within ``reach`` (n, 3) are looked at. Where ``itself`` (m,) is
    set, both are one atom, which is apart from itself by lattice vectors only.
    """
    nearest = np.full((len(lattices), separations.shape[1]), np.inf)
    if not len(owner):
        return nearest
    vectors, starts, lengths = _image_vectors(reach)
    cells = vectors[ragged_arange(starts[owner], lengths[owner])]
    pair = np.repeat(np.arange(len(owner)), lengths[owner])
    separations = separations - np.round(separations)
    apart = np.matmul((separations[pair] + cells[:, None]), lattices[owner[pair]])
    squares = np.einsum("rki,rki->rk", apart, apart)
    squares[itself[pair] & ~cells.any(axis=1)] = np.inf
    squares /= (contact**2)[pair, None]
    starts = np.flatnonzero(np.diff(owner[pair], prepend=-1))
    nearest[owner[pair][starts]] = np.sqrt(np.minimum.reduceat(squares, starts, axis=0))
    return nearest


def _place(batch, table, min_distance, rng):
    """Place the orbits of all crystals of a batch, one of each crystal at a time.

    The coordinates of all atoms come back, and which crystals hold all of theirs. ``batch.lattices`` grow
    where it is tight.
    """
    n = len(batch.lattices)
    coords, radii = np.zeros((batch.atom_offsets[-1], 3)), np.zeros(batch.atom_offsets[-1])
    following, placed, failures = batch.orbit_offsets[:-1].copy(), np.zeros(n, dtype=int), np.zeros(n, int)
    orbit_radii = _RADII[batch.elements] * min_distance
    largest = np.maximum.reduceat(orbit_radii, batch.orbit_offsets[:-1])
    while True:
        left = following < batch.orbit_offsets[1:]
        active = np.flatnonzero(left & (failures < _N_FAILURES))
        if not len(active):
            return coords, ~left
        orbits, radius = batch.orbits[following[active]], orbit_radii[following[active]]
        u = rng.random_sample((len(active), _N_PLACES, 3))
        places = table.points[orbits][:, None] + np.matmul(u, table.directions[orbits])
        n_images = table.multiplicities[orbits]
        rows = ragged_arange(table.starts[orbits], n_images)
        owner = np.repeat(np.arange(len(active)), n_images)
        images = np.matmul(places[owner], table.rotations[rows].transpose(0, 2, 1))
        images += table.translations[rows][:, None]

        lattices = batch.lattices[active]
        reciprocal = np.linalg.norm(np.linalg.inv(lattices), axis=1)
        reach = np.floor(2 * largest[active][:, None] * reciprocal + 0.5).astype(int)
        itself = np.diff(owner, prepend=-1) > 0  # the identity is the first operation
        nearest = _nearest(owner, images - places[owner], 2 * radius[owner], itself, lattices, reach)
        there = ragged_arange(batch.atom_offsets[active], placed[active])
        other = np.repeat(np.arange(len(active)), placed[active])
        apart, contact = coords[there][:, None] - places[other], radii[there] + radius[other]
        others = _nearest(other, apart, contact, np.zeros(len(other), dtype=bool), lattices, reach)
        nearest = np.minimum(nearest, others)
        best = np.argmax(nearest, axis=1)
        fits = nearest[np.arange(len(active)), best] >= 1.0
        new = fits[owner]
        target = ragged_arange(batch.atom_offsets[active] + placed[active], n_images)[new]
        coords[target], radii[target] = images[new, best[owner[new]]], radius[owner[new]]
        placed[active[fits]] += n_images[fits]
        following[active[fits]] += 1
        failures[active[~fits]] += 1
        batch.lattices[active[~fits]] *= _GROWTH


def _try_crystals(numbers, attempt, table, statistics, max_sites, min_distance, rng):
    """Lattice, coordinates, elements and u_iso of a crystal of each number, None where that failed."""
    batch = _draw_batch(numbers, attempt, table, statistics, max_sites, rng)
    coords, done = _place(batch, table, min_distance, rng)
    u_iso = np.full(len(batch.elements), np.nan)
    for element, known in statistics.u_iso.items():
        here = batch.elements == element
        u_iso[here] = known[rng.randint(len(known), size=here.sum())]
    multiplicities = table.multiplicities[batch.orbits]
    elements, u_iso = np.repeat(batch.elements, multiplicities), np.repeat(u_iso, multiplicities)
    first = np.repeat(np.cumsum(multiplicities) - multiplicities, multiplicities)
    primitive = np.arange(len(first)) - first < np.repeat(table.n_primitive[batch.orbits], multiplicities)
    crystals = []
    for i, number in enumerate(numbers.tolist()):
        atoms = slice(batch.atom_offsets[i], batch.atom_offsets[i + 1])
        cell = coords[atoms][primitive[atoms]], elements[atoms][primitive[atoms]].tolist()
        good = done[i] and has_space_group(number, batch.lattices[i], *cell, _SYMPREC)
        crystal = batch.lattices[i], wrap(coords[atoms]), elements[atoms], u_iso[atoms]
        crystals.append(crystal if good else None)
    return crystals


@contextmanager
def _quiet_moyo():
    """Keep moyo from warning of cells that turn out not to be primitive; they are drawn again."""
    logger, level = logging.getLogger("moyo"), logging.getLogger("moyo").level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def make_random_crystals(
    space_groups,
    n_per_group=1,
    *,
    reference=None,
    max_sites=200,
    min_distance=0.75,
    random_state=None,
    verbose=0,
):
    """Make random crystals of given space groups, to train classifiers on.

    Atoms are put on randomly chosen Wyckoff positions [1]_ of the space group in gemmi's reference setting.
    The shape of the cell is taken from a randomly chosen crystal of the reference set with the same Bravais
    lattice (where there is none, axes and angles are random), the number of atoms from one of the same
    crystal system, and elements, their amounts and the volume of an atom from one with no more elements
    than the new crystal has orbits; shape and volume are then varied a little, and amounts rounded to whole
    orbits. Every site is fully occupied by one element.

    Where atoms come too near to each other they are put elsewhere and the lattice grows, by at most 8%; if
    that does not help the crystal is begun anew. So is one that does not have the space group, or has a
    smaller cell, by the verdict of moyopy [3]_, which knows nothing of how the crystal was made; its
    tolerance is 0.02 Å.

    Parameters
    ----------
    space_groups : int or array-like of int, shape (n_groups,)
        Numbers from 1 to 230; repeated ones are allowed.
    n_per_group : int
        Crystals of each entry of ``space_groups``.
    reference : CrystalSet or None
        The crystals to imitate, by default those of `xtalsk.datasets.load_amcsd`.
    max_sites : int
        Most atoms in the primitive cell; 48 are enough for every space group.
    min_distance : float
        Smallest distance of two atoms, as a fraction of the sum of their covalent radii [2]_.
    random_state : int, RandomState or None
    verbose : int
        Above 0 shows progress.

    Returns
    -------
    CrystalSet
        Of ``n_groups * n_per_group`` crystals, those of each entry together. Isotropic displacements are
        those of reference sites of the same element, NaN where there are none.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range or of the wrong type.
    RuntimeError
        If no crystal of a space group comes out after many attempts.

    References
    ----------
    .. [1] International Tables for Crystallography A (2016), section 2.1.3.11.
    .. [2] B. Cordero et al., Dalton Trans. 2832 (2008), as tabulated in gemmi.
    .. [3] K. Shinohara, moyo, https://github.com/spglib/moyo.

    Examples
    --------
    >>> from xtalsk.datasets import make_random_crystals
    >>> crystals = make_random_crystals([2, 62, 225], n_per_group=2, random_state=0)
    >>> len(crystals), crystals.space_groups.tolist()
    (6, [2, 2, 62, 62, 225, 225])
    """
    numbers = np.atleast_1d(check_space_group(space_groups))
    if numbers.ndim > 1 or not len(numbers):
        raise ValueError(f"space_groups must be a number or a non-empty 1-D array, got shape {numbers.shape}")
    check_scalar(n_per_group, "n_per_group", Integral, min_val=1)
    check_scalar(max_sites, "max_sites", Integral, min_val=1)
    check_scalar(min_distance, "min_distance", Real, min_val=0, max_val=1, include_boundaries="right")
    if not (reference is None or (isinstance(reference, CrystalSet) and len(reference))):
        raise ValueError(f"reference must be a CrystalSet that is not empty or None, got {reference!r}")
    rng = check_random_state(random_state)
    statistics = _describe_amcsd() if reference is None else _describe(reference)
    numbers = np.repeat(numbers, n_per_group)
    table, made = WyckoffTable(numbers), [None] * len(numbers)
    pending = np.arange(len(numbers))
    with _quiet_moyo(), tqdm(total=len(numbers), desc="random crystals", disable=not verbose) as progress:
        for attempt in range(_N_ATTEMPTS):
            for rows in np.array_split(pending, -(-len(pending) // _CHUNK)):
                tried = _try_crystals(numbers[rows], attempt, table, statistics, max_sites, min_distance, rng)
                for row, crystal in zip(rows.tolist(), tried, strict=True):
                    made[row] = crystal
            n_before, pending = len(pending), np.flatnonzero([crystal is None for crystal in made])
            progress.update(n_before - len(pending))
            if not len(pending):
                return _assemble(numbers, made)
    raise RuntimeError(
        f"no crystal of space group {numbers[pending[0]]} came out in {_N_ATTEMPTS} attempts; "
        "a larger max_sites or a smaller min_distance may help"
    )


def _assemble(numbers, made):
    """CrystalSet of crystals given as lattice, coordinates, elements and u_iso."""
    lattices, coords, elements, u_iso = zip(*made, strict=True)
    groups, index = np.unique(numbers, return_inverse=True)
    rotation_sets, of_group = unique_rotations([space_group_operations(int(g))[0] for g in groups])
    occupancies = [np.ones(len(e)) for e in elements]
    return CrystalSet(
        lattices=np.array(lattices),
        offsets=np.cumsum([0] + [len(e) for e in elements]),
        atomic_numbers=np.concatenate(elements),
        frac_coords=np.concatenate(coords),
        occupancies=np.concatenate(occupancies),
        u_iso=np.concatenate(u_iso),
        space_groups=numbers,
        rotation_sets=rotation_sets,
        rotation_index=of_group[index],
        formulas=[formula_of(e, o) for e, o in zip(elements, occupancies, strict=True)],
        ids=[f"random-{i}" for i in range(len(numbers))],
        names=[""] * len(numbers),
    )

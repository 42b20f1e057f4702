"""Random crystals of given space groups, with the chemistry and cells of a reference set."""

import logging
from contextlib import contextmanager
from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state, check_scalar
from tqdm import tqdm

from xtalsk.crystals import CrystalSet
from xtalsk.crystals._formulas import formula_of
from xtalsk.crystals._orbits import wrap
from xtalsk.crystals._ragged import unique_rotations
from xtalsk.crystals._symmetry_search import has_space_group
from xtalsk.crystals._wyckoff import WyckoffTable, space_group_operations
from xtalsk.datasets._amcsd import load_amcsd
from xtalsk.datasets._constants import CHUNK_SIZE, N_ATTEMPTS, START_DISTANCE, SYMPREC
from xtalsk.datasets._contacts import describe_amcsd_contacts, describe_contacts, move_apart
from xtalsk.datasets._placement import place_orbits
from xtalsk.datasets._random_contents import draw_batch
from xtalsk.datasets._reference import describe, describe_amcsd
from xtalsk.datasets._space_group_shares import check_prior
from xtalsk.symmetry import check_space_group


def make_random_crystals(
    space_groups=None,
    n_per_group=1,
    *,
    n_crystals=None,
    prior=None,
    reference=None,
    max_sites=200,
    min_distance=0.75,
    packing="covalent",
    random_state=None,
    verbose=0,
):
    """Make random crystals of given or random space groups, for the training of classifiers.

    Atoms occupy random Wyckoff positions [1]_ of the space group in gemmi's reference setting. Each property
    comes from a random crystal of the reference set:

    - the shape of the cell from one with the same Bravais lattice (random lengths and angles where the
      reference has none),
    - the number of atoms from one of the same crystal system,
    - elements, their amounts and the volume per atom from one with at most as many elements as the new
      crystal has orbits.

    Shape and volume then vary by a few percent, and amounts are rounded to whole orbits. One element fully
    occupies each site.

    If atoms are too close, they are placed again and the lattice grows, by at most 8%. If they still are too
    close, the crystal is drawn again. moyopy [3]_ determines the space group of each crystal independently,
    with a tolerance of 0.02 Å. A crystal with another space group or a smaller primitive cell is drawn again.

    Parameters
    ----------
    space_groups : int, array-like of int, shape (n_groups,), or None
        Numbers from 1 to 230. Numbers may repeat. None stands for all 230 and needs ``n_crystals``.
    n_per_group : int
        Number of crystals for each entry of ``space_groups``. Must be 1 with ``n_crystals``.
    n_crystals : int or None
        If given, so many crystals are made. Their space groups are random ones of ``space_groups``, with the
        shares of ``prior``.
    prior : {"minerals", "inorganic"}, array-like of shape (230,) or None
        How often each space group occurs. Only with ``n_crystals``.

        - None: as in the reference.
        - ``"minerals"``, ``"inorganic"``: as among minerals, or among inorganic compounds without C and H
          together, in the list of `xtalsk.datasets.load_compounds` [4]_. Compounds of the same elements and
          the same space group count once. The shares of the crystal systems among minerals agree within
          3 points with "The seven systems", The Petrograph (May 1999).
        - array: weights of the space groups 1 to 230.
    reference : CrystalSet or None
        The crystals to imitate (default: those of `xtalsk.datasets.load_amcsd`).
    max_sites : int
        Largest number of atoms in the primitive cell. 48 are enough for every space group.
    min_distance : float
        Smallest distance of two atoms, as a fraction of the sum of their covalent radii [2]_.
    packing : {"covalent", "reference"}
        Which distances atoms keep.

        - ``"covalent"``: ``min_distance``, whatever the elements.
        - ``"reference"``: also 0.9 times the smallest distance between atoms of the two elements in the
          crystal that gives the elements, so that, for example, anions touch cations but not each other.
          Atoms move apart within their Wyckoff positions. Each has a neighbour within 1.3 times the sum of
          the covalent radii. The volume per atom follows the amounts, with mean atomic volumes of the
          reference. Each new attempt at a crystal makes these conditions 3% easier. It takes 1.6 times as
          long. Classifiers trained on either kind named as many space groups of real crystals.
    random_state : int, RandomState or None
        Seed of the random draws.
    verbose : int
        Above 0 shows a progress bar.

    Returns
    -------
    CrystalSet
        ``n_groups * n_per_group`` crystals, ordered by entry, or ``n_crystals`` in random order. Isotropic
        displacements are those of reference sites of the same element, NaN where the reference has none.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range or of the wrong type.
    RuntimeError
        If all attempts at a crystal fail.

    References
    ----------
    .. [1] International Tables for Crystallography A (2016), section 2.1.3.11.
    .. [2] B. Cordero et al., Dalton Trans. 2832 (2008), as tabulated in gemmi.
    .. [3] K. Shinohara, moyo, https://github.com/spglib/moyo.
    .. [4] S. Gražulis et al., J. Appl. Cryst. 42, 726 (2009): Crystallography Open Database; minerals are its
       entries 9000000 to 9017999, from the American Mineralogist Crystal Structure Database.

    Examples
    --------
    >>> from xtalsk.datasets import make_random_crystals
    >>> crystals = make_random_crystals([2, 62, 225], n_per_group=2, random_state=0)
    >>> len(crystals), crystals.space_groups.tolist()
    (6, [2, 2, 62, 62, 225, 225])
    >>> minerals = make_random_crystals(n_crystals=5, prior="minerals", packing="reference", random_state=0)
    >>> len(minerals)
    5
    """
    check_scalar(max_sites, "max_sites", Integral, min_val=1)
    check_scalar(min_distance, "min_distance", Real, min_val=0, max_val=1, include_boundaries="right")
    if not (reference is None or (isinstance(reference, CrystalSet) and len(reference))):
        raise ValueError(f"reference must be a CrystalSet that is not empty or None, got {reference!r}")
    if packing not in ("covalent", "reference"):
        raise ValueError(f"packing must be 'covalent' or 'reference', got {packing!r}")
    rng = check_random_state(random_state)
    if n_crystals is None:
        numbers = _repeat_groups(space_groups, n_per_group, prior)
    else:
        if n_per_group != 1:
            raise ValueError(f"n_per_group is not used with n_crystals, got {n_per_group!r}")
        numbers = _draw_groups(space_groups, n_crystals, prior, reference, rng)
    statistics = describe_amcsd() if reference is None else describe(reference)
    contacts = None
    if packing == "reference":
        contacts = describe_amcsd_contacts() if reference is None else describe_contacts(reference)
    return _make_crystals(numbers, statistics, contacts, max_sites, min_distance, rng, verbose)


def _check_groups(space_groups):
    """Return space-group numbers as an array (n,)."""
    numbers = np.atleast_1d(check_space_group(space_groups))
    if numbers.ndim > 1 or not len(numbers):
        raise ValueError(f"space_groups must be a number or a non-empty 1-D array, got shape {numbers.shape}")
    return numbers


def _repeat_groups(space_groups, n_per_group, prior):
    """Return each space-group number ``n_per_group`` times."""
    if space_groups is None or prior is not None:
        raise ValueError("space_groups=None and prior need n_crystals, the number of crystals")
    check_scalar(n_per_group, "n_per_group", Integral, min_val=1)
    return np.repeat(_check_groups(space_groups), n_per_group)


def _draw_groups(space_groups, n_crystals, prior, reference, rng):
    """Return random ones of the space groups, with the shares of a prior."""
    check_scalar(n_crystals, "n_crystals", Integral, min_val=1)
    groups = np.arange(1, 231) if space_groups is None else np.unique(_check_groups(space_groups))
    known = load_amcsd() if reference is None else reference
    weights = check_prior(prior, known.space_groups)[groups - 1]
    if not weights.sum() > 0:
        raise ValueError(f"prior is 0 for all of the space groups {groups.tolist()}")
    return rng.choice(groups, n_crystals, p=weights / weights.sum())


def _make_crystals(numbers, statistics, contacts, max_sites, min_distance, rng, verbose):
    """Return a `CrystalSet` with one crystal for each number; atoms move apart if there are contacts."""
    volumes = None if contacts is None else contacts.volumes
    start = min_distance if contacts is None else min(START_DISTANCE, min_distance)
    table, crystals = WyckoffTable(numbers), [None] * len(numbers)
    pending = np.arange(len(numbers))
    with _quiet_moyo(), tqdm(total=len(numbers), desc="random crystals", disable=not verbose) as progress:
        for attempt in range(N_ATTEMPTS):
            for rows in np.array_split(pending, -(-len(pending) // CHUNK_SIZE)):
                batch = draw_batch(numbers[rows], attempt, table, statistics, max_sites, rng, volumes)
                coords, is_complete = place_orbits(batch, table, start, rng)
                if contacts is not None:
                    is_complete &= move_apart(batch, table, contacts, min_distance, attempt, coords)
                u_iso = _draw_u_iso(batch.elements, statistics, rng)
                finished = _finish(numbers[rows], batch, coords, u_iso, is_complete, table)
                for row, crystal in zip(rows.tolist(), finished, strict=True):
                    crystals[row] = crystal
            n_before, pending = len(pending), np.flatnonzero([crystal is None for crystal in crystals])
            progress.update(n_before - len(pending))
            if not len(pending):
                return _assemble(numbers, crystals)
    raise RuntimeError(
        f"no crystal of space group {numbers[pending[0]]} succeeded in {N_ATTEMPTS} attempts; "
        "a larger max_sites or a smaller min_distance may help"
    )


@contextmanager
def _quiet_moyo():
    """Suppress moyo's warnings about cells that are not primitive; such crystals are drawn again."""
    logger, level = logging.getLogger("moyo"), logging.getLogger("moyo").level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _draw_u_iso(elements, statistics, rng):
    """Isotropic displacements in Å² of orbits, from reference sites of the same element; NaN without any."""
    u_iso = np.full(len(elements), np.nan)
    for element, values in statistics.u_iso.items():
        is_element = elements == element
        u_iso[is_element] = values[rng.randint(len(values), size=is_element.sum())]
    return u_iso


def _finish(numbers, batch, coords, u_iso, is_complete, table):
    """List lattice, coordinates, elements and u_iso of each crystal, or None if it is not usable.

    A crystal is usable if all its atoms have a place and moyopy confirms its space group.
    """
    multiplicities = table.multiplicities[batch.orbits]
    elements, u_iso = np.repeat(batch.elements, multiplicities), np.repeat(u_iso, multiplicities)
    first = np.repeat(np.cumsum(multiplicities) - multiplicities, multiplicities)
    in_primitive = np.arange(len(first)) - first < np.repeat(table.n_primitive[batch.orbits], multiplicities)
    crystals = []
    for i, number in enumerate(numbers.tolist()):
        atoms = slice(batch.atom_offsets[i], batch.atom_offsets[i + 1])
        keep = in_primitive[atoms]
        primitive = coords[atoms][keep], elements[atoms][keep].tolist()
        is_usable = is_complete[i] and has_space_group(number, batch.lattices[i], *primitive, SYMPREC)
        crystal = batch.lattices[i], wrap(coords[atoms]), elements[atoms], u_iso[atoms]
        crystals.append(crystal if is_usable else None)
    return crystals


def _assemble(numbers, crystals):
    """CrystalSet of a list of (lattice, coordinates, elements, u_iso)."""
    lattices, coords, elements, u_iso = zip(*crystals, strict=True)
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

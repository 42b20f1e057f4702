"""Crystals of known structure types with other elements, for the training of classifiers."""

from dataclasses import replace

import numpy as np
from sklearn.utils import check_random_state

from xtalsk.crystals import CrystalSet
from xtalsk.crystals._elements import element_distances, element_volumes
from xtalsk.crystals._formulas import formula_of
from xtalsk.datasets._constants import LEAST_ATOMS, SMALLEST_ATOM
from xtalsk.simulation.reflections._strain import average_over_group
from xtalsk.utils import check_number
from xtalsk.utils._formula import electronegativities


def substitute_elements(crystals, *, distance=0.6, strain=0.015, volume_spread=0.04, random_state=None):
    """Replace elements of crystals by similar ones at random, and scale their cells.

    The results are plausible compounds of the same structure types and space groups. Trained on them as
    well, a classifier names more compounds that are in no training set, because isostructural compounds are
    frequent, and a network sees each structure type with several cells and intensities.

    All atoms of an element are replaced by one element. Similar elements are likely, and the element itself
    most of all: similar ones have about the same electronegativity, covalent radius [1]_ and place in the
    periodic table (Mendeleev number [2]_). Of minerals, seven in ten of the metal atoms are replaced and one
    oxygen in five. Only elements of which the crystals have 50 atoms or more, all together, take the place of
    others, so a few crystals keep most of theirs. Two elements of a crystal never become one, since this
    could raise the symmetry. Hydrogen, helium, neon and argon stay. The volume of the cell follows the mean
    atomic volumes of the elements, fitted to all the crystals. The cell is then strained at random within the
    symmetry of its point group. The coordinates stay.

    Parameters
    ----------
    crystals : CrystalSet
        A crystal may occur several times; each time other elements are drawn.
    distance : float, default=0.6
        The probability of an element falls by a factor of e with each such distance from the element that it
        replaces. Iron and cobalt have a distance of 0.4, sodium and potassium 1.4, oxygen and fluorine 1.7.
    strain : float, default=0.015
        Standard deviation of the random strains before they are averaged over the point group, which makes
        them smaller in higher symmetry. They keep the volume; so cubic cells have none.
    volume_spread : float, default=0.04
        Standard deviation of the natural logarithm of the volume around that of the atoms.
    random_state : int, RandomState or None

    Returns
    -------
    CrystalSet
        In the same order. Names are empty, and ids end with ``-substituted``. Distances between atoms are
        not checked.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type or out of range.

    See Also
    --------
    make_random_crystals : Atoms on random positions.
    xtalsk.simulation.vary_sites : The same elements with other occupancies and displacements.

    Notes
    -----
    In cross-validation, substitute the elements of the training crystals only: a result has the structure
    type of its source, and may have the formula of another crystal.

    References
    ----------
    .. [1] B. Cordero et al., Dalton Trans. 2832 (2008), as tabulated in gemmi.
    .. [2] D. G. Pettifor, Solid State Commun. 51, 31 (1984), as tabulated in pymatgen.

    Examples
    --------
    >>> from xtalsk.datasets import load_amcsd, substitute_elements
    >>> minerals = load_amcsd()
    >>> others = substitute_elements(minerals, random_state=0)
    >>> bool((others.space_groups == minerals.space_groups).all())
    True
    >>> round(float((others.formulas != minerals.formulas).mean()), 1)
    0.9
    """
    if not (isinstance(crystals, CrystalSet) and len(crystals)):
        raise ValueError(f"crystals must be a CrystalSet that is not empty, got {type(crystals).__name__}")
    check_number(distance, "distance", min_val=0, include_boundaries="neither")
    check_number(strain, "strain", min_val=0, max_val=0.1)
    check_number(volume_spread, "volume_spread", min_val=0, max_val=0.3)
    rng = check_random_state(random_state)
    numbers = crystals.atomic_numbers.astype(int)
    weights = _weights(numbers, distance)
    volumes = np.maximum(element_volumes(crystals), SMALLEST_ATOM)
    new, formulas = numbers.copy(), []
    for first, last in zip(crystals.offsets[:-1], crystals.offsets[1:], strict=True):
        own = numbers[first:last]
        new[first:last] = _draw(np.unique(own), weights, rng)[own]
        formulas.append(formula_of(new[first:last], crystals.occupancies[first:last]))
    owner, n = crystals.crystal_of_site, len(crystals)
    sums = [np.bincount(owner, crystals.occupancies * volumes[z], minlength=n) for z in (new, numbers)]
    growth = np.cbrt(sums[0] / sums[1] * np.exp(volume_spread * rng.standard_normal(n)))
    return replace(
        crystals,
        lattices=_strained(crystals, strain, rng) * growth[:, None, None],
        atomic_numbers=new,
        formulas=formulas,
        ids=[f"{text}-substituted" for text in crystals.ids],
        names=[""] * n,
    )


def _weights(numbers, distance):
    """Return the weight of each element (column) in place of another (row), by atomic number."""
    weights = np.exp(-element_distances() / distance)
    weights[:, np.bincount(numbers, minlength=len(weights)) < LEAST_ATOMS] = 0
    kept = [1, *np.flatnonzero(np.isnan(electronegativities())) + 1]  # hydrogen, helium, neon and argon
    weights[kept] = weights[:, kept] = 0  # they stay, and nothing becomes one of them
    np.fill_diagonal(weights, 1)
    return weights


def _draw(elements, weights, rng):
    """Return the new atomic number of each atomic number of one crystal, an array over atomic numbers."""
    new = np.arange(len(weights))
    for element in elements:
        free = weights[element].copy()
        free[np.setdiff1d(new[elements], element)] = 0
        new[element] = rng.choice(len(free), p=free / free.sum())
    return new


def _strained(crystals, strain, rng):
    """Return the lattices with random strains that keep the volumes and the rotations of the crystals."""
    changes = strain * rng.standard_normal((len(crystals), 3, 3))
    changes = (changes + changes.transpose(0, 2, 1)) / 2
    changes -= np.trace(changes, axis1=1, axis2=2)[:, None, None] / 3 * np.eye(3)
    return crystals.lattices @ (np.eye(3) + average_over_group(changes, crystals, np.arange(len(crystals))))

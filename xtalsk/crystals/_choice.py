"""Choice among the settings that an entry may mean, by its own statements and by distances."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from xtalsk.crystals._constants import CONTACT_STEP, MAX_ATOMS, MAX_MISFIT, MIN_CONTACT, SAME_ATOM
from xtalsk.crystals._contacts import shortest_contact
from xtalsk.crystals._formulas import formula_of
from xtalsk.crystals._orbits import expand_sites
from xtalsk.crystals._settings import setting_of_group
from xtalsk.crystals._space_group_symbols import all_settings_of_number
from xtalsk.crystals._statements import contradictions


@dataclass
class Expanded:
    """All atoms of a cell.

    Parameters
    ----------
    lattice : ndarray of shape (3, 3)
        Lattice vectors as rows, in Å.
    atomic_numbers, occupancies, u_iso : ndarray of shape (n,)
    frac_coords : ndarray of shape (n, 3)
    atoms : ndarray of int, shape (n,)
        Atom of the asymmetric unit.
    rows : ndarray of int, shape (n_unit,)
        Row in the file of each atom of the asymmetric unit.
    setting : Setting
    """

    lattice: np.ndarray
    atomic_numbers: np.ndarray
    frac_coords: np.ndarray
    occupancies: np.ndarray
    u_iso: np.ndarray
    atoms: np.ndarray
    rows: np.ndarray
    setting: object

    @property
    def multiplicities(self):
        """Number of images of each row of the file."""
        images = np.bincount(self.atoms, minlength=len(self.rows))
        counts = np.zeros(self.rows.max() + 1, dtype=int)
        counts[self.rows] = images
        return counts


def expand(lattice, sites, setting):
    """Apply the operations of a `Setting` to `Sites`; ValueError if the atoms are too many."""
    n = len(sites.rows) * len(setting)
    if n > MAX_ATOMS:
        size = f"{len(sites.rows)} sites and {len(setting)} operations"
        raise ValueError(f"its {size} are too many; expected at most {MAX_ATOMS} images")
    coords, atoms = expand_sites(sites.frac_coords, setting.rotations, setting.translations, lattice)
    return Expanded(
        lattice=lattice,
        atomic_numbers=sites.atomic_numbers[atoms],
        frac_coords=coords,
        occupancies=sites.occupancies[atoms],
        u_iso=sites.u_iso[atoms],
        atoms=atoms,
        rows=sites.rows,
        setting=setting,
    )


@dataclass
class _Candidate:
    crystal: Expanded
    faults: list
    contact: tuple

    @property
    def n_atoms(self):
        return len(self.crystal.atoms)

    @property
    def rank(self):
        """Fewer contradictions first, then possible distances, then distances near the covalent radii."""
        return (
            len(self.faults),
            self.contact[0] < MIN_CONTACT,
            -round(min(self.contact[0], 1.0) / CONTACT_STEP),
        )

    def describe(self):
        """Name the setting, the contents and the shortest distance."""
        crystal, distance = self.crystal, self.contact[1][2]
        name = f"{crystal.setting.name} ({crystal.setting.number})"
        formula = formula_of(crystal.atomic_numbers, crystal.occupancies)
        return f"{name}: {formula}, {self.n_atoms} atoms in the cell, shortest distance {distance:.2f} Å"


def choose(lattice, sites, stated, statements):
    """Crystal of the setting that fits an entry best, its contradictions, its shortest contact, and doubts.

    Parameters
    ----------
    lattice : ndarray of shape (3, 3)
    sites : Sites
    stated : StatedSymmetry
    statements : Statements

    Returns
    -------
    crystal : Expanded
    doubts : list of str
    contact : tuple
        Result of `shortest_contact`.

    Raises
    ------
    ValueError
        If the statements of the space group disagree and nothing decides between them.
    """
    candidates = []
    for setting in stated.settings:
        try:
            crystal = expand(lattice, sites, setting)
        except ValueError:
            if not candidates:
                raise
            continue  # far too many atoms: not what the entry means
        candidates.append(_Candidate(crystal, contradictions(statements, crystal), shortest_contact(crystal)))
    first = candidates[0]
    if len(candidates) == 1:
        doubts = [f"{stated.disagreement}; the operations were used"] if stated.disagreement else []
        doubts += first.faults
        if first.rank[:2] > (0, False):
            doubts += _other_setting(lattice, sites, statements, first)
        return first.crystal, doubts, first.contact
    order = sorted(candidates, key=lambda c: c.rank)
    best = order[0]
    if stated.disagreement:
        best, doubts = _settle(candidates, order, stated.disagreement)
    else:
        doubts = _origin_doubts(order)
    return best.crystal, doubts + best.faults, best.contact


def _settle(candidates, order, disagreement):
    """Candidate to use where the statements of the space group disagree, and doubts."""
    first, best = candidates[0], order[0]
    if first.crystal.setting.name != "its operations":
        if order[0].rank[0] == order[1].rank[0]:
            raise ValueError(f"{disagreement}; it lists no operations, and nothing decides between them")
        return best, [f"{disagreement}; used: {best.describe()}"]
    keys = first.crystal.setting.keys
    larger = [c for c in candidates[1:] if keys < c.crystal.setting.keys]
    for candidate in larger:
        if _is_within(candidate.crystal, first.crystal):  # the list of atoms is complete already
            crystal = replace(first.crystal, setting=candidate.crystal.setting)
            return _Candidate(crystal, first.faults, first.contact), []
    if best.rank[:2] == first.rank[:2]:
        best = min((c for c in larger if c.rank[:2] == first.rank[:2]), key=lambda c: c.rank, default=first)
    return best, [f"{disagreement}; used: {best.describe()}"]


def _other_setting(lattice, sites, statements, candidate):
    """Hint at another origin or other axes of a group, where they contradict fewer statements."""
    used = candidate.crystal.setting
    best = candidate
    for group in all_settings_of_number(used.number):
        setting = setting_of_group(group)
        if setting.misfit(lattice) >= MAX_MISFIT or setting.keys == used.keys:
            continue
        crystal = expand(lattice, sites, setting)
        other = _Candidate(crystal, contradictions(statements, crystal), shortest_contact(crystal))
        if other.rank[:2] < best.rank[:2]:
            best = other
    return [] if best is candidate else [f"its atoms fit another setting: {best.describe()}"]


def _origin_doubts(order):
    """Doubts about the best of several origins or axes; none where formula, Z or density decides."""
    best, second = order[:2]
    if len(best.faults) < len(second.faults) or (
        best.n_atoms == second.n_atoms and _is_within(best.crystal, second.crystal)
    ):
        return []
    return [f"it does not state the origin or axes; used: {best.describe()}; the other: {second.describe()}"]


def _is_within(crystal, other):
    """Whether each atom of a crystal lies on an atom of the same element of another one in the same cell."""
    tree = cKDTree(other.frac_coords % 1.0, boxsize=1.0)
    tolerance = SAME_ATOM / np.linalg.norm(crystal.lattice, axis=1).min()
    distances, nearest = tree.query(crystal.frac_coords % 1.0, distance_upper_bound=tolerance)
    if np.isinf(distances).any():
        return False
    return bool((crystal.atomic_numbers == other.atomic_numbers[nearest]).all())

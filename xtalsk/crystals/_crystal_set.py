"""`CrystalSet`: many crystal structures in columnar arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xtalsk.crystals._archive import load_crystals, save_compressed, save_mappable
from xtalsk.crystals._checks import check_physics, check_shapes
from xtalsk.crystals._ragged import ragged_arange, unique_rotations
from xtalsk.symmetry import check_space_group

_PER_SITE = ("atomic_numbers", "frac_coords", "occupancies", "u_iso")
_PER_CRYSTAL = ("lattices", "space_groups", "rotation_index", "formulas", "ids", "names")
_DTYPES = {
    "lattices": float,
    "offsets": np.int64,
    "atomic_numbers": np.int16,
    "frac_coords": float,
    "occupancies": float,
    "u_iso": float,
    "rotation_index": np.int32,
}


@dataclass(frozen=True, eq=False, repr=False)
class CrystalSet:
    """A columnar, ragged set of crystal structures.

    The sites of crystal ``i`` are the rows ``offsets[i]:offsets[i + 1]`` of the site arrays. They are all
    atoms of the cell, not only of the asymmetric unit. Disordered crystals have sites with an occupancy
    below 1 and several sites on one position. `from_pymatgen`, `from_cifs`, `load` and
    `xtalsk.datasets.load_amcsd` make sets. A set is immutable: indexing and `concatenate` return new sets.

    Parameters
    ----------
    lattices : ndarray of shape (n, 3, 3)
        Lattice vectors as rows, in Å.
    offsets : ndarray of int, shape (n + 1,)
        First site of each crystal, and the number of sites at the end.
    atomic_numbers : ndarray of int, shape (n_sites,)
        From 1 to 98. Deuterium is hydrogen.
    frac_coords : ndarray of shape (n_sites, 3)
        Fractional coordinates.
    occupancies : ndarray of shape (n_sites,)
        Above 0 and at most 1.
    u_iso : ndarray of shape (n_sites,)
        Isotropic mean-square displacements in Å², NaN where the source has none.
    space_groups : ndarray of int, shape (n,)
        Space-group numbers.
    rotation_sets : list of ndarray of shape (m, 3, 3)
        Distinct point groups in the bases of the crystals. The integer matrices act on fractional
        coordinates as columns.
    rotation_index : ndarray of int, shape (n,)
        Index into ``rotation_sets`` of the point group of each crystal.
    formulas, ids, names : ndarray of str, shape (n,)
        Chemical formula, identifier, and name of the mineral or prototype. The name may be empty.

    Raises
    ------
    ValueError
        If shapes do not agree or a crystal is not physical (flat cell, element without form factors,
        occupancy outside (0, 1], coordinates that are not finite). The message names the crystal.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from xtalsk.crystals import CrystalSet
    >>> salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    >>> crystals = CrystalSet.from_pymatgen([salt], ids=["salt"])
    >>> crystals
    CrystalSet(1 crystals, 8 sites, 1 space groups)
    >>> crystals.space_groups.tolist(), crystals.formulas.tolist()
    ([225], ['NaCl'])
    """

    lattices: np.ndarray
    offsets: np.ndarray
    atomic_numbers: np.ndarray
    frac_coords: np.ndarray
    occupancies: np.ndarray
    u_iso: np.ndarray
    space_groups: np.ndarray
    rotation_sets: list
    rotation_index: np.ndarray
    formulas: np.ndarray
    ids: np.ndarray
    names: np.ndarray

    def __post_init__(self):
        columns = {name: np.asarray(getattr(self, name), dtype=dtype) for name, dtype in _DTYPES.items()}
        for name in ("formulas", "ids", "names"):
            columns[name] = np.asarray([str(v) for v in getattr(self, name)], dtype=object)
        columns["space_groups"] = check_space_group(self.space_groups).astype(np.int16)
        columns["rotation_sets"] = [np.asarray(r, dtype=np.int8) for r in self.rotation_sets]
        for name, column in columns.items():
            object.__setattr__(self, name, column)
        check_shapes(self)
        check_physics(self)

    def __len__(self):
        return len(self.offsets) - 1

    def __repr__(self):
        n_groups = len(np.unique(self.space_groups))
        return f"CrystalSet({len(self)} crystals, {len(self.atomic_numbers)} sites, {n_groups} space groups)"

    @property
    def volumes(self):
        """Cell volumes in Å³, shape (n,)."""
        return np.linalg.det(self.lattices)

    @property
    def crystal_of_site(self):
        """Row of the crystal of each site, shape (n_sites,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def __getitem__(self, key):
        """Return the crystals of a slice, an integer, integers or a boolean mask as a `CrystalSet`.

        A slice of neighbouring crystals shares the memory of this set; all else is copied.
        """
        if isinstance(key, slice) and (bounds := key.indices(len(self)))[2] == 1:
            first, last = bounds[0], max(bounds[:2])
            offsets = self.offsets[first : last + 1]
            return self._select(slice(first, last), slice(offsets[0], offsets[-1]), offsets - offsets[0])
        if isinstance(key, int | np.integer):
            if not -len(self) <= key < len(self):
                raise IndexError(f"crystal {key} of a set of {len(self)}")
            key = [key]
        key = np.asarray(key) if isinstance(key, Sequence) else key
        if isinstance(key, np.ndarray) and key.size == 0:
            key = key.astype(int)
        rows = np.arange(len(self))[key]
        lengths = np.diff(self.offsets)[rows]
        sites = ragged_arange(self.offsets[rows], lengths)
        return self._select(rows, sites, np.concatenate([[0], np.cumsum(lengths)]))

    def _select(self, rows, sites, offsets):
        """Return the crystals in some rows, which have the sites and offsets that are given."""
        columns = {name: getattr(self, name)[rows] for name in _PER_CRYSTAL}
        columns |= {name: getattr(self, name)[sites] for name in _PER_SITE}
        return self._from_checked(offsets=offsets, rotation_sets=self.rotation_sets, **columns)

    @classmethod
    def _from_checked(cls, **columns):
        """Make a set of columns that were checked before, without copies."""
        crystals = object.__new__(cls)
        for name, column in columns.items():
            object.__setattr__(crystals, name, column)
        return crystals

    @classmethod
    def concatenate(cls, sets):
        """Join sets end to end.

        Parameters
        ----------
        sets : list of CrystalSet
            At least one.

        Returns
        -------
        CrystalSet

        Raises
        ------
        ValueError
            If the list is empty.
        """
        sets = list(sets)
        if not sets:
            raise ValueError("concatenate needs at least one CrystalSet")
        rotation_sets, index = unique_rotations([r for s in sets for r in s.rotation_sets])
        starts = np.cumsum([0] + [len(s.rotation_sets) for s in sets])
        columns = {n: np.concatenate([getattr(s, n) for s in sets]) for n in _PER_CRYSTAL + _PER_SITE}
        lengths = np.concatenate([np.diff(s.offsets) for s in sets])
        columns["rotation_index"] = np.concatenate(
            [index[s.rotation_index + start] for s, start in zip(sets, starts, strict=False)]
        )
        return cls(offsets=np.concatenate([[0], np.cumsum(lengths)]), rotation_sets=rotation_sets, **columns)

    @classmethod
    def from_pymatgen(cls, structures, *, ids=None, names=None, symprec=0.01):
        """Make a set from pymatgen structures. spglib determines the space groups.

        Parameters
        ----------
        structures : list of pymatgen Structure
            Disordered sites keep their occupancies, and sites keep the property ``u_iso`` (Å²).
        ids, names : list of str, optional
            Identifiers (default: position in the list) and mineral or prototype names (default: empty).
        symprec : float
            Tolerance of the symmetry search in Å.

        Returns
        -------
        CrystalSet

        Raises
        ------
        ValueError
            If a structure has no atoms or no symmetry that spglib finds. The message names the structure.
        """
        from xtalsk.crystals._pymatgen import parts_from_structure

        structures = list(structures)
        ids = [str(i) for i in range(len(structures))] if ids is None else list(ids)
        parts = []
        for structure, name in zip(structures, ids, strict=True):
            try:
                parts.append(parts_from_structure(structure, symprec))
            except ValueError as error:
                raise ValueError(f"structure {name}: {error}") from error
        return cls.from_parts(parts, ids, [""] * len(ids) if names is None else list(names))

    @classmethod
    def from_parts(cls, parts, ids, names):
        """Make a set from one dict of arrays for each crystal.

        Parameters
        ----------
        parts : list of dict
            Keys are ``lattice``, ``atomic_numbers``, ``frac_coords``, ``occupancies``, ``u_iso``,
            ``space_group``, ``rotations`` and ``formula``, with the units of `CrystalSet`.
        ids, names : list of str

        Returns
        -------
        CrystalSet
        """
        rotation_sets, index = unique_rotations([p["rotations"] for p in parts])
        lengths = [len(p["atomic_numbers"]) for p in parts]

        def join(key, empty_shape):
            return np.concatenate([p[key] for p in parts]) if parts else np.empty(empty_shape)

        return cls(
            lattices=np.reshape([p["lattice"] for p in parts], (-1, 3, 3)),
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
            atomic_numbers=join("atomic_numbers", 0),
            frac_coords=join("frac_coords", (0, 3)),
            occupancies=join("occupancies", 0),
            u_iso=join("u_iso", 0),
            space_groups=np.array([p["space_group"] for p in parts], dtype=int),
            rotation_sets=rotation_sets,
            rotation_index=index,
            formulas=[p["formula"] for p in parts],
            ids=ids,
            names=names,
        )

    @classmethod
    def from_cifs(cls, source, *, column="cif", id_column=None, symprec=0.01, on_error="warn", n_jobs=None):
        """Read CIF files, a folder of CIF files, CIF text, or a table with a column of CIF text.

        The operations that an entry lists come first, then its Hall symbol, its Hermann-Mauguin or
        Schoenflies symbol, and its number. Where it names no origin, axes or unique axis, or contradicts
        itself, the reading is taken that fits the cell, then the formula, Z, density, volume and
        multiplicities that the entry states, then possible distances. A `BrokenEntryWarning` with ``is_kept``
        names what an entry contradicts, with both values, and what had to be assumed. Hydrogen is left out of
        these checks, as many files lack it. Dummy atoms are left out.

        Parameters
        ----------
        source : path, str, list of these, or DataFrame
            A CIF file (one crystal for each data block with atoms), a folder that is searched for files
            ``.cif``, ``.mcif`` (magnetic), ``.cif.gz`` and ``.mcif.gz`` in any case, CIF text, a list of
            files or texts, a ``.csv`` or ``.csv.gz`` table, or a DataFrame.
        column : str
            The column of the table with CIF text.
        id_column : str or None
            The column of the table with identifiers (default: the index of the table). The identifier of a
            file is its name.
        symprec : float
            Tolerance in Å of the search for symmetry, in entries that list all atoms of the cell.
        on_error : {"warn", "raise"}
            ``"warn"`` leaves out entries that cannot be used, with one `BrokenEntryWarning` that lists them;
            ``"raise"`` raises. Entries in doubt are kept with a warning in both cases.
        n_jobs : int or None
            Number of joblib workers.

        Returns
        -------
        CrystalSet
            The entries that can be used, in order.

        Raises
        ------
        ValueError
            If no entry can be used, or one cannot and ``on_error="raise"``, or the table is damaged. An entry
            cannot be used if it is no CIF, its operations form no group or do not fit its cell, or a value is
            physically impossible.
        FileNotFoundError
            If the file or folder does not exist.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> from xtalsk.crystals import CrystalSet
        >>> text = '''data_cscl
        ... _cell_length_a 4.12
        ... _cell_length_b 4.12
        ... _cell_length_c 4.12
        ... _cell_angle_alpha 90
        ... _cell_angle_beta 90
        ... _cell_angle_gamma 90
        ... _space_group_name_H-M_alt 'P m -3 m'
        ... loop_
        ... _atom_site_label
        ... _atom_site_fract_x
        ... _atom_site_fract_y
        ... _atom_site_fract_z
        ... Cs 0 0 0
        ... Cl 0.5 0.5 0.5
        ... '''
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = pathlib.Path(folder, "cscl.cif").write_text(text)
        ...     crystals = CrystalSet.from_cifs(folder)
        >>> crystals.formulas.tolist(), crystals.space_groups.tolist()
        (['CsCl'], [221])
        """
        from xtalsk.crystals._cif import read_cifs

        parts, ids = read_cifs(source, column, id_column, symprec, on_error, n_jobs)
        return cls.from_parts(parts, ids, [""] * len(ids))

    def to_pymatgen(self, i):
        """Return crystal ``i`` as a pymatgen Structure. Sites that share a position become one site.

        Parameters
        ----------
        i : int
            Row of the crystal.

        Returns
        -------
        pymatgen.core.Structure

        Raises
        ------
        ValueError
            If the occupancies on one position add up to more than 1.1.
        """
        from xtalsk.crystals._pymatgen import to_structure

        return to_structure(self[i])

    def to_cif(self, i):
        """Return crystal ``i`` as CIF text, in its own axes.

        It has the symmetry operations that spglib finds within 0.01 Å, and one atom for each set of
        equivalent ones. It has all atoms, in P1, if these operations are not those of the space group of the
        crystal, if its origin is such that their translations are no multiples of 1/24, or if equivalent
        atoms differ in displacement.

        Parameters
        ----------
        i : int
            Row of the crystal.

        Returns
        -------
        str
            `from_cifs` and pymatgen read it.

        Examples
        --------
        >>> from xtalsk import CrystalSet, load_amcsd
        >>> halite = load_amcsd()[[3]]
        >>> text = halite.to_cif(0)
        >>> CrystalSet.from_cifs(text).space_groups == halite.space_groups
        array([ True])
        """
        from xtalsk.crystals._cif_writer import cif_text

        return cif_text(self[i])

    def to_cifs(self, folder):
        """Write each crystal to a CIF file of its own, named by its identifier; see `to_cif`.

        Parameters
        ----------
        folder : path-like
            It is made where it does not exist. Files of the same names are replaced.

        Returns
        -------
        list of pathlib.Path
        """
        from xtalsk.crystals._cif_writer import write_cifs

        return write_cifs(self, folder)

    def save(self, path, *, compressed=True):
        """Write the set to a file that `load` reads. The old file stays until the new one is complete.

        Parameters
        ----------
        path : path-like
        compressed : bool, default=True
            True writes a ``.npz`` file, which NumPy reads too. False writes the arrays as they are, with
            checksums: the file is larger, and is read at once or mapped into memory.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> from xtalsk import CrystalSet, load_amcsd
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "minerals.crystals")
        ...     load_amcsd()[:100].save(path, compressed=False)
        ...     crystals = CrystalSet.load(path, mmap=True)
        >>> len(crystals), crystals[20:30].names[0]
        (100, 'Gillespite')
        """
        if compressed:
            save_compressed(self, path)
        else:
            save_mappable(self, path)

    @classmethod
    def load(cls, path, *, mmap=False):
        """Read a set that `save` wrote.

        A compressed file is checked as all other crystals are. In a file that is not compressed, checksums of
        the header and of the arrays show that `save` wrote it, so that its crystals were checked before;
        shapes and offsets are checked again.

        Parameters
        ----------
        path : path-like
        mmap : bool, default=False
            Whether coordinates, occupancies and displacements are mapped into memory: they are read when they
            are used, and their checksums are not compared. The file must not be compressed.

        Returns
        -------
        CrystalSet

        Raises
        ------
        ValueError
            If the file does not hold a `CrystalSet` or is damaged, or if it is compressed and ``mmap=True``.
            The message names the file.
        FileNotFoundError
            If the file does not exist.
        """
        return load_crystals(cls, path, mmap)

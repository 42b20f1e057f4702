"""CIF text to arrays, with gemmi."""

import warnings
from pathlib import Path

import gemmi
import numpy as np
import pandas as pd
import spglib
from joblib import Parallel, delayed

from xtalsk.crystals._labels import element_of_label
from xtalsk.crystals._orbits import expand_sites
from xtalsk.crystals._pymatgen import find_symmetry, formula_of
from xtalsk.utils import check_option


class BrokenEntryWarning(UserWarning):
    """Some entries could not be read and were left out.

    Attributes
    ----------
    errors : dict of str to str
        What was wrong with each entry, by its identifier.

    Examples
    --------
    >>> from xtalsk.crystals import BrokenEntryWarning
    >>> print(BrokenEntryWarning({"quartz.cif": "it lists no atoms"}, 12))
    1 of 12 entries were left out:
    quartz.cif: it lists no atoms
    """

    def __init__(self, errors, n_entries):
        self.errors, self.n_entries = errors, n_entries
        super().__init__(errors, n_entries)

    @classmethod
    def of_crystals(cls, crystals, faults):
        """Report the faults of rows of a `CrystalSet`."""
        named = {f"crystal {i} ({crystals.ids[i] or crystals.formulas[i]})": f for i, f in faults.items()}
        return cls(named, len(crystals))

    def __str__(self):
        lines = [f"{name}: {reason}" for name, reason in self.errors.items()]
        return f"{len(self.errors)} of {self.n_entries} entries were left out:\n" + "\n".join(lines)


def lattice_vectors(cell):
    """Lattice vectors of a gemmi UnitCell as rows (3, 3), in Å: a along x, b in the xy plane."""
    return np.array(cell.orth.mat.tolist()).T


def parse_operations(triplets):
    """Rotations (m, 3, 3) and translations (m, 3) of symmetry operations such as ``"-x,y,1/2-z"``."""
    operations = [gemmi.Op(t) for t in triplets]
    rotations = np.array([op.rot for op in operations]) // gemmi.Op.DEN
    translations = np.array([op.tran for op in operations]) / gemmi.Op.DEN
    return rotations, translations


def number_of_operations(rotations, translations):
    """Space-group number of a full list of symmetry operations; ValueError if they form no group."""
    found = spglib.get_spacegroup_type_from_symmetry(rotations, translations)
    if found is None:
        raise ValueError("its symmetry operations do not form a space group")
    return found.number


def _operations(small):
    """Symmetry operations of a gemmi SmallStructure: those listed, else those of the named group."""
    if small.symops:
        return parse_operations(small.symops)
    small.determine_and_set_spacegroup("12")
    if small.spacegroup is None:
        if small.spacegroup_hm or small.spacegroup_number:
            raise ValueError(f"unknown space group {small.spacegroup_hm or small.spacegroup_number!r}")
        return parse_operations(["x,y,z"])
    return parse_operations([op.triplet() for op in small.spacegroup.operations()])


def parts_from_block(block, symprec):
    """Arrays of one CIF data block, for `CrystalSet.from_parts`; ValueError if it is not usable."""
    small = gemmi.make_small_structure_from_block(block)
    if not small.sites:
        raise ValueError("it lists no atoms")
    cell = small.cell
    lattice = lattice_vectors(cell)
    if not (np.isfinite(lattice).all() and cell.volume > 0.1 and min(cell.parameters[:3]) > 0.5):
        raise ValueError(f"its cell is not physical: {cell.parameters}")
    numbers = np.array([s.element.atomic_number or element_of_label(s.label) for s in small.sites])
    if (numbers > 98).any():
        labels = [s.label for s, z in zip(small.sites, numbers, strict=True) if z > 98]
        raise ValueError(f"its sites {labels[:5]} are elements without form factors (Z above 98)")
    coords = np.array([site.fract.tolist() for site in small.sites])
    if not np.isfinite(coords).all():
        raise ValueError("it has coordinates that are not numbers")
    occupancies = np.array([site.occ for site in small.sites])
    rotations, translations = _operations(small)
    coords, sites = expand_sites(coords, rotations, translations, lattice)
    numbers, occupancies = numbers[sites], occupancies[sites]
    # an occupancy of 1.002 is rounding of a refinement; anything larger is a fault of the entry
    present = occupancies > 0
    if (occupancies > 1.01).any() or (occupancies < 0).any() or not present.any():
        raise ValueError(f"it has occupancies from {occupancies.min():g} to {occupancies.max():g}")
    if len(rotations) > 1:
        space_group = number_of_operations(rotations, translations)
    else:
        space_group, rotations = find_symmetry(lattice, numbers, coords, occupancies, symprec)
    u_iso = np.array([site.u_iso for site in small.sites])[sites]
    return {
        "lattice": lattice,
        "atomic_numbers": numbers[present],
        "frac_coords": coords[present],
        "occupancies": np.minimum(occupancies[present], 1.0),
        "u_iso": np.where(u_iso > 0, u_iso, np.nan)[present],  # gemmi gives 0 where a file gives none
        "space_group": space_group,
        "rotations": rotations,
        "formula": formula_of(numbers[present], occupancies[present]),
    }


def _entries(source, column, id_column):
    """List the (identifier, CIF text or path) pairs of a source."""
    if isinstance(source, str | Path):
        path = Path(source)
        if path.is_dir():
            files = sorted(path.rglob("*.cif"))
            return [(str(f.relative_to(path)), f) for f in files]
        if path.name.endswith((".csv", ".csv.gz")):
            source = pd.read_csv(path)
        elif path.exists():
            return [(path.name, path)]
        else:
            raise FileNotFoundError(f"no such file or folder: {path}")
    if isinstance(source, pd.DataFrame):
        for name in (column, id_column):
            if name is not None and name not in source:
                raise ValueError(f"the table has no column {name!r}; it has {list(source.columns)[:10]}")
        ids = source[id_column] if id_column else source.index
        return [(str(i), text) for i, text in zip(ids, source[column], strict=True)]
    return [(Path(f).name, Path(f)) for f in source]


def _read_entry(name, content, symprec):
    """Return (name, arrays or the reason why there are none) for each crystal of an entry."""
    try:
        if isinstance(content, Path):
            document = gemmi.cif.read_string(content.read_text(encoding="utf-8", errors="replace"))
        elif isinstance(content, str):
            document = gemmi.cif.read_string(content)
        else:
            return [(name, f"expected CIF text, got {content!r}")]
    except (ValueError, RuntimeError, OSError) as error:
        return [(name, f"not readable as CIF: {error}")]
    blocks = [b for b in document if b.find_values("_atom_site_fract_x")] or list(document)[:1]
    if not blocks:
        return [(name, "it holds no data block")]
    out = []
    for block in blocks:
        label = name if len(blocks) == 1 else f"{name}#{block.name}"
        try:
            out.append((label, parts_from_block(block, symprec)))
        except (ValueError, RuntimeError) as error:
            out.append((label, str(error)))
    return out


def read_cifs(source, column, id_column, symprec, on_error, n_jobs):
    """Parts and identifiers of all crystals of a source; see `CrystalSet.from_cifs`."""
    check_option("on_error", on_error, ("warn", "raise"))
    entries = _entries(source, column, id_column)
    read = Parallel(n_jobs=n_jobs, batch_size="auto")(delayed(_read_entry)(*e, symprec) for e in entries)
    flat = [pair for entry in read for pair in entry]
    errors = {name: part for name, part in flat if isinstance(part, str)}
    good = [(name, part) for name, part in flat if not isinstance(part, str)]
    if errors and (on_error == "raise" or not good):
        count = f"{len(errors)} of {len(flat)} entries"
        raise ValueError(f"{count} cannot be used; the first is {': '.join(next(iter(errors.items())))}")
    if not flat:
        raise ValueError(f"no CIF entries found in {source!r}")
    if errors:
        warnings.warn(BrokenEntryWarning(errors, len(flat)), stacklevel=3)
    return [part for _, part in good], [name for name, _ in good]

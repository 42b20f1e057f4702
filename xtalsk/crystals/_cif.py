"""Crystal structures from CIF text, with gemmi."""

import gzip
import warnings
import zlib
from collections.abc import Iterable
from pathlib import Path

import gemmi
import pandas as pd
from joblib import Parallel, delayed

from xtalsk.crystals._broken_entries import BrokenEntryWarning
from xtalsk.crystals._choice import choose
from xtalsk.crystals._cif_text import is_cif_text, normalise, read_text
from xtalsk.crystals._contacts import insane_contact
from xtalsk.crystals._formulas import formula_of
from xtalsk.crystals._sites import check_has_sites, read_cell, read_sites
from xtalsk.crystals._stated_symmetry import stated_symmetry
from xtalsk.crystals._statements import read_statements
from xtalsk.crystals._symmetry_search import find_symmetry
from xtalsk.utils import check_option

CIF_SUFFIXES = (".cif", ".mcif", ".cif.gz", ".mcif.gz")
# gemmi, spglib and NumPy raise these for damaged entries; one entry must not stop the others
_ENTRY_ERRORS = (
    ValueError,
    RuntimeError,
    ArithmeticError,
    LookupError,
    TypeError,
    AttributeError,
    MemoryError,
)


def parts_from_block(block, symprec):
    """Arrays of one CIF data block for `CrystalSet.from_parts`, and doubts about them (list of str).

    ``symprec`` is the tolerance in Å of the search for symmetry, where the entry lists all atoms of the cell.

    Raises
    ------
    ValueError
        If the block cannot be used.
    """
    small = gemmi.make_small_structure_from_block(block)
    check_has_sites(block, small)
    lattice, doubts = read_cell(block)
    statements = read_statements(block)
    sites = read_sites(block, small, statements.elements)
    stated = stated_symmetry(block, small, lattice)
    crystal, choice_doubts, contact = choose(lattice, sites, stated, statements)
    doubts += sites.doubts + stated.doubts + choice_doubts
    doubts += insane_contact(crystal, contact, [site.label for site in small.sites])
    setting, space_group = crystal.setting, crystal.setting.number
    rotations = setting.rotations
    if len(setting) == 1 or not space_group:
        space_group, rotations = find_symmetry(
            lattice, crystal.atomic_numbers, crystal.frac_coords, crystal.occupancies, symprec
        )
    parts = {
        "lattice": lattice,
        "atomic_numbers": crystal.atomic_numbers,
        "frac_coords": crystal.frac_coords,
        "occupancies": crystal.occupancies,
        "u_iso": crystal.u_iso,
        "space_group": space_group,
        "rotations": rotations,
        "formula": formula_of(crystal.atomic_numbers, crystal.occupancies),
    }
    return parts, list(dict.fromkeys(doubts))


def _read_table(path):
    """Return the DataFrame of a CSV file; ValueError with the name of the file if it is damaged."""
    try:
        return pd.read_csv(path)
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile, MemoryError) as error:
        raise ValueError(f"{path}: not readable as a table: {error}") from error


def _entries(source, column, id_column):
    """List the (identifier, CIF text or path) pairs of a source."""
    if isinstance(source, str) and is_cif_text(source):
        return [("text", source)]
    if isinstance(source, str | Path):
        path = Path(source)
        try:
            is_folder, exists = path.is_dir(), path.exists()
        except (OSError, ValueError) as error:
            raise ValueError(f"expected a path or CIF text, got {str(source)[:80]!r}: {error}") from error
        if is_folder:
            files = sorted(
                f for f in path.rglob("*") if f.name.lower().endswith(CIF_SUFFIXES) and not f.is_dir()
            )
            if not files:
                raise ValueError(
                    f"no CIF entries found in {str(path)!r}; expected files {', '.join(CIF_SUFFIXES)}"
                )
            return [(str(f.relative_to(path)), f) for f in files]
        if not exists:
            raise FileNotFoundError(f"no such file or folder: {path}")
        if not path.name.lower().endswith((".csv", ".csv.gz")):
            return [(path.name, path)]
        source = _read_table(path)
    if isinstance(source, pd.DataFrame):
        for name in (column, id_column):
            if name is not None and name not in source:
                raise ValueError(f"the table has no column {name!r}; it has {list(source.columns)[:10]}")
        ids = source[id_column] if id_column else source.index
        return [(str(i), text) for i, text in zip(ids, source[column], strict=True)]
    if isinstance(source, bytes | dict) or not isinstance(source, Iterable):
        raise ValueError(
            f"expected a path, CIF text, a list of these or a table, got {type(source).__name__}"
        )
    return [_entry(i, item) for i, item in enumerate(source)]


def _entry(i, item):
    """Return the (identifier, CIF text or path) of an item of a list."""
    if isinstance(item, str) and is_cif_text(item):
        return str(i), item
    if isinstance(item, str | Path):
        return Path(item).name or str(i), Path(item)
    return str(i), item


def _read_entry(name, content, symprec):
    """List (name, arrays, doubts) for each crystal of an entry; a str with the reason replaces arrays."""
    try:
        if isinstance(content, Path):
            content = read_text(content)
        elif not isinstance(content, str):
            return [(name, f"expected CIF text, got {content!r}", [])]
        document = gemmi.cif.read_string(normalise(content))
    except (ValueError, RuntimeError, OSError, MemoryError) as error:
        return [(name, f"not readable as CIF: {_reason(error)}", [])]
    blocks = [b for b in document if b.find_loop("_atom_site_fract_x")] or [
        b for b in document if b.find_value("_atom_site_fract_x")
    ]
    blocks = blocks or list(document)[:1]
    if not blocks:
        return [(name, "it has no data block", [])]
    crystals = []
    for block in blocks:
        label = name if len(blocks) == 1 else f"{name}#{block.name}"
        try:
            crystals.append((label, *parts_from_block(block, symprec)))
        except _ENTRY_ERRORS as error:
            crystals.append((label, _reason(error), []))
    return crystals


def _reason(error):
    """Text of an error; the class where the text is empty."""
    if isinstance(error, ValueError | RuntimeError | OSError) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _by_name(pairs):
    """Return (name, reason) pairs as a dict; names that repeat get a number."""
    reasons = {}
    for name, reason in pairs:
        key, n = name, 2
        while key in reasons:
            key, n = f"{name} ({n})", n + 1
        reasons[key] = reason
    return reasons


def read_files(entries, symprec, n_jobs=None):
    """Read (identifier, CIF text or path) pairs.

    Returns
    -------
    parts : list of dict
        Arrays of the crystals that can be used, for `CrystalSet.from_parts`.
    ids : list of str
        Their identifiers.
    broken, doubtful : dict of str to str
        Reasons of the entries that cannot be used, and of those that contradict themselves.
    """
    results = Parallel(n_jobs=n_jobs, batch_size="auto")(delayed(_read_entry)(*e, symprec) for e in entries)
    crystals = [crystal for entry in results for crystal in entry]
    broken = _by_name((name, part) for name, part, _ in crystals if isinstance(part, str))
    doubtful = _by_name((name, "; ".join(doubts)) for name, _, doubts in crystals if doubts)
    usable = [(name, part) for name, part, _ in crystals if not isinstance(part, str)]
    return [part for _, part in usable], [name for name, _ in usable], broken, doubtful


def read_cifs(source, column, id_column, symprec, on_error, n_jobs):
    """Parts and identifiers of all crystals of a source; see `CrystalSet.from_cifs`."""
    check_option("on_error", on_error, ("warn", "raise"))
    parts, ids, errors, doubts = read_files(_entries(source, column, id_column), symprec, n_jobs)
    n_entries = len(parts) + len(errors)
    if errors and (on_error == "raise" or not parts):
        count = f"{len(errors)} of {n_entries} entries"
        raise ValueError(f"{count} cannot be used; the first is {': '.join(next(iter(errors.items())))}")
    if not n_entries:
        raise ValueError(f"no CIF entries found in {source!r}")
    if errors:
        warnings.warn(BrokenEntryWarning(errors, n_entries), stacklevel=3)
    if doubts:
        warnings.warn(BrokenEntryWarning(doubts, n_entries, is_kept=True), stacklevel=3)
    return parts, ids

"""Folders of hundreds of thousands of CIF files, such as a mirror of the COD."""

import json
import os
import warnings
from itertools import groupby
from pathlib import Path

import pandas as pd
from joblib import Parallel, delayed
from sklearn.utils import Bunch
from tqdm import tqdm

from xtalsk.crystals import BrokenEntryWarning, CrystalSet
from xtalsk.crystals._cif import CIF_SUFFIXES, read_files
from xtalsk.datasets._data_home import get_data_home
from xtalsk.utils._container import open_new
from xtalsk.utils._fingerprint import fingerprint

_PART_SIZE = 256  # most files of one parallel job
_FORMAT = 1  # raised when the files of a part change


def load_cif_tree(
    path, *, license="not stated", symprec=0.01, cache=True, data_home=None, n_jobs=None, verbose=0
):
    """Read all CIF files of a folder and its subfolders, in parallel.

    The crystals of each part of the tree are stored once they are read. A second call reads only what is new
    or was changed, and so does a call after an interruption.

    Parameters
    ----------
    path : path
        Folder. Files ``.cif``, ``.mcif``, ``.cif.gz`` and ``.mcif.gz`` are read, one crystal for each data
        block with atoms.
    license : str, default="not stated"
        Licence of the files, for ``provenance``. Files of the COD are in the public domain (CC0).
    symprec : float, default=0.01
        Tolerance in Å of the search for symmetry, in entries that list all atoms of the cell.
    cache : bool, default=True
        Whether to store the crystals in ``data_home``.
    data_home : path or None, default=None
        See `get_data_home`.
    n_jobs : int or None, default=None
        Number of joblib workers. A dask or ray backend spreads them over machines that see the same files.
    verbose : int, default=0
        Above 0 shows the progress.

    Returns
    -------
    sklearn.utils.Bunch
        ``crystals`` : CrystalSet
            In the order of the paths. `CrystalSet.ids` are paths below the folder, with ``#`` and the name of
            the data block where a file has several.
        ``provenance`` : DataFrame
            ``id``, ``formula``, ``folder`` and ``license`` of each crystal.
        ``broken``, ``doubtful`` : DataFrame
            ``id`` and ``reason`` of the entries that were left out, and of those that contradict themselves
            and were kept. Two `BrokenEntryWarning` give their numbers and the first of them.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If it has no CIF file, or none that can be used.

    See Also
    --------
    CrystalSet.from_cifs : Reads single files, text and tables.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from xtalsk.datasets import load_cif_tree
    >>> text = "data_cu _cell_length_a 3.61 _cell_length_b 3.61 _cell_length_c 3.61 _cell_angle_alpha 90 "
    >>> text += "_cell_angle_beta 90 _cell_angle_gamma 90 _space_group_IT_number 225 loop_ _atom_site_label "
    >>> text += "_atom_site_fract_x _atom_site_fract_y _atom_site_fract_z Cu 0 0 0"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pathlib.Path(folder, "1").mkdir()
    ...     _ = pathlib.Path(folder, "1", "copper.cif").write_text(text)
    ...     tree = load_cif_tree(folder, cache=False)
    >>> tree.crystals.ids.tolist(), tree.crystals.space_groups.tolist()
    (['1/copper.cif'], [225])
    """
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(f"no such folder: {root}")
    parts = _parts(root)
    if not parts:
        raise ValueError(f"no CIF files in {str(root)!r}; expected files {', '.join(CIF_SUFFIXES)}")
    folder = get_data_home(data_home) / "cif_tree" / fingerprint(str(root.resolve()))[:16] if cache else None
    tasks = (delayed(_read_part)(root, part, symprec, folder) for part in parts)
    results = Parallel(n_jobs=n_jobs, return_as="generator")(tasks)
    sets, broken, doubtful = [], {}, {}
    for crystals, reasons, doubts in tqdm(
        results, total=len(parts), desc="parts of the tree", disable=verbose < 1
    ):
        sets += [] if crystals is None else [crystals]
        broken |= reasons
        doubtful |= doubts
    if not sets:
        first = "; ".join(f"{name}: {reason}" for name, reason in list(broken.items())[:3])
        raise ValueError(f"none of {len(broken)} entries in {str(root)!r} can be used. {first}")
    crystals = CrystalSet.concatenate(sets)
    n_entries = len(crystals) + len(broken)
    for reasons, is_kept in ((broken, False), (doubtful, True)):
        if reasons:
            warnings.warn(BrokenEntryWarning(reasons, n_entries, is_kept), stacklevel=2)
    provenance = pd.DataFrame({"id": crystals.ids, "formula": crystals.formulas})
    provenance["folder"], provenance["license"] = str(root), license
    tables = [pd.DataFrame({"id": list(r), "reason": list(r.values())}) for r in (broken, doubtful)]
    return Bunch(crystals=crystals, provenance=provenance, broken=tables[0], doubtful=tables[1])


def _parts(root):
    """List the CIF files below a folder as lists of relative paths; a part never spans two folders."""
    files = []
    for folder, subfolders, names in os.walk(root):
        subfolders.sort()
        relative = Path(folder).relative_to(root)
        files += [relative / name for name in sorted(names) if name.lower().endswith(CIF_SUFFIXES)]
    parts = []
    for _, members in groupby(files, key=lambda file: file.parent):
        members = list(members)
        parts += [members[i : i + _PART_SIZE] for i in range(0, len(members), _PART_SIZE)]
    return parts


def _read_part(root, part, symprec, folder):
    """Return crystals (or None), broken and doubtful entries of files, from the cache if it has them.

    Parameters
    ----------
    root : Path
    part : list of Path
        Paths below ``root``.
    symprec : float
    folder : Path or None
        Folder of the cache; None uses none.
    """
    if folder is None:
        return _read_files(root, part, symprec)
    states = [(str(file), *_state(root / file)) for file in part]
    stem = folder / fingerprint([_FORMAT, symprec, states])[:32]
    reasons_path, crystals_path = stem.with_suffix(".json"), stem.with_suffix(".npz")
    try:
        broken, doubtful, has_crystals = json.loads(reasons_path.read_text(encoding="utf-8"))
        return CrystalSet.load(crystals_path) if has_crystals else None, broken, doubtful
    except (OSError, ValueError):  # not stored yet, or damaged
        pass
    crystals, broken, doubtful = _read_files(root, part, symprec)
    folder.mkdir(parents=True, exist_ok=True)
    if crystals is not None:
        crystals.save(crystals_path)
    with open_new(reasons_path) as file:
        file.write(json.dumps([broken, doubtful, crystals is not None]).encode())
    return crystals, broken, doubtful


def _state(path):
    """Return size and time of change of a file; zeros if it cannot be read."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _read_files(root, part, symprec):
    """Return crystals (or None), broken and doubtful entries of files."""
    parts, ids, broken, doubtful = read_files([(file.as_posix(), root / file) for file in part], symprec)
    return CrystalSet.from_parts(parts, ids, [""] * len(ids)) if parts else None, broken, doubtful

"""A cache of reflections on disk; it knows the crystals, the arguments and the code of its entries."""

import os
import warnings
from pathlib import Path

import numpy as np
import torch

from xtalsk.utils._container import ContainerError, read_container, remove_incomplete, write_container
from xtalsk.utils._fingerprint import code_fingerprint, fingerprint, library_versions

COLUMNS = ("offsets", "q", "hkl", "multiplicity", "intensity")
MAX_WRITE_TIME = 60.0  # s; an incomplete file that did not change for so long is left over


def crystal_content(crystals):
    """Return a hash of what a set of crystals contains, str; the names of the crystals do not count.

    Equal crystals have equal hashes, also if their sets store the point groups in another order.
    """
    columns = {
        name: getattr(crystals, name)
        for name in (
            "lattices",
            "offsets",
            "atomic_numbers",
            "frac_coords",
            "occupancies",
            "u_iso",
            "space_groups",
            "formulas",
            "ids",
        )
    }
    groups = [fingerprint(rotations) for rotations in crystals.rotation_sets]
    return fingerprint(columns | {"rotations": [groups[k] for k in crystals.rotation_index]})


def cached(compute, memory, crystals, arguments, modules):
    """Return the columns that ``compute`` returns, from the cache if they are there.

    Parameters
    ----------
    compute : callable
        Without arguments; returns the tuple of `COLUMNS`, an ndarray and four tensors.
    memory : joblib.Memory or path
        Where the cache is.
    crystals : CrystalSet
    arguments : dict
        All other values that the columns depend on.
    modules : tuple of str
        Names of the modules that compute the columns.

    Returns
    -------
    tuple of an ndarray and four tensors
        On the CPU if they are from the cache.
    """
    folder = _folder(memory)
    if folder is None:
        return compute()
    plan = {"crystals": crystal_content(crystals), "arguments": fingerprint(arguments)}
    plan |= {"code": code_fingerprint(*modules), "versions": library_versions()}
    file = folder / f"{fingerprint(plan)}.reflections"
    columns = _read(file, plan)
    if columns is None:
        columns = compute()
        _write(file, plan, columns)
    return columns


def _folder(memory):
    """Return the folder of the cache; None for a joblib.Memory without a place."""
    if not hasattr(memory, "cache"):
        return Path(memory) / "xtalsk"
    if memory.location is None:
        return None
    if not isinstance(memory.store_backend.location, str | os.PathLike):
        raise ValueError(f"memory must be on a local disk, got {memory!r}")
    return Path(memory.store_backend.location) / "xtalsk"  # `memory.clear` removes it


def _read(file, plan):
    """Return the columns of an entry; None if there is none, or if it is damaged, with a warning."""
    if not file.exists():
        return None
    try:
        values, tensors = read_container(file)
        if values != plan:
            raise ContainerError("it belongs to other crystals")
        return tensors["offsets"].numpy(), *(tensors[name] for name in COLUMNS[1:])
    except (ContainerError, KeyError, OSError) as error:
        warnings.warn(
            f"{file}: the cache entry is not used ({error}); reflections are computed again", stacklevel=4
        )
        return None


def _write(file, plan, columns):
    """Write an entry; a cache that cannot be written is a warning."""
    tensors = {
        name: torch.as_tensor(np.asarray(column)) for name, column in zip(COLUMNS, columns, strict=True)
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        remove_incomplete(file, min_age=MAX_WRITE_TIME)
        write_container(file, plan, tensors)
    except OSError as error:
        warnings.warn(f"{file}: the cache entry cannot be written: {error}", stacklevel=4)

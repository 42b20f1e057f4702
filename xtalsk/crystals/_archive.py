"""Files of a `CrystalSet`: compressed npz files, and files that can be mapped into memory."""

import zipfile
import zlib
from tokenize import TokenError

import numpy as np

from xtalsk.crystals._checks import check_shapes

_KIND, _VERSION = "CrystalSet", 1
_TYPES = {
    "lattices": "<f8", "offsets": "<i8", "atomic_numbers": "<i2", "frac_coords": "<f8", "occupancies": "<f8",
    "u_iso": "<f8", "rotation_index": "<i4", "space_groups": "<i2", "formulas": "|O", "ids": "|O",
    "names": "|O", "rotations": "|i1", "rotation_lengths": "<i8",
}  # fmt: skip
_MAPPED = ("frac_coords", "occupancies", "u_iso")  # the largest ones, which are no indices
_TEXTS = ("formulas", "ids", "names")

# NumPy raises these for files that are no archives, truncated or altered, or hold Python objects
_DAMAGE = (
    ValueError, RuntimeError, EOFError, LookupError, TypeError, AttributeError, MemoryError, SyntaxError,
    ArithmeticError, TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def columns_of(crystals):
    """Return the arrays of a set by name; the rotation sets are joined."""
    arrays = {name: getattr(crystals, name) for name in _TYPES if not name.startswith("rotation")}
    arrays["rotation_index"] = crystals.rotation_index
    arrays["rotations"] = np.concatenate([*crystals.rotation_sets, np.empty((0, 3, 3), np.int8)])
    arrays["rotation_lengths"] = np.array([len(r) for r in crystals.rotation_sets], dtype=np.int64)
    return arrays


def rotation_sets_of(arrays):
    """Return the rotation sets, which are taken out of the arrays."""
    return np.split(arrays.pop("rotations"), np.cumsum(arrays.pop("rotation_lengths"))[:-1])


def save_compressed(crystals, path):
    """Write a set to a compressed npz file."""
    arrays = {
        name: array.astype(str) if name in _TEXTS else array for name, array in columns_of(crystals).items()
    }
    from xtalsk.utils._container import open_new

    with open_new(path) as file:
        np.savez_compressed(file, **arrays)


def save_mappable(crystals, path):
    """Write a set to a file that can be mapped into memory."""
    from xtalsk.utils._array_file import write_arrays

    write_arrays(path, _KIND, _VERSION, {}, columns_of(crystals))


def load_crystals(cls, path, mmap):
    """Read a set of a class; see `CrystalSet.load`."""
    from xtalsk.utils._array_file import is_array_file

    if is_array_file(path):
        return _load_mappable(cls, path, _MAPPED if mmap else ())
    if mmap:
        raise ValueError(f"{path} cannot be mapped into memory: write it by save(path, compressed=False)")
    arrays = _read_npz(path)
    if "groups" in arrays:  # the name in files written before version 0.1
        arrays["names"] = arrays.pop("groups")
    try:
        return cls(rotation_sets=rotation_sets_of(arrays), **arrays)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise ValueError(f"{path} does not hold a CrystalSet: {error}") from error


def _load_mappable(cls, path, mapped):
    """Read a file of `save_mappable`; the shapes are checked again, because compiled loops rely on them."""
    from xtalsk.utils._array_file import read_arrays

    try:
        _, arrays = read_arrays(path, _KIND, _VERSION, mapped)
        types = {name: array.dtype.str for name, array in arrays.items()}
        if types != _TYPES:
            raise ValueError(f"its arrays are {types}")
        crystals = cls._from_checked(rotation_sets=rotation_sets_of(arrays), **arrays)
        check_shapes(crystals)
        return crystals
    except ValueError as error:
        raise ValueError(f"{path} does not hold a CrystalSet, or is damaged: {error}") from error


def _read_npz(path):
    """Read the arrays of an npz file as a dict; no Python objects are loaded.

    Raises
    ------
    ValueError
        If the file is no archive of arrays or is damaged. The message names the file.
    OSError
        If the file is not readable.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except _DAMAGE as error:
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        raise ValueError(f"{path} does not hold a CrystalSet, or is damaged: {reason}") from error

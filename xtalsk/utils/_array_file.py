"""Files of large arrays and plain values: written whole or not at all, without pickle, read memory-mapped.

The layout is a signature, the SHA-256 and the length of the header, the header as JSON, and the arrays in C
order. The header has the kind and version of the content, its values, and the place, type, shape and CRC-32
of each array. A header with the right SHA-256 shows that a program of this package wrote the file.
"""

import hashlib
import json
import os
import zlib
from math import prod

import numpy as np

from xtalsk.utils._container import ContainerError, open_new

_MAGIC = b"xtalsk arrays 1\n"
_N_DIGEST = hashlib.sha256().digest_size
_N_LENGTH = 8  # bytes of the length of the header
_ALIGNMENT = 64  # bytes; arrays begin at multiples of it
_TYPES = ("|b1", "|i1", "|u1", "<i2", "<i4", "<i8", "<u8", "<f2", "<f4", "<f8")
_TEXT = "text"  # type of arrays of str: a JSON list
_BYTES_AT_ONCE = 2**24  # of a checksum


def is_array_file(path):
    """Return whether a file begins as one of `write_arrays`."""
    with open(path, "rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def write_arrays(path, kind, version, values, arrays):
    """Write values and arrays to a file; the old file stays until the new one is complete.

    Parameters
    ----------
    path : path
        A symbolic link is followed.
    kind : str
        Name of the content.
    version : int
        Version of the content.
    values : dict
        Values that JSON can hold.
    arrays : dict of {str: ndarray}
        Numbers, or arrays of str with dtype object.

    Raises
    ------
    OSError
        If the file cannot be written. The old file is unchanged.
    TypeError
        If a value or an array is of another type.
    """
    blocks, table, offset = [], {}, 0
    for name, array in arrays.items():
        is_text = array.dtype == object
        block = _text_block(name, array) if is_text else _number_block(name, array)
        dtype = _TEXT if is_text else block.dtype.str
        raw = memoryview(block.reshape(-1).view(np.uint8))
        table[name] = {"dtype": dtype, "shape": array.shape, "offset": offset, "bytes": len(raw)}
        table[name]["crc32"] = _checksum(raw)
        blocks.append(raw)
        offset += len(raw) + -len(raw) % _ALIGNMENT
    header = {"kind": kind, "version": version, "values": values, "arrays": table, "bytes": offset}
    text = json.dumps(header).encode()
    text += b" " * (-(len(_MAGIC) + _N_DIGEST + _N_LENGTH + len(text)) % _ALIGNMENT)
    with open_new(path) as file:
        length = len(text).to_bytes(_N_LENGTH, "little")
        file.writelines([_MAGIC, hashlib.sha256(text).digest(), length, text])
        for raw in blocks:
            file.write(raw)
            file.write(bytes(-len(raw) % _ALIGNMENT))


def read_arrays(path, kind, version, mapped=()):
    """Read a file of `write_arrays`.

    Parameters
    ----------
    path : path
    kind : str
        Name that the content must have.
    version : int
        Newest version that the caller understands.
    mapped : sequence of str
        Beginnings of the names of arrays that are mapped into memory: they are read when they are used, and
        their checksums are not compared. Changes in memory do not reach the file. All other arrays are read
        and checked.

    Returns
    -------
    values : dict
    arrays : dict of {str: ndarray}
        Can be written to.

    Raises
    ------
    ContainerError
        If the file is no regular file, is damaged or has other content. Nothing in the file is executed.
    OSError
        If the file cannot be read.
    """
    if not os.path.isfile(path):
        if not os.path.exists(path):
            raise FileNotFoundError(f"no such file: {path}")
        raise ContainerError("it is not a regular file")
    header, start = _read_header(path)
    if header["kind"] != kind:
        raise ContainerError(f"it holds {header['kind']}, not {kind}")
    if header["version"] > version:
        raise ContainerError(f"a newer version of xtalsk wrote it: version {header['version']} of {kind}")
    arrays = {}
    for name, entry in header["arrays"].items():
        raw = np.empty(0, np.uint8)
        if entry["bytes"]:
            raw = np.asarray(np.memmap(path, np.uint8, "c", start + entry["offset"], (entry["bytes"],)))
        is_mapped = name.startswith(tuple(mapped))
        if not is_mapped and _checksum(memoryview(raw)) != entry["crc32"]:
            raise ContainerError(f"the checksum of {name} does not match: it is damaged")
        if entry["dtype"] == _TEXT:
            arrays[name] = _texts(raw, entry["shape"])
        else:
            array = raw.view(entry["dtype"]).reshape(entry["shape"])
            arrays[name] = array if is_mapped else array.copy()
    return header["values"], arrays


def _read_header(path):
    """Return the header of a file and its end; its checksum and the length of the file are right."""
    size, start = os.path.getsize(path), len(_MAGIC) + _N_DIGEST + _N_LENGTH
    with open(path, "rb") as file:
        first = file.read(start)
        if not _MAGIC.startswith(first[: len(_MAGIC)]):
            raise ContainerError("it has another format")
        length = int.from_bytes(first[-_N_LENGTH:], "little")
        text = file.read(length) if len(first) == start and length <= size - start else b""
    if not text:
        raise ContainerError(f"it is incomplete: {size} bytes")
    if hashlib.sha256(text).digest() != first[len(_MAGIC) : -_N_LENGTH]:
        raise ContainerError("the checksum of its header does not match: it is damaged")
    try:
        header = json.loads(text)
        _check_header(header)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise ContainerError(f"its header cannot be read: {error}") from error
    if size != start + length + header["bytes"]:
        raise ContainerError(f"it is incomplete: {size} of {start + length + header['bytes']} bytes")
    return header, start + length


def _check_header(header):
    """Raise one of several errors unless each array lies within the file and has its length."""
    if not (isinstance(header["kind"], str) and isinstance(header["version"], int)):
        raise ValueError("kind or version")
    if not (isinstance(header["values"], dict) and isinstance(header["bytes"], int)):
        raise ValueError("values or bytes")
    for name, entry in header["arrays"].items():
        shape, first, n_bytes = entry["shape"], entry["offset"], entry["bytes"]
        is_number = entry["dtype"] in _TYPES
        if not (is_number or entry["dtype"] == _TEXT):
            raise ValueError(f"type of {name}")
        if not all(isinstance(n, int) and n >= 0 for n in (*shape, first, n_bytes, entry["crc32"])):
            raise ValueError(f"place of {name}")
        if is_number and prod(shape) * np.dtype(entry["dtype"]).itemsize != n_bytes:
            raise ValueError(f"length of {name}")
        if first + n_bytes > header["bytes"] or first % _ALIGNMENT:
            raise ValueError(f"place of {name}")


def _number_block(name, array):
    """Return an array of numbers in C order and in the byte order of files."""
    dtype = array.dtype.newbyteorder("<")
    if dtype.str not in _TYPES:
        raise TypeError(f"{name}: files do not hold arrays of {array.dtype}")
    return np.ascontiguousarray(array, dtype)


def _text_block(name, array):
    """Return an array of str as bytes of JSON."""
    texts = array.tolist()
    if array.ndim != 1 or not all(type(text) is str for text in texts):
        raise TypeError(f"{name}: files do not hold objects other than str")
    return np.frombuffer(json.dumps(texts, separators=(",", ":")).encode(), np.uint8)


def _texts(raw, shape):
    """Return the str that `_text_block` wrote, as an array of objects."""
    try:
        texts = json.loads(raw.tobytes())
    except (ValueError, RecursionError) as error:
        raise ContainerError(f"its text cannot be read: {error}") from error
    if not isinstance(texts, list) or [len(texts)] != shape or not all(type(text) is str for text in texts):
        raise ContainerError("its text is not a list of str of the length that the header gives")
    out = np.empty(len(texts), dtype=object)
    out[:] = texts
    return out


def _checksum(raw):
    """Return the CRC-32 of bytes."""
    value = 0
    for first in range(0, len(raw), _BYTES_AT_ONCE):
        value = zlib.crc32(raw[first : first + _BYTES_AT_ONCE], value)
    return value

"""Shards of a stored stream: Parquet files of one chunk each, with checksums, written whole or not at all."""

import io
import os
from importlib import import_module

import numpy as np

from xtalsk.io import BrokenFileError
from xtalsk.streaming._constants import COMPRESSION_LEVEL
from xtalsk.utils._container import open_new

LABEL = "space_group"  # column of the labels; names of features contain "__"
_KEY = b"xtalsk"  # of the metadata that say which chunk of which stream a file holds


def shard_name(k):
    """Return the name of the file of chunk ``k``."""
    return f"chunk-{k:07d}.parquet"


def write_shard(path, key, names, X, y):
    """Write the features and labels of a chunk; the file is complete or does not appear.

    Parameters
    ----------
    path : path
    key : str
        It names the stream and the chunk.
    names : sequence of str
        Names of the features.
    X : float32 ndarray of shape (n_specimens, n_features)
    y : int64 ndarray of shape (n_specimens,)

    Raises
    ------
    OSError
        If the file cannot be written, for example because the disk is full.
    """
    pa, parquet = _parquet()
    columns = [pa.array(column) for column in np.ascontiguousarray(X.T)]
    table = pa.table([*columns, pa.array(y)], names=[*names, LABEL]).replace_schema_metadata({_KEY: key})
    buffer = io.BytesIO()
    parquet.write_table(
        table,
        buffer,
        row_group_size=max(1, len(table)),
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )
    try:
        with open_new(path) as file:
            file.write(buffer.getbuffer())
    except OSError as error:
        message = f"{error.strerror or error}; this shard was not written, the others stay"
        raise OSError(error.errno, message, os.fspath(path)) from error


def read_shard(path, key, names, n_specimens):
    """Read a file of `write_shard`, and compare every page with its checksum.

    Returns
    -------
    X : float32 ndarray of shape (n_specimens, n_features)
    y : int64 ndarray of shape (n_specimens,)

    Raises
    ------
    BrokenFileError
        If the file is missing, damaged, or holds another chunk. The message names the file.
    """
    pa, parquet = _parquet()
    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            _check_header(file, key, names, n_specimens, pa)
            table = file.read(use_threads=False)
        X = np.empty((n_specimens, len(names)), dtype=np.float32)
        for j, column in enumerate(table.columns[:-1]):
            X[:, j] = column.to_numpy()
        return X, table[LABEL].to_numpy().copy()
    except (OSError, ValueError, TypeError, MemoryError, pa.ArrowException) as error:
        raise BrokenFileError(
            f"{path}: expected a shard of a stored stream: {error}. "
            "write_stream makes missing and damaged shards again"
        ) from error


def _check_header(file, key, names, n_specimens, pa):
    """Raise ValueError if a file has other columns or another length, or holds another chunk."""
    schema, found = file.schema_arrow, (file.schema_arrow.metadata or {}).get(_KEY, b"")
    if found != key.encode():
        raise ValueError("it holds a chunk of another stream, or another chunk")
    if schema.names != [*names, LABEL] or schema.types != [pa.float32()] * len(names) + [pa.int64()]:
        raise ValueError(f"it has other columns: {len(schema.names)} instead of {len(names) + 1}")
    if file.metadata.num_rows != n_specimens:
        raise ValueError(f"it has {file.metadata.num_rows} rows instead of {n_specimens}")


def _parquet():
    """Import pyarrow, or raise ImportError that says how to get it."""
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise ImportError("stored streams need pyarrow: pip install pyarrow") from error

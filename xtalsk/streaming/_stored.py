"""Streams on disk: the chunks of a stream, rendered once and read for many trainings."""

import json
import re
import time
import uuid
import warnings
from contextlib import suppress
from pathlib import Path

import joblib
import numpy as np
import torch
from joblib import delayed, effective_n_jobs
from sklearn.utils import check_scalar
from tqdm import tqdm

from xtalsk.io import BrokenFileError
from xtalsk.streaming._checkpoint import find_difference, plan_of_stream
from xtalsk.streaming._constants import LEFT_BEHIND, SAMPLE_SIZE
from xtalsk.streaming._fit import load_stream
from xtalsk.streaming._sample import Sampled, fitted
from xtalsk.streaming._shards import read_shard, shard_name, write_shard
from xtalsk.utils import check_device
from xtalsk.utils._container import open_new
from xtalsk.utils._fingerprint import fingerprint
from xtalsk.utils._parallel import unordered_results

_MANIFEST = "_stream.json"  # readers of folders of Parquet files skip names that begin with "_"
_FORMAT = "xtalsk stream 1"
_MOST_NAMED = 5  # shards that a message names


class StoredStream(Sampled):
    """Chunks of a stream that `write_stream` has stored, for `fit_stream`.

    The chunks are those of the stream that was stored, bit for bit. So is a network that is trained on them,
    and a training can go on from a checkpoint of either stream. One chunk at a time is in memory.

    The folder holds one Parquet file for each chunk. ``pandas.read_parquet(folder)`` and other programs read
    them as one table: a column for each feature, and ``space_group``.

    Parameters
    ----------
    folder : path
    features : ColumnTransformer or None
        The features of the stream. They make ``features_`` and need not be fitted.
    device : str
        Where the chunks are put: ``"cpu"``, ``"cuda"``, ``"cuda:<n>"``, or ``"auto"``.

    Attributes
    ----------
    n_chunks, chunk_size, n_specimens : int
        Numbers of chunks, of specimens in a chunk, and of all specimens.
    features_ : ColumnTransformer
        Fitted, as the first step of a pipeline for measured specimens. Only if ``features`` are given.
    feature_names_, columns_, classes_, fingerprint_
        As in `SpecimenStream`.

    Raises
    ------
    BrokenFileError
        If the description of the stream is missing or damaged. It is a ValueError.
    ValueError
        If shards are missing, or the features are not those of the stream. The message names the shards.
    ImportError
        If pyarrow is not installed.

    See Also
    --------
    write_stream : Stores a stream.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from xtalsk import ElementPresence, load_amcsd, make_features
    >>> from xtalsk.streaming import SpecimenStream, StoredStream, write_stream
    >>> features = make_features(presence=("formula", ElementPresence()))
    >>> stream = SpecimenStream(load_amcsd()[:5], features, chunk_size=1024, random_state=0)
    >>> with TemporaryDirectory() as folder:
    ...     _ = write_stream(stream, folder, 2048)
    ...     stored = StoredStream(folder)
    ...     X, y = stored.chunk(1)
    >>> stored.n_chunks, X.shape[0], y.shape
    (2, 1024, (1024,))
    """

    def __init__(self, folder, features=None, *, device="auto"):
        self.folder, self.device = Path(folder), check_device(device)
        manifest = _read_manifest(self.folder)
        plan = manifest["plan"]
        self.n_chunks, self.chunk_size = manifest["n_chunks"], plan["chunk_size"]
        self.n_specimens = self.n_chunks * self.chunk_size
        self.feature_names_ = np.array(manifest["feature_names"], dtype=object)
        self.columns_, self.classes_ = manifest["columns"], np.array(manifest["classes"], dtype=np.int64)
        self._content, self._modules, self._plan = plan["stream"], manifest["modules"], fingerprint(plan)
        self.fingerprint_ = fingerprint(self._content)
        missing = [k for k in range(self.n_chunks) if not (self.folder / shard_name(k)).exists()]
        if missing:
            raise ValueError(
                f"{self.folder} lacks {len(missing)} of {self.n_chunks} shards: {_listed(missing)}. "
                "write_stream with the same stream makes them"
            )
        if features is not None:
            content = fingerprint([list(features.transformers), self.feature_names_])
            if content != self._content["features"]:
                raise ValueError(f"{self.folder} holds a stream of other features")
            self.features_ = fitted(features, self.columns_)

    def __repr__(self):
        return f"StoredStream({self.n_specimens} specimens, {len(self.feature_names_)} features)"

    def chunk(self, k):
        """Read chunk ``k``.

        Parameters
        ----------
        k : int
            From 0 to ``n_chunks - 1``.

        Returns
        -------
        X : tensor of float32 on the device, shape (chunk_size, n_features)
            In the order of ``feature_names_``; NaN where missing.
        y : ndarray of int64, shape (chunk_size,)
            Space groups.

        Raises
        ------
        IndexError
            If the stream has fewer chunks.
        BrokenFileError
            If the shard is damaged or missing; the message names it.
        """
        if not 0 <= k < self.n_chunks:
            raise IndexError(f"chunk {k} of a stream of {self.n_chunks}; write_stream can add chunks")
        path = self.folder / shard_name(k)
        X, y = read_shard(path, _key(self._plan, k), self.feature_names_, self.chunk_size)
        return torch.from_numpy(X).to(self.device), y


def write_stream(stream, folder, n_specimens, *, n_jobs=None, verbose=0):
    """Render chunks of a stream and store them in a folder.

    A training on stored chunks does not wait for the rendering, and several models can be trained on them.
    The memory that is needed does not depend on the number of specimens. An interrupted call goes on where
    it was; a call for more specimens adds chunks.

    Parameters
    ----------
    stream : SpecimenStream
    folder : path
        It is made if it does not exist. It must be empty, or hold chunks of the same stream. Machines that
        share the work must see it under this path.
    n_specimens : int
        Rounded up to whole chunks, and to 2048, the sample from which a network takes means and standard
        deviations.
    n_jobs : int or None
        Number of joblib workers; a dask backend spreads them over machines. The files do not depend on it.
        More than one needs a stream on the CPU.
    verbose : int
        Above 0 shows the progress.

    Returns
    -------
    StoredStream
        On the device of ``stream``, with all chunks in the folder.

    Raises
    ------
    ValueError
        If the folder holds another stream (also one that other code or other versions of libraries have
        rendered) or other files, or an argument is out of range.
    OSError
        If a file cannot be written, for example because the disk is full. Finished shards stay.
    ImportError
        If pyarrow is not installed.

    Warns
    -----
    UserWarning
        If the folder held damaged shards, which were made again. The message names them.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from xtalsk import ElementFractions, FusionClassifier, load_amcsd, make_features
    >>> from xtalsk.streaming import SpecimenStream, StoredStream, fit_stream, write_stream
    >>> features = make_features(fractions=("formula", ElementFractions()))
    >>> stream = SpecimenStream(load_amcsd()[:5], features, chunk_size=1024, random_state=0)
    >>> model = FusionClassifier(hierarchy="space_group", hidden_size=8, random_state=0)
    >>> with TemporaryDirectory() as folder:
    ...     _ = write_stream(stream, folder, 4096)
    ...     stored = StoredStream(folder, features)
    ...     model = fit_stream(model, stored, stored.n_specimens)
    >>> stored
    StoredStream(4096 specimens, 98 features)
    """
    check_scalar(n_specimens, "n_specimens", int, min_val=1)
    n_workers = effective_n_jobs(n_jobs)
    if n_workers > 1 and stream.device.type != "cpu":
        raise ValueError(f"n_jobs={n_jobs} needs a stream with device='cpu'; this one is on {stream.device}")
    folder = Path(folder).resolve()
    plan, n_chunks = _open_folder(folder, stream, -(-max(n_specimens, SAMPLE_SIZE) // stream.chunk_size))
    copy = folder / f"_{uuid.uuid4().hex[:12]}.part"  # each worker reads the stream once
    mended = []
    try:
        if n_workers > 1:
            joblib.dump(stream, copy)
        source = stream if n_workers == 1 else str(copy)
        tasks = (delayed(_store_chunk)(source, str(folder), plan, k) for k in range(n_chunks))
        results = unordered_results(n_jobs, tasks)
        for k, was_damaged in tqdm(results, desc="chunks", disable=not verbose, total=n_chunks):
            mended += [k] * was_damaged
            if n_workers > 1:
                copy.touch()  # so that another call does not take it for one left behind
    finally:
        copy.unlink(missing_ok=True)
    if mended:
        warnings.warn(f"damaged shards of {folder} were made again: {_listed(sorted(mended))}", stacklevel=2)
    return StoredStream(folder, stream.features_, device=str(stream.device))


def _store_chunk(source, folder, plan, k):
    """Render and store chunk ``k`` unless its shard is there; return ``k`` and whether that was damaged."""
    stream = load_stream(source) if isinstance(source, str) else source
    path, key = Path(folder) / shard_name(k), _key(plan, k)
    was_damaged = path.exists()
    if was_damaged:
        with suppress(BrokenFileError):
            read_shard(path, key, stream.feature_names_, stream.chunk_size)
            return k, False
    X, y = stream.chunk(k)
    write_shard(path, key, stream.feature_names_, X.cpu().numpy(), y)
    return k, was_damaged


def _open_folder(folder, stream, n_chunks):
    """Make a folder for a stream, or check that it holds the same one.

    Returns
    -------
    plan : str
        Fingerprint of all that determines the chunks.
    n_chunks : int
        At least the number of chunks that the folder already had.
    """
    plan = plan_of_stream(stream)
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.part"):  # another process may be writing the younger ones
        with suppress(FileNotFoundError):
            if time.time() - file.stat().st_mtime > LEFT_BEHIND:
                file.unlink()
    if (folder / _MANIFEST).exists():
        manifest = _read_manifest(folder)
        difference = find_difference(manifest["plan"], plan, "the folder")
        if difference:
            raise ValueError(f"{folder} holds another stream: {difference[0]}. Choose another folder")
        if manifest["n_chunks"] >= n_chunks:
            return fingerprint(plan), manifest["n_chunks"]
    elif any(file.suffix != ".part" for file in folder.iterdir()):
        raise ValueError(f"{folder} holds files, but no {_MANIFEST}; choose an empty folder")
    manifest = {
        "format": _FORMAT,
        "n_chunks": n_chunks,
        "classes": stream.classes_.tolist(),
        "columns": stream.columns_,
        "feature_names": stream.feature_names_.tolist(),
        "modules": stream._modules,
        "plan": plan,
    }
    with open_new(folder / _MANIFEST) as file:
        file.write(json.dumps(manifest | {"fingerprint": fingerprint(manifest)}, indent=1).encode())
    return fingerprint(plan), n_chunks


def _read_manifest(folder):
    """Return the description of a stored stream, whose types are right."""
    path = folder / _MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        expected = manifest.pop("fingerprint")
        if manifest["format"] != _FORMAT or fingerprint(manifest) != expected:
            raise ValueError("its checksum does not match its content")
        numbers = [manifest["n_chunks"], manifest["plan"]["chunk_size"], *manifest["classes"]]
        texts = [*manifest["columns"], *manifest["feature_names"], *manifest["plan"]["stream"].values()]
        if not (all(type(n) is int and n > 0 for n in numbers) and all(type(t) is str for t in texts)):
            raise ValueError("its values have other types")
        if not all(re.fullmatch(r"[\w.]+", module) for module in manifest["modules"]):
            raise ValueError("it names modules that cannot exist")
        return manifest
    except FileNotFoundError as error:
        raise BrokenFileError(f"{path}: no such file; write_stream makes a stored stream") from error
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise BrokenFileError(f"{path}: expected the description of a stored stream: {error}") from error


def _key(plan, k):
    """Return what names chunk ``k`` of a stream in its shard."""
    return f"{plan} {k}"


def _listed(chunks):
    """Return the names of the first shards of a list of numbers."""
    names = ", ".join(shard_name(k) for k in chunks[:_MOST_NAMED])
    return names if len(chunks) <= _MOST_NAMED else f"{names} and {len(chunks) - _MOST_NAMED} more"

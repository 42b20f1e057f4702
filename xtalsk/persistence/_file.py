"""Files of fitted estimators: versions, a checksum, what skops writes, and tensors."""

import os
import warnings
import zipfile
import zlib
from importlib.metadata import version

import numpy as np
import skops.io
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from xtalsk.persistence._audit import BOOSTERS, UnknownTypeError, check_content
from xtalsk.persistence._parts import put_together, take_apart
from xtalsk.persistence._trees import check_trees
from xtalsk.utils._container import ContainerError, read_container, write_container
from xtalsk.utils._fingerprint import library_versions

_KIND, _FORMAT = "xtalsk estimator", 1
_CONTENT = "content"  # name of the tensor of bytes that skops wrote
_MIN_SAVED = 0.2  # share of its bytes that a packed tensor saves at least
_DAMAGE = (
    ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError, MemoryError, EOFError,
    ImportError, OSError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class ModelFileError(ValueError):
    """A file is damaged, does not hold a fitted estimator, or is from a newer version.

    Examples
    --------
    >>> import tempfile
    >>> import xtalsk
    >>> from xtalsk.persistence import ModelFileError
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     try:
    ...         xtalsk.load(file.name)
    ...     except ModelFileError:
    ...         print("no model")
    no model
    """


class VersionWarning(UserWarning):
    """A file was written with other versions of xtalsk, scikit-learn, NumPy or torch."""


def save(estimator, path):
    """Write a fitted estimator or pipeline to a file that `load` reads.

    The file has no pickle: nothing in it is executed when it is read. It holds parameters and fitted
    attributes in the format of skops, weights of networks and arrays of libraries in that of safetensors, the
    versions of the packages and a checksum. An older file stays until the new one is complete.

    Parameters
    ----------
    estimator : estimator
        Fitted: an estimator of xtalsk or scikit-learn, or a pipeline of them.
    path : path-like
        The name may end in ``.xtalsk``.

    Raises
    ------
    TypeError
        If it is no estimator, or holds objects of types that files do not hold, such as functions of your
        own; the message names them.
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    OSError
        If the file cannot be written. An older file is unchanged.

    See Also
    --------
    load : Reads the file.
    LibraryMatch.save : Writes a large library to a file that can be mapped into memory.

    Notes
    -----
    Tensors on a GPU are stored as those on a CPU, and ``device="auto"`` is chosen anew where the file is
    read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import pandas as pd
    >>> import xtalsk
    >>> from sklearn.pipeline import make_pipeline
    >>> from xtalsk import ElementFractions, FusionClassifier, make_features
    >>> X = pd.DataFrame({"formula": ["NaCl", "KCl", "SiO2", "TiO2"] * 5})
    >>> features = make_features(fractions=("formula", ElementFractions()))
    >>> model = make_pipeline(features, FusionClassifier(max_epochs=2, random_state=0))
    >>> model = model.fit(X, [225, 225, 152, 136] * 5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "salts.xtalsk")
    ...     xtalsk.save(model, path)
    ...     loaded = xtalsk.load(path)
    >>> bool((loaded.predict_proba(X) == model.predict_proba(X)).all())
    True
    """
    if not isinstance(estimator, BaseEstimator):
        raise TypeError(f"save writes estimators and pipelines, got {type(estimator).__name__}")
    check_is_fitted(estimator)
    copy, tensors = take_apart(estimator)
    try:
        content = skops.io.dumps(copy, compression=zipfile.ZIP_DEFLATED)
        check_content(content, BOOSTERS)
    except UnknownTypeError as error:
        raise TypeError(f"a file cannot hold objects of these types: {error}") from error
    except (skops.io.exceptions.UnsupportedTypeException, RuntimeError) as error:  # RuntimeError: of tensors
        raise TypeError(f"a file cannot hold this estimator: {error}") from error
    packed = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    table = {name: _pack(packed, name) for name in list(packed)}
    header = {"kind": _KIND, "format": _FORMAT, "versions": _versions()}
    header["packed"] = {name: entry for name, entry in table.items() if entry}
    write_container(
        path, header, packed | {_CONTENT: torch.frombuffer(bytearray(content), dtype=torch.uint8)}
    )


def _pack(tensors, name):
    """Compress a tensor in place if that saves bytes; return its type and shape, or None."""
    tensor = tensors[name]
    if not tensor.numel():
        return None
    data = zlib.compress(tensor.numpy().tobytes(), 6)
    if len(data) > (1 - _MIN_SAVED) * tensor.nbytes:
        return None
    tensors[name] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return {"dtype": tensor.numpy().dtype.str, "shape": list(tensor.shape)}


def _unpack(data, entry):
    """Return the tensor of `_pack`."""
    dtype, shape = np.dtype(entry["dtype"]), entry["shape"]
    if dtype.kind not in "biuf" or not all(isinstance(n, int) and n > 0 for n in shape):
        raise ContainerError("a packed tensor has another type or shape")
    n_bytes = dtype.itemsize * int(np.prod(shape, dtype=object))
    unpacker = zlib.decompressobj()
    raw = unpacker.decompress(data.numpy().tobytes(), n_bytes)
    if len(raw) != n_bytes or unpacker.decompress(unpacker.unconsumed_tail, 1) or not unpacker.eof:
        raise ContainerError("a packed tensor has another length")
    return torch.from_numpy(np.frombuffer(bytearray(raw), dtype).reshape(shape))


def load(path, *, trusted=()):
    """Read a fitted estimator that `save` wrote. Nothing in the file is executed.

    Parameters
    ----------
    path : path-like
    trusted : sequence of {"lightgbm", "xgboost"}, default=()
        Packages that may read their models in the file. They do not check the trees, so that an altered file
        can crash the process: list them for files of people you trust.

    Returns
    -------
    estimator
        It predicts what the saved one predicts.

    Raises
    ------
    ValueError
        If ``trusted`` lists other packages.
    ModelFileError
        If the file is truncated or altered, holds something else, holds types that are not known (the message
        names them), or has a format of a newer xtalsk.
    OSError
        If the file cannot be read.

    Warns
    -----
    VersionWarning
        If the file was written with another version of xtalsk, scikit-learn, NumPy or torch (the first two
        numbers count). Its predictions may then differ.

    See Also
    --------
    save : Writes the file, with an example.
    load_pretrained : The models that come with xtalsk.

    Notes
    -----
    The checksum shows damage. It does not show who wrote the file: a file made to mislead can hold a model
    that answers wrongly. But it cannot run code.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import xtalsk
    >>> model = xtalsk.make_baseline("extra_trees", n_estimators=5, random_state=0)
    >>> model = model.fit([[0.0], [1.0], [2.0]], [225, 227, 225])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "trees.xtalsk")
    ...     xtalsk.save(model, path)
    ...     loaded = xtalsk.load(path)
    >>> loaded.predict([[0.0]])
    array([225])
    """
    unknown = sorted(set([trusted] if isinstance(trusted, str) else trusted) - set(BOOSTERS))
    if unknown or isinstance(trusted, str):
        raise ValueError(f"trusted must be a list of {BOOSTERS}, got {trusted!r}")
    if not os.path.exists(path):
        raise FileNotFoundError(f"no such file: {path}")
    try:
        header, tensors = read_container(path)
        _check_header(header)
    except ContainerError as error:
        raise ModelFileError(f"{path} cannot be loaded: {error}") from error
    changed = _changed_versions(header)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Trying to unpickle estimator")  # a warning follows
            estimator = _restore(header, tensors, trusted)
    except UnknownTypeError as error:
        raise ModelFileError(f"{path} holds types that are not loaded: {error}") from error
    except RecursionError as error:
        raise ModelFileError(f"{path} is nested too deeply") from error
    except _DAMAGE as error:
        hint = f"; it was written with {changed}" if changed else ""
        raise ModelFileError(f"{path} cannot be loaded: {type(error).__name__}: {error}{hint}") from error
    if changed:
        message = (
            f"{path} was written with {changed}; predictions may differ. Save it again with these versions"
        )
        warnings.warn(message, VersionWarning, stacklevel=2)
    return estimator


def _versions():
    """Return the versions of the packages, dict of str."""
    return library_versions() | {name: version(name) for name in ("scikit-learn", "skops")}


def _check_header(header):
    """Raise ContainerError unless a header is that of a file that this version reads."""
    versions, number = header.get("versions"), header.get("format")
    if header.get("kind") != _KIND:
        raise ContainerError("it does not hold an estimator")
    if not isinstance(versions, dict) or not isinstance(number, int):
        raise ContainerError("its header has no versions or no format")
    if number > _FORMAT:
        raise ContainerError(
            f"xtalsk {versions.get('xtalsk')} wrote it in format {number}; this is xtalsk "
            f"{_versions()['xtalsk']}, which reads formats up to {_FORMAT}. Update xtalsk"
        )


def _changed_versions(header):
    """Return in words which packages had other versions when a file was written; empty if none."""

    def first_two(text):
        return str(text).split(".")[:2]

    now, then = _versions(), header["versions"]
    changed = [
        f"{name} {then.get(name)} (here {now[name]})"
        for name in ("xtalsk", "scikit-learn", "numpy", "torch")
        if first_two(then.get(name)) != first_two(now[name])
    ]
    return ", ".join(changed)


def _restore(header, tensors, trusted):
    """Return the estimator of a file; raise one of several errors if the file holds none."""
    content = tensors.pop(_CONTENT).numpy().tobytes()
    tensors |= {name: _unpack(tensors[name], entry) for name, entry in header["packed"].items()}
    estimator = skops.io.loads(content, trusted=check_content(content, trusted))
    estimator = put_together(estimator, tensors)
    if not isinstance(estimator, BaseEstimator):
        raise TypeError("it does not hold an estimator")
    check_trees(estimator)
    return estimator

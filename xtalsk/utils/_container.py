"""Files of tensors and plain values: with a checksum, without pickle, written whole or not at all."""

import hashlib
import json
import os
import re
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path

_MAGIC = b"xtalsk file 1\n"
_N_DIGEST = hashlib.sha256().digest_size
_N_LENGTH = 8  # bytes of the length of the values


class ContainerError(ValueError):
    """A file is damaged or has another format."""


@contextmanager
def open_new(path):
    """Open a file for writing that replaces ``path`` when it is complete; after an error, nothing changes.

    A symbolic link is followed.
    """
    path = os.path.realpath(path)
    incomplete = f"{path}.{uuid.uuid4().hex[:12]}.part"
    try:
        with open(incomplete, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a power failure could leave an empty file under the new name
        os.replace(incomplete, path)
    finally:
        Path(incomplete).unlink(missing_ok=True)


def write_container(path, values, tensors):
    """Write values and tensors to a file; the old file stays until the new one is complete.

    The file holds a signature, the SHA-256 of all that follows, the values as JSON and the tensors in the
    safetensors format.

    Parameters
    ----------
    path : path
        A symbolic link is followed.
    values : dict
        Values that JSON can hold.
    tensors : dict of {str: tensor}

    Raises
    ------
    OSError
        If the file cannot be written, for example because the disk is full. The old file is unchanged, and
        the incomplete new file is removed.
    """
    import safetensors.torch

    text = json.dumps(values).encode()
    own = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        is_shared = any(tensor.data_ptr() == other.data_ptr() for other in own.values() if other.numel())
        own[name] = tensor.clone() if is_shared else tensor  # safetensors refuses shared memory
    parts = [len(text).to_bytes(_N_LENGTH, "little"), text, safetensors.torch.save(own)]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    with open_new(path) as file:
        file.writelines([_MAGIC, digest.digest(), *parts])


def read_container(path):
    """Read a file of `write_container`.

    Parameters
    ----------
    path : path

    Returns
    -------
    values : dict
    tensors : dict of {str: tensor}

    Raises
    ------
    ContainerError
        If the file is damaged, or is not a file of `write_container`. Nothing in the file is executed.
    OSError
        If the file cannot be read.
    """
    import safetensors.torch

    if not os.path.isfile(path):
        raise ContainerError("it is not a regular file")
    data = memoryview(Path(path).read_bytes())
    if not _MAGIC.startswith(bytes(data[: len(_MAGIC)])):
        raise ContainerError("it has another format (pickles, which earlier versions wrote, are not read)")
    start = len(_MAGIC) + _N_DIGEST
    if len(data) < start + _N_LENGTH:
        raise ContainerError(f"it is incomplete: {len(data)} bytes")
    body = data[start:]
    if hashlib.sha256(body).digest() != data[len(_MAGIC) : start]:
        raise ContainerError("its checksum does not match its content: it is damaged or incomplete")
    end = _N_LENGTH + int.from_bytes(body[:_N_LENGTH], "little")
    try:
        values, tensors = json.loads(bytes(body[_N_LENGTH:end])), safetensors.torch.load(bytes(body[end:]))
    except (ValueError, RecursionError, safetensors.SafetensorError) as error:
        raise ContainerError(f"its content cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ContainerError("its content is not that of a dict")
    return values, tensors


def remove_incomplete(path, min_age=0.0):
    """Remove the incomplete files that interrupted writes of a file left behind.

    Parameters
    ----------
    path : path
        The file, not the incomplete ones.
    min_age : float
        Seconds since the last change of an incomplete file. Younger ones may belong to another process.
    """
    path = Path(os.path.realpath(path))
    pattern = re.compile(re.escape(path.name) + r"\.[0-9a-f]{12}\.part")
    for other in path.parent.iterdir() if path.parent.is_dir() else ():
        if pattern.fullmatch(other.name):
            with suppress(FileNotFoundError):
                if time.time() - other.stat().st_mtime >= min_age:
                    other.unlink()

"""A folder in which the finished chunks of a map stay, so that an interrupted map goes on."""

import json
from pathlib import Path

import numpy as np
import torch

from xtalsk.utils._container import ContainerError, read_container, remove_incomplete, write_container

_MANIFEST = "map.xtalsk"
_CLOSE = 1e-3  # largest difference between probabilities of one pipeline, on different computers


class ChunkFolder:
    """Chunks of a map on disk, each with a checksum and written whole or not at all.

    Parameters
    ----------
    path : path
        It is made if it does not exist.
    content : dict of {str: str}
        Fingerprints of what the chunks depend on, such as the scan, by their names.
    answers : ndarray of float
        Probabilities for a few positions, which stand for the fitted pipeline: equal pipelines that were
        loaded in different processes differ in their bytes.

    Raises
    ------
    ValueError
        If the folder holds chunks of another map; the message names what differs.
    """

    def __init__(self, path, content, answers):
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        manifest = self.path / _MANIFEST
        if manifest.exists():
            differing = _compare(manifest, content, answers)
            if differing:
                raise ValueError(
                    f"folder {str(path)!r} holds chunks of another map, which differs in {differing}; choose "
                    "another folder, or delete this one"
                )
        elif any(self.path.glob("*.chunk")):
            raise ValueError(f"folder {str(path)!r} holds chunks of an unknown map; choose another folder")
        else:
            write_container(manifest, content, {"answers": torch.from_numpy(answers)})

    def read(self, name):
        """Return the arrays of a finished chunk, or None if it is not finished or damaged."""
        path = self.path / f"{name}.chunk"
        if not path.exists():
            return None
        try:
            values, tensors = read_container(path)
        except ContainerError:  # it is computed again
            return None
        arrays = {key: tensor.numpy() for key, tensor in tensors.items()}
        for key, dtype in values["structured"].items():
            arrays[key] = arrays[key].view(np.dtype([tuple(item) for item in dtype]))[..., 0]
        for key, texts in values["texts"].items():
            arrays[key] = np.array(texts, dtype=object)[arrays[key]]
        return arrays

    def write(self, name, arrays):
        """Store the arrays of a finished chunk."""
        values, tensors = {"structured": {}, "texts": {}}, {}
        for key, array in arrays.items():
            if array.dtype.names:
                values["structured"][key] = array.dtype.descr
                array = np.ascontiguousarray(array)[..., None].view(np.uint8)
            elif array.dtype == object:
                texts, array = np.unique(array.astype(str), return_inverse=True)
                values["texts"][key] = texts.tolist()
            tensors[key] = torch.from_numpy(np.ascontiguousarray(array))
        path = self.path / f"{name}.chunk"
        write_container(path, json.loads(json.dumps(values)), tensors)
        remove_incomplete(path, min_age=3600.0)


def _compare(manifest, content, answers):
    """Return in what the map of a manifest differs from this one, a sorted list of names."""
    try:
        before, tensors = read_container(manifest)
    except ContainerError as error:
        raise ValueError(f"{manifest}: {error}; choose another folder") from None
    differing = sorted(name for name in {*before, *content} if before.get(name) != content.get(name))
    known = tensors["answers"].numpy()
    is_same = known.shape == answers.shape and np.allclose(known, answers, atol=_CLOSE)
    return differing if differing or is_same else ["pipeline"]

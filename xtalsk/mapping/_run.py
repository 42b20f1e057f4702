"""The chunks of a map, one after another: of single positions, or of groups of alike patterns."""

import hashlib

import numpy as np

from xtalsk.columns import modality_of
from xtalsk.mapping import _constants as const
from xtalsk.mapping._average import read_images
from xtalsk.mapping._folder import ChunkFolder
from xtalsk.mapping._groups import GroupSums, Reducer, find_groups
from xtalsk.mapping._identify import check_images
from xtalsk.mapping._jobs import make_progress, run_chunks
from xtalsk.utils._fingerprint import fingerprint

N_PROBES = 8  # images of a scan whose content is part of its fingerprint


def open_folder(folder, pipeline, source, identifier, settings):
    """Return the `ChunkFolder` of a map; its content names everything that the chunks depend on."""
    settings = settings | {
        "average": source.average,
        "min_confidence": identifier.min_confidence,
        "n_candidates": identifier.n_candidates,
        "levels": list(identifier.levels),
        "columns": list(identifier.columns),
        "pixel_size": identifier.pixel_size,
        "geometry": None if identifier.geometry is None else vars(identifier.geometry),
        "drift": source.plane,
        "chunks": [[(b.start, b.stop) for b in box] for box in source.boxes],
    }
    content = {name: fingerprint(value) for name, value in settings.items()}
    content["pipeline"] = fingerprint(pipeline)
    content["scan"] = "" if source.scan is None else _fingerprint(source.scan)
    content["spectra"] = "" if source.chemistry is None else source.chemistry.fingerprint()
    rows = [identifier.identify(**source.chunk(_box_of(p))) for p in _probes(source.shape)]
    answers = [values for row in rows for name, values in row.items() if name.startswith("probability")]
    answers = np.concatenate(answers, axis=1)
    return ChunkFolder(folder, content, np.nan_to_num(answers, nan=-1.0))


def _probes(shape):
    """Return a few positions, evenly spaced."""
    numbers = np.unique(np.linspace(0, np.prod(shape) - 1, N_PROBES).round().astype(int))
    return [np.unravel_index(number, shape) for number in numbers]


def _box_of(position):
    return tuple(slice(int(p), int(p) + 1) for p in position)


def _fingerprint(scan):
    """Return a hash of the shape of a scan and of a few of its images."""
    digest = hashlib.sha256(repr((scan.shape, scan.frame_shape, scan.data.dtype.str)).encode())
    for position in _probes(scan.shape):
        images, problems = scan.read(_box_of(position))
        digest.update(b"broken" if problems else np.ascontiguousarray(images).tobytes())
    return digest.hexdigest()


def map_positions(identifier, source, n_jobs, store, verbose):
    """Identify each position of a scan, and return the arrays of a `StructureMap`."""
    arrays, waiting = None, []
    with make_progress(source.numbers.size, verbose, "identify") as progress:
        for number, box in enumerate(source.boxes):
            rows = None if store is None else store.read(f"{number:06d}")
            if rows is None:
                waiting.append(number)
            else:
                progress.update(len(rows["status"]))
                arrays = _write(arrays, rows, box, source.shape)
        chunks = ((number, source.chunk(source.boxes[number])) for number in waiting)
        for number, rows in run_chunks(identifier, chunks, n_jobs, progress):
            if store is not None:
                store.write(f"{number:06d}", rows)
            arrays = _write(arrays, rows, source.boxes[number], source.shape)
    return arrays


def _write(arrays, rows, box, shape):
    """Write the rows of a box into arrays of the shape of the scan; make the arrays first if None."""
    if arrays is None:
        arrays = {name: np.zeros((*shape, *v.shape[1:]), dtype=v.dtype) for name, v in rows.items()}
    for name, values in rows.items():
        part = arrays[name][box]
        part[...] = values.reshape(part.shape)
    return arrays


def map_groups(identifier, source, group, n_jobs, store, verbose, random_state):
    """Group alike patterns, identify the means, and return the arrays of a `StructureMap` and the means."""
    if source.scan is None:
        raise ValueError("group needs a scan: compositions alone are not grouped")
    status, reason, features = _reduce(identifier, source, store, verbose)
    numbers = find_groups(features, status == const.OK, group, random_state)
    n_groups = numbers.max() + 1
    sums = GroupSums(n_groups, source.scan.frame_shape)
    with make_progress(source.numbers.size, verbose, "average groups") as progress:
        for box in source.boxes:
            images, _ = read_images(source.scan, box)
            sums.add(images, numbers[source.numbers[box].ravel()])
            progress.update(len(images))
    means = sums.means()
    cells = None if source.chemistry is None else source.chemistry.of_groups(numbers, n_groups)
    with make_progress(n_groups, verbose, "identify groups") as progress:
        size = max(1, len(means) // 8)
        parts = [slice(i, i + size) for i in range(0, len(means), size)]
        chunks = (
            (part, {"images": means[part], "chemistry": None if cells is None else cells[part]})
            for part in parts
        )
        of_groups = None
        for part, rows in run_chunks(identifier, chunks, n_jobs, progress):
            of_groups = _write(of_groups, rows, part, (n_groups,))
    return _spread(identifier, of_groups, numbers, status, reason, source.shape), means


def _reduce(identifier, source, store, verbose):
    """Return the status and the reason of each position, and what of its image is compared."""
    n = source.numbers.size
    keeps_spots = modality_of(identifier.columns.scan) == "spots"
    reducer = Reducer(identifier.geometry, source.scan.frame_shape, keeps_spots)
    status, reason = np.full(n, const.OK, np.uint8), np.full(n, "", dtype=object)
    features = np.zeros((n, reducer.matrix.shape[1]), np.float32)
    with make_progress(n, verbose, "compare patterns") as progress:
        for number, box in enumerate(source.boxes):
            rows = None if store is None else store.read(f"group_{number:06d}")
            if rows is None:
                chunk = source.chunk(box)
                rows = dict(zip(("status", "reason"), chunk["statuses"], strict=True))
                rows["features"] = reducer.reduce(check_images(chunk["images"], rows))
                if store is not None:
                    store.write(f"group_{number:06d}", rows)
            numbers = source.numbers[box].ravel()
            features[numbers], status[numbers], reason[numbers] = (
                rows[name] for name in ("features", "status", "reason")
            )
            progress.update(len(numbers))
    return status, reason, features


def _spread(identifier, of_groups, numbers, status, reason, shape):
    """Return the arrays of positions, which have the answers of their groups."""
    out = identifier.empty(len(numbers))
    members = np.flatnonzero(numbers >= 0)
    if of_groups is not None:
        for name, values in of_groups.items():
            out[name][members] = values[numbers[members]]
    known = status != const.OK
    out["status"][known], out["reason"][known] = status[known], reason[known]
    alone = (numbers < 0) & ~known
    out["status"][alone], out["reason"][alone] = const.NOT_INDEXED, const.NO_GROUP
    out["group"] = numbers.astype(np.int32)
    return {name: values.reshape(*shape, *values.shape[1:]) for name, values in out.items()}

"""Training of a network on a stream of specimens."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import lru_cache
from tempfile import TemporaryDirectory

import joblib
import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.utils import check_scalar
from tqdm import tqdm

from xtalsk.neural import copy_weights, learn_chunk, schedule_factor, start_stream
from xtalsk.streaming._checkpoint import make_plan, resume, write_checkpoint


def fit_stream(
    model,
    stream,
    n_specimens,
    *,
    n_uses=1,
    start=None,
    checkpoint=None,
    checkpoint_every=20,
    callback=None,
    n_jobs=1,
    verbose=0,
):
    """Train a `FusionClassifier` on a stream; resume an interrupted training.

    If a process group of `torch.distributed` exists, all its processes train one network: each calls this
    function with the same arguments, and computes the gradient of its share of each batch.

    Parameters
    ----------
    model : FusionClassifier
        Not fitted; a copy is trained. Its ``schedule`` extends over the whole training. ``max_epochs`` is not
        used. ``sampling`` and ``early_stopping`` must be off, because they need all the data at once.
    stream : SpecimenStream or StoredStream
    n_specimens : int
        Number of specimens to render or read, rounded up to whole chunks.
    n_uses : int
        How often each specimen is used. Each step of the training uses the last ``n_uses`` chunks,
        shuffled, and ``augment`` disturbs each specimen in a new way each time. Specimens of the last
        chunks are used less often. Use 1 if rendering is fast compared with training.
    start : FusionClassifier or None
        Trained network whose weights are the first weights of the new one: the sub-networks of blocks with
        the same name and size, and, if all blocks agree, the joint head. Layers of classes are taken over by
        class. Other weights are random, as all are with None. A lower ``learning_rate`` than that of a
        training from the beginning keeps more of what was learnt.
    checkpoint : path or None
        File for the state of the training. If the file exists, the training is resumed from it, and the
        result is identical to that of a training without interruption. The file has a checksum and holds no
        pickle. It is written whole or not at all: an interrupted write, or a full disk, leaves the previous
        checkpoint. A write needs as much free space as the file has. `read_checkpoint` tells the progress.
    checkpoint_every : int
        Number of chunks between two checkpoints.
    callback : callable or None
        Called as ``callback(model, n_rendered)`` at each checkpoint.
    n_jobs : int
        Number of processes that render. 1 renders in a thread of this process, one chunk ahead. More
        processes render ``n_jobs`` chunks at once, ahead of the training, each with a copy of the stream.
        They are on this machine; `write_stream` uses several. The result is the same. The stream must be on
        the CPU; the network may be on a GPU.
    verbose : int
        Above 0 shows the progress.

    Returns
    -------
    FusionClassifier
        Fitted. With the ``features_`` of the stream it forms a pipeline for measured specimens.

    Raises
    ------
    CheckpointError
        If the checkpoint is damaged or is no checkpoint, or if it belongs to another training: another model,
        stream (also crystals with the same ids and other atoms) or number, another version of a library, or
        other code. It is a ValueError.
    OSError
        If the checkpoint cannot be written, for example because the disk is full.
    ValueError
        If an argument is out of range, or no sub-network of ``start`` fits.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from xtalsk import FusionClassifier, PowderProfile, load_amcsd, make_features
    >>> from xtalsk.streaming import SpecimenStream, fit_stream
    >>> features = make_features(diffraction=("powder", PowderProfile(n_bins=128)))
    >>> stream = SpecimenStream(load_amcsd()[:20], features, chunk_size=64, random_state=0)
    >>> model = FusionClassifier(hierarchy="space_group", hidden_size=16, n_filters=4, random_state=0)
    >>> pipeline = make_pipeline(stream.features_, fit_stream(model, stream, 256))
    """
    check_scalar(n_specimens, "n_specimens", int, min_val=1)
    check_scalar(n_uses, "n_uses", int, min_val=1)
    check_scalar(checkpoint_every, "checkpoint_every", int, min_val=1)
    check_scalar(n_jobs, "n_jobs", int, min_val=1)
    if n_jobs > 1 and stream.device.type != "cpu":
        raise ValueError(f"n_jobs={n_jobs} needs a stream with device='cpu'; this one is on {stream.device}")
    if model.early_stopping or model.sampling is not None:
        raise ValueError("a stream needs early_stopping=False and sampling=None; SpecimenStream has weights")
    if start is not None and not hasattr(start, "net_"):
        raise ValueError(f"start must be a fitted FusionClassifier, got {type(start).__name__}")
    n_chunks = -(-n_specimens // stream.chunk_size)
    if n_chunks > (n_stored := getattr(stream, "n_chunks", n_chunks)):  # endless streams have no number
        raise ValueError(
            f"n_specimens={n_specimens} are {n_chunks} chunks, but the stream holds {n_stored}; write_stream "
            "adds more"
        )
    plan, done, trained, seconds = None, 0, None, 0.0
    if checkpoint is not None:
        plan = make_plan(model, stream, n_chunks, n_uses, start)
        done, trained, seconds = resume(checkpoint, plan, model, stream)
    if done == n_chunks:
        return trained
    began = time.perf_counter() - seconds
    if trained is None:
        trained = start_stream(clone(model), *stream.sample(), stream.classes_)
        if start is not None:
            copy_weights(trained, start)
    pools = _render_ahead(stream, done, n_chunks, n_uses, n_jobs)
    for X, y in tqdm(pools, desc="chunks", disable=not verbose, initial=done, total=n_chunks):
        progress = (done + 0.5) / n_chunks
        learning_rate = model.learning_rate * schedule_factor(model.schedule, progress)
        learn_chunk(trained, X, y, learning_rate, progress)
        done += 1
        if done % checkpoint_every == 0 or done == n_chunks:
            if checkpoint is not None:
                write_checkpoint(checkpoint, plan, done, trained, time.perf_counter() - began)
            if callback is not None:
                callback(trained, done * stream.chunk_size)
    return trained


def _render_ahead(stream, done, n_chunks, n_uses, n_jobs):
    """Yield X and y of the last ``n_uses`` chunks, for each new chunk; a thread waits for the next ones.

    Specimens of which nothing is left are left out, such as a saturated image without a formula.
    """
    pool = []
    first = max(0, done - n_uses + 1)
    rounds = _rounds(stream, first, n_chunks, n_jobs)
    with closing(rounds), ThreadPoolExecutor(1) as waiter:
        k, upcoming = first, waiter.submit(next, rounds, [])
        while chunks := upcoming.result():
            upcoming = waiter.submit(next, rounds, [])
            for chunk in chunks:
                pool, k = [*pool, chunk][-n_uses:], k + 1
                if k > done:
                    yield _join(pool)


def _join(pool):
    """Return X and y of chunks without the specimens that have no value."""
    X, y = zip(*pool, strict=True)
    X, y = torch.cat(X), np.concatenate(y)
    measured = ~X.isnan().all(dim=1)
    return (X, y) if measured.all() else (X[measured], y[measured.cpu().numpy()])


def _rounds(stream, first, last, n_jobs):
    """Yield lists of ``n_jobs`` chunks, from chunk ``first`` to the one before ``last``."""
    if n_jobs == 1:
        for k in range(first, last):
            yield [stream.chunk(k)]
        return
    with TemporaryDirectory() as folder, Parallel(n_jobs) as parallel:
        file = f"{folder}/stream"
        joblib.dump(stream, file)
        for start in range(first, last, n_jobs):
            chunks = parallel(delayed(_chunk)(file, k) for k in range(start, min(start + n_jobs, last)))
            yield [(torch.from_numpy(X), y) for X, y in chunks]


def _chunk(file, k):
    """Return chunk ``k`` of the stream in a file, as arrays."""
    X, y = load_stream(file).chunk(k)
    return X.numpy(), y


@lru_cache(1)
def load_stream(file):
    """Return the stream in a file; a process reads it once."""
    return joblib.load(file)

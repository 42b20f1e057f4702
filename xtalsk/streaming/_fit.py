"""Training on a stream."""

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import check_scalar
from tqdm import tqdm

from xtalsk.neural._net import schedule_factor


def fit_stream(
    model, stream, n_specimens, *, n_uses=1, checkpoint=None, checkpoint_every=20, callback=None, verbose=0
):
    """Train a `FusionClassifier` on a stream, and take training up again where it was left.

    Parameters
    ----------
    model : FusionClassifier
        Not fitted; a copy is trained. Its ``schedule`` runs over the whole training. ``max_epochs`` is not
        used; ``sampling`` and ``early_stopping``, which need all the data at once, must be off.
    stream : SpecimenStream
    n_specimens : int
        To render, in whole chunks.
    n_uses : int
        How often each specimen is used, mixed with those of as many chunks, and disturbed by ``augment`` in
        another way each time; those of the last chunks are used less often. 1 where rendering is quick
        compared to training.
    checkpoint : path or None
        File that keeps the state of the training, a dict with the chunks ``"done"``, the model and the
        ``"seconds"`` it took. If it exists, training goes on from there.
    checkpoint_every : int
        Chunks after which it is written.
    callback : callable or None
        Called as ``callback(model, n_rendered)`` whenever a checkpoint is due.
    verbose : int
        Above 0 shows progress.

    Returns
    -------
    FusionClassifier
        Fitted. With the ``features_`` of the stream it makes a pipeline for measured specimens.

    Raises
    ------
    ValueError
        If the checkpoint is of another training (model, stream or numbers), or an argument is out of range.

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
    if model.early_stopping or model.sampling is not None:
        raise ValueError("a stream needs early_stopping=False and sampling=None; SpecimenStream has weights")
    n_chunks = -(-n_specimens // stream.chunk_size)
    plan = {"n_chunks": n_chunks, "n_uses": n_uses, "chunk_size": stream.chunk_size}
    plan |= {"parameters of the model": _fingerprint(model), "stream": stream.fingerprint_}
    done, trained, seconds = _load(checkpoint, plan)
    if done == n_chunks:
        return trained
    start = time.perf_counter() - seconds
    if trained is None:
        trained = clone(model)._start_stream(*stream.sample(), stream.classes_)
    with ThreadPoolExecutor(1) as loader:
        pool = [stream.chunk(k) for k in range(max(0, done - n_uses + 1), done)]
        coming = loader.submit(stream.chunk, done) if done < n_chunks else None
        for k in tqdm(
            range(done, n_chunks), desc="chunks", disable=not verbose, initial=done, total=n_chunks
        ):
            pool = [*pool, coming.result()][-n_uses:]
            coming = loader.submit(stream.chunk, k + 1) if k + 1 < n_chunks else None
            progress = (k + 0.5) / n_chunks
            rate = model.learning_rate * schedule_factor(model.schedule, progress)
            X, y = zip(*pool, strict=True)
            trained._learn(torch.cat(X), np.concatenate(y), rate, progress)
            if (k + 1) % checkpoint_every == 0 or k + 1 == n_chunks:
                _save(checkpoint, plan, k + 1, trained, time.perf_counter() - start)
                if callback is not None:
                    callback(trained, (k + 1) * stream.chunk_size)
    return trained


def _fingerprint(model):
    """Hash of what makes a model what it is; where it is trained and what it prints do not count."""
    params = {k: v for k, v in model.get_params().items() if k not in ("device", "verbose")}
    if not isinstance(params["random_state"], int | np.integer | None):
        del params["random_state"]
    return joblib.hash(params)


def _load(checkpoint, plan):
    """Chunks done, the model and the time of a checkpoint, (0, None, 0) without one."""
    if checkpoint is None or not os.path.exists(checkpoint):
        return 0, None, 0.0
    state = joblib.load(checkpoint)
    differ = [name for name, value in plan.items() if state["plan"].get(name) != value]
    if differ:
        raise ValueError(f"{checkpoint} is the checkpoint of another training: {', '.join(differ)} differ")
    return state["done"], state["trained"], state["seconds"]


def _save(checkpoint, plan, done, trained, seconds):
    """Write a checkpoint whole or not at all."""
    if checkpoint is None:
        return
    folder = os.path.dirname(os.path.abspath(checkpoint))
    handle, path = tempfile.mkstemp(dir=folder, suffix=".part")
    os.close(handle)
    joblib.dump({"plan": plan, "done": done, "trained": trained, "seconds": seconds}, path)
    os.replace(path, checkpoint)

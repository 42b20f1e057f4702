"""Checkpoints of a training: the plan, the state of the network, and a checksum."""

import os
from collections.abc import Mapping

import numpy as np
from sklearn.base import clone

from xtalsk.neural import start_stream
from xtalsk.streaming._state import restore_training, training_state
from xtalsk.utils._container import ContainerError, read_container, remove_incomplete, write_container
from xtalsk.utils._fingerprint import code_fingerprint, fingerprint, library_versions

MADE_BY = {
    "versions": "Install the versions of the checkpoint to resume",
    "code": "Use the code that wrote the checkpoint to resume",
}
OTHERWISE = "Use the same model, stream and numbers to resume"


class CheckpointError(ValueError):
    """A checkpoint is damaged, is no checkpoint, or belongs to another training.

    Examples
    --------
    >>> import tempfile
    >>> from xtalsk.streaming import CheckpointError, read_checkpoint
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     try:
    ...         read_checkpoint(file.name)
    ...     except CheckpointError:
    ...         print("no checkpoint")
    no checkpoint
    """


def make_plan(model, stream, n_chunks, n_uses, start=None):
    """Return all that determines the result of a training, as plain values.

    Parameters
    ----------
    model : FusionClassifier
    stream : SpecimenStream
    n_chunks, n_uses : int
    start : FusionClassifier or None
        Trained network that gave the first weights.

    Returns
    -------
    dict
        Numbers and fingerprints, also of the code and of the versions of libraries.
    """
    params = {k: v for k, v in model.get_params().items() if k not in ("device", "verbose")}
    if not isinstance(params["random_state"], int | np.integer | None):
        del params["random_state"]  # the state of a generator changes with use
    return {
        "n_chunks": int(n_chunks),
        "n_uses": int(n_uses),
        "first weights": None if start is None else fingerprint(_weights(start)),
        "parameters of the model": {name: fingerprint(value) for name, value in params.items()},
        **plan_of_stream(stream, f"{__package__}._fit"),
    }


def _weights(model):
    """Return the weights of a trained network that predict, as arrays by name."""
    module = model.net_.all_weights()[-1]
    return {name: value.cpu().numpy() for name, value in module.state_dict().items()}


def plan_of_stream(stream, *modules):
    """Return all that determines the chunks of a stream, as plain values; ``modules`` use the chunks."""
    return {
        "chunk_size": int(stream.chunk_size),
        "stream": dict(stream._content),
        "versions": library_versions(),
        "code": code_fingerprint(*modules, *stream._modules),
    }


def write_checkpoint(checkpoint, plan, done, model, seconds):
    """Write a checkpoint; whatever happens, the file holds the old checkpoint or the new one.

    Parameters
    ----------
    checkpoint : path
    plan : dict
        From `make_plan`.
    done : int
        Number of chunks done.
    model : FusionClassifier
    seconds : float
        Time of the training so far.

    Raises
    ------
    OSError
        If the file cannot be written, for example because the disk is full. The old checkpoint is unchanged.
    """
    values, tensors = training_state(model)
    header = {"plan": plan, "done": done, "seconds": seconds, "state": values}
    try:
        write_container(checkpoint, header, tensors)
    except OSError as error:
        message = f"{error.strerror or error}; the checkpoint was not written, an earlier one is unchanged"
        raise OSError(error.errno, message, os.fspath(checkpoint)) from error


def read_checkpoint(checkpoint):
    """Read how far a training has come.

    Parameters
    ----------
    checkpoint : path
        A file that `fit_stream` has written.

    Returns
    -------
    dict
        ``"done"``: number of chunks done; ``"n_chunks"``: number of all chunks; ``"chunk_size"``: specimens
        in a chunk; ``"seconds"``: time of the training so far; ``"loss_curve"``: mean training loss of each
        chunk; ``"versions"``: of the libraries, by name.

    Raises
    ------
    CheckpointError
        If the file is damaged or is no checkpoint.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from xtalsk import ElementFractions, FusionClassifier, load_amcsd, make_features
    >>> from xtalsk.streaming import SpecimenStream, fit_stream, read_checkpoint
    >>> features = make_features(fractions=("formula", ElementFractions()))
    >>> stream = SpecimenStream(load_amcsd()[:5], features, chunk_size=16, random_state=0)
    >>> model = FusionClassifier(hierarchy="space_group", hidden_size=8, random_state=0)
    >>> with TemporaryDirectory() as folder:
    ...     model = fit_stream(model, stream, 32, checkpoint=f"{folder}/training")
    ...     progress = read_checkpoint(f"{folder}/training")
    >>> progress["done"], progress["n_chunks"]
    (2, 2)
    """
    header, _ = _read(checkpoint)
    try:
        plan, state = header["plan"], header["state"]
        progress = {"done": header["done"], "n_chunks": plan["n_chunks"], "chunk_size": plan["chunk_size"]}
        progress |= {"seconds": header["seconds"], "loss_curve": state["loss_curve"]}
        return progress | {"versions": plan["versions"]}
    except (KeyError, TypeError) as error:
        raise _no_checkpoint(checkpoint, f"it lacks {error}") from error


def resume(checkpoint, plan, model, stream):
    """Return the state of a training from its checkpoint.

    Incomplete files of interrupted writes are removed.

    Parameters
    ----------
    checkpoint : path
        It need not exist.
    plan : dict
        From `make_plan`.
    model, stream
        As in `fit_stream`.

    Returns
    -------
    done : int
        Number of chunks done; 0 without a checkpoint.
    model : FusionClassifier or None
        None without a checkpoint.
    seconds : float
        Time of the training so far.

    Raises
    ------
    CheckpointError
        If the checkpoint is damaged, is no checkpoint, or belongs to another training, or if its folder does
        not exist.
    """
    folder = os.path.dirname(os.path.realpath(checkpoint))
    if not os.path.isdir(folder):
        raise CheckpointError(f"{checkpoint}: the folder {folder} of the checkpoint does not exist")
    remove_incomplete(checkpoint)
    if not os.path.exists(checkpoint):
        return 0, None, 0.0
    header, tensors = _read(checkpoint)
    _check_plan(checkpoint, header.get("plan"), plan)
    trained = start_stream(clone(model), *stream.sample(), stream.classes_)
    try:
        restore_training(trained, header["state"], tensors)
        done, seconds = int(header["done"]), float(header["seconds"])
        if not 0 < done <= plan["n_chunks"]:
            raise ValueError(f"{done} of {plan['n_chunks']} chunks are done")
        return done, trained, seconds
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise _no_checkpoint(checkpoint, f"its state does not fit the model: {error}") from error


def _read(checkpoint):
    """Return the values and the tensors of a checkpoint."""
    try:
        return read_container(checkpoint)
    except ContainerError as error:
        raise _no_checkpoint(checkpoint, error) from error


def _no_checkpoint(checkpoint, reason):
    """Return the error for a file that is damaged or is no checkpoint."""
    mend = "Restore the file from a copy, or delete it to train from the beginning"
    return CheckpointError(f"{checkpoint} cannot be used as a checkpoint: {reason}. {mend}")


def _check_plan(checkpoint, found, plan):
    """Raise CheckpointError if the plan of a checkpoint is not the expected one."""
    if not isinstance(found, Mapping):
        raise _no_checkpoint(checkpoint, "it has no plan")
    difference = find_difference(found, plan, "the checkpoint")
    if difference:
        differ, mend = difference
        raise CheckpointError(
            f"{checkpoint} is the checkpoint of another training: {differ}. "
            f"{mend}, or choose another file to train from the beginning"
        )


def find_difference(found, plan, where):
    """Return in words how a plan that was found differs from the expected one, and a remedy; or None.

    Parameters
    ----------
    found, plan : dict
        From `make_plan` or `plan_of_stream`.
    where : str
        Where the plan was found.
    """
    differ = [name for name, value in plan.items() if found.get(name) != value]
    if differ != ["code"]:  # other features use other code
        differ = [name for name in differ if name != "code"]
    if not differ:
        return None
    details = "; ".join(_difference(name, found.get(name), plan[name], where) for name in differ)
    mend = MADE_BY.get(differ[0], OTHERWISE).replace("the checkpoint", where)
    return f"{', '.join(differ)} differ ({details})", mend


def _difference(name, found, expected, where):
    """Return in words how an item of a plan that was found differs from the expected one."""
    if name == "code":
        return "the code of xtalsk has changed"
    if not isinstance(expected, dict):
        return f"{name}: {found} in {where}, {expected} now"
    found = found if isinstance(found, dict) else {}
    differ = [key for key in sorted({*found, *expected}) if found.get(key) != expected.get(key)]
    if name == "versions":
        return ", ".join(f"{key} {found.get(key)} in {where}, {expected.get(key)} now" for key in differ)
    return f"{name}: {', '.join(differ)}"

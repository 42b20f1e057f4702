"""The state of a network in training, as tensors and plain values."""

import torch

_COUNTS = ("seed", "n_epochs_", "n_steps_")


def training_state(model):
    """Return all that training has changed in a model.

    Parameters
    ----------
    model : FusionClassifier
        From `xtalsk.neural.start_stream`, trained by `xtalsk.neural.learn_chunk`.

    Returns
    -------
    values : dict
        Plain values: counts, the loss curve, the learning rate and the progress of the last step.
    tensors : dict of {str: tensor}
        Weights, averaged weights and the state of the optimiser.
    """
    net = model.net_
    tensors = {f"weights/{name}": tensor for name, tensor in net.module_.state_dict().items()}
    if net.average_ is not None:
        tensors |= {f"average/{name}": tensor for name, tensor in net.average_.state_dict().items()}
    for i, state in net.optimizer_.state_dict()["state"].items():
        tensors |= {f"optimizer/{i}/{name}": tensor for name, tensor in state.items()}
    values = {name: getattr(net, name) for name in _COUNTS}
    values |= {"n_iter": model.n_iter_, "loss_curve": model.loss_curve_}
    values |= {"learning_rate": net.optimizer_.param_groups[0]["lr"], "progress": net.module_.progress}
    return values, tensors


def restore_training(model, values, tensors):
    """Give a model the state of `training_state`.

    Parameters
    ----------
    model : FusionClassifier
        From `xtalsk.neural.start_stream`, with the same parameters and features; changed in place.
    values, tensors : dict
        From `training_state`.

    Raises
    ------
    AttributeError, KeyError, RuntimeError, TypeError, ValueError
        If the state does not fit the model.
    """
    net = model.net_
    for name in _COUNTS:
        setattr(net, name, int(values[name]))
    model.n_iter_, model.loss_curve_ = int(values["n_iter"]), list(map(float, values["loss_curve"]))
    net.module_.load_state_dict(_part(tensors, "weights/"))
    if net.average_ is not None:
        net.average_.load_state_dict(_part(tensors, "average/"))
    state = {}
    for name, tensor in _part(tensors, "optimizer/").items():
        number, _, name = name.partition("/")
        state.setdefault(int(number), {})[name] = tensor
    groups = net.optimizer_.state_dict()["param_groups"]
    net.optimizer_.load_state_dict({"state": state, "param_groups": groups})
    _check_optimizer(net.optimizer_)
    net.set_step(float(values["learning_rate"]), float(values["progress"]))


def _part(tensors, prefix):
    """Return the tensors whose names start with a prefix, without it."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _check_optimizer(optimizer):
    """Raise ValueError if the state of an optimiser does not have the shapes of its parameters."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            for tensor in optimizer.state.get(parameter, {}).values():
                if isinstance(tensor, torch.Tensor) and tensor.ndim and tensor.shape != parameter.shape:
                    raise ValueError("the state of the optimiser has other shapes than its parameters")

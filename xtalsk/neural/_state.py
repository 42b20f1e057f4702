"""The state of a network, as tensors and plain values."""

import torch

from xtalsk.neural._batches import Batches
from xtalsk.neural._loss import LevelsLoss
from xtalsk.neural._module import FusionModule
from xtalsk.neural._net import FusionNet

_COUNTS = ("seed", "n_epochs_", "n_steps_")
_PREFIXES = ("module__", "criterion__", "optimizer__", "iterator_valid__")  # of arguments of a net
_NAMES = ("lr", "batch_size", "verbose", "block_loss")
_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def network_state(net):
    """Return all that training has changed in a network.

    Parameters
    ----------
    net : FusionNet

    Returns
    -------
    values : dict
        Plain values: counts, the learning rate and the progress of the last step.
    tensors : dict of {str: tensor}
        Weights, averaged weights and the state of the optimiser.
    """
    tensors = {f"weights/{name}": tensor for name, tensor in net.module_.state_dict().items()}
    if net.average_ is not None:
        tensors |= {f"average/{name}": tensor for name, tensor in net.average_.state_dict().items()}
    for i, state in net.optimizer_.state_dict()["state"].items():
        tensors |= {f"optimizer/{i}/{name}": tensor for name, tensor in state.items()}
    values = {name: getattr(net, name) for name in _COUNTS}
    values |= {"learning_rate": net.optimizer_.param_groups[0]["lr"], "progress": net.module_.progress}
    return values, tensors


def restore_network(net, values, tensors):
    """Give a network the state of `network_state`.

    Parameters
    ----------
    net : FusionNet
        Started with the same parameters and features; changed in place.
    values, tensors : dict
        From `network_state`.

    Raises
    ------
    AttributeError, KeyError, RuntimeError, TypeError, ValueError
        If the state does not fit the network.
    """
    for name in _COUNTS:
        setattr(net, name, int(values[name]))
    net.module_.load_state_dict(_part(tensors, "weights/"))
    if net.average_ is not None:
        net.average_.load_state_dict(_part(tensors, "average/"))
    state = {}
    for name, tensor in _part(tensors, "optimizer/").items():
        number, _, name = name.partition("/")
        state.setdefault(int(number), {})[name] = tensor
    if state:
        groups = net.optimizer_.state_dict()["param_groups"]
        net.optimizer_.load_state_dict({"state": state, "param_groups": groups})
        _check_optimizer(net.optimizer_)
    net.set_step(float(values["learning_rate"]), float(values["progress"]))


def network_arguments(net):
    """Return what `rebuild_network` needs besides the state: a dict of plain values, arrays and blocks."""
    arguments = {name: value for name, value in vars(net).items() if name.startswith(_PREFIXES)}
    arguments |= {name: getattr(net, name) for name in _NAMES}
    arguments["module__precision"] = str(net.module__precision).removeprefix("torch.")
    arguments["module__profile_vote"] = bool(net.module_.voters)  # voters can be removed after training
    average = net.average_ and net.average_.multi_avg_fn.args[0]
    return arguments | {"weight_averaging": average}


class _AdamW(torch.optim.AdamW):
    """AdamW that is made without the compiler of torch, which takes a second to import."""

    add_param_group = getattr(
        torch.optim.AdamW.add_param_group, "__wrapped__", torch.optim.AdamW.add_param_group
    )


def rebuild_network(arguments, values, tensors):
    """Make a network on the CPU from `network_arguments` and `network_state`.

    Raises
    ------
    AttributeError, KeyError, RuntimeError, TypeError, ValueError
        If arguments and state do not fit.
    """
    arguments = dict(arguments)
    averaging = arguments.pop("weight_averaging")
    unknown = [n for n in arguments if not (n.startswith(_PREFIXES) or n in _NAMES)]
    if unknown:
        raise ValueError(f"unknown arguments of a network: {unknown}")
    precision, block_loss = _PRECISIONS[arguments.pop("module__precision")], arguments.pop("block_loss")
    net = FusionNet(
        FusionModule,
        module__precision=precision,
        criterion=LevelsLoss,
        optimizer=_AdamW,
        iterator_train=Batches,
        iterator_train__shuffle=True,
        iterator_valid=Batches,
        train_split=None,
        device="cpu",
        **arguments,
    )
    net.start(int(values["seed"]), block_loss, averaging)
    restore_network(net, values, tensors)
    return net


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

"""The state of a network in training, as tensors and plain values."""

from xtalsk.neural import network_state, restore_network


def training_state(model):
    """Return all that training has changed in a model.

    Parameters
    ----------
    model : FusionClassifier
        From `xtalsk.neural.start_stream`, trained by `xtalsk.neural.learn_chunk`.

    Returns
    -------
    values : dict
        Plain values: those of `network_state`, the number of chunks and the loss curve.
    tensors : dict of {str: tensor}
        Weights, averaged weights and the state of the optimiser.
    """
    values, tensors = network_state(model.net_)
    return values | {"n_iter": model.n_iter_, "loss_curve": model.loss_curve_}, tensors


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
    restore_network(model.net_, values, tensors)
    model.n_iter_, model.loss_curve_ = int(values["n_iter"]), list(map(float, values["loss_curve"]))

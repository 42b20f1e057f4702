"""First weights of a network from another one that has been trained."""

import numpy as np
import torch


def copy_weights(model, former):
    """Copy what a trained network has in common with a new one: sub-networks of blocks, classes, the head.

    A block's sub-network is copied, with the standardisation of its values, if the former network has a block
    of that name and its weights have the same shapes. Output layers are copied by class; classes that the
    former network lacks keep their random weights. The joint head is copied if all blocks were.

    Parameters
    ----------
    model : FusionClassifier
        Its network is new; see `start_stream`. Changed in place.
    former : FusionClassifier
        Fitted.

    Returns
    -------
    list of str
        Names of the blocks whose sub-networks were copied.

    Raises
    ------
    ValueError
        If no block can be copied.
    """
    own, other = model.net_.module_, former.net_.all_weights()[-1]
    positions = {block.name: i for i, block in enumerate(former._blocks)}
    classes = _common_classes(model.classes_, former.classes_)
    copied = []
    with torch.no_grad():
        for i, block in enumerate(model._blocks):
            j = positions.get(block.name)
            if j is None or not _fits(own.branches[i], other.branches[j]):
                continue
            own.branches[i].load_state_dict(other.branches[j].state_dict())
            if len(own.block_heads) and len(other.block_heads):
                _copy_outputs(own.block_heads[i], other.block_heads[j], classes)
            copied.append(block.name)
        if not copied:
            raise ValueError(
                f"no sub-network of start fits: it has the blocks {sorted(positions)}, the new network has "
                f"{[block.name for block in model._blocks]}, and their sizes must agree"
            )
        same = [block.name for block in former._blocks] == copied and len(copied) == len(model._blocks)
        if same and _fits(own.head[:-1], other.head[:-1]):
            own.norm.load_state_dict(other.norm.state_dict())
            own.head[:-1].load_state_dict(other.head[:-1].state_dict())
            _copy_outputs(own.head[-1], other.head[-1], classes)
    return copied


def _common_classes(own, other):
    """Return the positions of common classes among the own and among the other classes, as tensors."""
    _, i, j = np.intersect1d(own, other, return_indices=True)
    return torch.as_tensor(i), torch.as_tensor(j)


def _fits(own, other):
    """Return whether the states of two modules have the same names and shapes."""
    return _shapes(own) == _shapes(other)


def _shapes(module):
    """Return the shape of each tensor of a module's state, by name."""
    return {name: value.shape for name, value in module.state_dict().items()}


def _copy_outputs(own, other, classes):
    """Copy the weights of common classes from one output layer to another, if their inputs agree."""
    if own.in_features != other.in_features:
        return
    i, j = classes
    own.weight[i], own.bias[i] = other.weight[j].to(own.weight), other.bias[j].to(own.bias)

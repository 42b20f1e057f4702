"""Checks of decision trees that were read from a file.

Compiled code of scikit-learn follows the nodes of a tree without a check of their numbers. So a wrong number
would read foreign memory.
"""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.ensemble._forest import BaseForest
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.tree._tree import TREE_LEAF, Tree

_N_BITSET = 8  # numbers of 32 bits in a set of categories of HistGradientBoosting


def check_trees(value, n_features=None):
    """Raise ValueError if a tree in an estimator has nodes that do not exist, or reads other features.

    Parameters
    ----------
    value : object
        An estimator, or what it holds.
    n_features : int or None
        Number of features of the estimator that holds it.
    """
    if isinstance(value, Tree):
        if value.node_count != value.capacity or value.n_features != n_features:
            raise ValueError("a tree has another number of nodes or features")
        leaf = value.children_left == TREE_LEAF  # compiled code knows no other mark
        _check_nodes(value.children_left, value.children_right, value.feature, leaf, n_features)
    elif isinstance(value, TreePredictor):
        nodes = value.nodes
        leaf = nodes["is_leaf"].astype(bool)
        _check_nodes(nodes["left"], nodes["right"], nodes["feature_idx"], leaf, n_features)
        categorical = nodes["bitset_idx"][nodes["is_categorical"].astype(bool)]
        bitsets = value.raw_left_cat_bitsets
        if bitsets.shape[1:] != (_N_BITSET,) or (categorical >= len(bitsets)).any():
            raise ValueError("a tree reads categories that do not exist")
    elif isinstance(value, BaseEstimator):
        own = vars(value).get("n_features_in_")
        for name, held in vars(value).items():
            check_trees(held, own)
            is_forest = isinstance(value, BaseForest) and name == "estimators_"
            if is_forest and any(tree.n_features_in_ != own for tree in held):
                raise ValueError("a tree of a forest has another number of features")
    elif isinstance(value, np.ndarray) and value.dtype == object:
        check_trees(value.ravel().tolist(), n_features)
    elif isinstance(value, list | tuple):
        for held in value:
            check_trees(held, n_features)
    elif isinstance(value, dict):
        check_trees(list(value.values()), n_features)


def _check_nodes(left, right, feature, leaf, n_features):
    """Raise ValueError unless each branch leads to later nodes and compares a feature that exists."""
    branch = np.flatnonzero(~leaf)
    children = np.stack([left[branch], right[branch]]).astype(np.int64)
    features = feature[branch].astype(np.int64)
    is_sound = (children > branch) & (children < len(left)) & (features >= 0) & (features < (n_features or 0))
    if not len(left) or not is_sound.all():
        raise ValueError("a tree has branches to nodes or features that do not exist")

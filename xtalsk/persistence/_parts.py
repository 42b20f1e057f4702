"""Estimators taken apart: what skops writes, and tensors; and put together again.

skops writes estimators of scikit-learn and plain values. It does not know networks, tables, crystals, tensors
or dicts with tuples as keys, and it is slow for long lists of names. Each of these is a part: a dict for
skops, and tensors.
"""

import json
from importlib import import_module
from inspect import signature

import numpy as np
import torch
from sklearn.base import BaseEstimator

_MARK = "xtalsk part"  # key of the dicts that stand for parts
_TENSOR_TYPES = (torch.Tensor, torch.nn.Parameter)


def take_apart(estimator):
    """Return an estimator in which dicts stand for parts, and the tensors of all parts by name.

    The estimator that is given does not change.
    """
    taker = _Taker()
    return taker.take(estimator), taker.tensors


class _Taker:
    """Copies values and takes out parts; the same object is copied once."""

    def __init__(self):
        self.tensors, self._known, self._n_parts = {}, {}, 0

    def take(self, value):
        if id(value) in self._known:
            return self._known[id(value)][1]
        kind = _kind_of(value)
        if kind is not None:
            copy = self._take_part(kind, value)
        elif type(value) in (list, tuple):
            copy = type(value)([self.take(v) for v in value])
        elif type(value) is dict:
            copy = {key: self.take(v) for key, v in value.items()}
        elif isinstance(value, BaseEstimator):
            copy = object.__new__(type(value))
            vars(copy).update({name: self.take(v) for name, v in _state_of(value).items()})
        else:
            return value
        self._known[id(value)] = value, copy  # the value must live as long as its id is a key
        return copy

    def _take_part(self, kind, value):
        number, self._n_parts = str(self._n_parts), self._n_parts + 1
        tree, tensors = _KINDS[kind][0](value)
        self.tensors |= {f"{number}/{name}": tensor for name, tensor in tensors.items()}
        return {_MARK: kind, "number": number, "content": self.take(tree)}


def _state_of(estimator):
    """Return the attributes of an estimator; of one from an older version also the newer parameters."""
    if type(estimator).__module__.startswith("xtalsk."):
        return estimator.get_params(deep=False) | vars(estimator)
    return vars(estimator)


def _parameters_of_this_version(estimator):
    """Return the defaults of the parameters of scikit-learn; a file of another version may lack some."""
    theirs = next((c for c in type(estimator).__mro__ if c.__module__.startswith("sklearn.")), None)
    parameters = signature(theirs).parameters.values() if theirs else ()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def put_together(value, tensors):
    """Return a value of `take_apart` with its parts in their places.

    Estimators, lists and dicts change in place.

    Raises
    ------
    Several errors
        If parts and tensors do not fit.
    """
    return _Putter(tensors).put(value)


class _Putter:
    def __init__(self, tensors):
        self._tensors, self._known = tensors, {}

    def put(self, value):
        if id(value) in self._known:
            return self._known[id(value)][1]
        whole = value
        if type(value) is dict and _MARK in value:
            prefix = f"{value['number']}/"
            own = {n.removeprefix(prefix): t for n, t in self._tensors.items() if n.startswith(prefix)}
            whole = _KINDS[value[_MARK]][1](self.put(value["content"]), own)
        elif type(value) in (list, tuple):
            whole = type(value)([self.put(v) for v in value])
        elif type(value) is dict:
            whole = {key: self.put(v) for key, v in value.items()}
        elif isinstance(value, BaseEstimator):
            stored = {name: self.put(v) for name, v in vars(value).items()}
            vars(value).update(_parameters_of_this_version(value) | stored)
        else:
            return value
        self._known[id(value)] = value, whole
        return whole


def _kind_of(value):
    """Return the kind of part that a value is, or None."""
    if isinstance(value, _TENSOR_TYPES):
        return "tensor"
    if type(value) is dict and any(type(key) is tuple for key in value):  # skops writes keys that JSON knows
        return "pairs"
    if type(value) is np.ndarray and value.dtype == object and value.size:
        return "texts" if all(type(v) is str for v in value.flat) else None
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    kind = _KIND_OF.get(name)
    return None if kind == "library" and not hasattr(value, "_library") else kind


_KIND_OF = {
    "xtalsk.neural._net.FusionNet": "network",
    "xtalsk.library._match.LibraryMatch": "library",
    "pandas.core.frame.DataFrame": "table",
    "pandas.DataFrame": "table",
    "xtalsk.library._prototype_match.PrototypeMatch": "prototypes",
    "xtalsk.crystals._crystal_set.CrystalSet": "crystals",
}


_TRANSPOSED = ".T"


def _split(arrays):
    """Return the texts, dict, and the tensors of numbers of arrays by name.

    The order of an array in memory is kept, because sums of products may depend on it.
    """
    texts = {name: array for name, array in arrays.items() if array.dtype == object}
    tensors = {}
    for name, array in arrays.items():
        if array.flags.f_contiguous and not array.flags.c_contiguous:
            name, array = name + _TRANSPOSED, array.T
        if array.dtype != object:
            tensors[name] = torch.from_numpy(np.ascontiguousarray(array))
    return texts, tensors


def _join(texts, tensors):
    """Return the arrays of `_split`."""
    arrays = dict(texts)
    for name, tensor in tensors.items():
        own = name.removesuffix(_TRANSPOSED)
        arrays[own] = tensor.numpy() if own == name else tensor.numpy().T
    return arrays


def _take_texts(array):
    text = json.dumps(array.ravel().tolist(), separators=(",", ":")).encode()
    return {"shape": array.shape}, {"texts": torch.frombuffer(bytearray(text), dtype=torch.uint8)}


def _put_texts(tree, tensors):
    texts = json.loads(tensors["texts"].numpy().tobytes())
    if not all(type(text) is str for text in texts):
        raise ValueError("a list of texts holds other values")
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array.reshape(tree["shape"])


def _take_network(net):
    neural = import_module("xtalsk.neural")
    values, tensors = neural.network_state(net)
    return {"arguments": neural.network_arguments(net), "values": values}, tensors


def _put_network(tree, tensors):
    return import_module("xtalsk.neural").rebuild_network(tree["arguments"], tree["values"], tensors)


def _take_library(match):
    values, arrays = match._content(arranged=False)
    texts, tensors = _split(arrays)
    return {"values": json.dumps(values), "texts": texts}, tensors


def _put_library(tree, tensors):
    storage, library = import_module("xtalsk.library._storage"), import_module("xtalsk.library")
    arrays = _join(tree["texts"], tensors)
    return storage.restore_library(library.LibraryMatch(), json.loads(tree["values"]), arrays)


def _take_table(table):
    storage = import_module("xtalsk.library._storage")
    parts = [storage.column_arrays(table[name], str(number)) for number, name in enumerate(table)]
    texts, tensors = _split({place: array for part in parts for place, array in part.items()})
    return {"columns": list(table.columns), "texts": texts}, tensors


def _put_table(tree, tensors):
    storage = import_module("xtalsk.library._storage")
    return storage.read_table(tree["columns"], _join(tree["texts"], tensors), "")


def _take_prototypes(match):
    state = {
        name: value for name, value in _state_of(match).items() if name != "_own_table"
    }  # follows from the rest
    return state, {}


def _put_prototypes(state, _):
    match = import_module("xtalsk.library").PrototypeMatch()
    if "prototypes_" in state:  # of files that were written before `_own` existed
        state["_own"] = state.pop("prototypes_")
    vars(match).update(state)
    if state.get("_own") is not None:
        match._own_table = import_module("xtalsk.library._prototype_table").PrototypeTable(match._own)
    return match


def _take_crystals(crystals):
    texts, tensors = _split(import_module("xtalsk.crystals._archive").columns_of(crystals))
    return texts, tensors


def _put_crystals(texts, tensors):
    arrays = _join(texts, tensors)
    sets = import_module("xtalsk.crystals._archive").rotation_sets_of(arrays)
    return import_module("xtalsk.crystals").CrystalSet(rotation_sets=sets, **arrays)


_KINDS = {
    "pairs": (lambda value: (list(value.items()), {}), lambda pairs, _: dict(pairs)),
    "texts": (_take_texts, _put_texts),
    "tensor": (lambda tensor: ({}, {"tensor": tensor}), lambda _, tensors: tensors["tensor"]),
    "network": (_take_network, _put_network),
    "library": (_take_library, _put_library),
    "table": (_take_table, _put_table),
    "prototypes": (_take_prototypes, _put_prototypes),
    "crystals": (_take_crystals, _put_crystals),
}
"""Functions that take a part apart, and that put it together."""

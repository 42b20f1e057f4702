"""Which types a model file may hold.

skops makes objects by importing the names that a file gives. Each name must be in a list before anything is
imported. skops itself lists the public estimators of scikit-learn, types of NumPy, and functions of arrays.
The lists here add the public estimators of xtalsk and a few classes that fitted models hold. They also
restrict how objects are made: constructors are called for containers, arrays and losses only, and nothing
calls a method or a function by name.
"""

import io
import json
import zipfile

_PLAIN = "bool int float str list tuple set dict slice NoneType bytes bytearray"
_LOADERS = {
    "DictNode": {"builtins.dict", "collections.OrderedDict"},
    "DefaultDictNode": {"collections.defaultdict"},
    "ListNode": {"builtins.list"},
    "TupleNode": {"builtins.tuple"},
    "SetNode": {"builtins.set"},
    "SliceNode": {"builtins.slice"},
    "JsonNode": {"builtins.str"},
    "BytesNode": {"builtins.bytes"},
    "BytearrayNode": {"builtins.bytearray"},
    "TypeNode": {f"builtins.{name}" for name in _PLAIN.split()} | {"collections.OrderedDict", "numpy."},
    "NdArrayNode": {"numpy."},
    "DTypeNode": {"numpy.dtype"},
    "MaskedArrayNode": {"numpy.ma.MaskedArray"},
    "SparseMatrixNode": {"scipy.sparse."},
    "RandomStateNode": {"numpy.random.mtrand.RandomState"},
    "RandomGeneratorNode": {"numpy.random._generator.Generator"},
    "FunctionNode": {"numpy.", "scipy.special."},
    "LossNode": {"sklearn.", "_loss."},
    "TreeNode": {"sklearn.tree._tree.Tree"},
    "ObjectNode": {"sklearn.", "xtalsk.", "lightgbm.", "xgboost."},
}
"""Names of types, or beginnings that end in a dot, for each way in which skops makes an object."""

_HELD = frozenset(
    {
        "xtalsk.columns.Block",
        "xtalsk.neural._blocks.MeasuredBlock",
        "xtalsk.utils._column_transformer.ColumnTransformer",
        "xtalsk.baselines._HistGradientBoosting",
        "xtalsk.baselines._LabelEncoded",
        "sklearn.tree._tree.Tree",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.MultinomialLogit",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.loss.HalfBinomialLoss",
        "sklearn._loss.loss.HalfMultinomialLoss",
        "sklearn.calibration._CalibratedClassifier",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
        "builtins.NoneType",
        "builtins.bytes",
        "builtins.bytearray",
        "builtins.dict",
        "builtins.slice",
        "collections.OrderedDict",
        "collections.defaultdict",
        "scipy.sparse._csr.csr_matrix",
        "numpy.dtype",
    }
)
"""Types that skops does not trust by itself, and that fitted models of xtalsk and its baselines hold."""


BOOSTERS = ("lightgbm", "xgboost")
"""Packages that read their trees themselves, and do not check the numbers of nodes and features."""


def check_content(data, trusted=()):
    """Return the names of the types that skops may make of bytes of its format.

    Nothing is imported from names in the file, except public names of xtalsk. ``trusted`` lists those of
    `BOOSTERS` that may read a part of the bytes.

    Raises
    ------
    ValueError, KeyError, TypeError, zipfile.BadZipFile
        If the bytes have another format, or hold a type that is not in the lists; the message names them.
    """
    from skops.io import get_untrusted_types

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        schema = json.loads(archive.read("schema.json"))
    nodes = set(_nodes(schema))
    packages = {name.partition(".")[0] for _, name in nodes} & set(BOOSTERS) - set(trusted)
    if packages:
        listed = ", ".join(sorted(packages))
        raise UnknownTypeError(
            f"models of {listed}, which reads its trees without checking them, so that an altered file can "
            f"crash the process; load(path, trusted={sorted(packages)}) loads files of people you trust"
        )
    unknown = {name for loader, name in nodes if not _is_listed(loader, name)}
    if not unknown:
        untrusted = get_untrusted_types(data=data)
        unknown = {name for name in untrusted if name not in _HELD and not _is_public_estimator(name)}
    if unknown:
        raise UnknownTypeError(", ".join(sorted(unknown)))
    return untrusted


class UnknownTypeError(ValueError):
    """A file or an estimator holds types that model files do not hold."""


def _nodes(tree):
    """Yield how each object in the schema of a file is made, and the name of its type."""
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            if "__loader__" in node:
                yield node["__loader__"], f"{node.get('__module__')}.{node.get('__class__')}"
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)


def _is_listed(loader, name):
    """Return whether skops may make an object of a type in this way."""
    listed = _LOADERS.get(loader, ())
    return any(name == one or (one.endswith(".") and name.startswith(one)) for one in listed)


def _is_public_estimator(name):
    """Return whether a name is that of a public estimator of xtalsk."""
    from sklearn.base import BaseEstimator

    import xtalsk

    public = name.rpartition(".")[2]
    if not name.startswith("xtalsk.") or public not in xtalsk.__all__:
        return False
    found = getattr(xtalsk, public)
    is_estimator = isinstance(found, type) and issubclass(found, BaseEstimator)
    return is_estimator and name == f"{found.__module__}.{found.__qualname__}"

"""Fingerprints of values and of code: equal fingerprints mean equal results."""

import ast
import hashlib
import re
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.metadata import version
from numbers import Real
from pathlib import Path
from platform import python_version_tuple

import numpy as np

_PACKAGE = __name__.partition(".")[0]
_FOLDER = Path(__file__).parents[1]
_N_VARIATES = 1000  # random numbers that represent a distribution

_COMPILED = re.compile(r"\._compiled\w*$|_kernels$")

LIBRARIES = ("numpy", "scipy", "torch", "gemmi", "numba")
"""Libraries whose arithmetic or tables enter simulated patterns and trained networks."""


def fingerprint(value):
    """Return a hash of the content of a value.

    Parameters
    ----------
    value : object
        Numbers, text, arrays, dataclasses, scikit-learn estimators (by their parameters), distributions with
        a method ``rvs``, classes and functions (by their names), and containers of these.

    Returns
    -------
    str
        The same in every process. Numbers of equal value are equal, and so are lists and tuples.

    Examples
    --------
    >>> from xtalsk.utils._fingerprint import fingerprint
    >>> fingerprint({"a": [1, 2.5]}) == fingerprint({"a": (1.0, 2.5)})
    True
    """
    digest = hashlib.sha256()
    _feed(digest, value)
    return digest.hexdigest()


def _feed(digest, value):
    """Add the content of a value to a hash."""
    kind, parts = _content(value)
    digest.update(f"<{kind}>".encode())
    if isinstance(parts, bytes):
        digest.update(parts)
    else:
        for part in parts:
            _feed(digest, part)
    digest.update(b"</>")


def _content(value):
    """Return the kind of a value, and its bytes or the list of its parts."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str | bytes | bool | None):
        return "plain", repr(value).encode()
    if isinstance(value, Real):
        return "number", repr(int(value) if value == value // 1 and abs(value) < 2**53 else value).encode()
    if isinstance(value, Mapping):
        return "dict", sorted(value.items(), key=lambda item: repr(item[0]))
    if isinstance(value, list | tuple):
        return "list", value
    if isinstance(value, set | frozenset):
        return "set", sorted(value, key=repr)
    if isinstance(value, type) or hasattr(value, "__qualname__"):
        return "name", f"{value.__module__}.{value.__qualname__}".encode()
    if hasattr(value, "__array__"):
        return _content_of_array(np.asarray(value))
    return _content_of_object(value)


def _content_of_array(array):
    """Return the kind and the bytes of an array; an array of objects is a list."""
    if array.dtype.kind in "OU":
        return f"array {array.shape}", array.ravel().tolist()
    return f"array {array.dtype.str} {array.shape}", np.ascontiguousarray(array).tobytes()


def _content_of_object(value):
    """Return the class of an object and the attributes or random numbers that stand for it."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if hasattr(value, "rvs"):
        variates = np.asarray(value.rvs(size=_N_VARIATES, random_state=np.random.RandomState(0)), dtype=float)
        return kind, [getattr(value, "args", ()), getattr(value, "kwds", {}), variates]
    if hasattr(value, "get_params"):
        return kind, [value.get_params(deep=False)]
    if is_dataclass(value):
        return kind, [{field.name: getattr(value, field.name) for field in fields(value)}]
    text = repr(value)
    if re.search(r" at 0x[0-9a-f]+", text):  # an address, which differs in each process
        return kind, [getattr(value, "__dict__", {})]
    return kind, text.encode()


def library_versions():
    """Return the versions of the package, of Python and of `LIBRARIES`, dict of str to str.

    Builds of one version for different devices (``2.4+cpu``, ``2.4+cu124``) count as equal.
    """
    versions = {name: version(name).partition("+")[0] for name in LIBRARIES}
    package = getattr(sys.modules[_PACKAGE], "__version__", "")
    return {_PACKAGE: package, "python": ".".join(python_version_tuple()[:2])} | versions


def code_fingerprint(*modules):
    """Return a hash of the code of modules and of all modules of the package that they import at the top.

    Imports within functions count only if they are of compiled loops (``_compiled*.py``, ``*_kernels.py``);
    the package uses others for conversions of formats. Comments and docstrings do not count. Constants (names
    in capitals) count with their present values, so that a value set at run time counts too.

    Parameters
    ----------
    *modules : str
        Names of modules. Modules of other packages are ignored.

    Returns
    -------
    str
    """
    own = tuple(sorted({m for m in modules if m.partition(".")[0] == _PACKAGE}))
    constants = {module: _constants(module) for module in _closure(own, compiled=False)}
    return fingerprint([_code(own), constants])


@cache
def _code(modules):
    """Return the hash of the source of modules and of all that they import."""
    return fingerprint({module: _parse(module)[0] for module in _closure(modules)})


def _constants(module):
    """Return the constants of an imported module that are numbers, text, or tuples or dicts of these."""
    names = vars(sys.modules[module]) if module in sys.modules else {}
    return {
        name: value
        for name, value in names.items()
        if re.match("[A-Z][A-Z0-9_]*$", name) and _is_plain(value)
    }


def _is_plain(value):
    """Whether a value consists of numbers and text only."""
    if isinstance(value, Mapping):
        return all(_is_plain(v) for pair in value.items() for v in pair)
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, Real | str | None)


@cache
def _closure(modules, compiled=True):
    """Return the names of modules and of all modules of the package that they import, sorted.

    ``compiled=False`` leaves out modules that are imported within functions, which may not be loaded yet.
    """
    found, queue = set(), list(modules)
    while queue:
        module = queue.pop()
        if module not in found and _path(module) is not None:
            found.add(module)
            _, imports, compiled_loops = _parse(module)
            queue += imports + compiled_loops * compiled
    return sorted(found)


def _path(module):
    """Return the file of a module of the package, or None."""
    base = _FOLDER.joinpath(*module.split(".")[1:])
    candidates = (base / "__init__.py", base.with_suffix(".py"))
    return next((path for path in candidates if path.is_file()), None)


@cache
def _parse(module):
    """Return the code of a module without docstrings, its imports at the top, and those of compiled loops."""
    tree = ast.parse(_path(module).read_bytes())
    imports = [name for node in tree.body for name in _imported_modules(node)]
    everywhere = [name for node in ast.walk(tree) for name in _imported_modules(node)]
    compiled_loops = [name for name in everywhere if _COMPILED.search(name)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not _is_text(statement)]
    return ast.dump(tree), imports, compiled_loops


def _is_text(statement):
    """Whether a statement is a docstring."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _imported_modules(node):
    """Return the modules of the package from which a statement imports."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
        return [name for name in names if name.partition(".")[0] == _PACKAGE]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module.partition(".")[0] == _PACKAGE:
        return [_defining_module(node.module, alias.name) for alias in node.names]
    return []


@cache
def _defining_module(module, name):
    """Return the module that a name comes from: a module itself, or where a package imports it from."""
    if _path(f"{module}.{name}") is not None:
        return f"{module}.{name}"
    if _path(module).name == "__init__.py":
        for node in ast.parse(_path(module).read_bytes()).body:
            if isinstance(node, ast.ImportFrom) and name in [
                alias.asname or alias.name for alias in node.names
            ]:
                return _defining_module(node.module, name)
    return module

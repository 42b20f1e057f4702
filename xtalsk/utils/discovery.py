"""Find what the package offers."""

import importlib
import inspect
import pkgutil

from sklearn.base import BaseEstimator

import xtalsk

__all__ = ["all_estimators"]


def _is_public(module_name):
    """Tell whether users are meant to import from a module; bases are in utils."""
    return "._" not in module_name and not module_name.startswith("xtalsk.utils")


def all_estimators():
    """List all public estimators: the classes that a public module of the package offers.

    Returns
    -------
    list of (str, type)
        Name and class of every estimator, sorted by name.

    Examples
    --------
    >>> from xtalsk.utils.discovery import all_estimators
    >>> [name for name, _ in all_estimators() if name.startswith("Element")]
    ['ElementFractions', 'ElementPresence']
    """
    found = {}
    for module_info in pkgutil.walk_packages(xtalsk.__path__, prefix="xtalsk."):
        if not _is_public(module_info.name):
            continue
        module = importlib.import_module(module_info.name)
        for name, value in inspect.getmembers(module, inspect.isclass):
            own = value.__module__.startswith("xtalsk.") and not value.__module__.startswith("xtalsk.utils")
            if own and issubclass(value, BaseEstimator) and not name.startswith("_"):
                found[name] = value
    return sorted(found.items())

"""Lists the public estimators of the package."""

import importlib
import inspect
import pkgutil

from sklearn.base import BaseEstimator

import xtalsk

__all__ = ["all_estimators"]


def _is_public(module_name):
    """Return whether a module is public. Modules of utils contain base classes and are not."""
    return "._" not in module_name and not module_name.startswith("xtalsk.utils")


def all_estimators():
    """List all public estimators of the package.

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
    estimators = {}
    for module_info in pkgutil.walk_packages(xtalsk.__path__, prefix="xtalsk."):
        if not _is_public(module_info.name):
            continue
        module = importlib.import_module(module_info.name)
        for name, value in inspect.getmembers(module, inspect.isclass):
            is_own = value.__module__.startswith("xtalsk.") and not value.__module__.startswith(
                "xtalsk.utils"
            )
            if is_own and issubclass(value, BaseEstimator) and not name.startswith("_"):
                estimators[name] = value
    return sorted(estimators.items())

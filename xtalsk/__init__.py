"""Crystal structure from diffraction and chemistry, as scikit-learn estimators."""

from xtalsk._version import __version__

__all__ = ["__version__"]

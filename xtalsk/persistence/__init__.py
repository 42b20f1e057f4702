"""Files of fitted estimators, without pickle."""

from xtalsk.persistence._file import ModelFileError, VersionWarning, load, save

__all__ = ["ModelFileError", "VersionWarning", "load", "save"]

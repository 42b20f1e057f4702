"""Libraries of `LibraryMatch` in files, and more entries for a library."""

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted, validate_data

from xtalsk._levels import levels_of
from xtalsk.columns import find_blocks
from xtalsk.library._blocks import check_entries, chemistry_columns
from xtalsk.library._scaled import Grid, arrange_profiles
from xtalsk.utils import check_classes, check_empty_rows, to_float32
from xtalsk.utils._array_file import read_arrays, write_arrays
from xtalsk.utils._container import ContainerError

_KIND, _VERSION = "LibraryMatch", 1
_MAPPED = ("profiles/", "arranged/")
_USES = ("profile", "fractions", "presence", "unused")


class LibraryStorage:
    """Methods of `LibraryMatch` that write, read and extend its library."""

    def extend(self, X, y, entries=None):
        """Add entries to the library. What is stored of the other entries does not change.

        Large libraries need less memory if they are made in parts: `make_library` of some thousand crystals,
        `fit`, then `extend` with the next ones.

        Parameters
        ----------
        X : array-like of shape (n_more, n_features)
            The columns of the library, NaN where missing.
        y : array-like of shape (n_more,)
            Labels. New ones become classes.
        entries : DataFrame of n_more rows, or None
            The columns of ``entries_``. None only if the library has no table of entries.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If X, y or entries do not fit the library. The library is then unchanged.

        Examples
        --------
        >>> import numpy as np
        >>> from xtalsk.library import LibraryMatch
        >>> lines = np.random.default_rng(0).uniform(10, 118, size=(3, 8, 1))
        >>> patterns = np.exp(-((np.arange(128) - lines) ** 2) / 4).sum(axis=1)
        >>> match = LibraryMatch().fit(patterns[:2], [152, 225]).extend(patterns[2:], [227])
        >>> match.predict(patterns)
        array([152, 225, 227])
        """
        check_is_fitted(self)
        self._check_grids(getattr(X, "attrs", {}).get("grids", {}))
        X, y = validate_data(self, X, y, reset=False, dtype=[np.float32, np.float64], ensure_all_finite=False)
        check_classes(y)
        X = to_float32(X, getattr(self, "feature_names_in_", None))
        check_empty_rows(self._empty_rows(X), self._used_names(), "raise")
        self._check_presence(X)
        entries = self._more_entries(entries, len(X))
        if (y.dtype.kind in "OUS") != (self.classes_.dtype.kind in "OUS"):
            raise ValueError(
                f"y has labels of type {y.dtype}, those of the library are {self.classes_.dtype}"
            )
        classes, labels = np.unique(np.concatenate([self.classes_[self._labels], y]), return_inverse=True)
        stored = {name: str(profiles.dtype) for name, profiles in self._library.items()}
        more = {block.name: self._pack(block, X, stored[block.name]) for block in self._used}
        library = {name: np.concatenate([self._library[name], more[name]]) for name in more}
        arranged = self._arranged()
        for name in arranged:
            new = arrange_profiles(more[name], self._grids[name], self._line_widths())
            arranged[name] = {key: np.concatenate([arranged[name][key], new[key]]) for key in new}
        self.classes_, self._labels, self.level_classes_ = classes, labels, levels_of(classes)
        self.entries_, self._library = entries, library
        if arranged:
            self._prepare(arranged)
        return self

    def save(self, path):
        """Write the library to a file that `load` reads. The old file stays until the new one is complete.

        The file has no pickle: it holds parameters, names, tables and arrays with checksums.

        Parameters
        ----------
        path : path-like

        Raises
        ------
        TypeError
            If a column of ``entries_`` holds other things than text, numbers and missing values.
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> from xtalsk.library import LibraryMatch
        >>> lines = np.random.default_rng(0).uniform(10, 118, size=(3, 8, 1))
        >>> patterns = np.exp(-((np.arange(128) - lines) ** 2) / 4).sum(axis=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "minerals.library")
        ...     LibraryMatch().fit(patterns, [152, 225, 227]).save(path)
        ...     match = LibraryMatch.load(path)
        >>> match.predict(patterns)
        array([152, 225, 227])
        """
        write_arrays(path, _KIND, _VERSION, *self._content())

    def _content(self, arranged=True):
        """Return what a file of the library holds: plain values, and arrays by name.

        Without ``arranged``, profiles are arranged anew when the library that was read is first used.
        """
        check_is_fitted(self)
        values = {
            "params": {name: _plain(value) for name, value in self.get_params().items()},
            "modality": self.modality_,
            "blocks": self.blocks_,
            "grids": {name: list(grid) for name, grid in self._grids.items()},
            "line_widths": _plain(self._line_widths()) if self._grids and arranged else None,
            "n_features": int(self.n_features_in_),
            "columns": list(self.entries_.columns),
            "text_classes": self.classes_.dtype.kind == "U",
        }
        arrays = {"labels": self._labels.astype(np.int64), "classes": self.classes_}
        if values["text_classes"]:
            arrays["classes"] = self.classes_.astype(object)
        if hasattr(self, "feature_names_in_"):
            arrays["names"] = self.feature_names_in_
        for number, column in enumerate(self.entries_):
            arrays |= column_arrays(self.entries_[column], f"entries/{number}")
        for name, packed in self._library.items():
            arrays[f"{_place(self.blocks_[name])}/{name}"] = packed
        for name, tables in self._arranged().items() if arranged else ():
            arrays |= {f"arranged/{name}/{key}": table for key, table in tables.items()}
        return values, arrays

    @classmethod
    def load(cls, path, *, mmap=True):
        """Read a library that `save` wrote. Nothing in the file is executed.

        Parameters
        ----------
        path : path-like
        mmap : bool, default=True
            Whether the profiles are mapped into memory: they are read when they are used, several processes
            share them, and their checksums are not compared. The header, all other arrays and the length of
            the file are checked in any case.

        Returns
        -------
        LibraryMatch

        Raises
        ------
        ValueError
            If the file does not hold a library, or is damaged. The message names the file.
        FileNotFoundError
            If the file does not exist.
        """
        try:
            values, arrays = read_arrays(path, _KIND, _VERSION, _MAPPED if mmap else ())
            return restore_library(cls(), values, arrays)
        except (ContainerError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise ValueError(f"{path} does not hold a LibraryMatch, or is damaged: {error}") from error

    def _arranged(self):
        """Return the arranged profiles of the blocks at several line widths, by name."""
        if not self._grids:
            return {}
        profiles = self._prepared().profiles
        return {block.name: of.arranged for block, of in profiles if block.name in self._grids}

    def _check_grids(self, grids):
        """Raise ValueError if entries have other grids of q than the library."""
        for name, grid in self._grids.items():
            own = {"step": grid.step, "scale": grid.scale}
            if name in grids and grids[name] != own:
                raise ValueError(f"X has the grid {grids[name]} of {name}, the library has {own}")

    def _check_presence(self, X):
        """Raise ValueError if a block of presence has other values than 0 and 1."""
        for block in self._used:
            values = X[:, block.columns]
            if (
                self.blocks_[block.name] == "presence"
                and not (np.isnan(values) | np.isin(values, (0, 1))).all()
            ):
                raise ValueError(
                    f"X: {block.name} must be 0 or 1 as in the library, or NaN where not measured"
                )

    def _more_entries(self, entries, n_more):
        """Return the table of the entries of the library and of more entries."""
        own = list(self.entries_.columns)
        if entries is None:
            if own != ["id"] or self.entries_["id"].dtype == object:
                raise ValueError(f"entries must have the columns of the library: {own}")
            entries = pd.DataFrame({"id": len(self.entries_) + np.arange(n_more)})
        entries = check_entries(entries, n_more)
        if set(entries.columns) != set(own):
            raise ValueError(
                f"entries must have the columns of the library, {own}; got {list(entries.columns)}"
            )
        return pd.concat([self.entries_, entries[own]], ignore_index=True)


def _place(use):
    """Return the beginning of the name of an array in a file."""
    return "profiles" if use == "profile" else "compositions"


def _plain(value):
    """Return the value of a parameter as JSON has it."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


def column_arrays(column, place):
    """Return the arrays of one column of a table, ``entries_`` or another."""
    if pd.api.types.is_numeric_dtype(column.dtype) and isinstance(column.dtype, np.dtype):
        return {place: column.to_numpy()}
    is_missing = column.isna().to_numpy()
    texts = column.astype(object).where(~is_missing, "").to_numpy()
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"column {column.name!r} of a table must hold text or numbers, or be missing")
    texts = np.array([str(text) for text in texts] + [None], dtype=object)[:-1]
    return {place: texts, f"{place}/missing": is_missing}


def restore_library(match, values, arrays):
    """Set the attributes of a `LibraryMatch` to those of a file; raise one of several errors if they are not.

    Compiled loops rely on the shapes and types that are checked here.
    """
    params = {name: tuple(v) if isinstance(v, list) else v for name, v in values["params"].items()}
    match.set_params(**params)
    match._check_params()
    match.n_features_in_ = int(values["n_features"])
    names = arrays.get("names")
    if names is not None:
        match.feature_names_in_ = names
        _check("names", names, (match.n_features_in_,), "O")
    blocks = {block.name: block for block in find_blocks(names, match.n_features_in_)}
    uses = values["blocks"]
    if set(uses) != set(blocks) or not set(uses.values()) <= set(_USES):
        raise ValueError(f"its blocks are {uses}")
    match.blocks_, match.modality_ = uses, values["modality"]
    match._used = [block for name, block in blocks.items() if uses[name] != "unused"]
    match._grids = {name: Grid(*grid) for name, grid in values["grids"].items()}
    classes = arrays["classes"]
    match.classes_ = classes.astype(str) if values["text_classes"] else classes
    match._labels = labels = arrays["labels"]
    _check("labels", labels, (len(labels),), "i8")
    if not len(labels) or labels.min() < 0 or labels.max() >= len(classes) or classes.ndim != 1:
        raise ValueError("labels do not belong to classes")
    match.level_classes_ = levels_of(match.classes_)
    match.entries_ = check_entries(read_table(values["columns"], arrays, "entries/"), len(labels))
    match._library = {}
    for block in match._used:
        use, n_columns = uses[block.name], len(block.columns)
        packed = arrays[f"{_place(use)}/{block.name}"]
        if use != "profile":
            n_columns = len(chemistry_columns(block, names)[0])
        types = ("i1", "i2") if use == "profile" else ("f2",)
        _check(block.name, packed, (len(labels), n_columns), *types)
        match._library[block.name] = packed
    if match._grids and values["line_widths"] == _plain(match._line_widths()):
        match._prepare({name: _read_arranged(match, name, arrays) for name in match._grids})
    return match


def read_table(columns, arrays, place):
    """Return the table whose columns have these names, from the arrays of `column_arrays`."""
    table = {}
    for number, column in enumerate(columns):
        values = arrays[f"{place}{number}"]
        if values.dtype == object:
            is_missing = arrays[f"{place}{number}/missing"]
            _check(column, is_missing, values.shape, "b1")
            values[is_missing] = None
        table[column] = values
    return pd.DataFrame(table)


def _read_arranged(match, name, arrays):
    """Return the arranged profiles of a block, see `arrange_profiles`."""
    n_entries, n_bins = match._library[name].shape
    empty = arrange_profiles(np.zeros((1, n_bins), np.int8), match._grids[name], match._line_widths())
    tables = {key: arrays[f"arranged/{name}/{key}"] for key in empty}
    for key, table in tables.items():
        _check(key, table, (n_entries, *empty[key].shape[1:]), empty[key].dtype.str[1:])
    return tables


def _check(name, array, shape, *types):
    """Raise ValueError unless an array has a shape and one of some types."""
    if array.shape != shape or array.dtype.str[1:] not in types:
        raise ValueError(f"{name} has the shape {array.shape} and the type {array.dtype}, expected {shape}")

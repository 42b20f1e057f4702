"""The structures at the positions of a scan."""

import io
import json
import os
import uuid
from pathlib import Path

import numpy as np
import pandas as pd

from xtalsk.io import BrokenFileError, ScanAxis
from xtalsk.mapping import _constants as const
from xtalsk.mapping._candidates import CANDIDATE

_FORMAT = "xtalsk structure map 1"
_QUANTITIES = (
    "status",
    "code",
    "confidence",
    "second_code",
    "second_probability",
    "second_share",
    "is_mixture",
)


class StructureMap:
    """Structures at the positions of a scan. `map_structures` makes it.

    Parameters
    ----------
    arrays : dict of {str: ndarray}
        Arrays whose first axes are those of the scan.
    axes : sequence of ScanAxis
    labels : dict of {str: ndarray}
        Labels of each level, from coarse to fine.
    entries : DataFrame
        Entries of the library among the candidates. Their index are the numbers in ``candidates``.
    examples : list of dict
        Example patterns: ``code``, ``position``, ``image``, ``pixel_size`` and ``center``.

    Attributes
    ----------
    shape : tuple of int
        Positions along each axis of the scan.
    axes : tuple of ScanAxis
        Names, steps and units of the axes.
    label : ndarray of shape (*shape,)
        Labels of the finest level. Where the status is not ok: 0 if labels are integers (the number below the
        smallest label if 0 is a label), "" if not.
    best_label : ndarray of shape (*shape,)
        The same, with the most probable label of positions that are not indexed.
    confidence : float32 ndarray of shape (*shape,)
        Probability of the label; NaN where nothing was measured. For `LibraryMatch` alone, whose
        probabilities take for granted that one of its labels is right, times the probability of that.
    probability : dict of {str: float32 ndarray of shape (*shape, n_labels)}
        Probabilities of the labels of each level, in the order of ``labels[level]``.
    labels : dict of {str: ndarray of shape (n_labels,)}
        Labels of each level.
    status : uint8 ndarray of shape (*shape,)
        0 ok, 1 not indexed, 2 not measured, 3 broken.
    reason : object ndarray of shape (*shape,)
        Why a position has no label, as text.
    second_label : ndarray of shape (*shape,)
        The second label: of the second phase where ``is_mixture``, else the second most probable one.
    second_probability : float32 ndarray of shape (*shape,)
        Probability of the second label.
    is_mixture : bool ndarray of shape (*shape,)
        True where the lines of two entries of different labels explain the pattern much better than those of
        one. It needs a `LibraryMatch` that compares at several line widths (rings), and is False without one.
    second_share : float32 ndarray of shape (*shape,)
        Share of the second phase in the intensity of the lines, from that fit.
    candidates : structured ndarray of shape (*shape, n_candidates)
        Best entries of the library: ``entry`` (-1: none), ``label`` (number among the finest labels),
        ``similarity``, ``probability``, ``scale`` and ``width``.
    entries : DataFrame
        Description of these entries; the index is ``entry``.
    group : int32 ndarray of shape (*shape,) or None
        Number of the group of alike patterns.
    examples : list of dict

    See Also
    --------
    map_structures : Makes the map.

    Examples
    --------
    >>> import numpy as np
    >>> from xtalsk.mapping import StructureMap
    >>> code = np.array([[0, 0, 1], [0, 1, -1]])
    >>> known = StructureMap.from_codes(code, np.full((2, 3), 0.9), labels=[225, 136], level="space_group")
    >>> known, known.label.tolist()
    (StructureMap(2 x 3: 5 ok, 1 not indexed, 0 not measured, 0 broken), [[225, 225, 136], [225, 136, 0]])
    """

    def __init__(self, arrays, *, axes, labels, entries, examples=()):
        self.arrays, self.axes, self.labels = arrays, tuple(axes), labels
        self.entries, self.examples = entries, list(examples)
        self.shape = arrays["status"].shape

    @classmethod
    def from_codes(cls, code, confidence, *, labels, axes=None, level="label"):
        """Make a map of known labels, such as the truth of a simulation.

        Parameters
        ----------
        code : ndarray of int
            Number of the label at each position; -1 is not indexed.
        confidence : ndarray of the shape of ``code``
        labels : sequence
            Labels, sorted.
        axes : sequence of ScanAxis or None, default=None
        level : str, default="label"
            Level of symmetry of the labels, if they have one.

        Returns
        -------
        StructureMap
        """
        code, confidence = np.asarray(code, dtype=np.int32), np.asarray(confidence, dtype=np.float32)
        labels, empty = np.asarray(labels), np.full(code.shape, np.nan, dtype=np.float32)
        proba = np.where(np.arange(len(labels)) == code[..., None], confidence[..., None], 0)
        arrays = {
            "status": np.where(code < 0, const.NOT_INDEXED, const.OK).astype(np.uint8),
            "reason": np.where(code < 0, const.LOW_CONFIDENCE, "").astype(object),
            "code": code,
            "confidence": confidence,
            "second_code": np.full(code.shape, -1, dtype=np.int32),
            "second_probability": empty,
            "second_share": empty,
            "is_mixture": np.zeros(code.shape, dtype=bool),
            "candidates": np.zeros((*code.shape, 0), dtype=CANDIDATE),
            f"probability_{level}": proba.astype(np.float32),
        }
        names = ("z", "y", "x")[-code.ndim :]
        axes = axes or [ScanAxis(name, size) for name, size in zip(names, code.shape, strict=True)]
        return cls(arrays, axes=axes, labels={level: labels}, entries=pd.DataFrame())

    def __repr__(self):
        parts = ", ".join(
            f"{np.count_nonzero(self.status == status)} {name}" for status, name in enumerate(const.STATUS)
        )
        return f"StructureMap({' x '.join(map(str, self.shape))}: {parts})"

    def __getattr__(self, name):
        arrays = self.__dict__.get("arrays", {})
        if name in arrays:
            return arrays[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __dir__(self):
        return sorted({*super().__dir__(), *self.arrays})

    @property
    def level(self):
        """Level of the labels: the finest one."""
        return list(self.labels)[-1]

    @property
    def label(self):
        """Labels where the status is ok."""
        return self._names(np.where(self.status == const.OK, self.code, -1))

    @property
    def best_label(self):
        """Most probable labels, also of positions that are not indexed."""
        return self._names(self.code)

    @property
    def second_label(self):
        """Second labels."""
        return self._names(self.second_code)

    @property
    def group(self):
        """Number of the group of alike patterns, -1 without one; None if patterns were not grouped."""
        return self.arrays.get("group")

    @property
    def probability(self):
        """Probabilities of the labels of each level."""
        return {level: self.arrays[f"probability_{level}"] for level in self.labels}

    def _names(self, codes, level=None):
        """Return the labels of numbers of labels; -1 is the missing label."""
        labels = self.labels[level or self.level]
        if labels.dtype.kind in "iu":
            missing = 0 if 0 not in labels else labels.min() - 1
        else:
            labels, missing = labels.astype(str), ""
        return np.append(labels, np.array([missing], dtype=labels.dtype))[codes]

    def at_level(self, level):
        """Return the labels and their probabilities at a level of symmetry, as indexed positions have them.

        Returns
        -------
        labels : ndarray of shape (*shape,)
            The missing label where the status is not ok.
        probability : float32 ndarray of shape (*shape,)
        """
        if level not in self.labels:
            raise ValueError(f"level must be one of {list(self.labels)}, got {level!r}")
        proba = self.probability[level]
        codes = np.where(self.status == const.OK, np.nan_to_num(proba, nan=-1).argmax(axis=-1), -1)
        return self._names(codes, level), proba.max(axis=-1)

    def with_confidence(self, min_confidence):
        """Return the map with another least confidence of indexed positions; nothing is computed again."""
        arrays = dict(self.arrays)
        changes = (self.status == const.OK) | np.isin(
            self.reason.astype(str), (const.LOW_CONFIDENCE, const.UNLIKELY)
        )
        is_sure = np.nan_to_num(self.confidence, nan=-1) >= min_confidence
        arrays["status"] = np.where(
            changes, np.where(is_sure, const.OK, const.NOT_INDEXED), self.status
        ).astype(np.uint8)
        arrays["reason"] = np.where(changes, np.where(is_sure, "", const.LOW_CONFIDENCE), self.reason)
        return type(self)(
            arrays, axes=self.axes, labels=self.labels, entries=self.entries, examples=self.examples
        )

    def candidates_at(self, position):
        """Return the candidates at one position, a DataFrame with the columns of ``entries``."""
        found = self.arrays["candidates"][tuple(position)]
        found = found[found["entry"] >= 0]
        table = self.entries.reindex(found["entry"]).reset_index(drop=True)
        table.insert(0, "rank", np.arange(1, len(table) + 1))
        table["label"] = self._names(found["label"])
        return table.assign(**{name: found[name] for name in ("similarity", "probability", "scale", "width")})

    def to_frame(self):
        """Return one row for each position: places, label, confidence, status, reason and second label."""
        numbers = np.indices(self.shape).reshape(len(self.shape), -1)
        names = _unique_names(self.axes)
        columns = {name: axis.positions()[n] for name, axis, n in zip(names, self.axes, numbers, strict=True)}
        columns |= {f"index_{name}": n for name, n in zip(names, numbers, strict=True)}
        for level in self.labels:
            if level != self.level:
                columns[level] = self.at_level(level)[0].ravel()
        columns |= {
            "label": self.label.ravel(),
            "confidence": self.confidence.ravel(),
            "status": np.array(const.STATUS)[self.status.ravel()],
            "reason": self.reason.ravel(),
            "second_label": self.second_label.ravel(),
            "second_probability": self.second_probability.ravel(),
            "is_mixture": self.is_mixture.ravel(),
        }
        if self.group is not None:
            columns["group"] = self.group.ravel()
        return pd.DataFrame(columns)

    def counts(self):
        """Return the number of positions of each label, most frequent first, as a Series."""
        indexed = self._names(self.code[self.status == const.OK])
        return pd.Series(indexed, name="label").value_counts()

    def to_xarray(self):
        """Return the map as an xarray Dataset with the axes of the scan; needs xarray."""
        xarray = _optional("xarray", "to_xarray")
        names = _unique_names(self.axes)
        coords = {
            name: (name, axis.positions(), {"units": axis.units})
            for name, axis in zip(names, self.axes, strict=True)
        }
        variables = {name: (names, self.arrays[name]) for name in _QUANTITIES}
        variables |= {"label": (names, self.label), "second_label": (names, self.second_label)}
        variables["reason"] = (names, self.reason.astype(str))
        for level, labels in self.labels.items():
            coords[level] = (level, labels if labels.dtype.kind in "iu" else labels.astype(str))
            variables[f"probability_{level}"] = ([*names, level], self.probability[level])
        return xarray.Dataset(variables, coords)

    def to_hyperspy(self, quantity="confidence"):
        """Return one quantity of the map as a HyperSpy signal with the axes of the scan; needs HyperSpy.

        Parameters
        ----------
        quantity : str, default="confidence"
            ``"code"`` (numbers of the labels, which are in the metadata), ``"confidence"``, ``"status"`` and
            others, or a level such as ``"crystal_system"``: its probabilities are then the signal, and the
            axes of the scan those of navigation.
        """
        signals = _optional("hyperspy.api", "to_hyperspy").signals
        if quantity not in (*_QUANTITIES, *self.labels):
            raise ValueError(f"quantity must be one of {[*_QUANTITIES, *self.labels]}, got {quantity!r}")
        is_level = quantity in self.labels
        data = self.probability[quantity] if is_level else self.arrays[quantity]
        data = data.astype(np.uint8) if data.dtype == bool else data
        axes = [
            {
                "name": name, "size": axis.size, "scale": axis.scale, "offset": axis.offset,
                "units": axis.units, "navigate": is_level,
            }
            for name, axis in zip(_unique_names(self.axes), self.axes, strict=True)
        ]  # fmt: skip
        if is_level:
            axes.append({"name": quantity, "size": data.shape[-1], "navigate": False})
        kind = signals.Signal1D if is_level or data.ndim == 1 else signals.Signal2D
        labels = self.labels[quantity if is_level else self.level].tolist()
        metadata = {"General": {"title": quantity}, "Structures": {"labels": labels}}
        return kind(np.ascontiguousarray(data), axes=axes, metadata=metadata)

    def plot(self, **options):
        """Draw the map; see `xtalsk.inspection.StructureMapDisplay.from_map` for the options."""
        from xtalsk.inspection import StructureMapDisplay

        return StructureMapDisplay.from_map(self, **options)

    def save(self, path):
        """Write the map to a ``.npz`` file, whole or not at all.

        Parameters
        ----------
        path : path
        """
        texts, codes = np.unique(self.reason.astype(str), return_inverse=True)
        arrays = {f"array_{name}": a for name, a in self.arrays.items() if name != "reason"}
        arrays["array_reason"] = codes.reshape(self.shape).astype(np.uint16)
        arrays |= {
            f"labels_{level}": labels if labels.dtype.kind in "iuf" else labels.astype(str)
            for level, labels in self.labels.items()
        }
        arrays |= {f"example_{i}": example["image"] for i, example in enumerate(self.examples)}
        values = {
            "format": _FORMAT,
            "levels": list(self.labels),
            "reasons": texts.tolist(),
            "axes": [vars(axis) for axis in self.axes],
            "entries": json.loads(self.entries.to_json(orient="split", default_handler=str)),
            "examples": [{k: v for k, v in e.items() if k != "image"} for e in self.examples],
        }
        buffer = io.BytesIO()
        np.savez_compressed(buffer, values=np.array(json.dumps(values, default=_to_plain)), **arrays)
        path = Path(path)
        incomplete = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}.part")
        try:
            incomplete.write_bytes(buffer.getvalue())
            os.replace(incomplete, path)
        finally:
            incomplete.unlink(missing_ok=True)

    @classmethod
    def load(cls, path):
        """Read a map of `save`. Nothing in the file is executed.

        Raises
        ------
        BrokenFileError
            If the file is damaged or holds no map; the message names it.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                content = {name: archive[name] for name in archive}
            values = json.loads(str(content["values"]))
            if values["format"] != _FORMAT:
                raise ValueError(f"its format is {values['format']!r}")
            arrays = {n.removeprefix("array_"): a for n, a in content.items() if n.startswith("array_")}
            arrays["reason"] = np.array(values["reasons"], dtype=object)[arrays["reason"]]
            entries = pd.DataFrame(**values["entries"])
            examples = [
                {**example, "position": tuple(example["position"]), "image": content[f"example_{i}"]}
                for i, example in enumerate(values["examples"])
            ]
            return cls(
                arrays,
                axes=[ScanAxis(**axis) for axis in values["axes"]],
                labels={level: content[f"labels_{level}"] for level in values["levels"]},
                entries=entries,
                examples=examples,
            )
        except FileNotFoundError:
            raise
        except Exception as error:  # damaged archives make NumPy and zipfile raise nearly anything
            raise BrokenFileError(
                f"{Path(path).name}: expected a map of StructureMap.save: {error}"
            ) from error


def _unique_names(axes):
    """Return the names of axes; equal ones get a number."""
    names = [axis.name for axis in axes]
    return names if len(set(names)) == len(names) else [f"{name}_{i}" for i, name in enumerate(names)]


def _to_plain(value):
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _optional(module, method):
    """Import an optional package, or raise ImportError that says how to get it."""
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise ImportError(f"StructureMap.{method} needs {name}: pip install {name}") from error

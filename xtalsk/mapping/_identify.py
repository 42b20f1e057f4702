"""Identification of a batch of images and compositions: what one chunk of a map needs."""

import copy
import warnings
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from xtalsk._levels import sum_to_level
from xtalsk.diffraction import RadialProfile, RingGeometry
from xtalsk.diffraction._amorphous import has_only_haloes
from xtalsk.io import DiffractionImage
from xtalsk.mapping import _constants as const
from xtalsk.mapping._candidates import CANDIDATE, best_entries, find_second_phases, library_of
from xtalsk.mapping._columns import image_steps, names_of_blocks, set_geometry


@dataclass
class Identifier:
    """Features and classifier of a pipeline, ready for the images of a scan.

    Parameters
    ----------
    features : Pipeline
        From `copy_features`.
    classifier : estimator
    columns : MapColumns
    levels : dict of {str: ndarray of shape (n_classes,)}
        From `labels_of_levels`; the last one is that of the labels of the map.
    pixel_size : float or None
        In 1/Å.
    n_candidates : int
    min_confidence : float
    geometry : RingGeometry or None
    """

    features: Pipeline
    classifier: object
    columns: object
    levels: dict
    pixel_size: float | None = None
    n_candidates: int = 3
    min_confidence: float = 0.5
    geometry: RingGeometry | None = None

    def __post_init__(self):
        set_geometry(image_steps(self.features, self.columns.scan), self.geometry)
        self.labels = {level: np.unique(values) for level, values in self.levels.items()}
        self.index = {
            level: np.searchsorted(self.labels[level], values) for level, values in self.levels.items()
        }
        self.library = library_of(self.classifier)
        if self.library is not None:
            finest = self.index[list(self.levels)[-1]].tolist()
            number = dict(zip(self.classifier.classes_.tolist(), finest, strict=True))
            self.label_of_entry = np.array([number[label] for label in self.library.classes_.tolist()])[
                self.library._labels
            ]

    def identify(self, images=None, chemistry=None, centers=None, statuses=None):
        """Identify patterns.

        Parameters
        ----------
        images : ndarray of shape (n, n_rows, n_columns) or None
        chemistry : list of n cells or None
        centers : ndarray of shape (n, 2) or None
            Centre of each image, if it differs from that of the geometry.
        statuses : (ndarray of shape (n,), dict of {int: str}) or None
            What is known of the positions: status, and reasons by position.

        Returns
        -------
        dict of {str: ndarray}
            Rows of the arrays of a `StructureMap`, and ``"reason"``, an object array of text.
        """
        n = len(images) if images is not None else len(chemistry)
        out = self.empty(n)
        if statuses is not None:
            out["status"][:], out["reason"][:] = statuses
        if images is not None:
            images = check_images(images, out)
        rows = np.flatnonzero(out["status"] == const.OK)
        if len(rows):
            features = self._features(
                None if images is None else images[rows],
                None if chemistry is None else [chemistry[row] for row in rows],
                None if centers is None else centers[rows],
            )
            measured = self._is_measured(features, images is not None)
            reason = const.NO_CHEMISTRY if images is None else const.NO_FEATURES
            _set_status(out, rows[~measured], const.NOT_MEASURED, reason)
            if measured.any():
                self._classify(features[measured], rows[measured], out)
            if images is not None:
                self._find_films(images, out)
        return out

    def _find_films(self, images, out):
        """Mark patterns of a low confidence that hold only the broad haloes of an amorphous film."""
        with np.errstate(invalid="ignore"):
            rows = np.flatnonzero((out["confidence"] < const.SURE) & (out["status"] <= const.NOT_INDEXED))
        if not len(rows) or self.geometry is None:
            return
        profile = RadialProfile(
            const.FILM_BINS, const.FILM_RANGE, geometry=self.geometry, background=None, scale="linear",
            on_error="warn",
        )  # fmt: skip
        cells = [DiffractionImage(images[row], pixel_size=self.pixel_size) for row in rows]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            profiles = profile.fit_transform(_to_series(cells))
        step = (const.FILM_RANGE[1] - const.FILM_RANGE[0]) / const.FILM_BINS
        is_film = [has_only_haloes(values, step, self.pixel_size) for values in profiles]
        _set_status(out, rows[is_film], const.NOT_INDEXED, const.AMORPHOUS)

    def empty(self, n):
        """Return the arrays of n positions without answers."""
        out = {
            "status": np.full(n, const.OK, dtype=np.uint8),
            "reason": np.full(n, "", dtype=object),
            "code": np.full(n, -1, dtype=np.int32),
            "second_code": np.full(n, -1, dtype=np.int32),
            "candidates": np.zeros(
                (n, self.n_candidates if self.library is not None else 0), dtype=CANDIDATE
            ),
        }
        for name in ("confidence", "second_probability", "second_share"):
            out[name] = np.full(n, np.nan, dtype=np.float32)
        out["is_mixture"] = np.zeros(n, dtype=bool)
        out["candidates"]["entry"] = out["candidates"]["label"] = -1
        for level, labels in self.labels.items():
            out[f"probability_{level}"] = np.full((n, len(labels)), np.nan, dtype=np.float32)
        return out

    def _features(self, images, chemistry, centers):
        """Return the features of specimens, a DataFrame or array of n rows."""
        n = len(images) if images is not None else len(chemistry)
        if centers is None or self.geometry is None:
            return self._transform(self.features, images, chemistry, n)
        steps = np.round(centers / const.DRIFT_STEP).astype(int)
        places, group = np.unique(steps, axis=0, return_inverse=True)
        features, parts, order = copy.deepcopy(self.features), [], []
        for number, place in enumerate(places):
            rows = np.flatnonzero(group.ravel() == number)
            center = tuple(place * const.DRIFT_STEP)
            set_geometry(image_steps(features, self.columns.scan), replace(self.geometry, center=center))
            part = None if chemistry is None else [chemistry[row] for row in rows]
            parts.append(self._transform(features, images[rows], part, len(rows)))
            order.append(rows)
        return pd.concat([pd.DataFrame(part) for part in parts]).iloc[np.argsort(np.concatenate(order))]

    def _transform(self, features, images, chemistry, n):
        specimens = {name: _to_series([None] * n) for name in self.columns.known}
        if images is not None:
            specimens[self.columns.scan] = _to_series(
                [DiffractionImage(image, pixel_size=self.pixel_size) for image in images]
            )
        if chemistry is not None:
            specimens[self.columns.chemistry] = _to_series(chemistry)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the map reports what cannot be used
            return pd.DataFrame(features.transform(pd.DataFrame(specimens)))

    def _is_measured(self, features, has_images):
        """Return which rows have features: of the images, if there are images."""
        values = features.to_numpy()
        if has_images:
            blocks = names_of_blocks(self.features, self.columns.scan)
            of_images = [str(name).partition("__")[0] in blocks for name in features.columns]
            values = values[:, of_images] if any(of_images) else values
        return ~np.isnan(values).all(axis=1)

    def _classify(self, features, rows, out):
        """Write the answers for rows of features."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            proba = np.asarray(self.classifier.predict_proba(features), dtype=float)
        if self.library is not None:
            self._add_candidates(features, rows, out)
        for level, labels in self.labels.items():
            of_level = sum_to_level(proba, self.index[level], len(labels))
            out[f"probability_{level}"][rows] = of_level
        answered = ~np.isnan(proba).any(axis=1)
        _set_status(out, rows[~answered], const.NOT_INDEXED, const.NO_ANSWER)
        fit = None
        if self.library is self.classifier:  # its probabilities take for granted that the phase is in it
            fit = self.library.label_probabilities(features).sum(axis=1)[answered]
        self._choose_labels(of_level[answered], fit, rows[answered], out)

    def _choose_labels(self, proba, fit, rows, out):
        """Write the most probable labels of the finest level, and the second ones where no fit gave them.

        ``fit`` is the probability that one of the labels of the library is right, of search-match alone; NaN
        where it is not known.
        """
        order = np.argsort(-proba, axis=1, kind="stable")
        places = np.arange(len(rows))
        out["code"][rows] = order[:, 0]
        confidence = proba[places, order[:, 0]]
        if fit is not None:
            _set_status(out, rows[fit < self.min_confidence], const.NOT_INDEXED, const.UNLIKELY)
            confidence = confidence * np.nan_to_num(fit, nan=1.0)
        out["confidence"][rows] = confidence
        if proba.shape[1] > 1:
            second = np.where(out["is_mixture"][rows], out["second_code"][rows], order[:, 1])
            second = np.where(second == order[:, 0], order[:, 1], second)
            out["second_code"][rows], out["second_probability"][rows] = second, proba[places, second]
        unsure = rows[~(confidence >= self.min_confidence) & (out["status"][rows] == const.OK)]
        _set_status(out, unsure, const.NOT_INDEXED, const.LOW_CONFIDENCE)

    def _add_candidates(self, features, rows, out):
        """Write the best entries of the library, and the second phase of mixtures."""
        n = max(self.n_candidates, const.MIXED_CANDIDATES)
        candidates = best_entries(self.library, features, self.label_of_entry, n)
        out["candidates"][rows] = candidates[:, : self.n_candidates]
        fits = np.flatnonzero(candidates["similarity"][:, 0] > const.MIXED_SIMILARITY)
        fitting = features.iloc[fits]
        place, share, gain = find_second_phases(self.library, fitting, candidates[fits])
        is_mixture = (place >= 0) & (share > const.MIXED_SHARE) & (gain > const.MIXED_GAIN)
        second = candidates["label"][fits, place]
        out["second_share"][rows[fits]] = share
        out["is_mixture"][rows[fits]] = is_mixture
        out["second_code"][rows[fits]] = np.where(is_mixture, second, -1)


def check_images(images, out):
    """Return images without infinite values; write the status of those that are blank."""
    flat = images.reshape(len(images), -1)
    if images.dtype.kind == "f":
        infinite = np.isinf(flat).any(axis=1)
        if infinite.any():
            images = np.where(np.isinf(images), np.nan, images).astype(np.float32)
            out["reason"][infinite & (out["status"] == const.OK)] = const.CHANGED
            flat = images.reshape(len(images), -1)
        empty = np.isnan(flat).all(axis=1)
        _set_status(
            out, np.flatnonzero(empty & (out["status"] == const.OK)), const.NOT_MEASURED, const.NO_PIXEL
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            blank = ~empty & (np.nanmin(flat, axis=1) == np.nanmax(flat, axis=1))
    else:
        blank = flat.min(axis=1) == flat.max(axis=1)
    _set_status(out, np.flatnonzero(blank & (out["status"] == const.OK)), const.NOT_MEASURED, const.BLANK)
    return images


def _set_status(out, rows, status, reason):
    out["status"][rows] = status
    out["reason"][rows] = reason


def _to_series(cells):
    """Return cells as a column of objects."""
    column = np.empty(len(cells), dtype=object)
    for i, cell in enumerate(cells):
        column[i] = cell
    return pd.Series(column)

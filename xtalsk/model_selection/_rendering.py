"""The same crystals, measured again under other conditions with the same random numbers."""

from dataclasses import replace

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from xtalsk.columns import modality_of
from xtalsk.datasets import make_specimens
from xtalsk.datasets._specimens import _check_conditions, _usable

IMAGES = ("rings", "spots")
COUNTED = ("eds", "formula")
_N_DRAWS = 64


def check_doses(name, doses):
    """Return doses as a list of floats; None stands for the doses of the conditions.

    Raises
    ------
    ValueError
        If a dose is not a finite number above 0, or the doses do not increase.
    """
    if doses is None:
        return [None]
    values = np.atleast_1d(np.asarray(doses, dtype=float))
    if values.ndim != 1 or not values.size or not np.isfinite(values).all() or (values <= 0).any():
        raise ValueError(f"{name} must be finite numbers above 0, got {doses!r}")
    if (np.diff(values) <= 0).any():
        raise ValueError(f"{name} must increase, got {doses!r}")
    return values.tolist()


class Rendering:
    """Specimens of the same crystals at any dose; only the counting noise differs between doses.

    Parameters
    ----------
    crystals : CrystalSet
        Those with faults are left out, with a warning.
    columns : list of str
        Columns of specimens that the models use.
    conditions : str or dict
        As in `make_specimens`.
    n_replicas : int
    n_zones : int or None
        Spot patterns of each specimen. None: as many as there are columns spots_1, spots_2, ..., or one.
    random_state : int, RandomState or None

    Raises
    ------
    ValueError
        If the conditions are invalid, or models use the columns of several zones and ``n_zones`` are more.
    """

    def __init__(self, crystals, columns, conditions, n_replicas=1, n_zones=None, random_state=None):
        self.crystals, _ = _usable(crystals, np.arange(len(crystals)), "warn")
        self.columns = list(columns)
        self.modalities = tuple(dict.fromkeys(modality_of(column) for column in columns))
        self.conditions = _check_conditions(conditions, None, None)
        self.n_replicas = n_replicas
        zones = [column for column in columns if modality_of(column) == "spots" and column != "spots"]
        self._zones = zones
        self.n_zones = n_zones or ("spots" in columns and 1) or max(1, len(zones))
        if self.n_zones > max(1, len(zones)):
            raise ValueError(f"n_zones={n_zones}, but the models use only the columns {zones or ['spots']}")
        self.seed = int(check_random_state(random_state).randint(2**31))
        self._last = {}

    def at(self, electrons=None, counts=None):
        """Return the conditions with these doses; None keeps the doses that they have.

        Raises
        ------
        ValueError
            If a dose is out of range of the conditions or of the camera.
        """
        conditions = dict(self.conditions)
        for name in set(IMAGES if electrons is not None else ()) & set(self.modalities):
            conditions[name] = replace(conditions[name], electrons=electrons)
            _check_saturation(name, conditions[name], electrons)
        for name in set(COUNTED if counts is not None else ()) & set(self.modalities):
            conditions[name] = replace(conditions[name], counts=counts)
        return conditions

    def specimens(self, electrons=None, counts=None):
        """Return the specimens at these doses: X with the columns of the models, y and groups.

        Modalities whose dose is that of the last call are not simulated again.
        """
        conditions = self.at(electrons, counts)
        doses = dict.fromkeys(IMAGES, electrons) | dict.fromkeys(COUNTED, counts)
        new = [m for m in self.modalities if m not in self._last or self._last[m][0] != doses.get(m)]
        if new:
            X, self._y, self._groups = make_specimens(
                self.crystals,
                tuple(new),
                conditions=conditions,
                n_replicas=self.n_replicas,
                n_zones=self.n_zones,
                random_state=self.seed,
            )
            for modality in new:
                columns = [column for column in X.columns if modality_of(column) == modality]
                self._last[modality] = doses.get(modality), X[columns]
        X = pd.concat([table for _, table in self._last.values()], axis=1)
        if "spots" in X and "spots" not in self.columns:
            X = X.rename(columns={"spots": self._zones[0]})
        return X.reindex(columns=self.columns)

    def labels(self):
        """Return y and groups of the specimens; call `specimens` first."""
        return self._y, self._groups


def _check_saturation(name, conditions, electrons):
    """Raise ValueError if the mean pixel of most images is as high as the camera can count."""
    column = conditions.draw(_N_DRAWS, 0)
    mean = electrons * column["gain"] / conditions.image_size**2 + column["offset"]
    if np.mean(mean >= column["saturation"]) > 0.5:
        raise ValueError(
            f"{electrons:g} electrons in an image of {name!r} are beyond the range of its detector: the mean "
            f"pixel has {mean.median():.3g} counts, and it saturates at {column['saturation'].median():.3g}"
        )

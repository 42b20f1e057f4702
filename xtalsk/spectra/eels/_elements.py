"""The elements in a model of a core-loss spectrum, and the terms that each of them brings."""

from dataclasses import dataclass

import numpy as np

from xtalsk.spectra.eels._model import LinearModel, background_columns, envelope, fine_structure
from xtalsk.spectra.eels._templates import SHIFTS, UNCERTAINTY

_WINDOW = 60.0  # eV above an onset, whose signal is the amplitude
_RISE, _LATE_RISE = 20.0, 45.0  # eV near an onset, and near a delayed one
_REPLICA_SIZE = 0.5  # how far plural scattering may be from usual, as a share of an edge


@dataclass
class Element:
    """An element in the model.

    Parameters
    ----------
    z : int
    families : list of int
        Rows of the templates.
    poses : list of int
        Pose of each family.
    strong : list of bool
        Whether a family's shift was measured.
    lead : int
        Family that found it.
    named : bool
        Whether the edge that found it can name an element.
    rose : bool
        Whether the spectrum rose at its onset when it was found.
    amplitude : float
        In units of the spectrum over barn per eV.
    places : ndarray of int
        Of its columns in the model.
    weights, near : ndarray
        Of its columns in the signal of the lead within 60 eV of its onset, and near it.
    """

    z: int
    families: list
    poses: list
    strong: list
    lead: int
    named: bool
    rose: bool
    amplitude: float
    places: np.ndarray = None
    weights: np.ndarray = None
    near: np.ndarray = None


class ElementModel:
    """A background and elements, fitted together to one spectrum.

    Parameters
    ----------
    bins : Bins
    templates : Templates
    strength : ndarray of shape (n_families,)
        Of the families for the beam, relative to the templates.
    """

    def __init__(self, bins, templates, strength):
        self.bins, self.templates, self.strength = bins, templates, strength
        self.back, self.through = envelope(bins)
        self._start()

    def _start(self):
        self.elements = []
        self.model = LinearModel(self.bins.counts / self.bins.error, self.templates.poses / self.bins.error)
        columns, sizes = background_columns(self.bins.energy, self.back, self.through)
        self.n_background = len(sizes)
        self.model.add(columns / self.bins.error, sizes)

    def _template(self, family, pose, lines_only):
        """Template of a family at the shift of a pose, with everything or white lines alone."""
        t = self.templates
        place = t.starts()[family] + t.shift[pose] + lines_only * len(SHIFTS)
        return t.poses[place] * t.unit[place] * self.strength[family]

    def _onset(self, family, pose):
        return self.templates.onset[family] + SHIFTS[self.templates.shift[pose]]

    def _window(self, onset):
        above = self.bins.energy - onset
        return self.bins.width * ((above > -5) & (above < _WINDOW))

    def _first(self, row, pose):
        """Bins near the onset of a family, ndarray of bool of shape (n_bins,)."""
        t = self.templates
        above = self.bins.energy - self._onset(row, pose)
        late = t.family[row][0] not in "KL" and t.line_height[row] == 0
        return (above > -6) & (above < (_LATE_RISE if late else _RISE))

    def columns_of(self, element):
        """Columns of an element: amplitude, families apart, broad white lines, fine structure.

        Returns
        -------
        columns : ndarray of shape (k, n_bins)
        sizes : ndarray of shape (k,)
            Of their priors.
        weights : ndarray of shape (2, k)
            What each adds to the signal of the leading family within 60 eV of its onset, and near it,
            relative to that family's template.
        """
        t, families = self.templates, element.families
        parts = np.array([self._template(f, p, False) for f, p in zip(families, element.poses, strict=True)])
        columns, sizes = [parts.sum(0)[None]], [[1e3 * element.amplitude]]
        if len(families) > 1:
            columns.append(parts)
            sizes.append([UNCERTAINTY[t.family[f]] * element.amplitude for f in families])
        for f, pose in zip(families, element.poses, strict=True):
            above = self.bins.energy - self._onset(f, pose)
            level = t.smooth[f, t.shift[pose]] * self.strength[f]
            hats, size = fine_structure(above, level, t.line_height[f], t.split[f])
            columns.append(hats)
            columns.append(t.replica[f, t.shift[pose]][None] * self.strength[f])
            sizes += [size * element.amplitude, [_REPLICA_SIZE * element.amplitude]]
            if t.line_height[f] > 0:
                columns.append(self._template(f, pose, True)[None])
                sizes.append([element.amplitude])
        columns = np.concatenate(columns)
        return columns, np.concatenate(sizes), self._weights(columns, parts, element)

    def _weights(self, columns, parts, element):
        lead = element.families.index(element.lead)
        pose = element.poses[lead]
        near = self._first(element.lead, pose) * self.bins.width
        windows = np.stack([self._window(self._onset(element.lead, pose)), near])
        return (windows @ columns.T) / (windows @ parts[lead])[:, None]

    def _enter(self, element):
        columns, sizes, weights = self.columns_of(element)
        places = self.model.add(columns / self.bins.error, sizes)
        element.places = np.arange(places.start, places.stop)
        element.weights, element.near = weights
        self.elements.append(element)

    def _drop(self, i):
        """Take an element out of the model."""
        gone = self.elements.pop(i)
        self.model.remove(gone.places)
        for element in self.elements:
            if element.places[0] > gone.places[0]:
                element.places = element.places - len(gone.places)
        if self.elements:
            self._resize()

    def _rebuild(self, elements):
        self.model.truncate(self.n_background)
        self.elements = []
        for element in elements:
            self._enter(element)
        if elements:
            self._resize()

    def _resize(self):
        """Fit, and let the freedom of each element's fine structure follow its amplitude."""
        for _ in range(2):
            for element, amplitude in zip(self.elements, self.amplitudes()[0], strict=True):
                amplitude = max(amplitude, 0.2 * element.amplitude)
                self.model.precision[element.places] *= (element.amplitude / amplitude) ** 2
                element.amplitude = amplitude

    def amplitudes(self):
        """Amplitude of each element from the signal of its leading edge, and their covariance.

        Returns
        -------
        amplitudes : ndarray of shape (n_elements,)
            In units of the spectrum over barn per eV.
        covariance : ndarray of shape (n_elements, n_elements)
        """
        coefficients, covariance = self.model.solve()
        weights = np.zeros((len(self.elements), len(coefficients)))
        for row, element in zip(weights, self.elements, strict=True):
            row[element.places] = element.weights
        return weights @ coefficients, weights @ covariance @ weights.T

    def significances(self):
        """Amplitude of each element over its error in a model without its own systematic terms."""
        everything = np.arange(len(self.model.columns))
        out = []
        for element in self.elements:
            keep = np.setdiff1d(everything, element.places[1:])
            coefficients, covariance = self.model.solve(keep)
            at = int(np.searchsorted(keep, element.places[0]))
            out.append(coefficients[at] / np.sqrt(covariance[at, at]))
        return np.array(out)

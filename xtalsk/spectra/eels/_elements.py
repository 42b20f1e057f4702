"""The elements in a model of a core-loss spectrum, and the columns of each element."""

from dataclasses import dataclass

import numpy as np

from xtalsk.spectra.eels._background import background_columns, envelope
from xtalsk.spectra.eels._constants import (
    DELAYED_RISE_ABOVE,
    FREE,
    LEAST_RESIZE,
    REPLICA_SIZE,
    RISE_ABOVE,
    RISE_BELOW,
    SHIFTS,
    SIGNAL_ABOVE,
    SIGNAL_BELOW,
    UNCERTAINTY,
)
from xtalsk.spectra.eels._model import LinearModel, fine_structure


@dataclass(eq=False)
class Element:
    """An element in the model.

    The lead of an element is the family with the strongest evidence for it.

    Parameters
    ----------
    z : int
        Atomic number.
    families : list of int
        Rows of its families in the templates.
    poses : list of int
        Pose of each family.
    strong : list of bool
        Whether the family is strong enough to measure the shift of its onset.
    lead : int
        Row of the lead in the templates.
    named : bool
        Whether the lead can name the element.
    rose : bool
        Whether the spectrum rose at the onset of the lead when the element was added.
    amplitude : float
        Amplitude in units of the spectrum over barn per eV.
    places : slice
        Places of its columns in the model.
    weights : ndarray of shape (k,)
        Signal of each column within 60 eV above the onset of the lead, relative to the template of the lead.
    near : ndarray of shape (k,)
        The same for the bins near the onset.
    """

    z: int
    families: list
    poses: list
    strong: list
    lead: int
    named: bool
    rose: bool
    amplitude: float
    places: slice = None
    weights: np.ndarray = None
    near: np.ndarray = None

    @property
    def lead_pose(self):
        """Pose of the lead."""
        return self.poses[self.families.index(self.lead)]


class ElementModel:
    """A background and elements, fitted together to one spectrum.

    Parameters
    ----------
    bins : Bins
    templates : Templates
    strength : ndarray of shape (n_families,)
        Cross-sections of the families for the beam, relative to those of the templates.
    """

    def __init__(self, bins, templates, strength):
        self.bins, self.templates, self.strength = bins, templates, strength
        self.back, through = envelope(bins)
        self.elements = []
        background = background_columns(bins.energy, self.back, through)
        self.model = LinearModel(bins.counts, bins.error, templates.poses, templates.first, *background)

    def _template(self, family, pose, lines_only):
        """Template of a family at the shift of a pose: the whole edge or its white lines alone, (n_bins,)."""
        t = self.templates
        place = t.starts[family] + t.shift[pose] + lines_only * len(SHIFTS)
        return t.poses[place] * t.unit[place] * self.strength[family]

    def _onset(self, family, pose):
        """Onset of a family at the shift of a pose, in eV."""
        return self.templates.onset[family] + SHIFTS[self.templates.shift[pose]]

    def _signal_window(self, onset):
        """Widths of the bins in which the signal of an edge is summed, 0 elsewhere, in eV, (n_bins,)."""
        above = self.bins.energy - onset
        return self.bins.width * ((above > -SIGNAL_BELOW) & (above < SIGNAL_ABOVE))

    def _rise_window(self, family, pose):
        """Bins near the onset of a family, ndarray of bool of shape (n_bins,)."""
        t = self.templates
        above = self.bins.energy - self._onset(family, pose)
        is_delayed = t.family[family][0] not in "KL" and t.line_height[family] == 0
        return (above > -RISE_BELOW) & (above < (DELAYED_RISE_ABOVE if is_delayed else RISE_ABOVE))

    def columns_of(self, element):
        """Columns of an element: amplitude, relative amplitudes of families, white lines and fine structure.

        Returns
        -------
        columns : ndarray of shape (k, n_bins)
        sizes : ndarray of shape (k,)
            Prior standard deviations.
        weights : ndarray of shape (2, k)
            Signal of each column within 60 eV above the onset of the lead, and near the onset, relative to
            the template of the lead.
        """
        t, families = self.templates, element.families
        parts = np.array([self._template(f, p, False) for f, p in zip(families, element.poses, strict=True)])
        columns, sizes = [parts.sum(0)[None]], [np.array([FREE])]
        if len(families) > 1:
            columns.append(parts)
            sizes.append(np.array([UNCERTAINTY[t.family[f]] for f in families]))
        for family, pose in zip(families, element.poses, strict=True):
            family_columns, family_sizes = self._family_columns(family, pose)
            columns += family_columns
            sizes += family_sizes
        columns = np.concatenate(columns)
        return columns, np.concatenate(sizes) * element.amplitude, self._weights(columns, parts, element)

    def _family_columns(self, family, pose):
        """Columns of fine structure, plural scattering and white lines, and their sizes; two lists."""
        t = self.templates
        above = self.bins.energy - self._onset(family, pose)
        smooth = t.smooth[family, t.shift[pose]] * self.strength[family]
        hats, size = fine_structure(above, smooth, t.line_height[family], t.split[family])
        replica = t.replica[family, t.shift[pose]][None] * self.strength[family]
        columns, sizes = [hats, replica], [size, np.array([REPLICA_SIZE])]
        if t.line_height[family] > 0:
            columns.append(self._template(family, pose, True)[None])
            sizes.append(np.array([1.0]))
        return columns, sizes

    def _weights(self, columns, parts, element):
        """Signal of columns relative to the template of the lead; see `columns_of`."""
        near = self._rise_window(element.lead, element.lead_pose) * self.bins.width
        windows = np.stack([self._signal_window(self._onset(element.lead, element.lead_pose)), near])
        lead = parts[element.families.index(element.lead)]
        return (windows @ columns.T) / (windows @ lead)[:, None]

    def _enter(self, element):
        """Add an element to the model."""
        self._add_columns(element)
        self.elements.append(element)

    def _add_columns(self, element):
        """Add the columns of an element to the model."""
        columns, sizes, (element.weights, element.near) = self.columns_of(element)
        element.places = self.model.add(columns, sizes)

    def _remove_columns(self, element):
        """Remove the columns of an element from the model."""
        start, stop = element.places.start, element.places.stop
        self.model.remove(element.places)
        for other in self.elements:
            if other.places.start > start:
                other.places = slice(other.places.start - stop + start, other.places.stop - stop + start)

    def _drop(self, i):
        """Remove an element from the model."""
        self._remove_columns(self.elements.pop(i))
        if self.elements:
            self._resize()

    def _rebuild(self, elements):
        """Build the columns of some elements of the model again, after their poses changed."""
        for element in elements:
            self._remove_columns(element)
        for element in elements:
            self._add_columns(element)
        self._resize()

    def _resize(self):
        """Fit the model, and scale the priors of each element with its amplitude."""
        for _ in range(2):
            for element, amplitude in zip(self.elements, self.amplitudes(), strict=True):
                amplitude = max(amplitude, LEAST_RESIZE * element.amplitude)
                self.model.scale_sizes(element.places, amplitude / element.amplitude)
                element.amplitude = amplitude

    def amplitudes(self):
        """Amplitude of each element, from the signal of its lead, ndarray of shape (n_elements,).

        The unit is that of the spectrum over barn per eV.
        """
        coefficients = self.model.coefficients()
        return np.array([element.weights @ coefficients[element.places] for element in self.elements])

    def shape_of(self, element):
        """Fitted edges of an element, in units of the spectrum, ndarray of shape (n_bins,)."""
        return self.model.coefficients()[element.places] @ self.model.columns[element.places]

    def amplitude_covariance(self):
        """Covariance of `amplitudes`, ndarray of shape (n_elements, n_elements)."""
        covariance = self.model.covariance()
        weights = np.zeros((len(self.elements), len(covariance)))
        for row, element in zip(weights, self.elements, strict=True):
            row[element.places] = element.weights
        return weights @ covariance @ weights.T

    def significances(self):
        """Amplitude of each element over its error, without the systematic columns of that element.

        Returns
        -------
        ndarray of shape (n_elements,)
        """
        return np.array([self.model.alone(element.places) for element in self.elements])

"""Search for the elements of a core-loss spectrum: the element with the strongest evidence is added first."""

import numpy as np

from xtalsk.spectra.eels._constants import (
    DOUBTFUL_SHARE,
    FARTHEST,
    LATE,
    LEAST_CERTAINTY,
    LEAST_FRACTION,
    LEAST_RISE,
    MOST_ELEMENTS,
    ROUNDS,
    SHIFTS,
    STRONG,
)
from xtalsk.spectra.eels._elements import Element
from xtalsk.spectra.eels._evidence import Evidence


class Search(Evidence):
    """Search for the elements of one spectrum; see `Evidence` for the parameters.

    After `run` the attribute ``elements`` holds the elements found, a list of `Element`.
    """

    def run(self):
        """Add elements and remove those that are not significant, until nothing changes; returns self."""
        refused = set()
        for _ in range(ROUNDS):
            self._add_elements(refused)
            self._settle()
            dropped = self._eliminate()
            refused |= dropped
            if not dropped:
                break
        return self

    def _add_elements(self, refused):
        """Add elements to the model until no other element is significant.

        ``refused`` holds the atomic numbers of elements that are not added.
        """
        while len(self.templates) and len(self.elements) < MOST_ELEMENTS:
            element = self._best_element(refused)
            if element is None:
                return
            self._enter(element)
            self._resize()

    def _best_element(self, refused):
        """Element with the strongest evidence, as `Element`, or None if no element is significant.

        Elements whose edges rise at the onset come before the others.
        """
        scores, first = self.lead_scores(), None
        for z, lead in self.elements_by_gain(scores):
            if z not in refused and self.is_evident(lead, scores):
                if self.rises(lead, scores.pose[lead]):
                    return self._make_element(z, lead, True, scores)
                first = first or (z, lead)
        return self._make_element(*first, False, scores) if first else None

    def _make_element(self, z, lead, rose, scores):
        """Element of an atomic number with all its families at their best poses, as `Element`."""
        rows = self.templates.of_element[z]
        return Element(
            z=z,
            families=rows.tolist(),
            poses=scores.pose[rows].tolist(),
            strong=(scores.significance[rows] > STRONG).tolist(),
            lead=lead,
            named=bool(self.templates.naming[lead]),
            rose=rose,
            amplitude=self.combined_amplitude(rows, scores),
        )

    def _settle(self):
        """Move the strong onsets of each element to the shift that fits best beside all other elements."""
        centre, spread = self.expected_shifts()
        starts, moved = self.templates.starts, []
        for element in self.elements:
            for i, (family, strong) in enumerate(zip(element.families, element.strong, strict=True)):
                if strong:
                    first = starts[family]
                    z = self.model.score_candidates(slice(first, first + len(SHIFTS)), element.places)
                    distance = (SHIFTS - centre[family]) / spread[family]
                    gain = np.where(np.abs(distance) > FARTHEST, -np.inf, np.sign(z) * z**2 - distance**2)
                    best = first + gain.argmax()
                    if best != element.poses[i] and element not in moved:
                        moved.append(element)
                    element.poses[i] = best
        if moved:
            self._rebuild(moved)

    def _eliminate(self):
        """Remove one element after another until all are significant.

        Returns
        -------
        set of int
            Atomic numbers of the removed elements.
        """
        dropped = set()
        while self.elements:
            significances = self.significances()
            failing = self._failing(significances)
            if not failing.any():
                break
            is_late = [self.templates.family[element.lead][0] not in "KL" for element in self.elements]
            certainty = np.where(failing, significances, np.inf) * np.where(is_late, DOUBTFUL_SHARE, 1)
            weakest = int(certainty.argmin())
            dropped.add(self.elements[weakest].z)
            self._drop(weakest)
        return dropped

    def _failing(self, significances):
        """Whether each element fails one of the tests, ndarray of bool of shape (n_elements,)."""
        amplitudes, variances = self.amplitudes(), np.diagonal(self.amplitude_covariance())
        coefficients = self.model.coefficients()
        near = np.array([element.near @ coefficients[element.places] for element in self.elements])
        rose = np.array([element.rose for element in self.elements])
        shadow = [
            self.is_shadow(element.lead, element.lead_pose, amplitude)
            for element, amplitude in zip(self.elements, amplitudes, strict=True)
        ]
        return (
            (significances < np.where(rose, 1, LATE) * self.n_sigma)
            | (amplitudes < LEAST_CERTAINTY * np.sqrt(variances))
            | (amplitudes < LEAST_FRACTION * amplitudes.clip(min=0).sum())
            | (near < LEAST_RISE * amplitudes)
            | np.array(shadow)
        )

    def absent_elements(self):
        """Errors and significances of the elements that the window can show but that were not found.

        Returns
        -------
        errors : dict of int to float
            Error of the amplitude, by atomic number, in units of the spectrum over barn per eV.
        significances : dict of int to float
            Amplitude over its error, by atomic number.
        """
        if not len(self.templates):
            return {}, {}
        t, scores = self.templates, self.family_scores()
        rows = np.flatnonzero(t.naming & ~np.isin(t.z, [element.z for element in self.elements]))
        rows = rows[np.argsort(scores.precision[rows])]
        numbers = t.z[rows].tolist()  # of families of one element, the most precise one comes last and stays
        errors = dict(zip(numbers, (scores.precision[rows] ** -0.5).tolist(), strict=True))
        return errors, dict(zip(numbers, scores.significance[rows].tolist(), strict=True))

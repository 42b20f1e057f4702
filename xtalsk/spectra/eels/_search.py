"""Which elements a core-loss spectrum shows: one after another, the best explained first."""

import numpy as np

from xtalsk.spectra.eels._elements import Element, ElementModel
from xtalsk.spectra.eels._templates import SHIFTS, UNCERTAINTY

# eV: spread of shifts with a zero-loss peak, without any element, and of one element beside another.
_SHIFT_KNOWN, _SHIFT_BEFORE, _SHIFT_AFTER = 1.5, 4.0, 3.0
_FARTHEST = 2.5  # spreads by which an onset may be off
_STRONG = 5.0  # times its error: amplitude at which a family says where its own onset is
_AGREEING = 0.3  # share of the expected amplitude that the other edges of an element must reach
_LEAST_CERTAINTY = 1.5  # amplitude over its error with everything that theory leaves open
_LEAST_RISE = 0.4  # share of what an edge promises near its onset that must be there
_LEAST_SHARE = 0.005  # of the atoms
_SHADOW, _SHADOW_SHARE = (
    10.0,
    0.5,
)  # eV within which edges hide each other; share of the stronger that is seen
_TEMPERED = 0.6  # share of n_sigma**2 that a gain must reach, which is less where much is unexplained
_LATE = 3.0  # times the significance that an edge needs at which the spectrum did not seem to rise at first
_LEAST_JUMP = 0.01  # height of an edge relative to the spectrum that is told from a bend of the background
_ROUNDS, _MOST_ELEMENTS = 3, 15
# What a lead costs in χ²: one that names nothing, an M45 edge, one below 80 eV, where the edges of all
# elements crowd. Of delayed M45 edges, those up to xenon, only a share counts: the K edges of thick specimens
# look the same.
_UNNAMED_COST, _M_COST, _LOW, _LOW_COST, _DOUBTFUL_SHARE = 14.0, 4.0, 80.0, 20.0, 0.5


class Search(ElementModel):
    """Search for the elements of one spectrum.

    Parameters
    ----------
    bins : Bins
    templates : Templates
    strength : ndarray of shape (n_families,)
        Of the families for the beam, relative to the templates.
    allowed : ndarray of bool, shape (99,)
        By atomic number.
    n_sigma : float
    """

    def __init__(self, bins, templates, strength, allowed, n_sigma):
        super().__init__(bins, templates, strength)
        self.n_sigma = n_sigma
        numbers = np.unique(templates.z[allowed[templates.z]])
        self.rows_of = {z: np.flatnonzero(templates.z == z) for z in numbers}

    def run(self):
        """Add elements until none is significant, leave out those that are not any more, and again."""
        refused = set()
        for _ in range(_ROUNDS):
            while self.templates.z.size and len(self.elements) < _MOST_ELEMENTS:
                best = self._best(refused)
                if best is None:
                    break
                self._enter(best)
                self._resize()
            self._settle()
            dropped = self._eliminate()
            refused |= dropped
            if not dropped:
                break
        return self

    def _settle(self):
        """Move the strong onsets of each element to where they fit best beside all others."""
        everything = np.arange(len(self.model.columns))
        centre, spread = self.expected_shifts()
        starts, moved = self.templates.starts(), False
        for element in self.elements:
            keep = np.setdiff1d(everything, element.places)
            for i, (family, strong) in enumerate(zip(element.families, element.strong, strict=True)):
                if strong:
                    poses = starts[family] + np.arange(len(SHIFTS))
                    z = self.model.score_some(poses, keep)
                    distance = (SHIFTS - centre[family]) / spread[family]
                    gain = np.where(np.abs(distance) > _FARTHEST, -np.inf, np.sign(z) * z**2 - distance**2)
                    best = poses[gain.argmax()]
                    moved |= bool(best != element.poses[i])
                    element.poses[i] = best
        if moved:
            self._rebuild(self.elements)

    def expected_shifts(self):
        """Where the onsets of this spectrum stand relative to theory, and the spread, each (n_families,)."""
        onset = self.templates.onset
        known = self.bins.shift is not None
        prior = _SHIFT_KNOWN if known else _SHIFT_BEFORE
        weight = np.full(len(onset), prior**-2.0)
        total = weight * (self.bins.shift if known else 0.0)
        for element in self.elements:
            for family, pose, strong in zip(element.families, element.poses, element.strong, strict=True):
                if strong:
                    distance = (onset - onset[family]) / 300
                    one = 1 / (_SHIFT_AFTER**2 * (1 + distance**2))
                    weight, total = weight + one, total + one * SHIFTS[self.templates.shift[pose]]
        return total / weight, np.sqrt(1 / weight + _SHIFT_AFTER**2 / 2)

    def _family_scores(self):
        """Best pose of every family, with its amplitude per unit of theory, precision, z and gain."""
        t = self.templates
        amplitude, precision, rest = self.model.scores()
        z = amplitude * np.sqrt(precision)
        centre, spread = self.expected_shifts()
        distance = np.abs(SHIFTS[t.shift] - centre[t.of]) / spread[t.of]
        n = np.isfinite(self.bins.error).sum()
        gain = np.sign(z) * n * np.log1p(z**2 / np.maximum(rest - z**2, n)) - distance**2
        gain = np.where(distance > _FARTHEST, -np.inf, gain - 2.0 * t.lines_only)
        starts = t.starts()
        top = np.maximum.reduceat(gain, starts)
        near = np.where(t.lines_only, np.inf, distance)
        top = np.maximum(top, 0)
        usual = near <= np.minimum.reduceat(near, starts)[t.of]
        chosen = np.where(top[t.of] > 9, gain >= top[t.of], usual)
        best = starts + [
            chosen[a:b].argmax() for a, b in zip(starts, np.append(starts[1:], len(z)), strict=True)
        ]
        scale = t.unit[best] * self.strength
        return {
            "pose": best,
            "amplitude": amplitude[best] / scale,
            "precision": precision[best] * scale**2,
            "z": z[best],
            "gain": gain[best],
        }

    def _best(self, refused=()):
        scores = self._family_scores()
        t = self.templates
        cost = np.where(t.naming, _M_COST * (t.family == "M45"), _UNNAMED_COST) + _LOW_COST * (t.onset < _LOW)
        delayed = (t.family == "M45") & (t.z < 55)
        giant = (t.family == "N45") & (t.z >= 55) & (t.z <= 71)  # sharp enough in the lanthanides
        doubtful = delayed | ~(t.naming | giant)
        scores["gain"] = np.where(doubtful, _DOUBTFUL_SHARE, 1) * scores["gain"] - cost
        taken = {element.z for element in self.elements} | set(refused)
        gains = {z: self._element_gain(rows, scores) for z, rows in self.rows_of.items() if z not in taken}
        likely = sorted((z for z in gains if gains[z] > 0), key=gains.get, reverse=True)
        leads = {z: self._lead(z, scores) for z in likely}
        rising = (z for z in likely if self._rises(leads[z], scores["pose"][leads[z]]))
        chosen, rose = next(((z, True) for z in rising), (likely[0] if likely else None, False))
        if chosen is None:
            return None
        z, rows, lead = chosen, self.rows_of[chosen], leads[chosen]
        strong = scores["z"][rows] > _STRONG
        amplitude = self._combined(rows, scores)
        return Element(
            int(z),
            list(rows),
            list(scores["pose"][rows]),
            list(strong),
            int(lead),
            bool(t.naming[lead]),
            rose,
            amplitude,
        )

    def _element_gain(self, rows, scores):
        """Fall of χ² by an element less what speaks against it; 0 if it is not significant."""
        z, gain = scores["z"][rows], scores["gain"][rows]
        lead = gain.argmax()
        least = _TEMPERED * self.n_sigma**2
        if gain[lead] < least or z[lead] < self.n_sigma or not self._stands_out(rows[lead], scores):
            return 0.0
        row = rows[lead]
        if self._is_shadow(row, scores["pose"][row], scores["amplitude"][row]):
            return 0.0
        expected = scores["amplitude"][rows[lead]] * np.sqrt(scores["precision"][rows])
        sure = np.array([1 - UNCERTAINTY[f] for f in self.templates.family[rows]])
        missing = np.maximum(_AGREEING * sure / sure[lead] * expected - np.maximum(z, 0), 0)
        missing[lead] = 0
        total = gain[lead] + sum(g for i, g in enumerate(gain) if i != lead and g > 4) - (missing**2).sum()
        return total if total > least else 0.0

    def _stands_out(self, row, scores):
        """Tell an edge from a bend of the background by its height."""
        pose = scores["pose"][row]
        amplitude = scores["amplitude"][row] * self.templates.unit[pose] * self.strength[row]
        template = amplitude * self.templates.poses[pose]
        return (template / np.maximum(self.back, np.abs(self.bins.counts))).max() > _LEAST_JUMP

    def _lead(self, z, scores):
        rows = self.rows_of[z]
        return rows[scores["gain"][rows].argmax()]

    def _rises(self, row, pose):
        """Tell whether the first eV after an onset hold what the edge as a whole promises."""
        template = self.templates.poses[pose] / self.bins.error
        first = template * self._first(row, pose)
        found, promised = self.model.products(first, template)
        signal, square = self.model.products(template, template)
        return found > _LEAST_RISE * signal / max(square, 1e-12) * promised

    def _is_shadow(self, row, pose, amplitude):
        """Tell whether a weak edge stands at that of another element, of which it may be a part."""
        onset, z = self._onset(row, pose), self.templates.z[row]
        window = self._window(onset)
        signal = amplitude * (self._template(row, pose, False) @ window)
        for element in self.elements:
            for family, other in zip(element.families, element.poses, strict=True):
                distance = onset - self._onset(family, other)
                second = self.templates.split[family] if self.templates.line_height[family] > 0 else 0.0
                if element.z != z and min(abs(distance), abs(distance - second)) < _SHADOW:
                    same = element.amplitude * (self._template(family, other, False) @ window)
                    if signal < _SHADOW_SHARE * same:
                        return True
        return False

    def _combined(self, rows, scores):
        sure = np.array([UNCERTAINTY[f] for f in self.templates.family[rows]])
        amplitude = scores["amplitude"][rows]
        lead = scores["gain"][rows].argmax()
        variance = 1 / scores["precision"][rows] + (sure * amplitude[lead]) ** 2
        return max((amplitude / variance).sum() / (1 / variance).sum(), 0.1 * amplitude[lead])

    def _absent(self):
        """Scores of families, and the leading one of each element that could be named but was not found."""
        if not len(self.templates):
            return {}, {}
        scores = self._family_scores()
        found = {element.z for element in self.elements}
        leads = {}
        for z, rows in self.rows_of.items():
            rows = rows[self.templates.naming[rows]]
            if z not in found and len(rows):
                leads[int(z)] = rows[scores["precision"][rows].argmax()]
        return scores, leads

    def errors(self):
        """Errors of the amplitudes of elements that could be named but were not found, by atomic number."""
        scores, leads = self._absent()
        return {z: scores["precision"][row] ** -0.5 for z, row in leads.items()}

    def absent_margins(self):
        """How far from significant these elements are, in units of their errors, by atomic number."""
        scores, leads = self._absent()
        return {z: float(scores["z"][row]) - self.n_sigma for z, row in leads.items()}

    def _failing(self, z):
        """Tell the elements that are not significant, or against which something else speaks."""
        amplitudes, covariance = self.amplitudes()
        coefficients, _ = self.model.solve()
        near = np.array([element.near @ coefficients[element.places] for element in self.elements])
        rose = np.array([element.rose for element in self.elements])
        shadow = [
            self._is_shadow(element.lead, element.poses[element.families.index(element.lead)], amplitude)
            for element, amplitude in zip(self.elements, amplitudes, strict=True)
        ]
        return (
            (z < np.where(rose, 1, _LATE) * self.n_sigma)
            | (amplitudes < _LEAST_CERTAINTY * np.sqrt(np.diagonal(covariance)))
            | (amplitudes < _LEAST_SHARE * amplitudes.clip(min=0).sum())
            | (near < _LEAST_RISE * amplitudes)
            | np.array(shadow)
        )

    def _eliminate(self):
        """Leave out elements one at a time until all are significant; returns the atomic numbers of those."""
        dropped = set()
        while self.elements:
            z = self.significances()
            failing = self._failing(z)
            if not failing.any():
                break
            late = [self.templates.family[element.lead][0] not in "KL" for element in self.elements]
            doubt = np.where(failing, z, np.inf) * np.where(late, _DOUBTFUL_SHARE, 1)
            worst = int(doubt.argmin())
            dropped.add(self.elements[worst].z)
            self._drop(worst)
        return dropped

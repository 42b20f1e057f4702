"""Which elements a core-loss spectrum shows: one after another, the best explained first."""

from dataclasses import dataclass, field

import numpy as np

from xtalsk.spectra._eels_model import LinearModel, background_columns, envelope, fine_structure
from xtalsk.spectra._eels_templates import SHIFTS, UNCERTAINTY

_SHIFT_KNOWN, _SHIFT_BEFORE, _SHIFT_AFTER = 1.5, 4.0, 3.0  # eV: spread of shifts with a zero-loss peak, without
# any element, and of one element beside another
_STRONG = 5.0  # times its error: amplitude at which a family says where its own onset is
_AGREEING = 0.3  # share of the expected amplitude that the other edges of an element must reach
_MOST_ELEMENTS = 15
_UNNAMED_COST, _LOW, _LOW_COST = 12.0, 65.0, 20.0  # of χ²: leads that name nothing, and those below 65 eV
_LEAST_JUMP = 0.004  # height of an edge relative to the spectrum that is told from a bend of the background


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
    named : bool
        Whether the edge that found it can name an element.
    amplitude : float
        In units of the spectrum over barn per eV.
    places : list of int
        Of the columns in the model, the first that of the amplitude.
    """

    z: int
    families: list
    poses: list
    strong: list
    named: bool
    amplitude: float
    places: list = field(default_factory=list)


class Search:
    """Search for the elements of one spectrum.

    Parameters
    ----------
    bins : Bins
    templates : Templates
    strength : ndarray of shape (n_families,)
        Of the families for the beam, relative to the templates.
    allowed : ndarray of bool, shape (99,)
        By atomic number.
    significance : float
    """

    def __init__(self, bins, templates, strength, allowed, significance):
        self.bins, self.templates, self.strength = bins, templates, strength
        self.significance = significance
        self.rows_of = {
            z: np.flatnonzero(templates.z == z) for z in np.unique(templates.z[allowed[templates.z]])
        }
        self.back = envelope(bins)
        self.elements = []
        self._start()

    def _start(self):
        self.elements = []
        self.model = LinearModel(self.bins.counts / self.bins.error, self.templates.poses / self.bins.error)
        columns, sizes = background_columns(self.bins, self.back)
        self.n_background = len(sizes)
        self.model.add(columns / self.bins.error, sizes)

    def run(self):
        """Add elements until none is significant, then leave out those that are not any more."""
        while self.templates.z.size and len(self.elements) < _MOST_ELEMENTS:
            best = self._best()
            if best is None:
                break
            self._enter(best)
            self._resize()
        self._eliminate()
        return self

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
        gain = np.sign(z) * n * np.log(rest / np.maximum(rest - z**2, 1e-3 * rest)) - distance**2
        gain -= 2.0 * t.lines_only
        starts = t.starts()
        top = np.maximum.reduceat(gain, starts)
        near = np.where(t.lines_only, np.inf, distance)
        usual = near <= np.minimum.reduceat(near, starts)[t.of]
        chosen = np.where(top[t.of] > 9, gain >= top[t.of], usual)
        best = starts + [chosen[a:b].argmax() for a, b in zip(starts, np.append(starts[1:], len(z)), strict=True)]
        scale = t.unit[best] * self.strength
        return {
            "pose": best,
            "amplitude": amplitude[best] / scale,
            "precision": precision[best] * scale**2,
            "z": z[best],
            "gain": gain[best],
        }

    def _best(self):
        scores = self._family_scores()
        t = self.templates
        cost = _UNNAMED_COST * ~t.naming + _LOW_COST * (t.onset < _LOW)
        scores["gain"] = scores["gain"] - cost
        taken = {element.z for element in self.elements}
        found, best = None, 0.0
        for z, rows in self.rows_of.items():
            gain = 0.0 if z in taken else self._element_gain(rows, scores)
            if gain > best:
                found, best = (z, rows), gain
        if found is None:
            return None
        z, rows = found
        lead = rows[scores["gain"][rows].argmax()]
        strong = scores["z"][rows] > _STRONG
        amplitude = self._combined(rows, scores)
        return Element(
            int(z), list(rows), list(scores["pose"][rows]), list(strong), bool(t.naming[lead]), amplitude
        )

    def _element_gain(self, rows, scores):
        """Fall of χ² by an element less what speaks against it; 0 if it is not significant."""
        z, gain = scores["z"][rows], scores["gain"][rows]
        lead = gain.argmax()
        least = self.significance**2
        if gain[lead] < least or not self._stands_out(rows[lead], scores):
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

    def _combined(self, rows, scores):
        sure = np.array([UNCERTAINTY[f] for f in self.templates.family[rows]])
        amplitude = scores["amplitude"][rows]
        lead = scores["gain"][rows].argmax()
        variance = 1 / scores["precision"][rows] + (sure * amplitude[lead]) ** 2
        return max((amplitude / variance).sum() / (1 / variance).sum(), 0.1 * amplitude[lead])

    def columns_of(self, element):
        """Columns of an element and their prior sizes: amplitude, families apart, fine structure."""
        t, families, poses = self.templates, element.families, element.poses
        parts = t.poses[poses] * (t.unit[poses] * self.strength[families])[:, None]
        columns, sizes = [parts.sum(0)[None]], [[1e3 * element.amplitude]]
        if len(families) > 1:
            columns.append(parts)
            sizes.append([UNCERTAINTY[t.family[f]] * element.amplitude for f in families])
        for f, pose in zip(families, poses, strict=True):
            above = self.bins.energy - t.onset[f] - SHIFTS[t.shift[pose]]
            level = t.smooth[f, t.shift[pose]] * self.strength[f]
            hats, size = fine_structure(above, level, t.line_height[f])
            columns.append(hats)
            sizes.append(size * element.amplitude)
        return np.concatenate(columns) / self.bins.error, np.concatenate(sizes)

    def _enter(self, element):
        columns, sizes = self.columns_of(element)
        places = self.model.add(columns, sizes)
        element.places = list(range(places.start, places.stop))
        self.elements.append(element)

    def _resize(self):
        """Fit, and let the freedom of each element's fine structure follow its amplitude."""
        for _ in range(2):
            coefficients, _ = self.model.solve()
            for element in self.elements:
                amplitude = max(coefficients[element.places[0]], 0.2 * element.amplitude)
                self.model.precision[element.places] *= (element.amplitude / amplitude) ** 2
                element.amplitude = amplitude

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

    def _eliminate(self):
        """Leave out, one at a time, elements that are not significant or whose amplitude is not positive."""
        while self.elements:
            z = self.significances()
            coefficients, _ = self.model.solve()
            z[[coefficients[element.places[0]] <= 0 for element in self.elements]] = 0
            worst = int(z.argmin())
            if z[worst] >= self.significance:
                break
            remaining = [element for i, element in enumerate(self.elements) if i != worst]
            self._start()
            for element in remaining:
                self._enter(element)
            if remaining:
                self._resize()

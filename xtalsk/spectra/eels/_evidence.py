"""Evidence for elements in a core-loss spectrum: scores of families of edges, and tests of single edges."""

from dataclasses import dataclass

import numpy as np

from xtalsk.spectra.eels._constants import (
    AGREEING,
    DOUBTFUL_SHARE,
    FARTHEST,
    FIRST_SHARP_M45,
    GIANT_N45,
    LEAST_COMBINED,
    LEAST_JUMP,
    LEAST_POSE_GAIN,
    LEAST_RISE,
    LEAST_SUPPORT,
    LINES_ONLY_COST,
    LOW_EDGE,
    LOW_EDGE_COST,
    M45_COST,
    SHADOW_RANGE,
    SHADOW_SHARE,
    SHIFT_AFTER,
    SHIFT_BEFORE,
    SHIFT_RANGE,
    SHIFT_WITH_ZERO_LOSS,
    SHIFTS,
    TEMPERED,
    UNCERTAINTY,
    UNNAMED_COST,
)
from xtalsk.spectra.eels._elements import ElementModel


@dataclass
class Scores:
    """Scores of the families at their best poses, each of shape (n_families,).

    Parameters
    ----------
    pose : ndarray of int
        Best pose.
    amplitude : ndarray
        Amplitude in units of the spectrum over barn per eV.
    precision : ndarray
        Inverse variance of the amplitude.
    significance : ndarray
        Amplitude over its error.
    gain : ndarray
        Fall of χ² if the family enters the model, minus the cost of its shift.
    """

    pose: np.ndarray
    amplitude: np.ndarray
    precision: np.ndarray
    significance: np.ndarray
    gain: np.ndarray


class Evidence(ElementModel):
    """Evidence for the elements that are not in the model yet.

    Parameters
    ----------
    bins : Bins
    templates : Templates
    strength : ndarray of shape (n_families,)
        Cross-sections of the families for the beam, relative to those of the templates.
    allowed : ndarray of bool, shape (99,)
        Elements to search for, by atomic number.
    n_sigma : float
        Necessary significance.
    """

    def __init__(self, bins, templates, strength, allowed, n_sigma):
        super().__init__(bins, templates, strength)
        self.n_sigma = n_sigma
        numbers = np.unique(templates.z[allowed[templates.z]])
        self.rows_of = {z: np.flatnonzero(templates.z == z) for z in numbers}

    def expected_shifts(self):
        """Return the expected shift of the onset of each family, and its standard deviation.

        Returns
        -------
        centre, spread : ndarray of shape (n_families,)
            In eV.
        """
        onset, zero_loss = self.templates.onset, self.bins.shift
        prior = SHIFT_BEFORE if zero_loss is None else SHIFT_WITH_ZERO_LOSS
        weight = np.full(len(onset), prior**-2.0)
        total = weight * (zero_loss or 0.0)
        for element in self.elements:
            for family, pose, strong in zip(element.families, element.poses, element.strong, strict=True):
                if strong:
                    distance = (onset - onset[family]) / SHIFT_RANGE
                    one = 1 / (SHIFT_AFTER**2 * (1 + distance**2))
                    weight, total = weight + one, total + one * SHIFTS[self.templates.shift[pose]]
        return total / weight, np.sqrt(1 / weight + SHIFT_AFTER**2 / 2)

    def family_scores(self):
        """Score every family at its best pose; returns `Scores`."""
        t = self.templates
        amplitude, precision, chi2 = self.model.scores()
        significance = amplitude * np.sqrt(precision)
        centre, spread = self.expected_shifts()
        distance = np.abs(SHIFTS[t.shift] - centre[t.of]) / spread[t.of]
        gain = self._pose_gains(significance, chi2, distance)
        best = self._best_poses(gain, distance)
        scale = t.unit[best] * self.strength
        return Scores(
            best, amplitude[best] / scale, precision[best] * scale**2, significance[best], gain[best]
        )

    def _pose_gains(self, significance, chi2, distance):
        """Fall of χ² by each pose minus the cost of its shift, shape (n_poses,)."""
        n = np.isfinite(self.bins.error).sum()
        square = significance**2
        gain = np.sign(significance) * n * np.log1p(square / np.maximum(chi2 - square, n)) - distance**2
        return np.where(distance > FARTHEST, -np.inf, gain - LINES_ONLY_COST * self.templates.lines_only)

    def _best_poses(self, gain, distance):
        """Pose of each family with the largest gain, or the expected pose if no gain is large."""
        t, starts = self.templates, self.templates.starts()
        top = np.maximum(np.maximum.reduceat(gain, starts), 0)
        distance = np.where(t.lines_only, np.inf, distance)
        is_expected = distance <= np.minimum.reduceat(distance, starts)[t.of]
        is_best = np.where(top[t.of] > LEAST_POSE_GAIN, gain >= top[t.of], is_expected)
        ends = np.append(starts[1:], len(gain))
        return starts + [is_best[a:b].argmax() for a, b in zip(starts, ends, strict=True)]

    def lead_scores(self):
        """Scores of the families as leads: the gain is lower for edges that are poor evidence."""
        t, scores = self.templates, self.family_scores()
        cost = np.where(t.naming, M45_COST * (t.family == "M45"), UNNAMED_COST)
        cost = cost + LOW_EDGE_COST * (t.onset < LOW_EDGE)
        is_delayed = (t.family == "M45") & (t.z < FIRST_SHARP_M45)
        is_giant = (t.family == "N45") & (t.z >= GIANT_N45[0]) & (t.z <= GIANT_N45[1])
        is_doubtful = is_delayed | ~(t.naming | is_giant)
        scores.gain = np.where(is_doubtful, DOUBTFUL_SHARE, 1) * scores.gain - cost
        return scores

    def lead_of(self, z, scores):
        """Family of an element with the largest gain."""
        rows = self.rows_of[z]
        return rows[scores.gain[rows].argmax()]

    def element_gain(self, z, scores):
        """Evidence for an element in units of χ²; 0 if the element is not significant.

        The gains of its families count for it. Families that are weaker than expected count against it.
        """
        rows, lead = self.rows_of[z], self.lead_of(z, scores)
        least = TEMPERED * self.n_sigma**2
        if scores.gain[lead] < least or scores.significance[lead] < self.n_sigma:
            return 0.0
        if not self.stands_out(lead, scores) or self.is_shadow(
            lead, scores.pose[lead], scores.amplitude[lead]
        ):
            return 0.0
        others = rows[rows != lead]
        support = sum(gain for gain in scores.gain[others] if gain > LEAST_SUPPORT)
        total = scores.gain[lead] + support - self._missing_signal(rows, lead, scores)
        return total if total > least else 0.0

    def _missing_signal(self, rows, lead, scores):
        """Evidence against an element from families that are weaker than expected, in units of χ²."""
        expected = scores.amplitude[lead] * np.sqrt(scores.precision[rows])
        certainty = np.array([1 - UNCERTAINTY[f] for f in self.templates.family[rows]])
        certainty = AGREEING * certainty / certainty[rows == lead][0]
        missing = np.maximum(certainty * expected - np.maximum(scores.significance[rows], 0), 0)
        return (missing[rows != lead] ** 2).sum()

    def combined_amplitude(self, rows, scores):
        """Mean amplitude of the families of an element, weighted with errors of data and theory."""
        uncertainty = np.array([UNCERTAINTY[f] for f in self.templates.family[rows]])
        amplitude = scores.amplitude[rows]
        lead = amplitude[scores.gain[rows].argmax()]
        variance = 1 / scores.precision[rows] + (uncertainty * lead) ** 2
        return max((amplitude / variance).sum() / (1 / variance).sum(), LEAST_COMBINED * lead)

    def stands_out(self, family, scores):
        """Whether an edge is higher than the bends of a background; returns bool."""
        pose = scores.pose[family]
        amplitude = scores.amplitude[family] * self.templates.unit[pose] * self.strength[family]
        height = amplitude * self.templates.poses[pose]
        return (height / np.maximum(self.back, np.abs(self.bins.counts))).max() > LEAST_JUMP

    def rises(self, family, pose):
        """Whether the bins near the onset hold the signal expected from the whole edge; returns bool."""
        template = self.templates.poses[pose] / self.bins.error
        near = template * self._rise_window(family, pose)
        measured, expected = self.model.products(near, template)
        signal, square = self.model.products(template, template)
        return measured > LEAST_RISE * signal / max(square, 1e-12) * expected

    def is_shadow(self, family, pose, amplitude):
        """Whether a weak edge may be part of a stronger edge of another element at the same energy; bool."""
        t, onset = self.templates, self._onset(family, pose)
        window = self._signal_window(onset)
        signal = amplitude * (self._template(family, pose, False) @ window)
        for element in self.elements:
            if element.z == t.z[family]:
                continue
            for other, other_pose in zip(element.families, element.poses, strict=True):
                distance = onset - self._onset(other, other_pose)
                split = t.split[other] if t.line_height[other] > 0 else 0.0
                if min(abs(distance), abs(distance - split)) < SHADOW_RANGE:
                    other_signal = element.amplitude * (self._template(other, other_pose, False) @ window)
                    if signal < SHADOW_SHARE * other_signal:
                        return True
        return False

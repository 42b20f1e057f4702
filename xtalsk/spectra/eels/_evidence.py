"""Evidence for elements in a core-loss spectrum: scores of families of edges, and tests of single edges."""

from dataclasses import dataclass

import numpy as np

from xtalsk.spectra.eels._constants import (
    AGREEING,
    FARTHEST,
    LEAST_COMBINED,
    LEAST_JUMP,
    LEAST_POSE_GAIN,
    LEAST_RISE,
    LEAST_SUPPORT,
    LINES_ONLY_COST,
    SHADOW_RANGE,
    SHADOW_SHARE,
    SHIFT_AFTER,
    SHIFT_BEFORE,
    SHIFT_RANGE,
    SHIFT_WITH_ZERO_LOSS,
    SHIFTS,
    TEMPERED,
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
    n_sigma : float
        Necessary significance.
    """

    def __init__(self, bins, templates, strength, n_sigma):
        super().__init__(bins, templates, strength)
        self.n_measured = float(np.isfinite(bins.error).sum())
        self._least_height = LEAST_JUMP * np.maximum(self.back, np.abs(bins.counts))
        self.n_sigma, self.least_gain = n_sigma, TEMPERED * n_sigma**2
        self.rows_of = templates.of_element

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
        from xtalsk.spectra.eels._edge_kernels import best_poses

        t = self.templates
        amplitude, precision, chi2 = self.model.scores()
        limits = FARTHEST, LINES_ONLY_COST, LEAST_POSE_GAIN
        best, gain = best_poses(
            t.starts, t.shift, SHIFTS, t.lines_only,
            amplitude, precision, chi2, self.n_measured, *self.expected_shifts(), limits,
        )  # fmt: skip
        scale, amplitude, precision = t.unit[best] * self.strength, amplitude[best], precision[best]
        significance = amplitude * np.sqrt(precision)
        return Scores(best, amplitude / scale, precision * scale**2, significance, gain)

    def lead_scores(self):
        """Scores of the families as leads: the gain is lower for edges that are poor evidence."""
        scores = self.family_scores()
        scores.gain = self.templates.evidence_share * scores.gain - self.templates.evidence_cost
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
        if scores.gain[lead] < self.least_gain or scores.significance[lead] < self.n_sigma:
            return 0.0
        if not self.stands_out(lead, scores) or self.is_shadow(
            lead, scores.pose[lead], scores.amplitude[lead]
        ):
            return 0.0
        others = rows[rows != lead]
        support = sum(gain for gain in scores.gain[others] if gain > LEAST_SUPPORT)
        total = scores.gain[lead] + support - self._missing_signal(rows, lead, scores)
        return total if total > self.least_gain else 0.0

    def _missing_signal(self, rows, lead, scores):
        """Evidence against an element from families that are weaker than expected, in units of χ²."""
        expected = scores.amplitude[lead] * np.sqrt(scores.precision[rows])
        certainty = 1 - self.templates.uncertainty[rows]
        certainty = AGREEING * certainty / certainty[rows == lead][0]
        missing = np.maximum(certainty * expected - np.maximum(scores.significance[rows], 0), 0)
        return (missing[rows != lead] ** 2).sum()

    def combined_amplitude(self, rows, scores):
        """Mean amplitude of the families of an element, weighted with errors of data and theory."""
        uncertainty, amplitude = self.templates.uncertainty[rows], scores.amplitude[rows]
        lead = amplitude[scores.gain[rows].argmax()]
        variance = 1 / scores.precision[rows] + (uncertainty * lead) ** 2
        return max((amplitude / variance).sum() / (1 / variance).sum(), LEAST_COMBINED * lead)

    def stands_out(self, family, scores):
        """Whether an edge is higher than the bends of a background; returns bool."""
        pose = scores.pose[family]
        amplitude = scores.amplitude[family] * self.templates.unit[pose] * self.strength[family]
        return bool((amplitude * self.templates.poses[pose] > self._least_height).any())

    def rises(self, family, pose):
        """Whether the bins near the onset hold the signal expected from the whole edge; returns bool."""
        template = self.templates.poses[pose]
        near = template * self._rise_window(family, pose)
        products, with_data = self.model.residual_products(np.stack([near, template]))
        amplitude = with_data[1] / max(products[1, 1], 1e-12)
        return with_data[0] > LEAST_RISE * amplitude * products[0, 1]

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

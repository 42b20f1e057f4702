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

    def expected_shifts(self):
        """Return the expected shift of the onset of each family, and its standard deviation.

        Returns
        -------
        centre, spread : ndarray of shape (n_families,)
            In eV.
        """
        from xtalsk.spectra.eels._edge_kernels import expected_shifts

        t, zero_loss = self.templates, self.bins.shift
        prior = SHIFT_BEFORE if zero_loss is None else SHIFT_WITH_ZERO_LOSS
        strong = [
            (family, pose)
            for element in self.elements
            for family, pose, strong in zip(element.families, element.poses, element.strong, strict=True)
            if strong
        ]
        families, poses = np.array(strong, dtype=int).reshape(-1, 2).T
        usual = (zero_loss or 0.0, prior)
        return expected_shifts(
            t.onset, t.onset[families], SHIFTS[t.shift[poses]], usual, SHIFT_AFTER, SHIFT_RANGE
        )

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

    def elements_by_gain(self, scores):
        """Significant elements, the strongest evidence first: list of (atomic number, lead).

        The lead is the family with the largest gain. Elements in the model are left out.
        """
        from xtalsk.spectra.eels._edge_kernels import element_gains

        t, limits = self.templates, (self.least_gain, self.n_sigma, LEAST_SUPPORT, AGREEING)
        measured = scores.gain, scores.significance, scores.amplitude, scores.precision
        gains, leads = element_gains(*t.groups, *measured, t.uncertainty, limits)
        order = np.argsort(-gains, kind="stable")
        leads = leads[order[: np.count_nonzero(gains)]].tolist()
        known = {element.z for element in self.elements}
        return [(z, lead) for z, lead in zip(t.z[leads].tolist(), leads, strict=True) if z not in known]

    def is_evident(self, lead, scores):
        """Whether an edge stands out and is no part of a stronger edge of another element; returns bool."""
        pose, amplitude = scores.pose[lead], scores.amplitude[lead]
        return self.stands_out(lead, scores) and not self.is_shadow(lead, pose, amplitude)

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

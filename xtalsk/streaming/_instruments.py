"""Instruments of a stream: one set of conditions each, from reflections to batches of what they record."""

from collections.abc import Mapping

import numpy as np

from xtalsk.diffraction._functional import two_theta_to_q
from xtalsk.simulation import PowderConditions, RingConditions
from xtalsk.simulation._conditions import check_conditions
from xtalsk.simulation.images import _rings
from xtalsk.simulation.images._beam import IMAGE_REACH
from xtalsk.simulation.powder import _simulate as _powder

_RENDERED = {"cpu": 32, "cuda": 256}  # patterns rendered at once


class Powder:
    """Powder patterns of one set of conditions, from crystals to features."""

    kind = PowderConditions

    def __init__(self, conditions):
        self.conditions = conditions

    def lines(self):
        return "xray", self.conditions.d_min(), self.conditions.wavelength

    def reach(self):
        return two_theta_to_q(self.conditions.axis()[[0, -1]], self.conditions.wavelength).tolist()

    def source(self, device):
        q = two_theta_to_q(self.conditions.axis(), self.conditions.wavelength)
        return q.to(device)

    def render(self, found, rows, rng):
        drawn = _powder.draw_powder(self.conditions, found, rows, rng)
        size = _RENDERED[found.q.device.type]
        return _powder.render_in_chunks(found, rows, drawn, self.conditions, rng, size)


class Rings:
    """Ring images of one set of conditions, from crystals to features."""

    kind = RingConditions

    def __init__(self, conditions):
        self.conditions = conditions

    def lines(self):
        return "electron", IMAGE_REACH / self.conditions.q_max, None

    def reach(self):
        return 0.0, self.conditions.q_max

    def source(self, device):
        return 2 * self.conditions.q_max / self.conditions.image_size

    def render(self, found, rows, rng):
        drawn = _rings.draw_rings(self.conditions, found, rows, rng)
        size = _RENDERED[found.q.device.type] // 4
        return _rings.render_in_chunks(found, rows, drawn, self.conditions, rng, size)


INSTRUMENTS = {"powder": Powder, "rings": Rings}


def check_settings(columns, conditions, shares):
    """By column the instruments and how often each is drawn."""
    named = set(shares) | (set(conditions) if isinstance(conditions, Mapping) else set())
    if named - set(columns):
        raise ValueError(
            f"conditions and shares name {sorted(named - set(columns))}; features use {list(columns)}"
        )
    settings = {}
    for column, instrument in INSTRUMENTS.items():
        if column not in columns:
            continue
        given = conditions.get(column, "harsh") if isinstance(conditions, Mapping) else conditions
        given = given if isinstance(given, list | tuple) else [given]
        made = [instrument(check_conditions(one, instrument.kind)) for one in given]
        share = np.asarray(shares.get(column, np.ones(len(made))), dtype=float)
        if share.shape != (len(made),) or not (share >= 0).all() or not share.sum() > 0:
            raise ValueError(
                f"shares of {column} must be {len(made)} numbers, none below 0, got {share.tolist()}"
            )
        settings[column] = made, share / share.sum()
    return settings

"""Instruments of a stream: from crystals to batches of patterns on a device, and to compositions.

All calls of the stream into the simulation are here.
"""

from collections.abc import Mapping

import numpy as np

from xtalsk.diffraction._functional import two_theta_to_q
from xtalsk.simulation import FormulaConditions, PowderConditions, RingConditions
from xtalsk.simulation._conditions import check_conditions
from xtalsk.simulation.images import _rings
from xtalsk.simulation.images._beam import IMAGE_REACH
from xtalsk.simulation.powder import _simulate as _powder
from xtalsk.simulation.spectra._formulas import atomic_fractions
from xtalsk.simulation.spectra._measured_formulas import measured_fractions
from xtalsk.streaming._constants import POWDER_BATCH, RING_BATCH


class Powder:
    """X-ray powder patterns under one set of conditions.

    Parameters
    ----------
    conditions : PowderConditions
    """

    kind = PowderConditions

    def __init__(self, conditions):
        self.conditions = conditions

    def lines(self):
        """Return the radiation, the smallest d in Å and the wavelength in Å of the reflections needed."""
        return "xray", self.conditions.d_min(), self.conditions.wavelength

    def reach(self):
        """Return the lowest and the highest q of the pattern in 1/Å."""
        return two_theta_to_q(self.conditions.axis()[[0, -1]], self.conditions.wavelength).tolist()

    def source(self, device):
        """Return the axis that transformers need: q of each point in 1/Å."""
        q = two_theta_to_q(self.conditions.axis(), self.conditions.wavelength)
        return q.to(device)

    def render(self, reflections, rows, rng):
        """Return batches of patterns of crystals, tensors of shape (n, n_points) on the device."""
        values = _powder.draw_powder(self.conditions, reflections, rows, rng)
        size = POWDER_BATCH[reflections.q.device.type]
        return _powder.render_in_chunks(reflections, rows, values, self.conditions, rng, size)


class Rings:
    """Ring images under one set of conditions.

    Parameters
    ----------
    conditions : RingConditions
    """

    kind = RingConditions

    def __init__(self, conditions):
        self.conditions = conditions

    def lines(self):
        """Return the radiation, the smallest d in Å and no wavelength of the reflections needed."""
        return "electron", IMAGE_REACH / self.conditions.q_max, None

    def reach(self):
        """Return the lowest and the highest q of the image in 1/Å."""
        return 0.0, self.conditions.q_max

    def source(self, device):
        """Return the calibration that transformers need: the size of a pixel in 1/Å."""
        return 2 * self.conditions.q_max / self.conditions.image_size

    def render(self, reflections, rows, rng):
        """Return batches of images of crystals, tensors of shape (n, size, size) on the device."""
        values = _rings.draw_rings(self.conditions, reflections, rows, rng)
        size = RING_BATCH[reflections.q.device.type]
        return _rings.render_in_chunks(reflections, rows, values, self.conditions, rng, size)


INSTRUMENTS = {"powder": Powder, "rings": Rings}
"""Instruments by the column of the specimens that they record."""


class Formulas:
    """Compositions of crystals as they are measured, each under conditions of its own.

    Parameters
    ----------
    formulas : sequence of str
        One for each crystal.
    conditions : list of FormulaConditions
    shares : ndarray of float
        Probability of each of the conditions.
    """

    def __init__(self, formulas, conditions, shares):
        self.fractions, self.conditions, self.shares = atomic_fractions(formulas), conditions, shares

    def measure(self, rows, rng):
        """Return atomic fractions (n, 98) of crystals.

        NaN marks elements that were not seen. A row is 0 where no element of the crystal was
        detected.
        """
        choice = rng.choice(len(self.conditions), len(rows), p=self.shares)
        out = np.zeros((len(rows), self.fractions.shape[1]))
        for k in np.unique(choice):
            members = choice == k
            out[members] = measured_fractions(self.fractions[rows[members]], self.conditions[k], rng)
        return out


def check_settings(columns, conditions, shares):
    """Return the instruments of each column and the probability of each; for formulas, their conditions.

    Parameters
    ----------
    columns : iterable of str
        Columns of the specimens that the features use.
    conditions, shares
        As in `SpecimenStream`.

    Returns
    -------
    settings : dict of {str: (list of instruments, ndarray of float)}
        In the order of `INSTRUMENTS`.
    formulas : (list of FormulaConditions, ndarray of float) or None
        None if the features use no formulas.

    Raises
    ------
    ValueError
        If conditions or shares name an unused column, or shares do not match the conditions.
    """
    if not isinstance(shares, Mapping):
        raise ValueError(f"shares must be a dict from a column to a sequence of numbers, got {shares!r}")
    named = set(shares) | (set(conditions) if isinstance(conditions, Mapping) else set())
    if named - set(columns):
        raise ValueError(
            f"conditions and shares name {sorted(named - set(columns))}; features use {list(columns)}"
        )
    settings = {}
    for column, instrument in INSTRUMENTS.items():
        if column not in columns:
            continue
        choice = conditions.get(column, "harsh") if isinstance(conditions, Mapping) else conditions
        members, probability = _check_mixture(column, choice, instrument.kind, shares)
        settings[column] = [instrument(one) for one in members], probability
    if "formula" not in columns:
        return settings, None
    choice = conditions.get("formula", "typical") if isinstance(conditions, Mapping) else "typical"
    return settings, _check_mixture("formula", choice, FormulaConditions, shares)


def _check_mixture(column, choice, kind, shares):
    """Return the conditions of a column as a list, and the probability of each of them."""
    choice = choice if isinstance(choice, list | tuple) else [choice]
    name = f"conditions of {column!r}"
    if not choice:
        raise ValueError(f"{name} must hold at least one {kind.__name__} or preset")
    members = [check_conditions(one, kind, name) for one in choice]
    return members, _check_shares(column, shares.get(column), len(members))


def _check_shares(column, shares, n):
    """Return the probability of each of ``n`` conditions; equal ones if ``shares`` is None."""
    shares = np.ones(n) if shares is None else np.asarray(shares, dtype=float)
    if shares.shape != (n,) or not (shares >= 0).all() or not shares.sum() > 0:
        raise ValueError(f"shares of {column} must be {n} numbers, none below 0, got {shares.tolist()}")
    return shares / shares.sum()

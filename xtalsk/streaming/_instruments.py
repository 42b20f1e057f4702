"""Instruments of a stream: from crystals to batches of patterns on a device, and to compositions.

All calls of the stream into the simulation are here.
"""

from collections.abc import Mapping

import numpy as np

from xtalsk.diffraction._functional import two_theta_to_q
from xtalsk.simulation import FormulaConditions, PowderConditions, RingConditions, SpotConditions
from xtalsk.simulation._chunks import slice_patterns
from xtalsk.simulation._conditions import check_conditions
from xtalsk.simulation._counting import draw_seeds
from xtalsk.simulation.images import _rings, _spots
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


class Spots(Rings):
    """Spot patterns of several zones of single crystals under one set of conditions.

    Parameters
    ----------
    conditions : SpotConditions
    """

    kind = SpotConditions

    def render_zones(self, reflections, rows, n_zones, rng):
        """Render the zones of crystals, zone by zone.

        The zones of a specimen share what the patterns of a specimen share in
        `xtalsk.simulation.simulate_spots`.

        Parameters
        ----------
        reflections : Reflections
        rows : ndarray of int, shape (n,)
            The crystal of each specimen.
        n_zones : ndarray of int, shape (n,)
            Number of zones of each specimen, at least 1.
        rng : RandomState

        Yields
        ------
        zone : int
            From 0.
        specimens : ndarray of int, shape (m,)
            Positions in ``rows``.
        images : tensor of shape (m, size, size)
            On the device.
        """
        zone, specimen = np.nonzero(np.arange(n_zones.max())[:, None] < n_zones)
        values = _spots.draw_spots(self.conditions, reflections, rows[specimen], rng)
        values[_spots.OF_SPECIMEN] = values.loc[specimen, _spots.OF_SPECIMEN].to_numpy()
        values = {name: values[name].to_numpy(dtype=float) for name in values}
        seeds = draw_seeds(rng, len(zone))
        size = RING_BATCH[reflections.q.device.type]
        ends = np.cumsum(np.bincount(zone))
        for k, end in enumerate(ends):
            for first in range(ends[k - 1] if k else 0, end, size):
                last = min(first + size, end)
                part = specimen[first:last]
                images, _ = _spots.render_spots(
                    reflections, rows[part], slice_patterns(values, first, last), self.conditions,
                    seeds[first:last],
                )  # fmt: skip
                yield k, part, images


INSTRUMENTS = {"powder": Powder, "rings": Rings, "spots": Spots}
"""Instruments by the modality that they record."""


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


def check_settings(modalities, conditions, shares):
    """Return the instruments of each modality and the probability of each; for formulas, their conditions.

    Parameters
    ----------
    modalities : iterable of str
        Modalities that the features use.
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
        If conditions or shares name an unused modality, or shares do not match the conditions.
    """
    if not isinstance(shares, Mapping):
        raise ValueError(f"shares must be a dict from a column to a sequence of numbers, got {shares!r}")
    named = set(shares) | (set(conditions) if isinstance(conditions, Mapping) else set())
    if named - set(modalities):
        raise ValueError(
            f"conditions and shares name {sorted(named - set(modalities))}; features use {list(modalities)}"
        )
    settings = {}
    for modality, instrument in INSTRUMENTS.items():
        if modality not in modalities:
            continue
        choice = conditions.get(modality, "harsh") if isinstance(conditions, Mapping) else conditions
        members, probability = _check_mixture(modality, choice, instrument.kind, shares)
        settings[modality] = [instrument(one) for one in members], probability
    if "formula" not in modalities:
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


def check_zones(zones, n_columns):
    """Return the numbers of zones of a specimen, and the probability of each.

    Parameters
    ----------
    zones : dict of {int: float} or None
        Relative frequency of each number of zones; None stands for equal ones of 1 to ``n_columns``.
    n_columns : int

    Returns
    -------
    numbers : ndarray of int
    probabilities : ndarray of float

    Raises
    ------
    ValueError
        If a number is not from 1 to ``n_columns``, or a frequency is below 0 or all are 0.
    """
    zones = dict.fromkeys(range(1, n_columns + 1), 1.0) if zones is None else zones
    if not isinstance(zones, Mapping) or not set(zones) <= set(range(1, n_columns + 1)):
        raise ValueError(
            f"zones must be a dict from a number of zones, 1 to {n_columns}, to its share, got {zones!r}"
        )
    return np.array(list(zones), dtype=int), _check_shares("zones", list(zones.values()), len(zones))


def _check_shares(column, shares, n):
    """Return the probability of each of ``n`` conditions; equal ones if ``shares`` is None."""
    shares = np.ones(n) if shares is None else np.asarray(shares, dtype=float)
    if shares.shape != (n,) or not (shares >= 0).all() or not shares.sum() > 0:
        raise ValueError(f"shares of {column} must be {n} numbers, none below 0, got {shares.tolist()}")
    return shares / shares.sum()

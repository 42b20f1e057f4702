"""Powder patterns by compiled loops in threads, for CPUs; the twin of `_simulate.render_powder`."""

import math
from functools import lru_cache

import numpy as np
import torch
from scipy import fft

from xtalsk.simulation._chunks import stacked
from xtalsk.simulation._constants import PADDING_WIDTHS
from xtalsk.simulation._counting import quantile_table
from xtalsk.simulation.powder._background import low_angle_shape
from xtalsk.simulation.powder._conditions import PowderConditions
from xtalsk.simulation.powder._constants import (
    BLOCK,
    EDGE,
    LOWEST_VARIANCE,
    PATTERNS_PER_BLOCK,
    REMAINDER_SPREAD,
    REMAINDER_STEP,
    SMALLEST_PADDING,
    WANDER,
    WANDER_ROUGHNESS,
    WIDTH_ANGLES,
)
from xtalsk.simulation.powder._lines import COTANGENT_ANGLES, compiled_widths
from xtalsk.simulation.reflections._families import laue_group
from xtalsk.simulation.reflections._strain import (
    STRAIN_COLUMNS,
    VOIGT,
    ZONE_COLUMNS,
    metric_changes,
    reciprocal_metrics,
)
from xtalsk.simulation.reflections._texture import PLANE_COLUMNS, proper_rotations
from xtalsk.utils._threads import in_threads

FIELDS = (
    "ka2",
    "monochromator",
    "zero_shift",
    "displacement",
    "b_shift",
    "march_parameter",
    *PLANE_COLUMNS,
    "line_scatter",
    "impurity",
    "impurity_row",
    "zoning",
    "zone_share",
    "peak_counts",
    "line_counts",
    "background",
    "air",
    "air_decay",
    "hump",
    "hump_position",
    "hump_width",
    "low_angle_scatter",
    "waviness",
    "bend_1",
    "bend_2",
    "bend_3",
    "bend_4",
    "background_removed",
    "opening_degrees",
    "baseline_depth",
    "beam_left",
    "last_pinned",
    "full_scale",
)
"""Conditions of a pattern that the compiled loops read."""

_RECORD = np.dtype([(name, float) for name in FIELDS])


class CompiledRenderer:
    """Renders patterns of one set of reflections under one set of conditions.

    Parameters
    ----------
    reflections : Reflections
        In single precision, on the CPU.
    conditions : PowderConditions
        For the axis and the wavelengths.
    nodes : tensor of shape (k,)
        Angles 2θ in degrees between which widths are interpolated.
    """

    def __init__(self, reflections, conditions, nodes):
        self._reflections, self._nodes = reflections, nodes.double().numpy()
        self._axis = conditions.axis()
        self._low_angle = _low_angle_shape(conditions.two_theta)
        step = float(conditions.two_theta[2])
        wavelengths = float(conditions.wavelength), float(conditions.ka2_wavelength)
        self._instrument = (*wavelengths, float(conditions.radius), self._axis[0], self._axis[-1], step)
        columns = reflections.q, reflections.hkl, reflections.multiplicity, reflections.intensity
        self._columns = reflections.offsets, *(column.contiguous().numpy() for column in columns)
        self._groups = reflections.rotation_index, *_rotation_table(reflections.rotation_sets)

    def expected_counts(self, rows, values, seeds):
        """Compute the expected counts of patterns.

        Parameters
        ----------
        rows : ndarray of int, shape (n,)
            The crystal of each pattern.
        values : dict of str to ndarray of shape (n,)
            See `draw_powder`.
        seeds : ndarray of uint64, shape (n,)
            Seeds of the scatter of the intensities.

        Returns
        -------
        ndarray of float32, shape (n, n_points)
        """
        rates = np.empty((len(rows), len(self._axis)), np.float32)
        self._run(rows, values, seeds, rates, None)
        return rates

    def counts(self, rows, values, seeds):
        """Draw the counts of patterns, ndarray of float32; the arguments are those of `expected_counts`."""
        rates = np.empty((len(rows), len(self._axis)), np.float32)
        counts = np.empty_like(rates)
        self._run(rows, values, seeds, rates, counts)
        return counts

    def _run(self, rows, values, seeds, rates, counts):
        """Write the expected counts and, if ``counts`` is an array, the counts."""
        rows, records = rows.astype(np.int64), as_records(values, len(rows))
        shapes = self._shapes(values)
        lines = rows, records, seeds, self._metrics(rows, values)
        padded = _padded_lengths(len(self._axis), shapes[0].max(axis=1))
        blocks = _blocks(padded)

        def work(first, last):
            for members in blocks[first:last]:
                self._render_block(members, int(padded[members[0]]), lines, shapes, rates)
                if counts is not None:
                    self._record_block(members, rates, records, seeds, counts)

        in_threads(work, len(blocks))

    def _render_block(self, members, n_padded, lines, shapes, rates):
        """Write the expected counts of the patterns numbered ``members``."""
        # numba is imported at the first use
        from xtalsk.simulation.powder._line_kernels import deposit_patterns
        from xtalsk.simulation.powder._pattern_kernels import broaden_spectra, expect_counts

        rows, records, seeds, metrics = lines
        nodes = self._nodes
        deposited = np.zeros((len(members), len(nodes), n_padded), np.float32)
        total = np.empty(len(members))
        deposit_patterns(
            members, rows, records, seeds, metrics, self._columns, self._groups, self._instrument, nodes,
            deposited, total,
        )  # fmt: skip
        if not total.all():
            row = int(rows[members[int(np.argmin(total))]])
            raise ValueError(no_lines_message(self._reflections, row, self._axis))
        spectra = fft.rfft(deposited, overwrite_x=True)
        out = np.zeros((len(members), spectra.shape[2]), np.complex64)
        of_members = (shape[members] for shape in shapes)
        broaden_spectra(spectra.view(np.float32), n_padded, *of_members, out.view(np.float32))
        profiles = fft.irfft(out, n=n_padded, overwrite_x=True)
        expect_counts(members, profiles, records, self._axis, self._low_angle, rates)

    def _record_block(self, members, rates, records, seeds, counts):
        """Write the counts of the patterns numbered ``members``."""
        from xtalsk.simulation.powder._pattern_kernels import record_counts

        n_nodes = max(2, int((self._axis[-1] - self._axis[0]) / REMAINDER_STEP))
        constants = BLOCK, EDGE, n_nodes, REMAINDER_SPREAD, WANDER, WANDER_ROUGHNESS, LOWEST_VARIANCE
        table, per_count, largest = quantile_table()
        record_counts(
            members, rates, records, seeds, self._low_angle, self._instrument[5], constants,
            table, per_count, largest, counts,
        )  # fmt: skip

    def _shapes(self, values):
        """Widths in points, Lorentzian shares and tails in points at the nodes, ndarrays of shape (n, k)."""
        step = self._instrument[5]
        fwhm, eta = compiled_widths(np.clip(self._nodes, *WIDTH_ANGLES), values, self._instrument[0])
        cotangent = 1 / np.tan(np.radians(np.clip(self._nodes, *COTANGENT_ANGLES)))
        tail = values["asymmetry"][:, None] * np.maximum(cotangent, 0)
        return fwhm / step, eta, tail / step

    def _metrics(self, rows, values):
        """Reciprocal metric tensors and their changes by strain and by zoning, shape (n, 3, 6)."""
        strains = stacked(values, STRAIN_COLUMNS)
        zones = strains + stacked(values, ZONE_COLUMNS)
        metrics = reciprocal_metrics(self._reflections.lattices[rows])[:, *VOIGT]
        changes = (metric_changes(self._reflections, rows, s) for s in (strains, zones))
        return np.stack([metrics, *changes], axis=1)


@lru_cache(maxsize=8)
def _low_angle_shape(two_theta):
    """Return `low_angle_shape` of an axis, ndarray of shape (n_points,)."""
    axis = torch.from_numpy(PowderConditions(two_theta=two_theta).axis())
    return low_angle_shape(axis).numpy()


def as_records(values, n):
    """Values of the conditions of ``n`` patterns as an array of records."""
    records = np.empty(n, _RECORD)
    for name in FIELDS:
        records[name] = values[name]
    return records


def no_lines_message(reflections, row, axis):
    """Return the message for a crystal without a line on the axis."""
    name = f"crystal {row} ({reflections.ids[row]})"
    return f"{name} has no line between {axis[0]:g} and {axis[-1]:g} degrees"


def _rotation_table(rotation_sets):
    """First rotation of each Laue group, and all proper rotations of all groups, end to end."""
    groups = [proper_rotations(laue_group(rotations)) for rotations in rotation_sets]
    return np.cumsum([0, *map(len, groups)]), np.concatenate(groups)


def _padded_lengths(n_points, width):
    """Choose the number of points of the Fourier transform of each pattern, from its largest width.

    There are few different lengths, and the length of a pattern does not depend on other patterns.
    """
    padding = np.maximum(PADDING_WIDTHS * width, SMALLEST_PADDING)
    padding = 2.0 ** np.ceil(np.log2(padding))
    unique, index = np.unique(padding, return_inverse=True)
    lengths = [fft.next_fast_len(n_points + math.ceil(p) + 1, real=True) for p in unique]
    return np.array(lengths)[index]


def _blocks(padded):
    """Numbers of the patterns that are rendered at once; those of a block have the same padded length."""
    blocks = []
    for length in np.unique(padded):
        members = np.flatnonzero(padded == length)
        blocks += np.split(members, range(PATTERNS_PER_BLOCK, len(members), PATTERNS_PER_BLOCK))
    return blocks

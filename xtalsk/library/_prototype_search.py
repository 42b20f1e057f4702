"""The search of `PrototypeMatch`: comparison of one measurement with decorated prototypes."""

import re
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d

from xtalsk.library._constants import FWHM
from xtalsk.library._prototype_candidates import find_candidates, make_species
from xtalsk.library._prototype_constants import (
    FLOOR,
    LINE_MARGIN,
    LOG_STEP,
    MAX_Q,
    REFINED_STEPS,
    REMEMBERED_ROWS,
    SCALE_ERROR,
    SCALE_WEIGHT,
    SHARPNESS,
    SMOOTHING,
    STRAIN_COST,
    STRAIN_ERROR,
    WIDTHS,
)
from xtalsk.library._prototype_lines import PrototypeLines, factor_tables, invariant_strains
from xtalsk.utils._threads import in_threads

_UNKNOWN = object()  # of a row that was not searched yet
_FEWEST_POINTS = 64  # a profile of fewer measured points of ln q is not compared


def bin_centers(names, n_bins, q_range):
    """Return the middles of the bins of a profile in 1/Å.

    ``q_range=None`` infers the ends from the default columns of `PowderProfile` and `RadialProfile`.

    Raises
    ------
    ValueError
        If they cannot be inferred, or if ``q_range`` contradicts the numbers of the bins.
    """
    from xtalsk.diffraction.indexing._scores import _check_names, _infer_range  # imports the room of indexing

    own = [re.sub(r".*__", "", name) for name in names]
    if q_range is None:
        q_range = _infer_range(n_bins, own)
    _check_names(q_range, own)
    step = (q_range[1] - q_range[0]) / n_bins
    return q_range[0] + step * (np.arange(n_bins) + 0.5)


class Match(NamedTuple):
    """Candidates of one measurement, best first.

    Attributes
    ----------
    rows : ndarray of int, shape (n,)
        Numbers of the prototypes.
    species : ndarray of shape (n, 7)
        Species of each group of sites.
    composition : ndarray of shape (n_species, 99)
        Elements of each species.
    scales : ndarray of shape (n,)
        Factor of q between the prototype and the candidate.
    strains : list of (ndarray of shape (k, 3, 3), ndarray of shape (k,)), or None
        Strains of the refined candidates, on top of the scale.
    similarity, score : ndarray of shape (n,)
    chemistry : ndarray of shape (n,)
        Score without the profile.
    """

    rows: np.ndarray
    species: np.ndarray
    composition: np.ndarray
    scales: np.ndarray
    strains: list
    similarity: np.ndarray
    score: np.ndarray
    chemistry: np.ndarray


class PrototypeSearch:
    """Prototypes, arranged for the comparison with profiles on one grid of q.

    Parameters
    ----------
    crystals : CrystalSet
    table : PrototypeTable
    q : ndarray of shape (n_bins,)
        Middles of the bins in 1/Å.
    modality : {"powder", "rings"}
    max_scale_error : float
    n_candidates, n_refined : int
    stray : list of int
        Atomic numbers.
    """

    def __init__(self, crystals, table, q, modality, max_scale_error, n_candidates, n_refined, stray):
        self.crystals, self.table, self.q, self.modality = crystals, table, q, modality
        self.margin = max(1, round(max_scale_error / LOG_STEP))
        self.n_candidates, self.n_refined, self.stray = n_candidates, n_refined, stray
        self.end = min(q[-1], MAX_Q)
        self.lines = PrototypeLines(crystals, table, self.end * np.exp(max_scale_error) * LINE_MARGIN)
        self.sigma = WIDTHS[modality] / FWHM
        self._strains, self._known = {}, OrderedDict()

    def prepare(self, profile):
        """Return a measured profile on the axis of ln q, of mean 0 and length 1, and its first ln q.

        None if there is nothing to compare.
        """
        measured = np.flatnonzero(~np.isnan(profile) & (self.q <= self.end))
        if not len(measured):
            return None
        own = slice(measured[0], measured[-1] + 1)
        q, values = self.q[own], profile[own].astype(float)
        values = np.nan_to_num(np.maximum(values - np.nanmedian(values), 0)) ** 0.75
        values = gaussian_filter1d(values, SMOOTHING[self.modality] / FWHM / (self.q[1] - self.q[0]))
        start = np.log(q[0])
        axis = np.exp(np.arange(start, np.log(q[-1]), LOG_STEP))
        if len(axis) < _FEWEST_POINTS:
            return None
        values = np.interp(axis, q, values)
        values -= values.mean()
        length = np.linalg.norm(values)
        return (values / length, start) if length > 1e-9 else None

    def search(self, profile, shares):
        """Return the `Match` of a profile (n_bins,) and atomic fractions (98,), None without candidates.

        The matches of the last rows are kept: `candidates` and `structures` follow `predict_proba`.
        """
        key = profile.tobytes() + shares.tobytes()
        match = self._known.get(key, _UNKNOWN)
        if match is _UNKNOWN:
            match = self._known[key] = self._search(profile, shares)
            if len(self._known) > REMEMBERED_ROWS:
                self._known.popitem(last=False)
        return match

    def _search(self, profile, shares):
        prepared = self.prepare(profile)
        composition, variants = make_species(shares, self.stray)
        if prepared is None or not variants:
            return None
        candidates = find_candidates(self.table, composition, variants, self.n_candidates)
        if not len(candidates.rows):
            return None
        volumes = (composition @ self.table.volumes)[candidates.species]
        factors = self.table.lattice_factors(candidates.rows, volumes)
        tables = factor_tables("electron" if self.modality == "rings" else "xray")
        tables = composition @ tables[0], composition @ tables[1], tables[2]
        lines = self.lines.of(candidates.rows)
        similarity, shift = self._compare(prepared, candidates, 1 / factors, lines, tables)
        scales = np.exp(shift) / factors
        score = self._score(candidates, similarity, shift)
        strains = [None] * len(score)
        for k in np.argsort(-score, kind="stable")[: self.n_refined]:
            refined = self._refine(
                prepared, candidates.rows[k], candidates.species[k], scales[k], lines[k], tables
            )
            similarity[k], strains[k] = refined
            shift[k] += 0.5 * np.log(1 - 2 * strains[k][1][0])
            score[k] = self._score(candidates, similarity, shift)[k] - SHARPNESS * STRAIN_COST * (
                len(strains[k][1]) - 1
            )
        order = np.argsort(-score, kind="stable")
        return Match(
            candidates.rows[order],
            candidates.species[order],
            composition,
            scales[order],
            [strains[k] for k in order],
            similarity[order],
            score[order],
            candidates.score[order],
        )

    def _score(self, candidates, similarity, shift):
        """Return the score of candidates of a similarity and an error of the scale."""
        return candidates.score + SHARPNESS * similarity - SCALE_WEIGHT * (shift / SCALE_ERROR) ** 2

    def _compare(self, prepared, candidates, scales, lines, tables):
        """Return the best similarity and the logarithm of its scale for each candidate."""
        from xtalsk.library._prototype_kernels import compare_candidates  # imports numba

        measured, start = prepared
        _, q, multiplicity, parts = zip(*lines, strict=True)
        line_starts = np.concatenate([[0], np.cumsum([len(own) for own in q])])
        part_starts = np.concatenate([[0], np.cumsum([len(own) for own in parts])])
        packed = (
            np.concatenate(q),
            np.concatenate(multiplicity),
            np.concatenate(parts),
            line_starts,
            part_starts,
        )
        n = len(candidates.rows)
        described = np.arange(n), scales, self.table.n_groups[candidates.rows], candidates.species
        cost = SCALE_WEIGHT / SHARPNESS / SCALE_ERROR**2
        out = np.zeros((n, 2))
        arguments = (
            measured,
            start,
            LOG_STEP,
            self.margin,
            self.sigma,
            FLOOR,
            packed,
            described,
            tables,
            cost,
            out,
        )
        in_threads(lambda first, last: compare_candidates(first, last, *arguments), n)
        return out[:, 0].copy(), out[:, 1].copy()

    def _refine(self, prepared, row, species, scale, lines, tables):
        """Return the similarity of one candidate after its cell was refined, and its strains."""
        from xtalsk.library._prototype_kernels import line_intensities, refine_cell  # imports numba

        hkl, q, multiplicity, parts = lines
        tensors, directions = self._directions(row, hkl)
        amounts = np.zeros(len(tensors))
        q = q * scale
        intensity = np.empty(len(q))
        n_groups = self.table.n_groups[row]
        if not len(q) or not line_intensities(q, multiplicity, parts, species, n_groups, *tables, intensity):
            return 0.0, (tensors, amounts)
        costs = np.full(len(tensors), 0.5 / SHARPNESS / STRAIN_ERROR**2)
        costs[0] = 0
        strong = intensity > 1e-3 * intensity.max()
        measured, start = prepared
        similarity = refine_cell(
            q[strong],
            intensity[strong],
            directions[strong],
            measured,
            start,
            LOG_STEP,
            self.sigma,
            FLOOR,
            costs,
            np.array(REFINED_STEPS),
            amounts,
        )
        return similarity, (tensors, amounts)

    def _directions(self, row, hkl):
        """Return the strains that the symmetry of a prototype allows, and their effect on its lines."""
        crystals = self.crystals
        lattice = crystals.lattices[row]
        if row not in self._strains:
            rotations = crystals.rotation_sets[crystals.rotation_index[row]]
            self._strains[row] = invariant_strains(lattice, rotations)
        tensors = self._strains[row]
        vectors = hkl @ np.linalg.inv(lattice).T
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return tensors, np.ascontiguousarray(np.einsum("ni,kij,nj->nk", vectors, tensors, vectors))


def refined_lattice(lattice, scale, strains):
    """Return the lattice of a candidate: that of the prototype, scaled and strained.

    Parameters
    ----------
    lattice : ndarray of shape (3, 3)
        Lattice vectors of the prototype as rows, in Å.
    scale : float
        Factor of q.
    strains : (ndarray of shape (k, 3, 3), ndarray of shape (k,)), or None
    """
    if strains is None:
        return lattice / scale
    tensors, amounts = strains
    values, vectors = np.linalg.eigh(np.eye(3) - 2 * np.einsum("k,kij->ij", amounts, tensors))
    return lattice @ (vectors / np.sqrt(values)) @ vectors.T / scale

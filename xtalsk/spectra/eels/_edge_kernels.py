"""Compiled loops over the templates and families of edges."""

import numpy as np

from xtalsk.utils._compiled import compiled_any_order as compiled


@compiled
def best_poses(starts, shift, shifts, lines_only, amplitude, precision, chi2, n_bins, centre, spread, limits):
    """Pose of each family with the largest gain, or the expected pose if no gain is large.

    The gain of a pose is the fall of n ln χ² if the pose enters the model, minus the cost of its shift and of
    white lines alone; n is the number of bins.

    Parameters
    ----------
    starts : ndarray of int, shape (n_families + 1,)
        First pose of each family.
    shift : ndarray of int, shape (n_poses,)
        Shift of each pose, as an index into ``shifts``.
    shifts : ndarray of shape (n_shifts,)
        In eV.
    lines_only : ndarray of bool, shape (n_poses,)
        Whether a pose holds white lines alone.
    amplitude, precision : ndarray of shape (n_poses,)
        Amplitude and its inverse variance.
    chi2 : float
        χ² without the pose.
    n_bins : float
        Number of bins with data.
    centre, spread : ndarray of shape (n_families,)
        Expected shift and its standard deviation in eV.
    limits : tuple of three floats
        Largest distance from the expected shift in standard deviations, cost of white lines alone, and the
        gain above which the best pose replaces the expected one.

    Returns
    -------
    best : ndarray of int, shape (n_families,)
    gain : ndarray of shape (n_families,)
    """
    farthest, lines_cost, least_gain = limits
    n = len(starts) - 1
    best, gain = np.empty(n, np.int64), np.empty(n)
    for family in range(n):
        nearest, top, expected, strongest = np.inf, -np.inf, starts[family], starts[family]
        expected_gain = -np.inf
        for pose in range(starts[family], starts[family + 1]):
            distance = abs(shifts[shift[pose]] - centre[family]) / spread[family]
            square = amplitude[pose] ** 2 * precision[pose]
            fall = n_bins * np.log1p(square / max(chi2 - square, n_bins))
            value = (fall if amplitude[pose] > 0 else -fall) - distance**2
            value = value - lines_cost if lines_only[pose] else value
            value = -np.inf if distance > farthest else value
            if value > top:
                top, strongest = value, pose
            if distance < nearest and not lines_only[pose]:
                nearest, expected, expected_gain = distance, pose, value
        if top > least_gain:
            best[family], gain[family] = strongest, top
        else:
            best[family], gain[family] = expected, expected_gain
    return best, gain


@compiled
def element_gains(groups, members, gain, significance, amplitude, precision, uncertainty, limits):
    """Evidence for each element in units of χ²; 0 where the element is not significant.

    The gains of all families of an element count for it. Families that are weaker than expected count against
    it.

    Parameters
    ----------
    groups : ndarray of int, shape (n_elements + 1,)
        First place in ``members`` of each element.
    members : ndarray of int, shape (n_families,)
        Families of the elements.
    gain, significance, amplitude, precision : ndarray of shape (n_families,)
        See `xtalsk.spectra.eels._evidence.Scores`.
    uncertainty : ndarray of shape (n_families,)
        Relative uncertainty of the cross-sections.
    limits : tuple of four floats
        Least gain and least significance of a lead, least gain of a second family, and share of the expected
        amplitude that a second family must reach.

    Returns
    -------
    gains : ndarray of shape (n_elements,)
    leads : ndarray of int, shape (n_elements,)
        Family of each element with the largest gain.
    """
    least_gain, least_significance, least_support, agreeing = limits
    n = len(groups) - 1
    gains, leads = np.zeros(n), np.empty(n, np.int64)
    for i in range(n):
        rows = members[groups[i] : groups[i + 1]]
        lead = rows[0]
        for row in rows[1:]:
            lead = row if gain[row] > gain[lead] else lead
        leads[i] = lead
        if gain[lead] < least_gain or significance[lead] < least_significance:
            continue
        total = gain[lead]
        for row in rows:
            if row != lead:
                share = agreeing * (1 - uncertainty[row]) / (1 - uncertainty[lead])
                expected = share * amplitude[lead] * np.sqrt(precision[row])
                missing = max(expected - max(significance[row], 0.0), 0.0)
                total += (gain[row] if gain[row] > least_support else 0.0) - missing**2
        gains[i] = total if total > least_gain else 0.0
    return gains, leads


@compiled
def expected_shifts(onset, known_onset, known_shift, usual, spread, spread_range):
    """Shift of each onset to expect and its standard deviation, from a usual shift and measured ones.

    Parameters
    ----------
    onset : ndarray of shape (n_families,)
        In eV.
    known_onset, known_shift : ndarray of shape (n,)
        Onsets whose shifts are measured, and these shifts in eV.
    usual : tuple of two floats
        Shift without measured ones and its standard deviation in eV.
    spread, spread_range : float
        Standard deviation of one shift beside another, and distance of two onsets over which shifts become
        independent, in eV.

    Returns
    -------
    centre, deviation : ndarray of shape (n_families,)
        In eV.
    """
    centre, deviation = np.empty(len(onset)), np.empty(len(onset))
    for i in range(len(onset)):
        weight = usual[1] ** -2.0
        total = weight * usual[0]
        for j in range(len(known_onset)):
            one = 1 / (spread**2 * (1 + ((onset[i] - known_onset[j]) / spread_range) ** 2))
            weight, total = weight + one, total + one * known_shift[j]
        centre[i], deviation[i] = total / weight, np.sqrt(1 / weight + spread**2 / 2)
    return centre, deviation


@compiled
def hats(above, places, level):
    """Piecewise linear functions that are ``level`` at one of the places and zero at the others.

    Parameters
    ----------
    above, level : ndarray of shape (n_bins,)
        ``above`` rises.
    places : ndarray of shape (n_hats,)

    Returns
    -------
    ndarray of shape (n_hats, n_bins)
    """
    columns, left = np.zeros((len(places), len(above))), 0
    for i in range(len(above)):
        if places[0] <= above[i] <= places[-1]:
            while left < len(places) - 2 and places[left + 1] <= above[i]:
                left += 1
            share = (above[i] - places[left]) / (places[left + 1] - places[left])
            columns[left, i], columns[left + 1, i] = (1 - share) * level[i], share * level[i]
    return columns

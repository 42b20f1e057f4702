"""Ranges: the scans of one powder file. One is chosen, or all are joined."""

from dataclasses import dataclass, field

import numpy as np

from xtalsk.io._constants import SAME_POSITION

_MOST_LISTED = 8  # ranges in an error message


@dataclass
class Range:
    """One scan of a powder file.

    Parameters
    ----------
    two_theta : ndarray of shape (n_points,)
        In degrees, in any order.
    intensity : ndarray of shape (n_points,)
        NaN where not measured.
    wavelength : float or None
        In Å.
    counting_time : float or None
        In seconds per point.
    is_rate : bool
        Whether the intensity is in counts per second.
    remarks : list of str
        What the user should know of the range.
    """

    two_theta: np.ndarray
    intensity: np.ndarray
    wavelength: float | None = None
    counting_time: float | None = None
    is_rate: bool = False
    remarks: list = field(default_factory=list)

    def __str__(self):
        ends = f"{np.min(self.two_theta):g} to {np.max(self.two_theta):g}"
        time = "" if self.counting_time is None else f", {self.counting_time:g} s per point"
        return f"{ends} in {len(self.two_theta)} points{time}"


def check_scan(scan):
    """Raise ValueError unless ``scan`` is None, "all" or a number from 0."""
    is_number = isinstance(scan, int | np.integer) and not isinstance(scan, bool) and scan >= 0
    if not (scan is None or is_number or (isinstance(scan, str) and scan == "all")):
        raise ValueError(f"scan must be None, 'all' or a number from 0, got {scan!r}")


def several_scans(labels, name):
    """Return the error for a file with several scans of which none was chosen."""
    listed = "; ".join(f"{i}: {label}" for i, label in enumerate(labels[:_MOST_LISTED]))
    more = "" if len(labels) <= _MOST_LISTED else f"; and {len(labels) - _MOST_LISTED} more"
    return ValueError(
        f"{name}: expected one scan, found {len(labels)}; give scan to choose one of {listed}{more}, or "
        "scan='all' to join them"
    )


def no_such_scan(scan, n_scans, name):
    """Return the error for a scan that the file does not have."""
    return ValueError(f"{name}: scan must be a number below {n_scans}, got {scan}")


def choose_range(ranges, scan, name):
    """Return one `Range` of a file.

    Parameters
    ----------
    ranges : list of Range
        Not empty.
    scan : int, "all" or None
        None is for a file with one range; "all" joins the ranges.
    name : str
        Name of the file, for error messages.

    Raises
    ------
    ValueError
        If there are several ranges and ``scan`` is None, if there is no such range, or if the ranges cannot
        be joined.
    """
    if scan == "all":
        return join_ranges(ranges, name)
    if scan is not None and scan >= len(ranges):
        raise no_such_scan(scan, len(ranges), name)
    if scan is None and len(ranges) > 1:
        raise several_scans(ranges, name)
    return ranges[scan or 0]


def join_ranges(ranges, name):
    """Return all ranges as one, with intensities for the longest counting time.

    A position in several ranges gets the sum of their counts over the sum of their times. Rates stay rates.

    Raises
    ------
    ValueError
        If the wavelengths differ, or if only some ranges have a counting time.
    """
    if len(ranges) == 1:
        return ranges[0]
    times, wavelengths = {r.counting_time for r in ranges}, {r.wavelength for r in ranges}
    if len(wavelengths) > 1:
        raise ValueError(f"{name}: the scans have several wavelengths, {_listed(wavelengths)}; choose one")
    if None in times and len(times) > 1:
        raise ValueError(f"{name}: the counting times of some scans are unknown; choose one scan")
    longest = None if None in times else max(times)
    two_theta = np.concatenate([r.two_theta for r in ranges])
    intensity = np.concatenate([np.asarray(r.intensity, dtype=np.float64) for r in ranges])
    shares = [1.0 if r.is_rate or longest is None else r.counting_time / longest for r in ranges]
    share = np.repeat(shares, [len(r.two_theta) for r in ranges])
    order = np.argsort(two_theta, kind="stable")
    point = np.zeros(len(order), dtype=int)
    point[order] = np.cumsum(np.r_[0, np.diff(two_theta[order]) > SAME_POSITION])
    measured = ~np.isnan(intensity)
    with np.errstate(invalid="ignore"):  # NaN where no range measured
        mean = np.bincount(point, np.where(measured, intensity, 0)) / np.bincount(point, share * measured)
    positions = np.bincount(point, two_theta) / np.bincount(point)
    remarks = list(dict.fromkeys(remark for r in ranges for remark in r.remarks))
    return Range(positions, mean, wavelengths.pop(), longest, ranges[0].is_rate, remarks)


def _listed(wavelengths):
    return " and ".join("unknown" if w is None else f"{w:g} Å" for w in sorted(wavelengths, key=str))

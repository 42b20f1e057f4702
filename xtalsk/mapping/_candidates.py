"""The best entries of the library of a pipeline, and the fit of two of them to one pattern."""

import numpy as np
import torch

from xtalsk.diffraction._functional import smooth_profiles
from xtalsk.library._constants import LOCAL_MEAN
from xtalsk.library._scaled import broaden, stretch, to_intensity
from xtalsk.mapping import _constants as const

CANDIDATE = np.dtype(
    [
        ("entry", np.int32),
        ("label", np.int32),
        ("similarity", np.float32),
        ("probability", np.float32),
        ("scale", np.float32),
        ("width", np.float32),
    ]
)
"""One candidate.

Its number among the entries of the library (-1: none), the number of its label among those of the map, the
similarity of the profiles, the probability that it is the measured phase, the measured q over its q, and its
line width in 1/Å.
"""


def library_of(classifier):
    """Return the fitted `LibraryMatch` of a classifier, or None."""
    if not hasattr(classifier, "candidates"):
        return None
    library = getattr(classifier, "library_", classifier)
    return getattr(library, "estimator_", getattr(library, "estimator", library))  # of a FrozenEstimator


def best_entries(library, features, label_of_entry, n):
    """Return the best entries of the library for each row of features.

    Parameters
    ----------
    library : LibraryMatch
    features : DataFrame or ndarray of n_rows rows
    label_of_entry : ndarray of int, shape (n_entries,)
    n : int

    Returns
    -------
    structured ndarray of shape (n_rows, n)
        Of `CANDIDATE`, best first.
    """
    X = library._check_rows(features, None)
    out = np.zeros((len(X), n), dtype=CANDIDATE)
    out["entry"] = out["label"] = -1
    rows = np.flatnonzero(~library._empty_rows(X))
    if not len(rows):
        return out
    matches = library._match(X[rows])
    probability = library._probability(X[rows], matches)
    n = min(n, matches.entries.shape[1])
    found = out[rows, :n]
    fits = np.isfinite(matches.scores[:, :n])
    found["entry"] = np.where(fits, matches.entries[:, :n], -1)
    found["label"] = np.where(fits, label_of_entry[matches.entries[:, :n]], -1)
    for name in ("similarity", "scale", "width"):
        found[name] = getattr(matches, name)[:, :n]
    found["probability"] = probability[:, :n]
    out[rows, :n] = found
    return out


def find_second_phases(library, features, candidates):
    """Fit each profile with the best entry alone, and with one of another label beside it.

    The lines of both entries, at the widths and scales that the library found, are fitted to the intensity
    above the background with coefficients that are not negative (least squares). All three lose their local
    means, because broad differences are no second phase.

    Parameters
    ----------
    library : LibraryMatch
        With profiles that are compared at several line widths.
    features : DataFrame or ndarray of n_rows rows
    candidates : structured ndarray of shape (n_rows, n)
        From `best_entries`.

    Returns
    -------
    place : ndarray of int, shape (n_rows,)
        Number of the second phase among the candidates; -1 if there is none of another label.
    share : ndarray of shape (n_rows,)
        Share of the second phase in the intensity of the lines.
    gain : ndarray of shape (n_rows,)
        Part of the misfit of the first phase that the second one removes. All are NaN or -1 for libraries
        that are compared at one line width.
    """
    n = len(candidates)
    best = np.full(n, -1), np.full(n, np.nan), np.full(n, np.nan)
    name = next(iter(library._grids), None)
    if name is None or not n:
        return best
    block = next(block for block in library._used if block.name == name)
    grid = library._grids[name]
    X = library._check_rows(features, None)[:, block.columns]
    measured = _without_local_mean(to_intensity(torch.from_numpy(X), grid.scale), grid)
    first = _line_profiles(library._library[name], grid, candidates[:, 0])
    for place in _places_of_other_labels(candidates["label"]).T:
        rows = np.flatnonzero(place >= 0)
        if not len(rows):
            break
        second = _line_profiles(library._library[name], grid, candidates[rows, place[rows]])
        pair = first[rows], second
        of_first, of_second, gain = fit_two(measured[rows], *(_without_local_mean(p, grid) for p in pair))
        of_first, of_second = (
            amount * p.sum(1).numpy() for amount, p in zip((of_first, of_second), pair, strict=True)
        )
        with np.errstate(invalid="ignore"):
            share = of_second / (of_first + of_second)
        better = ~(gain <= np.nan_to_num(best[2][rows], nan=-1))
        for values, new in zip(best, (place[rows], share, gain), strict=True):
            values[rows[better]] = new[better]
    return best


def _places_of_other_labels(labels):
    """Return the places of the best candidates of other labels than the first, (n, MIXED_LABELS); else -1."""
    places, rows = np.full((len(labels), const.MIXED_LABELS), -1), np.arange(len(labels))
    is_other = (labels >= 0) & (labels != labels[:, :1])
    for number in range(const.MIXED_LABELS):
        place = is_other.argmax(axis=1)
        exists = is_other[rows, place]
        places[exists, number] = place[exists]
        is_other &= labels != labels[rows, place][:, None]
    return places


def _line_profiles(packed, grid, candidates):
    """Return the intensities of entries at their line widths and scales, Tensor (n, n_bins)."""
    stored = packed[candidates["entry"]]
    intensity = torch.from_numpy(np.where(stored == -128, 0, stored).astype(np.float32)).square()
    widths = np.nan_to_num(candidates["width"])
    for width in np.unique(widths):
        rows = np.flatnonzero(widths == width)
        intensity[rows] = broaden(intensity[rows], float(width), grid)
    scales = np.nan_to_num(candidates["scale"], nan=1.0)
    out = torch.empty_like(intensity)
    for scale in np.unique(scales):
        rows = np.flatnonzero(scales == scale)
        # an entry of scale s has its lines at s q: its profile is read at q / s
        out[rows] = stretch(intensity[rows], np.array([1 / scale]), grid.first)[:, 0].nan_to_num(0)
    return out


def _without_local_mean(intensity, grid):
    """Return intensities (n, n_bins) less their mean over the neighbouring bins, ndarray."""
    return (intensity - smooth_profiles(intensity, LOCAL_MEAN / grid.step)).numpy()


def fit_two(measured, first, second):
    """Fit profiles with one and with two components, whose coefficients are not negative.

    Parameters
    ----------
    measured, first, second : ndarray of shape (n, n_bins)
        NaN where not measured.

    Returns
    -------
    of_first, of_second : ndarray of shape (n,)
        Amounts of both components; 0 for the second where one alone fits as well.
    gain : ndarray of shape (n,)
        Part of the squared misfit of the first alone that the second removes.

    Examples
    --------
    >>> import numpy as np
    >>> from xtalsk.mapping._candidates import fit_two
    >>> first, second = np.eye(2, 6)[:1], np.eye(2, 6)[1:]
    >>> fit_two(3 * first + second, first, second)
    (array([3.]), array([1.]), array([1.]))
    """
    used = np.isfinite(measured)
    y, a, b = (np.where(used, values, 0).astype(float) for values in (measured, first, second))
    yy, aa, bb, ab, ya, yb = ((u * v).sum(1) for u, v in ((y, y), (a, a), (b, b), (a, b), (y, a), (y, b)))
    with np.errstate(divide="ignore", invalid="ignore"):
        only = np.maximum(ya, 0) / aa
        alone = yy - only * np.maximum(ya, 0)
        of_a, of_b = (ya * bb - yb * ab) / (aa * bb - ab**2), (yb * aa - ya * ab) / (aa * bb - ab**2)
        gain = (alone - (yy - of_a * ya - of_b * yb)) / alone
    is_inside = (of_a > 0) & (of_b > 0)  # False for NaN
    return np.where(is_inside, of_a, only), np.where(is_inside, of_b, 0), np.where(is_inside, gain, 0)

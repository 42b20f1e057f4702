"""Whether a cell holds a pattern: blank and saturated cells, spots or pictures in place of rings."""

import numpy as np

from xtalsk.diffraction._constants import (
    LINE_SHARE,
    NEGATIVE_RISE,
    OFFSET_SHARE,
    PATTERN_RISE,
    PATTERN_ROUND_SHARE,
    ROUND_SHARE,
    SATURATED_SHARE,
    SMOOTH_SHARE,
    SMOOTH_WIDTH,
    SNIP_SMOOTHING,
    SPOT_ANGLES,
    SPOT_BACKGROUND,
    SPOT_EXCESS,
    SPOT_SHARE,
    SPOT_SIGMA,
    SPOT_SIZE,
)
from xtalsk.diffraction._streaks import lowest_quantile, reduce_image
from xtalsk.utils._first_answer import is_compiled_or_worth_it

SPOTS, NO_RINGS, NOT_ROUND, FAR_CENTER, OUTER_CENTER, MARKS, NO_PATTERN, HALOES = (2**n for n in range(8))
_CENTER = "DiffractionImage(..., center=(row, column)), or set a larger max_offset"
REMARKS = {
    SPOTS: "the image holds spots rather than rings: put spot patterns into a column `spots`. Its profile is "
    "computed all the same, and statistic='spots' takes the spots without the background. If it holds "
    f"rings, their centre was not found: give it as {_CENTER}",
    NO_RINGS: "no rings stand out from the background, nothing to index: is it a diffraction pattern, "
    "exposed long enough?",
    NOT_ROUND: "the intensity does not follow rings around a centre: is it a diffraction pattern of a "
    f"polycrystal? If so, give its centre as {_CENTER}",
    FAR_CENTER: "the centre found lies at the edge of the region that is searched, or outside: give it as "
    f"{_CENTER}",
    OUTER_CENTER: "the centre lies outside the image",
    MARKS: "a bar of one value, as of a burnt-in scale bar, was left out, with the text beside it",
    NO_PATTERN: "nothing to index, it counts as not measured: the intensity does not decrease away from a "
    "centre. Is it an image of the specimen, or a negative? Invert a negative first: image.max() - image. If "
    f"it is a diffraction pattern, give its centre as {_CENTER}",
    HALOES: "only broad haloes, as of an amorphous film, stand out from the background: nothing to index, "
    "unless the crystals are a few nanometres in size",
}
NOT_MEASURED = NO_PATTERN  # remarks on cells that count as not measured


def blank_reason(values):
    """Return why an image or a scan holds nothing, or None.

    Parameters
    ----------
    values : ndarray
        Intensities; NaN where they were not measured.

    Returns
    -------
    str or None
    """
    measured = values.ravel()
    if values.dtype.kind == "f" and np.isnan(values.min(initial=np.inf)):
        measured = values[~np.isnan(values)]
    if not measured.size:
        return "it holds no measured value"
    lowest, highest = measured.min(), measured.max()
    spread = float(highest) - float(lowest)
    if spread <= 1e-6 * max(abs(float(lowest)), abs(float(highest))) and measured.dtype.kind == "f":
        return f"it is blank: it holds one value, {float(highest):g}"
    if spread == 0:
        return f"it is blank: it holds one value, {float(highest):g}"
    saturated = np.count_nonzero(measured == highest) / measured.size
    if saturated > SATURATED_SHARE:
        return f"it is saturated: {saturated:.0%} of its values are the highest one, {float(highest):g}"
    return None


def smooth_reason(q, intensity):
    """Return why a scan holds no lines, or None: it is a smooth curve without noise, such as a ramp.

    Parameters
    ----------
    q : ndarray of shape (n_points,)
        In 1/Å.
    intensity : ndarray of shape (n_points,)
        NaN where it was not measured.

    Returns
    -------
    str or None
    """
    measured = ~np.isnan(intensity)
    values = intensity[measured].astype(float)
    n_points = int(SMOOTH_WIDTH / np.median(np.diff(q))) // 2 * 2 + 1
    if not 7 <= n_points <= len(values):
        return None
    if is_compiled_or_worth_it("xtalsk.diffraction._scan_kernels", 1):
        from xtalsk.diffraction._compiled_scans import is_rough

        if is_rough(values, n_points):  # most scans are: saves the rest
            return None
    steps = np.diff(np.unique(values))
    rounding = 0.5 * steps.min() if steps.size else 0.0
    limit = max(SMOOTH_SHARE * np.ptp(values), 1.1 * rounding)
    if _distance_from_smooth(values, n_points).max() > limit:
        return None
    return "it holds no lines: it is a smooth curve without noise"


def _distance_from_smooth(values, n_points):
    """Return the distance of each point of a curve from the smoothed curve."""
    from scipy.signal import savgol_filter  # slow to import, and few scans are smooth

    return np.abs(values - savgol_filter(values, n_points, 3))


def image_remarks(image, sound, geometry, row, max_offset):
    """Return what is unusual about an image with a known geometry, a sum of keys of `REMARKS`.

    Parameters
    ----------
    image : ndarray of shape (n_rows, n_columns)
        Intensities, finite.
    sound : bool ndarray of shape (n_rows, n_columns)
        Pixels that were measured, without artefacts. Those in shadow are among them, because the dark parts
        of a spot pattern look like shadow.
    geometry : Geometry
        Of a batch of images.
    row : int
        Row of the image in the batch.
    max_offset : float or None
        Largest distance of the centre from the middle, as a share of the sides; None if the centre is known.
    """
    from xtalsk.diffraction._plausibility_kernels import round_share

    center = geometry.center[row].numpy()
    size = np.array(image.shape)
    outer = center_remark(center, size)
    is_found = max_offset is not None  # who gives the centre says that there is a pattern
    is_far = is_found and (abs(center - (size - 1) / 2) > OFFSET_SHARE * max_offset * size).any()
    polar = None if outer else _polar_image(image, sound, geometry, row)
    if polar is None:
        return outer | (FAR_CENTER if is_far else 0)
    remarks = _ring_remarks(*polar)
    if remarks == SPOTS and not is_far:
        return SPOTS
    valid = geometry.valid[row].numpy()
    lit = polar if np.array_equal(valid, sound) else _polar_image(image, valid, geometry, row)
    share = 1.0 if lit is None else round_share(*lit)
    if is_found and remarks != SPOTS and _is_no_pattern(*polar, share):
        return NO_PATTERN
    if is_far:
        return FAR_CENTER
    return remarks or (NOT_ROUND if share < ROUND_SHARE else 0)


def _is_no_pattern(polar, radii, round_share):
    """Whether the means of rings do not decrease with the radius, as those of all diffraction patterns do."""
    from xtalsk.diffraction._plausibility_kernels import rise

    change = rise(polar, radii)
    return change > NEGATIVE_RISE or (change > PATTERN_RISE and round_share < PATTERN_ROUND_SHARE)


def center_remark(center, size):
    """Return `OUTER_CENTER` if a centre (2,) in pixels lies outside an image of a size (2,), else 0."""
    return OUTER_CENTER if (center < -0.5).any() or (center > size - 0.5).any() else 0


def _polar_image(image, sound, geometry, row):
    """Intensity on rings, (n_radii, n_angles), NaN where it was not measured, and the radii, or None."""
    from xtalsk.diffraction._compiled_geometry import angular_functions
    from xtalsk.diffraction._plausibility_kernels import polar_image

    factor = -(-max(image.shape) // SPOT_SIZE)
    small, valid = reduce_image(image, sound, factor)
    if not valid.any():
        return None
    dark = np.float32(lowest_quantile(small, valid, 0.01))
    valid = valid.astype(np.float32)
    small = np.maximum(small - dark, 0) * valid
    center = (geometry.center[row].numpy() + np.float32(0.5)) / np.float32(factor) - np.float32(0.5)
    radii = np.arange(4.0, 0.7 * max(small.shape), dtype=np.float32)
    polar = polar_image(
        small,
        valid,
        center,
        geometry.ellipticity[row].numpy(),
        *angular_functions(4 * SPOT_ANGLES)[:2],
        radii[0],
        len(radii),
        SPOT_ANGLES,
        np.float32(0.6),
    )
    rows = np.isfinite(polar).sum(1) >= SPOT_ANGLES / 4
    return (polar[rows], radii[rows]) if rows.sum() >= 2 * SPOT_BACKGROUND else None


def _ring_remarks(polar, radii):
    """Return whether intensities on rings (n_radii, n_angles) are `SPOTS` or `NO_RINGS`, else 0."""
    from xtalsk.diffraction._compiled_radial import gaussian
    from xtalsk.diffraction._plausibility_kernels import spots_and_rings

    kernel = gaussian(SNIP_SMOOTHING, np.float32)
    spots, rings, total = spots_and_rings(polar, radii, np.float32(SPOT_SIGMA), SPOT_BACKGROUND, kernel)
    if spots > SPOT_SHARE * (spots + rings) and spots > SPOT_EXCESS * total:
        return SPOTS
    return NO_RINGS if rings <= LINE_SHARE * total else 0

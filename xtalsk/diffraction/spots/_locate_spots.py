"""Spots of one image, as a table of positions and intensities."""

import numpy as np

from xtalsk.diffraction._artefacts import remove_artefacts
from xtalsk.diffraction._checks import check_image
from xtalsk.diffraction.spots._located import locate


def locate_spots(image, *, center=None, max_offset=0.2):
    """Find the spots of a single-crystal diffraction pattern.

    A spot is a maximum of the image after smoothing with a Gaussian of the width of the spots. It rises above
    the background around it by five standard deviations of the counting noise (likelihood ratio of shifted
    Poisson distributions). Single hot pixels, burnt-in bars and the direct beam are left out. Positions are
    the maxima of Gaussians through the nearest pixels.

    Parameters
    ----------
    image : DiffractionImage, HyperSpy signal, path or 2-D array
        Intensities; NaN where they were not measured. It needs no calibration.
    center : (float, float) or None, default=None
        Row and column of the direct beam in pixels; None uses that of a `DiffractionImage`, or finds it.
    max_offset : float, default=0.2
        Largest distance of the centre from the middle of the image, as a share of its sides.

    Returns
    -------
    ndarray of shape (n_spots, 4)
        Row and column in pixels, intensity in units of the image, and significance in standard deviations;
        the most intense spot first.

    Raises
    ------
    ValueError
        If ``image`` is not an image of 16 x 16 pixels or more.

    Examples
    --------
    >>> import numpy as np
    >>> from xtalsk.diffraction import locate_spots
    >>> y, x = np.mgrid[:64, :64]
    >>> image = 500 * np.exp(-((y - 20.3) ** 2 + (x - 40.8) ** 2) / 3) + 2.0
    >>> locate_spots(image, center=(32, 32))[:, :2].round(1)
    array([[20.3, 40.8]])
    """
    cell = check_image(image, 1.0)
    if np.isnan(np.asarray(cell.data, dtype=float)).all():
        raise ValueError("the image holds no measured value")
    center = cell.center if center is None else center
    spots = locate(remove_artefacts(cell.data)[0], 1.0, center, max_offset=max_offset)
    order = np.argsort(-spots.intensity, kind="stable")
    return np.column_stack([spots.positions, spots.intensity, spots.significance])[order]

"""Ring patterns to intensity against q."""

import os
from collections import defaultdict

import numpy as np
import torch
from sklearn.utils import check_scalar

from xtalsk.diffraction._functional import bin_edges, condition, radial_mean
from xtalsk.diffraction._geometry import find_geometry
from xtalsk.io import DiffractionImage, read_image
from xtalsk.utils import CellTransformer, check_option

_CHUNK = 2**18  # pixels worked on at once: what stays in the cache of a processor core


def check_q_grid(n_bins, q_range):
    """Return the ends of a grid of q after checking both."""
    check_scalar(n_bins, "n_bins", int, min_val=8)
    try:
        low, high = (float(q) for q in q_range)
    except (TypeError, ValueError):
        raise ValueError(f"q_range must be two numbers in 1/Å, got {q_range!r}") from None
    if not 0 <= low < high < np.inf:
        raise ValueError(f"q_range must hold two increasing, non-negative numbers, got {q_range!r}")
    return low, high


def axis_names(letter, axis):
    """Name the bins of an axis by how many widths of a bin they stand from zero.

    A crystal with a larger cell moves every line by one factor; with these numbers, so does the number of
    its bin, wherever the axis begins.
    """
    first = round(axis[0] / (axis[1] - axis[0]) - 0.5)
    return [f"{letter}_{first + i:04d}" for i in range(len(axis))]


def check_background(background, q_range, n_bins, width):
    """Half width of the background window in bins, None where no background is subtracted."""
    check_option("background", background, ("snip", None))
    check_scalar(width, "background_width", (int, float), min_val=0, include_boundaries="neither")
    return None if background is None else width * n_bins / (q_range[1] - q_range[0])


def check_image(cell, pixel_size):
    """Turn a cell into a `DiffractionImage` with a pixel size."""
    if isinstance(cell, str | os.PathLike):
        cell = read_image(cell, pixel_size=pixel_size)
    if not isinstance(cell, DiffractionImage):
        if not isinstance(cell, np.ndarray):
            raise ValueError(
                f"expected a DiffractionImage, a 2-D array or a path to a file, got {type(cell).__name__}"
            )
        cell = DiffractionImage(cell)
    if min(cell.data.shape) < 16:
        raise ValueError(f"an image needs 16 x 16 pixels or more, got {cell.data.shape}")
    if cell.pixel_size is None:
        if pixel_size is None:
            raise ValueError(
                "the image has no calibration: give DiffractionImage(data, pixel_size=...) or the parameter "
                "pixel_size, in 1/Å per pixel"
            )
        cell = DiffractionImage(cell.data, pixel_size=pixel_size, center=cell.center)
    return cell


def batches(cells):
    """Yield indices of cells in groups of one shape, each small enough for a processor's cache."""
    shapes = defaultdict(list)
    for i, cell in enumerate(cells):
        shapes[cell.data.shape].append(i)
    for (h, w), members in shapes.items():
        size = max(1, _CHUNK // (h * w))
        for start in range(0, len(members), size):
            yield members[start : start + size]


class RadialProfile(CellTransformer):
    """Azimuthally averaged intensity of polycrystalline diffraction patterns against q = 1/d.

    The direct beam is found to a small part of a pixel, behind a beam stop or not, as are the pixels in the
    shadow of a stop, defective pixels and the ellipticity that the lenses give the rings. What comes out is
    made in this order: mean intensity per valid pixel in each bin of q, less the background (SNIP), divided
    by its mean over the covered bins, compressed by ``scale``.

    Parameters
    ----------
    n_bins : int, default=512
        Number of bins of q.
    q_range : (float, float), default=(0.05, 1.25)
        Ends of the bins in 1/Å.
    pixel_size : float or None, default=None
        Width of a pixel in 1/Å, for cells that do not carry their own.
    center : {"auto", "find", "image"}, default="auto"
        "auto" takes the centre a cell carries and finds it otherwise, "find" finds it always, "image" takes
        the middle of the image.
    max_offset : float, default=0.2
        Largest distance of the centre from the middle of the image, as a share of its sides.
    ellipticity : {"auto", None}, default="auto"
        "auto" finds how far the rings are from round, up to 8%, and averages along the ellipses; None takes
        them as round.
    mask : array-like of bool of shape (n_rows, n_columns) or None, default=None
        True marks pixels to leave out of every image, e.g. a beam stop or the gap between two chips.
    background : {"snip", None}, default="snip"
        Whether to subtract the background.
    background_width : float, default=0.06
        Half width in 1/Å of the widest peak that the background passes under.
    scale : {"sqrt", "log", "linear"}, default="sqrt"
        Compression of the intensity I in units of its mean: sqrt(I), log(1 + I) or I.
    on_error : {"raise", "warn"}, default="raise"
        Whether a cell that cannot be used is an error, or warns and counts as not measured.
    n_jobs : int or None, default=None
        Number of parallel jobs.
    cache : bool, default=False
        Whether to remember the profile of each `DiffractionImage` for as long as the image is in memory, so
        that cross-validation and searches reduce each image once. Do not change the data of an image then.

    Attributes
    ----------
    q_ : ndarray of shape (n_bins,)
        Middle of each bin in 1/Å.
    n_features_in_ : int
        1: the column of images.

    Notes
    -----
    Cells are `DiffractionImage`, 2-D arrays or paths to files that `read_image` knows. Bins of which less
    than a twentieth of the ring was recorded are NaN. Two measurements that differ in dose, exposure or a
    constant dark level give the same features up to noise.

    Examples
    --------
    >>> import numpy as np
    >>> from xtalsk.diffraction import RadialProfile
    >>> from xtalsk.io import DiffractionImage
    >>> y, x = np.mgrid[:128, :128]
    >>> q = 0.01 * np.hypot(y - 60.2, x - 66.7)
    >>> rings = np.exp(-(((q - 0.305) / 0.01) ** 2)) + np.exp(-q / 0.1)
    >>> profile = RadialProfile(n_bins=120).fit([None])
    >>> features = profile.transform([DiffractionImage(rings, pixel_size=0.01), None])
    >>> features.shape, round(float(profile.q_[np.nanargmax(features[0])]), 3)
    ((2, 120), 0.305)
    """

    def __init__(
        self,
        n_bins=512,
        q_range=(0.05, 1.25),
        *,
        pixel_size=None,
        center="auto",
        max_offset=0.2,
        ellipticity="auto",
        mask=None,
        background="snip",
        background_width=0.06,
        scale="sqrt",
        on_error="raise",
        n_jobs=None,
        cache=False,
    ):
        self.n_bins = n_bins
        self.q_range = q_range
        self.pixel_size = pixel_size
        self.center = center
        self.max_offset = max_offset
        self.ellipticity = ellipticity
        self.mask = mask
        self.background = background
        self.background_width = background_width
        self.scale = scale
        self.on_error = on_error
        self.n_jobs = n_jobs
        self.cache = cache

    def _check_params(self):
        low, high = check_q_grid(self.n_bins, self.q_range)
        if self.pixel_size is not None:
            check_scalar(self.pixel_size, "pixel_size", (int, float), min_val=0, include_boundaries="neither")
        check_option("center", self.center, ("auto", "find", "image"))
        check_scalar(self.max_offset, "max_offset", (int, float), min_val=0, max_val=0.45)
        check_option("ellipticity", self.ellipticity, ("auto", None))
        check_option("scale", self.scale, ("sqrt", "log", "linear"))
        check_background(self.background, (low, high), self.n_bins, self.background_width)
        if self.mask is not None and np.ndim(self.mask) != 2:
            raise ValueError(f"mask must be a 2-D array, got {np.ndim(self.mask)} dimensions")
        self.q_ = low + (np.arange(self.n_bins) + 0.5) * (high - low) / self.n_bins

    def _check_cell(self, cell):
        cell = check_image(cell, self.pixel_size)
        if self.mask is not None and np.shape(self.mask) != cell.data.shape:
            raise ValueError(f"mask has shape {np.shape(self.mask)}, the image {cell.data.shape}")
        reach = np.hypot(*cell.data.shape) * cell.pixel_size
        if reach < self.q_range[0]:
            raise ValueError(
                f"the image ends at q = {reach:.3g} 1/Å, below q_range={self.q_range}; is pixel_size="
                f"{cell.pixel_size:g} in 1/Å?"
            )
        return cell

    def find_geometry(self, cells):
        """Locate the rings in checked images of one shape.

        Parameters
        ----------
        cells : list of DiffractionImage
            All of one shape.

        Returns
        -------
        images : Tensor of shape (n_images, n_rows, n_columns)
            Intensities, 0 where they were not measured.
        geometry : Geometry
            Centres, ellipticities and valid pixels.
        """
        images = torch.from_numpy(np.stack([np.asarray(c.data, dtype=np.float32) for c in cells]))
        carried = [c.center or (np.nan, np.nan) for c in cells]
        return self._locate(images, torch.tensor(carried, dtype=torch.float32))

    def _locate(self, images, carried):
        """Images without NaN and their geometry; ``carried`` are the centres they came with, or NaN."""
        valid = ~images.isnan()
        if self.mask is not None:
            valid &= ~torch.from_numpy(np.asarray(self.mask, dtype=bool)).to(images.device)
        images = images.nan_to_num(0.0)
        center = torch.full_like(carried, torch.nan) if self.center == "find" else carried
        if self.center == "image":
            h, w = images.shape[1:]
            center = torch.tensor([(h - 1) / 2, (w - 1) / 2]).to(carried).expand_as(carried)
        return images, find_geometry(images, valid, center, self.ellipticity == "auto", self.max_offset)

    def _features(self, cells):
        out = np.empty((len(cells), self.n_bins), dtype=np.float32)
        for members in batches(cells):
            batch = [cells[i] for i in members]
            images, geometry = self.find_geometry(batch)
            size = torch.tensor([c.pixel_size for c in batch])
            out[members] = self._from_located(images, geometry, size).numpy()
        return out

    def _from_located(self, images, geometry, pixel_size):
        """Finish a batch of images of which the geometry is known; a tensor of shape (n, n_bins)."""
        edges = bin_edges(self.n_bins, self.q_range, images)
        profiles = radial_mean(images, geometry, pixel_size, edges)
        width = check_background(self.background, self.q_range, self.n_bins, self.background_width)
        return condition(profiles, width, self.scale)

    def _batched(self, pixel_size):
        """Make the function that turns images of one pixel size, a tensor (n, h, w), into features."""

        def featurise(images):
            carried = images.new_full((len(images), 2), torch.nan)
            size = images.new_full((len(images),), pixel_size)
            return self._from_located(*self._locate(images, carried), size)

        return featurise

    def _feature_names(self):
        return axis_names("q", self.q_)

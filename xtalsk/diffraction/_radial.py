"""Images of ring patterns to profiles of intensity against q."""

from functools import partial

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from xtalsk.diffraction._amorphous import has_only_haloes
from xtalsk.diffraction._artefacts import clean_image
from xtalsk.diffraction._cells import DiffractionTransformer, add_remarks
from xtalsk.diffraction._checks import (
    axis_names,
    batch_by_shape,
    check_background,
    check_image,
    check_image_parameters,
    check_mask_shapes,
    check_q_grid,
)
from xtalsk.diffraction._constants import HALO_REACH, MAX_STREAKS
from xtalsk.diffraction._functional import bin_edges, compress, radial_mean, subtract_background
from xtalsk.diffraction._geometry import find_geometry, reject_defects
from xtalsk.diffraction._halo import find_saturated, hide_flank, hide_halo, leave_out_bloom, may_be_saturated
from xtalsk.diffraction._located import in_parts, last_located, pack_image
from xtalsk.diffraction._plausibility import HALOES, MARKS, blank_reason, center_remark, image_remarks
from xtalsk.diffraction._ring_geometry import check_geometry, join_geometries, to_tensors
from xtalsk.diffraction._sectors import STATISTICS, along_rings
from xtalsk.diffraction._streaks import find_streak
from xtalsk.utils import check_column, check_option
from xtalsk.utils._shared_features import shared_of_cells
from xtalsk.utils._threads import for_each

_PROFILES_AT_ONCE = 256
_OF_GEOMETRY = ("center", "max_offset", "ellipticity", "mask", "halo")  # they determine the geometry


class RadialProfile(DiffractionTransformer):
    """Azimuthally averaged intensity of polycrystalline diffraction patterns against q = 1/d.

    The transformer first finds the direct beam, with or without a beam stop, to a small fraction of a pixel.
    It also finds the pixels in the shadow of a beam stop, and how elliptical the lenses make the rings.
    Defective pixels, cosmic-ray hits, dead lines, gaps, streaks and burnt-in scale bars are left out. A blank
    image, or one without a pattern such as an image of the specimen, counts as not measured. Warnings name
    the rows of these, and of images with spots, with amorphous haloes only, or with a burnt-in bar.
    It then averages the intensity of the valid pixels in each bin of q, hides the bins in which the central
    halo was not measured, subtracts the background (SNIP), divides by the mean over the covered bins, and
    compresses by ``scale``.

    Parameters
    ----------
    n_bins : int, default=512
        Number of bins of q.
    q_range : (float, float), default=(0.05, 1.25)
        Ends of the bins in 1/Å.
    pixel_size : float or None, default=None
        Width of a pixel in 1/Å, for cells without a calibration.
    center : {"auto", "find", "image"}, default="auto"
        "auto" uses the centre of the cell if it has one, and finds it otherwise. "find" always finds it.
        "image" uses the middle of the image.
    max_offset : float, default=0.2
        Largest distance of the centre from the middle of the image, as a share of its sides.
    ellipticity : {"auto", None}, default="auto"
        "auto" finds the ellipticity of the rings, up to 8%, and averages along the ellipses. None averages
        along circles.
    mask : array-like of bool of shape (n_rows, n_columns) or None, default=None
        True marks pixels that are excluded from every image, e.g. a beam stop or a gap between two chips.
    geometry : RingGeometry or None, default=None
        Known geometry of all images, for example of a scan: from `geometry_of`, or from a calibration. Then
        only the integration is left to do: neither centres nor artefacts are looked for, and ``center``,
        ``max_offset`` and ``ellipticity`` have no effect. None finds the geometry of each image.
    statistic : {"mean", "median", "spots"}, default="mean"
        What is computed along each ring: the mean; the median of 24 sectors, which leaves out the spots of
        large grains; or what the mean has above the median: the spots alone.
    halo : {"hide", None}, default="hide"
        "hide" sets the bins around the beam to NaN in which the halo of diffuse scattering is saturated,
        darkened by the rim of a beam stop, or too steep for the background. None keeps them.
    background : {"snip", None}, default="snip"
        "snip" subtracts the background; None subtracts nothing.
    background_width : float, default=0.06
        Half width of the SNIP window in 1/Å. The background passes under peaks of smaller half width.
    scale : {"sqrt", "log", "linear"}, default="sqrt"
        Compression of the intensity I in units of its mean: sqrt(I), log(1 + I) or I.
    on_error : {"raise", "warn"}, default="raise"
        What to do with a cell that cannot be used. "raise": raise an error. "warn": warn and treat the cell
        as not measured.
    n_jobs : int or None, default=None
        Number of parallel jobs.
    cache : bool, default=False
        Whether to keep the profile of each `DiffractionImage` in memory as long as the image exists. Then
        cross-validation and parameter searches reduce each image once. Do not change the data of a cached
        image.

    Attributes
    ----------
    q_ : ndarray of shape (n_bins,)
        Middle of each bin in 1/Å.
    n_features_in_ : int
        1: the column of images.

    Notes
    -----
    Cells are `DiffractionImage` objects, 2-D arrays, HyperSpy or pyxem signals of one image, or paths to
    files that `read_image` can read. A bin is NaN if less than a twentieth of its ring was recorded.
    Measurements that differ only in dose, exposure or a constant dark level give the same features up to
    noise.

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

    geometry = halo = None  # of transformers that were saved before these parameters existed
    statistic = "mean"

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
        geometry=None,
        statistic="mean",
        halo="hide",
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
        self.geometry = geometry
        self.statistic = statistic
        self.halo = halo
        self.background = background
        self.background_width = background_width
        self.scale = scale
        self.on_error = on_error
        self.n_jobs = n_jobs
        self.cache = cache

    def _check_params(self):
        self.q_ = check_q_grid(self.n_bins, self.q_range)
        check_image_parameters(self.pixel_size, self.center, self.max_offset, self.mask)
        check_option("ellipticity", self.ellipticity, ("auto", None))
        check_option("statistic", self.statistic, STATISTICS)
        check_option("halo", self.halo, ("hide", None))
        check_option("scale", self.scale, ("sqrt", "log", "linear"))
        check_background(self.background, self.q_range, self.n_bins, self.background_width)
        check_geometry(self.geometry)

    def _check_cell(self, cell):
        cell = check_image(cell, self.pixel_size)
        check_mask_shapes(cell.data.shape, self.mask, self.geometry)
        q_max = np.hypot(*cell.data.shape) * cell.pixel_size
        if q_max < self.q_range[0]:
            raise ValueError(
                f"the image ends at q = {q_max:.3g} 1/Å, below q_range={self.q_range}; is pixel_size="
                f"{cell.pixel_size:g} in 1/Å?"
            )
        return cell

    def _blank_reason(self, cell):
        return blank_reason(cell.data)

    def find_geometry(self, cells):
        """Find the centres, the ellipticities and the valid pixels of images of one shape.

        Parameters
        ----------
        cells : list of DiffractionImage
            Images of one shape.

        Returns
        -------
        images : Tensor of shape (n_images, n_rows, n_columns)
            Intensities; 0 where they were not measured.
        geometry : Geometry
            Centres in pixels, ellipticities and valid pixels.
        """
        return self._locate_cells(cells)[:2]

    def geometry_of(self, X, max_images=64):
        """Find the one geometry of a scan: of images of one shape from one setting of the microscope.

        Parameters
        ----------
        X : Series, DataFrame of one column, or list of n_specimens cells
        max_images : int, default=64
            Images, evenly spaced in ``X``, on which the geometry is found.

        Returns
        -------
        RingGeometry
            Medians of the centres and of the ellipticities, and the pixels that are excluded in at least
            half of these images. It is the parameter ``geometry`` of a transformer.

        Raises
        ------
        ValueError
            If ``X`` holds no image, or images of several shapes.
        """
        check_is_fitted(self)
        cells = self._checked_cells(*check_column(X))[0]
        shapes = {cell.data.shape for cell in cells}
        if len(shapes) != 1:
            raise ValueError(f"a geometry needs images of one shape, got {sorted(shapes) or 'no image'}")
        if self.geometry is not None:
            return check_geometry(self.geometry)
        n_images = min(len(cells), max_images)
        cells = [cells[i] for i in np.linspace(0, len(cells) - 1, n_images).round().astype(int)]
        batches = batch_by_shape([cell.data.shape for cell in cells])
        return join_geometries([self._locate_cells([cells[row] for row in rows])[1] for rows in batches])

    def _locate_cells(self, cells):
        """Images, geometry (see `find_geometry`), sound pixels, bool Tensor (n, h, w), and has_marks (n,)."""
        arrays, has_marks, ones = zip(*(clean_image(c.data) for c in cells), strict=True)
        images = torch.from_numpy(np.stack(arrays))
        centers = torch.tensor([c.center or (np.nan, np.nan) for c in cells], dtype=torch.float32)
        located, geometry = self._locate(images, centers)
        measured = ~images.isnan()
        rows = range(len(cells))
        for _ in range(MAX_STREAKS):  # without a streak, the centre and the next streak are found better
            rows = [row for row in rows if self._mask_streak(row, images, located, measured, geometry, ones)]
            if not rows:
                break
            located[rows], again = self._locate(images[rows], centers[rows])
            for values, values_again in zip(geometry, again, strict=True):
                values[rows] = values_again
        return located, geometry, reject_defects(located, measured), has_marks

    def _mask_streak(self, row, images, located, measured, geometry, ones):
        """Set the pixels of a streak to NaN in one image of a batch, in place; return whether there is one.

        ``located`` are the images with 0 in place of NaN, ``measured`` the pixels that are not NaN, ``ones``
        the signals of one electron.
        """
        valid = measured[row].numpy()
        if self.mask is not None:
            valid = valid & ~np.asarray(self.mask, dtype=bool)
        streak = find_streak(located[row].numpy(), valid, geometry.center[row].numpy(), ones[row])
        if not streak.any():
            return False
        images[row].numpy()[streak] = np.nan
        measured[row].numpy()[streak] = False
        return True

    def _locate(self, images, cell_centers):
        """Images with NaN set to 0, and their geometry; ``cell_centers`` (n, 2) may be NaN."""
        valid = ~images.isnan()
        if self.mask is not None:
            valid &= ~torch.from_numpy(np.asarray(self.mask, dtype=bool)).to(images.device)
        images = images.nan_to_num(0.0)
        if self.geometry is not None:
            known = to_tensors(
                check_geometry(self.geometry), None, len(images), images.shape[1:], images.device
            )
            return images, known._replace(valid=known.valid & valid)
        center = torch.full_like(cell_centers, torch.nan) if self.center == "find" else cell_centers
        if self.center == "image":
            h, w = images.shape[1:]
            center = torch.tensor([(h - 1) / 2, (w - 1) / 2]).to(center).expand_as(center)
        refines = self.ellipticity == "auto"
        if self.halo is None:
            return images, find_geometry(images, valid, center, refines, self.max_offset)
        saturated = find_saturated(images, valid)  # their shape is that of the halo and of overflowing charge
        geometry = find_geometry(images, valid & ~saturated, center, refines, self.max_offset)
        return images, geometry._replace(valid=geometry.valid | saturated)

    def _features(self, cells):
        edges = self._edges("cpu")
        profiles, remarks = torch.empty(len(cells), len(edges) - 1), np.zeros(len(cells), dtype=int)
        if self.geometry is None:
            known, key = shared_of_cells(self, _OF_GEOMETRY)
            found = for_each(lambda row: self._find_and_reduce(cells[row], edges, known, key), len(cells))
            for row, result in enumerate(found):
                profiles[row], remarks[row] = result
        else:
            for rows in batch_by_shape([cell.data.shape for cell in cells], _PROFILES_AT_ONCE):
                profiles[rows], remarks[rows] = self._reduce_known([cells[row] for row in rows], edges)
        features = [self._condition(part).numpy() for part in profiles.split(_PROFILES_AT_ONCE)]
        return add_remarks(np.concatenate(features), remarks)

    def _find_and_reduce(self, cell, edges, known, key):
        """Find the geometry of one image; return its profile on the bins of `_edges` and its remarks."""
        place, images = (key, id(cell)), None
        found = None if known is None else known.get(place, (None, None))[1]
        is_new = found is None
        if is_new:
            images, found = self._locate_cell(cell)
        mean = self._mean_of(found, cell.pixel_size, edges)
        if is_new:
            if found.remarks & ~MARKS == 0 and has_only_haloes(
                mean[0].numpy(), self._step(), cell.pixel_size
            ):
                found = found._replace(remarks=found.remarks | HALOES)
            if known is not None:
                known[place] = cell, found
        if self.statistic == "mean":
            return mean[0], found.remarks
        if images is None:
            images = torch.from_numpy(np.nan_to_num(cell.data, nan=0.0).astype(np.float32))[None]
        geometry, pixel_size = found.geometry(cell.data.shape), torch.tensor([cell.pixel_size])
        return along_rings(images, geometry, pixel_size, edges, mean, self.statistic)[0], found.remarks

    def _locate_cell(self, cell):
        """Return one image, Tensor (1, h, w) with 0 where it was not measured, and its `LocatedImage`."""
        images, geometry, sound, has_marks = self._locate_cells([cell])
        is_given = self.center == "image" or (self.center == "auto" and cell.center is not None)
        offset = None if is_given else self.max_offset
        remarks = image_remarks(images[0].numpy(), sound[0].numpy(), geometry, 0, offset)
        remarks |= MARKS * has_marks[0]
        return images, pack_image(images, geometry, self.halo is not None, remarks)

    def _mean_of(self, found, pixel_size, edges):
        """Mean intensity of the rings of a `LocatedImage` without its halo, Tensor (1, n_bins)."""
        from xtalsk.diffraction._compiled_radial import means_of_sums

        mean = means_of_sums(found.sums, pixel_size, edges)
        if self.halo is None:
            return mean
        share = None if found.overflow is None else means_of_sums(found.overflow, pixel_size, edges)
        return hide_halo(mean, share, self._step())

    def _reduce_known(self, cells, edges):
        """Integrate images of one shape with the known geometry; return profiles and remarks."""
        center, shape = np.array(check_geometry(self.geometry).center), np.array(cells[0].data.shape)
        profiles = torch.empty(len(cells), len(edges) - 1)
        saturates = [self.halo is not None and may_be_saturated(cell.data) for cell in cells]
        is_plain = [self.statistic == "mean" and not saturated for saturated in saturates]
        for reduce, rows in (
            (self._reduce_by_table, [row for row, plain in enumerate(is_plain) if plain]),
            (self._reduce_located, [row for row, plain in enumerate(is_plain) if not plain]),
        ):
            if rows:
                profiles[rows] = reduce([cells[row] for row in rows], edges)
        return profiles, center_remark(center, shape)

    def _reduce_by_table(self, cells, edges):
        """Means along rings by the look-up table of the known geometry, of images without saturation."""
        from xtalsk.diffraction._compiled_radial import known_radial_means

        known = to_tensors(check_geometry(self.geometry), self.mask, 1, cells[0].data.shape)
        pixel_sizes = [cell.pixel_size for cell in cells]
        profiles = known_radial_means([cell.data for cell in cells], known, pixel_sizes, edges)
        return profiles if self.halo is None else hide_halo(profiles, None, self._step())

    def _reduce_located(self, cells, edges):
        """Profiles of images with the known geometry, by the way of images whose geometry is found."""
        images = torch.from_numpy(np.stack([cell.data for cell in cells]).astype(np.float32))
        pixel_size = torch.tensor([cell.pixel_size for cell in cells], dtype=torch.float32)
        return self._reduce(*self._locate_found(images), pixel_size, edges)

    def _reduce(self, images, geometry, pixel_size, edges):
        """Profiles of images with known geometry; ``pixel_size`` (n,) in 1/Å."""
        if self.halo is not None:
            geometry, share = leave_out_bloom(images, geometry, pixel_size, edges)
        mean = radial_mean(images, geometry, pixel_size, edges)
        if self.halo is not None:
            mean = hide_halo(mean, share, self._step())
        return along_rings(images, geometry, pixel_size, edges, mean, self.statistic)

    def _step(self):  # width of a bin in 1/Å
        return (self.q_range[1] - self.q_range[0]) / self.n_bins

    def _edges(self, device):
        """Edges of the bins in 1/Å; with ``halo="hide"``, bins below ``q_range`` come first, see `_halo`."""
        step, low = self._step(), self.q_range[0]
        n_below = 0 if self.halo is None else int(min(HALO_REACH, low) / step)
        return bin_edges(n_below + self.n_bins, (low - n_below * step, self.q_range[1]), device)

    def _condition(self, profiles):
        """Features (n, n_bins) from profiles on the bins of `_edges`."""
        width = check_background(self.background, self.q_range, self.n_bins, self.background_width)
        profiles = subtract_background(profiles, width)
        if self.halo is not None and width is not None:
            profiles = hide_flank(profiles, self._step())
        return compress(profiles[:, -self.n_bins :], self.scale)

    def _from_located(self, images, geometry, pixel_size):
        """Features of images with known geometry, Tensor (n, n_bins); ``pixel_size`` (n,) in 1/Å."""
        return self._condition(self._reduce(images, geometry, pixel_size, self._edges(images.device)))

    def _batched(self, pixel_size):
        """Return the function from images (n, h, w), of one pixel size in 1/Å, to their features."""

        def featurise(images):
            parameters = [getattr(self, name) for name in (*_OF_GEOMETRY, "geometry")]
            located = last_located(images, parameters, partial(in_parts, self._locate_found))
            return in_parts(self._from_located, *located, images.new_full((len(images),), pixel_size))

        return featurise

    def _locate_found(self, images):
        """Images with NaN set to 0, and the geometry that is found in them."""
        return self._locate(images, images.new_full((len(images), 2), torch.nan))

    def _feature_names(self):
        return axis_names("q", self.q_)

"""Base class of the transformers of spot patterns: one search for spots serves all of them."""

import warnings

import numpy as np
import torch
from joblib import hash as joblib_hash

from xtalsk.diffraction._artefacts import remove_artefacts
from xtalsk.diffraction._cells import DiffractionTransformer
from xtalsk.diffraction._checks import check_image, check_image_parameters, check_mask_shapes
from xtalsk.diffraction._located import last_located
from xtalsk.diffraction._plausibility import MARKS, blank_reason
from xtalsk.diffraction._ring_geometry import check_geometry
from xtalsk.diffraction.spots._located import locate
from xtalsk.utils import BrokenCellWarning, name_rows
from xtalsk.utils._shared_features import shared_of_cells
from xtalsk.utils._threads import for_each

_NO_SPOTS = (
    "no spots stand out from the background, it counts as not measured. Is it the pattern of a single "
    "crystal, exposed long enough? For continuous rings use RadialProfile"
)


class SpotTransformer(DiffractionTransformer):
    """Base class: a subclass defines ``_reduce(spots)``, from at least one of `Spots` to (n_features,)."""

    def _features_of(self, spots):
        """Features of one image; NaN without spots."""
        if not len(spots.q):
            return np.full(len(self._feature_names()), np.nan)
        return self._reduce(spots)

    def _check_params(self):
        check_image_parameters(self.pixel_size, self.center, self.max_offset, self.mask)
        check_geometry(self.geometry)

    def _check_cell(self, cell):
        cell = check_image(cell, self.pixel_size)
        check_mask_shapes(cell.data.shape, self.mask, self.geometry)
        return cell

    def _blank_reason(self, cell):
        return blank_reason(cell.data)

    def _features(self, cells):
        known = shared_of_cells(self, ())[0]  # also by the other transformers of spots
        values = [getattr(self, name) for name in ("center", "max_offset", "mask", "geometry")]
        key = joblib_hash(("spots", values)) if known is not None else ""
        found = for_each(lambda row: self._find_and_reduce(cells[row], known, key), len(cells))
        return np.array(found, dtype=np.float32)

    def _report_features(self, cells, rows, features, name):
        """Warn of cells without spots; their features are NaN."""
        empty = [row for row in rows if np.isnan(features[row]).all()]
        if empty:
            message = (
                f"{type(self).__name__}: {name_rows(empty)} of column {name or '(unnamed)'}: {_NO_SPOTS}"
            )
            warnings.warn(message, BrokenCellWarning, stacklevel=3)

    def _find_and_reduce(self, cell, known, key):
        """Features of one checked cell, with its remarks as the last one."""
        place = key, id(cell)
        if known is not None and place in known:
            spots = known[place][1]
        else:
            image, has_marks = remove_artefacts(cell.data)
            spots = self._locate_image(image, cell.pixel_size, cell.center), MARKS * has_marks
            if known is not None:
                known[place] = cell, spots
        return np.append(self._features_of(spots[0]), spots[1])

    def _locate_image(self, image, pixel_size, center):
        """Spots of one image, float32 ndarray (n_rows, n_columns); ``center`` is that of the cell or None."""
        if self.center == "image":
            center = (np.array(image.shape) - 1) / 2
        elif self.center == "find":
            center = None
        ellipticity = (0.0, 0.0)
        excluded = [] if self.mask is None else [self.mask]
        if self.geometry is not None:
            geometry = check_geometry(self.geometry)
            center, ellipticity = geometry.center, geometry.ellipticity
            excluded += [] if geometry.mask is None else [geometry.mask]
        for mask in excluded:
            image = np.where(np.asarray(mask, dtype=bool), np.float32(np.nan), image)
        return locate(image, pixel_size, center, ellipticity, self.max_offset)

    def _batched(self, pixel_size):
        """Return the function from images (n, h, w), of one pixel size in 1/Å, to their features.

        The search for spots runs on the CPU; images on another device are copied there.
        """

        def featurise(images):
            parameters = [
                "spots", self.center, self.max_offset, self.mask, self.geometry, float(pixel_size)
            ]  # fmt: skip
            spots = last_located(images, parameters, lambda batch: self._locate_batch(batch, pixel_size))
            features = for_each(lambda row: self._features_of(spots[row]), len(spots))
            return torch.from_numpy(np.array(features, dtype=np.float32)).to(images.device)

        return featurise

    def _locate_batch(self, images, pixel_size):
        arrays = images.detach().float().cpu().numpy()
        return for_each(lambda row: self._locate_image(arrays[row], pixel_size, None), len(arrays))

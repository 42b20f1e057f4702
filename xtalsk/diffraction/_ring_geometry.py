"""The geometry of one image or one scan, as a parameter of transformers."""

from dataclasses import dataclass

import numpy as np
import torch

from xtalsk.diffraction._geometry import Geometry

_MOST_ELLIPTIC = 0.5  # bound of the sum of the two terms: beyond it, a ring is no ellipse


@dataclass(frozen=True, eq=False)
class RingGeometry:
    """Direct beam, shape of the rings and excluded pixels of an image or of a scan.

    Parameters
    ----------
    center : (float, float)
        Row and column of the direct beam in pixels, from the middle of the first pixel.
    ellipticity : (float, float), default=(0.0, 0.0)
        Terms a and b of the shape 1 + a cos 2φ + b sin 2φ of a ring, with φ from the axis of the columns
        towards increasing rows.
    mask : bool array-like of shape (n_rows, n_columns) or None, default=None
        True marks pixels that are excluded, e.g. the shadow of a beam stop.

    Raises
    ------
    ValueError
        If a value has the wrong shape, is not finite, or the ellipticity is 0.5 or more.

    Examples
    --------
    >>> from xtalsk.diffraction import RadialProfile, RingGeometry
    >>> RadialProfile(geometry=RingGeometry((127.2, 130.9)))
    RadialProfile(geometry=RingGeometry(center=(127.2, 130.9), ellipticity=(0.0, 0.0), mask=None))
    """

    center: tuple
    ellipticity: tuple = (0.0, 0.0)
    mask: np.ndarray | None = None

    def __post_init__(self):
        for name in ("center", "ellipticity"):
            try:
                values = np.asarray(getattr(self, name), dtype=float)
            except (TypeError, ValueError):
                values = np.empty(0)
            if values.shape != (2,) or not np.isfinite(values).all():
                raise ValueError(f"{name} must be two finite numbers, got {getattr(self, name)!r}")
            object.__setattr__(self, name, tuple(values.tolist()))
        if sum(abs(term) for term in self.ellipticity) >= _MOST_ELLIPTIC:
            raise ValueError(f"ellipticity must stay below {_MOST_ELLIPTIC}, got {self.ellipticity}")
        if self.mask is not None:
            mask = np.array(self.mask, dtype=bool)
            if mask.ndim != 2:
                raise ValueError(f"mask must be a 2-D array, got {mask.ndim} dimensions")
            object.__setattr__(self, "mask", mask)


def check_geometry(geometry):
    """Return ``geometry`` as a `RingGeometry` (None stays None), or raise ValueError.

    It may be any object with the attributes ``center`` and, if known, ``ellipticity`` and ``mask``.
    """
    if geometry is None or isinstance(geometry, RingGeometry):
        return geometry
    if isinstance(geometry, str) or not hasattr(geometry, "center"):
        raise ValueError(f"geometry must be a RingGeometry or None, got {type(geometry).__name__}")
    shape = getattr(geometry, "ellipticity", None)
    shape = (0.0, 0.0) if shape is None else shape
    return RingGeometry(geometry.center, shape, getattr(geometry, "mask", None))


def to_tensors(geometry, mask, n_images, shape, device="cpu"):
    """Return a `RingGeometry` as the `Geometry` of ``n_images`` images of a shape (h, w), without copies."""
    valid = np.ones(shape, dtype=bool)
    for excluded in (geometry.mask, mask):
        if excluded is not None:
            valid &= ~np.asarray(excluded, dtype=bool)
    pair = (
        torch.tensor(values, dtype=torch.float32, device=device).expand(n_images, 2)
        for values in (geometry.center, geometry.ellipticity)
    )
    return Geometry(*pair, torch.from_numpy(valid).to(device).expand(n_images, *shape))


def join_geometries(geometries):
    """Return the `RingGeometry` of a scan from batches of geometries (`Geometry`) of its images.

    Centre and ellipticity are the medians. A pixel is excluded if it is in at least half of the images.
    """
    center, ellipticity = (
        np.median(np.concatenate([g[i].numpy() for g in geometries]), axis=0) for i in range(2)
    )
    n_valid = sum(g.valid.numpy().sum(0) for g in geometries)
    return RingGeometry(center, ellipticity, 2 * n_valid <= sum(len(g.center) for g in geometries))

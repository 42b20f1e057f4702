"""Geometries that several transformers of the same images share, so that each is found once."""

import threading
import weakref
from typing import NamedTuple

import numpy as np
import torch

from xtalsk.diffraction._geometry import Geometry
from xtalsk.diffraction._halo import find_bloom, find_saturated
from xtalsk.utils._threads import in_threads, is_plain

_last = threading.local()


class LocatedImage(NamedTuple):
    """What is known of one image, in little memory, so that several transformers can share it.

    ``center`` and ``ellipticity`` are those of a `Geometry` of one image, ``bits`` its valid pixels without
    overflowing charge. ``sums`` and ``overflow`` are sums on fine radii, see `_compiled_radial.fine_sums`, of
    the image and of its saturated pixels, or None without such pixels. ``remarks`` is a sum of keys of
    `_plausibility.REMARKS`.
    """

    center: torch.Tensor
    ellipticity: torch.Tensor
    bits: np.ndarray
    sums: np.ndarray
    overflow: np.ndarray | None
    remarks: int

    def geometry(self, shape):
        """Return the `Geometry` of the image, of ``shape`` (h, w)."""
        valid = np.unpackbits(self.bits, count=int(np.prod(shape))).reshape(1, *shape).astype(bool)
        return Geometry(self.center, self.ellipticity, torch.from_numpy(valid))


def pack_image(images, geometry, finds_bloom, remarks):
    """Return the `LocatedImage` of one image, Tensor (1, h, w), with its `Geometry` and its remarks.

    ``finds_bloom`` says whether overflowing charge is left out.
    """
    from xtalsk.diffraction._compiled_radial import fine_sums

    overflow, place = None, (geometry.center[0].numpy(), geometry.ellipticity[0].numpy())
    if finds_bloom:
        saturated = find_saturated(images, geometry.valid)
        if saturated.any():
            overflow = fine_sums(saturated[0].float().numpy(), geometry.valid[0].numpy(), *place)
            geometry = geometry._replace(valid=geometry.valid & ~find_bloom(saturated, geometry.center))
    valid = geometry.valid[0].numpy()
    sums = fine_sums(images[0].contiguous().numpy(), valid, *place)
    return LocatedImage(geometry.center, geometry.ellipticity, np.packbits(valid), sums, overflow, remarks)


def last_located(images, parameters, locate):
    """Return ``locate(images)``, or what it returned if the last call had the same images and parameters.

    Each thread remembers its own last call. The images must not change between the calls.
    """
    reference, known, located = getattr(_last, "call", (None, None, None))
    if reference is None or reference() is not images or not _same(known, parameters):
        located = locate(images)
        _last.call = weakref.ref(images), parameters, located
    return located


def in_parts(work, images, *arguments):
    """Return ``work(images, *arguments)``, on a CPU from parts of the batch in as many threads as torch uses.

    ``arguments`` are tensors or named tuples of tensors with one row for each image. Parts in threads are
    faster than operations of torch in several threads, which wait for each other.
    """
    if not is_plain(images):
        return work(images, *arguments)
    parts = in_threads(
        lambda first, last: work(images[first:last], *(_slice(a, first, last) for a in arguments)),
        len(images),
    )
    return _join(parts)


def _slice(values, first, last):
    if isinstance(values, torch.Tensor):
        return values[first:last]
    return type(values)(*(value[first:last] for value in values))


def _join(parts):
    """Join tensors, or tuples of tensors and named tuples, along the batch."""
    if isinstance(parts[0], torch.Tensor):
        return parts[0] if len(parts) == 1 else torch.cat(parts)
    joined = [_join(values) for values in zip(*parts, strict=True)]
    return tuple(joined) if type(parts[0]) is tuple else type(parts[0])(*joined)


def _same(before, now):
    """Whether two lists of parameters are equal; arrays are compared by identity."""
    pairs = zip(before, now, strict=True)
    return all(a is b or (np.isscalar(a) and np.isscalar(b) and a == b) for a, b in pairs)

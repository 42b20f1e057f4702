"""Profiles of rings without images: from the lines of crystals to the features of `RadialProfile`."""

import numpy as np
import torch
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from xtalsk.diffraction import RadialProfile
from xtalsk.diffraction._smoothing import gaussian_band
from xtalsk.library._constants import FWHM, LIBRARY_WIDTH

_CRYSTALS_AT_ONCE = 1024


def radial_profile(transformer):
    """Return the first step of a pipeline, or the transformer itself."""
    return transformer.steps[0][1] if isinstance(transformer, Pipeline) else transformer


def takes_lines(transformer):
    """Return whether the features of a transformer follow from the profile of `RadialProfile` alone."""
    return isinstance(radial_profile(transformer), RadialProfile)


def is_of_spots(transformer):
    """Return whether features are those of single spots, which ideal rings do not have."""
    return getattr(radial_profile(transformer), "statistic", None) == "spots"


def features_of_lines(transformer, reflections):
    """Return what a transformer would compute from noise-free images of ideal rings with a known centre.

    Along ideal rings, mean and median are the same. Features of spots are NaN.

    The intensity of a ring, |F|² times the multiplicity, is spread over its circumference, and its profile is
    a Gaussian of 0.008 1/Å. Background, compression and all further steps are those of the transformer.

    Parameters
    ----------
    transformer : RadialProfile, or Pipeline that begins with one
        Fitted, see `takes_lines`.
    reflections : Reflections
        Of all lines in the range of the profile.

    Returns
    -------
    float32 ndarray of shape (n_crystals, n_features), or NaN
    """
    if is_of_spots(transformer):
        return np.float32(np.nan)
    profile = clone(radial_profile(transformer)).set_params(halo=None)  # an ideal pattern has none
    parts = [
        profile._condition(_line_profiles(reflections, start, profile._edges("cpu").float()))
        for start in range(0, len(reflections.ids), _CRYSTALS_AT_ONCE)
    ]
    features = torch.cat(parts).numpy()
    if isinstance(transformer, Pipeline) and len(transformer) > 1:
        features = np.asarray(transformer[1:].transform(features))
    return features


def _line_profiles(reflections, start, edges):
    """Return intensities (n, n_bins) of the next crystals: lines of the width of the library."""
    offsets = reflections.offsets[start : start + _CRYSTALS_AT_ONCE + 1]
    lines, step = slice(offsets[0], offsets[-1]), float(edges[1] - edges[0])
    row = torch.from_numpy(np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)))
    q = reflections.q[lines].float()
    intensity = reflections.intensity[lines] * reflections.multiplicity[lines] / q
    position = (q - edges[0]) / step - 0.5
    below = position.floor()
    profiles = torch.zeros(len(offsets) - 1, len(edges) - 1)
    for place, share in ((below, below + 1 - position), (below + 1, position - below)):
        inside = (place >= 0) & (place < profiles.shape[1])
        profiles.index_put_(
            (row[inside], place[inside].long()), (intensity * share)[inside].float(), accumulate=True
        )
    return profiles @ gaussian_band(profiles.shape[1], LIBRARY_WIDTH / FWHM / step, profiles.dtype, "cpu")

"""The share of the local mean that profiles lose in search-match."""

import numpy as np
import pandas as pd
import pytest
import torch

from xtalsk import LibraryMatch
from xtalsk.library._constants import LOCAL_BINS
from xtalsk.library._profiles import ProfileLibrary, pack, subtract_local_mean

N_BINS = 400
NAMES = [f"powder__q_{i:04}" for i in range(N_BINS)]


def lines(places, heights=None):
    heights = np.ones(len(places)) if heights is None else heights
    steps = np.arange(N_BINS)[:, None] - np.asarray(places)
    return (np.asarray(heights) * np.exp(-0.5 * (steps / 1.5) ** 2)).sum(1)


def test_it_is_the_mean_of_the_measured_bins_nearby():
    rng = np.random.default_rng(0)
    profiles = rng.uniform(size=(3, N_BINS))
    profiles[1, 100:160] = profiles[2, :40] = np.nan
    found = subtract_local_mean(torch.from_numpy(profiles), 0.5).numpy()
    half = LOCAL_BINS // 2
    for i in (0, 50, 130, 210, N_BINS - 1):
        near = profiles[:, max(0, i - half) : i + half + 1]
        np.testing.assert_allclose(found[:, i], profiles[:, i] - 0.5 * np.nanmean(near, axis=1), atol=1e-9)
    assert (np.isnan(found) == np.isnan(profiles)).all()


def test_a_library_loses_what_the_rows_lose():
    profiles = torch.from_numpy(np.random.default_rng(1).uniform(size=(4, N_BINS)) ** 4)
    library = ProfileLibrary(pack(profiles, torch.int16), 0, local_mean=0.5)
    rows = subtract_local_mean(profiles, 0.5)
    cosine, _ = library.cosine(rows.to(library.dtype), torch.ones(rows.shape, dtype=torch.bool))
    unit = rows / rows.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(cosine.numpy(), (unit @ unit.T).numpy(), atol=1e-4)
    assert cosine.diagonal().min() > 1 - 1e-6


def test_a_crowded_entry_does_not_resemble_a_pattern_on_a_background():
    rng = np.random.default_rng(2)
    own, crowd = [60, 130, 190, 260, 310, 350], np.sort(rng.choice(N_BINS, 90, replace=False))
    library = pd.DataFrame([lines(own), lines(crowd, rng.uniform(0.3, 1, 90))], columns=NAMES)
    hump = 0.35 * np.exp(-0.5 * ((np.arange(N_BINS) - 200) / 90) ** 2)
    heights = [1, 0.3, 0.15, 0.3, 0.2, 0.1]  # of grains with a preferred orientation
    measured = pd.DataFrame([lines(own, heights) + hump + rng.uniform(0, 0.1, N_BINS)], columns=NAMES)
    labels = ["own", "crowd"]
    assert LibraryMatch(local_mean=0).fit(library, labels).predict(measured).tolist() == ["crowd"]
    assert LibraryMatch().fit(library, labels).predict(measured).tolist() == ["own"]


@pytest.mark.parametrize("share", [-0.1, 1.5, "half"])
def test_other_shares_raise(share):
    X = pd.DataFrame([lines([50])] * 2, columns=NAMES)
    with pytest.raises((ValueError, TypeError), match="local_mean"):
        LibraryMatch(local_mean=share).fit(X, [1, 2])

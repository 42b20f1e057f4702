"""Lists of the strongest lines of profiles."""

import numpy as np
import pytest
import torch

from xtalsk.diffraction import PeakList

Q_RANGE = (0.1, 0.9)
Q = np.linspace(*Q_RANGE, 801)[:-1] + 0.0005


def lines(*triples):
    return sum(h * np.exp(-0.5 * ((Q - q) / w) ** 2) for q, h, w in triples).astype(np.float32)


def test_positions_heights_and_widths():
    X = np.stack([lines((0.5003, 1.0, 0.006), (0.3, 0.5, 0.004), (0.7, 0.1, 0.004)), np.full(800, np.nan)])
    X = X.astype(np.float32)
    peaks = PeakList(n_lines=4, q_range=Q_RANGE).fit(X)
    features = peaks.transform(X).reshape(2, 4, 3)
    np.testing.assert_allclose(np.sqrt(features[0, :3, 0]), [0.3, 0.5003, 0.7], atol=1e-4)
    np.testing.assert_allclose(features[0, :3, 1], [0.5, 1.0, 0.1], atol=0.01)
    np.testing.assert_allclose(features[0, :3, 2], [0.004, 0.006, 0.004], rtol=0.06)
    assert np.isnan(features[0, 3]).all()
    assert np.isnan(features[1]).all()
    strongest = PeakList(n_lines=2, q_range=Q_RANGE).fit_transform(X)[0]
    np.testing.assert_array_equal(strongest, features[0, :2].ravel())
    assert peaks.get_feature_names_out()[:4].tolist() == [
        "peak_00_q2", "peak_00_height", "peak_00_width", "peak_01_q2"
    ]  # fmt: skip
    np.testing.assert_array_equal(peaks._batched(None)(torch.from_numpy(X)), peaks.transform(X))


def test_profiles_without_lines_and_short_ones():
    flat = np.ones((1, 800), dtype=np.float32)
    assert np.isnan(PeakList(q_range=Q_RANGE).fit_transform(flat)).all()
    assert np.isnan(PeakList(q_range=Q_RANGE).fit_transform(flat[:, :5])).all()


def test_bad_parameters():
    X = lines((0.5, 1, 0.01))[None]
    with pytest.raises(ValueError, match="n_lines"):
        PeakList(n_lines=0, q_range=Q_RANGE).fit(X)
    with pytest.raises(ValueError, match="give q_range"):
        PeakList().fit(X)

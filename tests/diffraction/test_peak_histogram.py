import numpy as np
import pytest

from xtalsk.diffraction import PeakHistogram, locate_peaks
from xtalsk.io import DiffractionImage, Profile


def test_peaks_are_found_between_bins_and_noise_is_not():
    rng = np.random.default_rng(0)
    q = np.linspace(0.1, 1.2, 1024)
    true = np.array([0.2031, 0.3127, 0.4553, 0.7019])
    clean = 0.5 + sum(2 * np.exp(-(((q - t) / 0.008) ** 2)) for t in true)
    position, prominence = locate_peaks(q, clean + rng.normal(0, 0.1, q.size))
    np.testing.assert_allclose(position, true, atol=1e-3)
    assert (prominence > 1).all()


def test_noise_alone_has_hardly_any_peaks():
    q = np.linspace(0.1, 1.2, 1024)
    counts = [len(locate_peaks(q, 1 + np.random.default_rng(s).normal(0, 0.2, q.size))[0]) for s in range(10)]
    assert np.mean(counts) < 1


def test_most_prominent_peaks_are_kept():
    q = np.linspace(0.1, 1.2, 2048)
    profile = sum(h * np.exp(-(((q - t) / 0.006) ** 2)) for t, h in ((0.2, 1), (0.5, 3), (0.9, 2)))
    position, prominence = locate_peaks(q, profile, max_peaks=2)
    np.testing.assert_allclose(position, [0.5, 0.9], atol=1e-3)
    assert prominence[0] > prominence[1]


@pytest.mark.parametrize("profile", [np.zeros(100), np.full(100, np.nan), np.ones(100)])
def test_profiles_without_peaks(profile):
    assert locate_peaks(np.linspace(0.1, 1, 100), profile)[0].size == 0


def test_image_and_scan_of_one_specimen_share_marks(draw_rings):
    rings = [(0.2, 0.5), (0.32, 1), (0.45, 0.7), (0.61, 0.5)]
    image = draw_rings(rings, electrons=1e7, beam=0, center=(60.2, 66.9))
    q = np.linspace(0.1, 1.0, 4000)
    intensity = sum(s * np.exp(-(((q - x) / 0.004) ** 2)) for x, s in rings)
    cells = [DiffractionImage(image, pixel_size=0.0155), None, Profile(intensity, q=q)]
    histogram = PeakHistogram().fit([None])
    marks = histogram.transform(cells)
    assert marks.shape == (3, 902)
    assert np.isnan(marks[1]).all()
    d = [histogram.d_[row > 0] for row in marks[[0, 2]]]
    np.testing.assert_allclose(d[1], [1 / x for x, _ in rings][::-1], atol=1 / 164)
    np.testing.assert_allclose(d[0], d[1], rtol=0.006)


def test_bins_are_the_published_ones():
    histogram = PeakHistogram().fit([None])
    names = histogram.get_feature_names_out()
    assert (names[0], names[-1]) == ("d_0082", "d_0983")  # bins from d = 0
    assert np.diff(histogram.d_) == pytest.approx(1 / 164)
    assert (histogram.d_[0] - 0.5 / 164, histogram.d_[-1] + 0.5 / 164) == pytest.approx((0.5, 6.0))


def test_max_peaks_limits_the_marks():
    q = np.linspace(0.2, 1.8, 8000)
    comb = sum(np.exp(-(((q - x) / 0.002) ** 2)) for x in np.arange(0.25, 1.75, 0.015))
    assert PeakHistogram().fit_transform([Profile(comb, q=q)]).sum() <= 75
    assert PeakHistogram(max_peaks=5).fit_transform([Profile(comb, q=q)]).sum() <= 5


def test_wrong_input():
    with pytest.raises(ValueError, match="max_peaks"):
        PeakHistogram(max_peaks=0).fit([None])
    with pytest.raises(ValueError, match="pixel_size"):
        PeakHistogram(pixel_size=-1.0).fit([None])
    with pytest.raises(ValueError, match=r"row 0.*calibration"):
        PeakHistogram().fit_transform([np.ones((64, 64))])
    with pytest.raises(ValueError, match=r"row 1.*got int"):
        PeakHistogram().fit_transform([None, 3])

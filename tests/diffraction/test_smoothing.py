import pytest
import torch

from xtalsk.diffraction import _smoothing
from xtalsk.diffraction._smoothing import gaussian_band

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [9, 64, 1500])
def test_band_is_a_gaussian_of_unit_sum(size):
    band = gaussian_band(size, 1.2, torch.float64, CPU)
    x = torch.arange(size, dtype=torch.float64)
    kernel = torch.exp(-0.5 * ((x - size // 2) / 1.2) ** 2) * ((x - size // 2).abs() <= 3.6)
    torch.testing.assert_close(band, band.T)
    torch.testing.assert_close(band[size // 2], kernel / kernel.sum())


def test_large_bands_are_not_cached():
    _smoothing._cached_band.cache_clear()
    gaussian_band(1024, 2.0, torch.float32, CPU)
    gaussian_band(1025, 2.0, torch.float32, CPU)
    assert _smoothing._cached_band.cache_info().currsize == 1

"""Calibration of images from a known phase."""

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure

from xtalsk.diffraction import RadialProfile
from xtalsk.io import DiffractionImage
from xtalsk.library import calibrate_image

GOLD = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.0782), ["Au"], [[0, 0, 0]])
GOLD_RINGS = [
    (q, h) for q, h in zip(np.sqrt([3, 4, 8, 11, 12]) / 4.0782, (1, 0.5, 0.4, 0.4, 0.1), strict=True)
]


@pytest.mark.parametrize("pixel_size", [0.006, 0.011])
@pytest.mark.parametrize("stop", [None, (1, 2, 12, 5, 30)])
def test_pixel_size_of_gold(draw_rings, pixel_size, stop):
    data = draw_rings(
        GOLD_RINGS, size=256, pixel_size=pixel_size, center=(120.2, 133.0), stop=stop, electrons=1e7
    )
    calibration = calibrate_image(data, GOLD)
    assert calibration.is_sure
    assert calibration.pixel_size == pytest.approx(pixel_size, rel=0.004)
    assert abs(calibration.pixel_size - pixel_size) < 3 * calibration.uncertainty
    assert calibration.rings[["h", "k", "l"]].abs().iloc[0].tolist() == [1, 1, 1]
    assert calibration.rings.residual.abs().max() < 0.01
    np.testing.assert_allclose(calibration.image.center, (120.2, 133.0), atol=0.3)
    q = calibration.rings.radius * calibration.pixel_size
    np.testing.assert_allclose(q, calibration.rings.q, rtol=0.01)
    profile = RadialProfile().fit_transform(pd.Series([calibration.image]))
    assert np.isfinite(profile).any()


def test_a_formula_names_the_phase(draw_rings):
    data = draw_rings(GOLD_RINGS, size=256, pixel_size=0.008, electrons=1e7)
    assert calibrate_image(data, "Au").pixel_size == pytest.approx(0.008, rel=0.004)
    with pytest.raises(ValueError, match="no crystal of formula 'AuXe3'"):
        calibrate_image(data, "AuXe3")


def test_another_phase_is_told(draw_rings):
    data = draw_rings(size=256, pixel_size=0.008, electrons=1e7)  # rings of no crystal
    with pytest.warns(UserWarning, match="do not fit the phase well"):
        assert not calibrate_image(data, GOLD).is_sure


def test_known_pixel_size_of_the_cell_is_not_used(draw_rings):
    data = draw_rings(GOLD_RINGS, size=256, pixel_size=0.008, electrons=1e7)
    wrong = DiffractionImage(data, pixel_size=0.5)
    assert calibrate_image(wrong, GOLD).pixel_size == pytest.approx(0.008, rel=0.004)


def test_bad_arguments(draw_rings):
    data = draw_rings(GOLD_RINGS, size=256, pixel_size=0.008, electrons=1e7)
    with pytest.raises(ValueError, match="pixel_size_range must be two increasing"):
        calibrate_image(data, GOLD, pixel_size_range=(0.01, 0.005))
    with pytest.raises(ValueError, match="holds no rings"), pytest.warns(UserWarning, match="it is blank"):
        calibrate_image(np.ones((64, 64)), GOLD)


def test_missing_calibration_names_all_ways():
    with pytest.raises(
        ValueError, match=r"DiffractionImage\(data, pixel_size.*parameter pixel_size.*calibrate"
    ):
        RadialProfile().fit_transform([np.ones((64, 64))])

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
    calibration = calibrate_image(DiffractionImage(data, pixel_size=1.04 * pixel_size), GOLD)
    assert calibration.is_sure
    assert calibration.confirmed == "phase"
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
    narrow = (0.0077, 0.0084)
    assert calibrate_image(data, "Au", pixel_size_range=narrow).pixel_size == pytest.approx(0.008, rel=0.004)
    with pytest.raises(ValueError, match="no crystal of formula 'AuXe3'"):
        calibrate_image(data, "AuXe3")


def test_another_phase_is_told(draw_rings):
    data = draw_rings(size=256, pixel_size=0.008, electrons=1e7)  # rings of no crystal
    with pytest.warns(UserWarning, match="do not fit the phase well"):
        calibration = calibrate_image(data, GOLD)
    assert (calibration.is_sure, calibration.confirmed) == (False, "nothing")


def test_any_cubic_phase_of_the_lattice_type_fits_at_some_scale(draw_rings):
    """Nickel, a = 3.52 Å, is not told from gold without a scale."""
    data = draw_rings(GOLD_RINGS, size=256, pixel_size=0.008, electrons=1e7)
    nickel = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.524), ["Ni"], [[0, 0, 0]])
    for phase in (GOLD, nickel):
        with pytest.warns(UserWarning, match=r"confirm the lattice type alone \(cF\)"):
            calibration = calibrate_image(data, phase)
        assert (calibration.is_sure, calibration.confirmed) == (False, "lattice type")
        np.testing.assert_allclose(
            calibration.pixel_size, 0.008 * 4.0782 / (4.0782, 3.524)[phase is nickel], rtol=0.005
        )
    image = DiffractionImage(data, pixel_size=0.0082)
    assert calibrate_image(image, GOLD).is_sure
    with pytest.warns(UserWarning, match="fit the phase at 0.009.* is said to have 0.0082"):
        assert calibrate_image(image, nickel).confirmed == "nothing"
    assert calibrate_image(data, GOLD, pixel_size_range=(0.0078, 0.0085)).is_sure
    with pytest.warns(UserWarning, match="lattice type alone"):
        assert not calibrate_image(data, GOLD, pixel_size_range=(0.005, 0.012)).is_sure


def test_rings_of_other_systems_confirm_the_phase(draw_rings):
    zinc = Structure.from_spacegroup(
        "P6_3/mmc", Lattice.hexagonal(2.665, 4.947), ["Zn"], [[1 / 3, 2 / 3, 0.25]]
    )
    rings = [
        (0.4043, 0.5),
        (0.4333, 0.4),
        (0.4781, 1),
        (0.5926, 0.3),
        (0.7504, 0.4),
        (0.7451, 0.3),
        (0.8523, 0.3),
    ]
    calibration = calibrate_image(draw_rings(rings, size=256, pixel_size=0.008, electrons=1e7), zinc)
    assert calibration.confirmed == "phase"
    assert calibration.pixel_size == pytest.approx(0.008, rel=0.005)


def test_known_pixel_size_of_the_cell_is_not_used(draw_rings):
    data = draw_rings(GOLD_RINGS, size=256, pixel_size=0.008, electrons=1e7)
    wrong = DiffractionImage(data, pixel_size=0.5)
    with pytest.warns(UserWarning, match="is said to have 0.5"):
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
